"""`POST /quoteTicket`: what `/signTicket` would come to with this body. Nothing is signed, taken or recorded.

A body that can be read is answered 200: what stands against the payment is in the reply. What is not known is null.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any, NamedTuple

from fastapi import FastAPI, Request, Response

from livepeer_remote_signer.api import schemas
from livepeer_remote_signer.api.deadline import answered_within
from livepeer_remote_signer.api.errors import error_body, json_reply, status_of
from livepeer_remote_signer.api.openapi import body_of
from livepeer_remote_signer.api.responses import to_response
from livepeer_remote_signer.api.sign_ticket import MAX_CREDIT_SECONDS, REQUEST_KEYS, payment_of, time_figures, wei_text
from livepeer_remote_signer.core.errors import BadField, SignerError
from livepeer_remote_signer.core.protocol.amounts import WEI_PER_ETH, float_string, rat_string
from livepeer_remote_signer.core.protocol.eip191 import checksum_address
from livepeer_remote_signer.core.protocol.strict_json import exact_object, json_type, parse_json
from livepeer_remote_signer.core.rules.advice import describe
from livepeer_remote_signer.core.rules.billing import PIXELS_PER_SECOND, units_per_second
from livepeer_remote_signer.core.rules.budgets import BudgetUse
from livepeer_remote_signer.core.rules.policy import Caller
from livepeer_remote_signer.core.rules.trail import Trail
from livepeer_remote_signer.service.quotes import PaymentQuotes, Quote, QuoteRequest

QUOTE_TICKET = "/quoteTicket"
_KEYS = REQUEST_KEYS | {"authorize"}
_UNITS = {"live": "second", "lv2v": "pixel", "": "pixel", "fixed": "job"}
_EXACT_IN_JSON = 2**53
_SECONDS_PER_HOUR = 3600


class QuoteParts(NamedTuple):
    """What the route needs."""

    quotes: PaymentQuotes
    begin: Callable[[Caller], Trail]
    interval_seconds: float
    answer_seconds: float


def parse_quote(body: bytes) -> QuoteRequest:
    """Raises BadJson, BadField, BadOrchestrator or BadCapabilities."""
    fields = exact_object(parse_json(body), "the body", _KEYS)
    authorize = fields.pop("authorize", None)
    if not isinstance(authorize, bool | None):
        raise BadField(f"authorize must be true or false, not {json_type(authorize)}")
    return QuoteRequest(payment_of(fields), bool(authorize))


def add_quote_route(
    app: FastAPI, caller_of: Callable[[Request], Caller], parts: QuoteParts, errors: dict[int | str, dict[str, Any]]
) -> None:
    """Adds the route to `app`."""

    @app.post(
        QUOTE_TICKET,
        response_model=schemas.QuoteReply,
        responses={status: errors[status] for status in (400, 401, 403, 413, 429, 503)},
        openapi_extra=body_of(schemas.QuoteTicketRequest),
    )
    async def quote_ticket(request: Request) -> Response:
        """What `/signTicket` would come to: whether it would be paid, everything that stands against it, and its figures."""
        caller = caller_of(request)
        trail = parts.begin(caller)
        async with answered_within(parts.answer_seconds):
            quote = await parts.quotes.quote(await request.body(), parse_quote, caller, trail)
        return to_response(json_reply(200, encode_quote(quote, parts.interval_seconds), trail.request_id))


def encode_quote(quote: Quote, interval_seconds: float) -> dict[str, Any]:
    """The reply. Amounts are decimal strings."""
    return {
        "wouldBePaid": not quote.refusals,
        "isRepeated": quote.is_repeated,
        "webhook": quote.verdict,
        "refusals": [_refusal(refusal) for refusal in quote.refusals],
        **_terms(quote),
        **_payment(quote, interval_seconds),
        "budgets": [_budget(use) for use in quote.budgets] if quote.budgets is not None and quote.is_identified else None,
        "funds": _funds(quote),
        "advice": describe(quote.advice) if quote.advice is not None else None,
    }


def _refusal(refusal: SignerError) -> dict[str, Any]:
    """As the payment's error would have it, with its status; what is to be waited for stands beside."""
    status = status_of(refusal)
    body = {**error_body(refusal, status), "status": status}
    if refusal.retry_after_seconds is not None:
        body["retryAfterSeconds"] = refusal.retry_after_seconds
    return body


def _terms(quote: Quote) -> dict[str, Any]:
    """What the orchestrator asks for."""
    quoted, plan, info = quote.quoted, quote.plan, quote.plan.session.info
    job_type = plan.session.request.type
    terms: dict[str, Any] = dict.fromkeys(
        ("orchestrator", "recipient", "ticketEv", "faceValue", "price", "unit", "ethPerHour", "usdPerHour", "ticketSeconds")
    )
    if quoted.knows("address"):
        terms["orchestrator"] = checksum_address(info.address)
    if quoted.knows("ticket_params"):
        params = info.ticket_params
        terms |= {"recipient": checksum_address(params.recipient), "ticketEv": wei_text(info.ev), "faceValue": str(params.face_value)}
    if quoted.knows("price") and job_type in _UNITS:
        terms |= {"price": rat_string(plan.price), "unit": _UNITS[job_type], **_hourly(plan.price, job_type, quote.usd_per_eth)}
        per_second = plan.price * units_per_second(job_type)
        if quoted.knows("ticket_params") and per_second:
            terms["ticketSeconds"] = _seconds(info.ev / per_second)
    return terms


def _hourly(price: Fraction, job_type: str, usd_per_eth: Fraction | None) -> dict[str, str]:
    """27,648,000 pixels are a second, also of untyped work; a job has no hours."""
    if job_type == "fixed":
        return {}
    eth = price * (units_per_second(job_type) or PIXELS_PER_SECOND) * _SECONDS_PER_HOUR / WEI_PER_ETH
    hourly = {"ethPerHour": _decimal(eth, 18)}
    if usd_per_eth is not None:
        hourly["usdPerHour"] = _decimal(eth * usd_per_eth, 6)
    return hourly


def _payment(quote: Quote, interval_seconds: float) -> dict[str, Any]:
    """What the payment would come to; where it is refused, what it would have to."""
    plan = quote.plan
    if quote.is_repeated or not quote.quoted.knows("num_tickets", "due", "billed"):
        names = ("tickets", "firstNonce", "totalEv", "faceValueAtRisk", "fee", "balance", "units")
        return dict.fromkeys((*names, "billedSeconds", "creditSeconds", "owedSeconds", "nextPaymentInSeconds"))
    return {
        "tickets": plan.num_tickets if plan.num_tickets < _EXACT_IN_JSON else None,
        "firstNonce": plan.first_nonce if plan.num_tickets else None,
        "totalEv": wei_text(plan.total_ev),
        "faceValueAtRisk": str(plan.total_face_value),
        "fee": wei_text(plan.fee),
        "balance": wei_text(plan.state.balance),
        "units": str(plan.billed.units),
        **time_figures(plan, interval_seconds),
    }


def _budget(use: BudgetUse) -> dict[str, str]:
    return {
        "scope": use.budget.scope,
        "id": use.id,
        "window": use.budget.window,
        "measure": use.budget.measure,
        "limitWei": str(use.budget.limit_wei),
        "spentWei": str(use.spent_wei),
        "leftWei": str(use.left_wei),
    }


def _funds(quote: Quote) -> dict[str, str] | None:
    """Whose deposit it is may know what is in it; a stale reading says nothing."""
    if not quote.is_identified or not quote.quoted.knows("chain"):
        return None
    return {"depositWei": str(quote.chain.deposit_wei), "reserveWei": str(quote.chain.reserve_wei)}


def _seconds(seconds: Fraction) -> float:
    """Cut to milliseconds, and to what a float holds."""
    return int(min(seconds, MAX_CREDIT_SECONDS) * 1000) / 1000


def _decimal(value: Fraction, places: int) -> str:
    return float_string(value, places).rstrip("0").rstrip(".")
