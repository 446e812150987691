"""Advice on an orchestrator's terms before a session is begun: whether it will be refused or lapse, and what would be right.

Sources: sections 6 (steps 10 to 15), 10 and 13 of the protocol. The orchestrator chooses a ticket's expected value and face value;
the operator chose limits, payment interval and headroom; whether they fit shows in these numbers alone. Pure and exact: floats only
in `describe`, for people.
"""

from __future__ import annotations

from fractions import Fraction
from math import ceil, floor
from typing import Any, Literal, NamedTuple, TypeAlias

from livepeer_remote_signer.core.protocol.amounts import float_string
from livepeer_remote_signer.core.rules.billing import FIRST_LIVE_SECONDS, FIRST_LV2V_SECONDS, units_per_second
from livepeer_remote_signer.core.rules.limits import TicketLimits

TOLERATED_SECONDS = 10
"""About as long as an orchestrator works without a payment."""

SLOW_CALL_SECONDS = 3
"""What headroom covers beside the interval: a call that is slow."""

FEW_WINNERS = 3
SHORT_OUTAGE_SECONDS = 60
DEAR_SIGNATURE = Fraction(1, 20)
"""Of a ticket's expected value."""

MAX_SECONDS = 10**12

Kind: TypeAlias = Literal["refused", "lapses", "risky", "costly"]
Verdict: TypeAlias = Literal["good", "costly", "risky", "lapses", "refused"]
_WORST: tuple[Kind, ...] = ("refused", "lapses", "risky", "costly")


class Offer(NamedTuple):
    """What an orchestrator asks for: wei a unit of the job type, a ticket's expected value and its face value in wei."""

    job_type: str
    price: Fraction
    ev: Fraction
    face_value: int


class Means(NamedTuple):
    """What the operator has set and has. Amounts in wei; None: not known. `pool_size`: orchestrators that share the reserve, 0: not
    known. `signature_wei`: what one signature costs, None: nothing."""

    limits: TicketLimits
    interval_seconds: Fraction
    headroom_seconds: int
    deposit_wei: int | None = None
    reserve_wei: int | None = None
    pool_size: int = 0
    signature_wei: Fraction | None = None


class Finding(NamedTuple):
    """One thing that does not fit: what kind, a word for it, a sentence with both numbers, and what to change."""

    kind: Kind
    code: str
    message: str
    hint: str


class Advice(NamedTuple):
    """The figures, and what does not fit. Seconds are None where time does not count.

    `right_headroom_seconds`: what to buy ahead, 0 where nothing is needed. `right_interval_seconds`: how often to pay at most, 0 where
    no interval is short enough. `outage_seconds`: how much may be owed before payments no longer fit the limits.
    """

    ticket_seconds: Fraction | None
    first_tickets: int
    tickets_a_payment: Fraction | None
    right_headroom_seconds: int | None
    right_interval_seconds: Fraction | None
    outage_seconds: Fraction | None
    winners_covered: int | None
    reserve_share_wei: int | None
    signature_share: Fraction | None
    findings: tuple[Finding, ...]

    @property
    def verdict(self) -> Verdict:
        """The worst of the findings."""
        kinds = {finding.kind for finding in self.findings}
        return next((kind for kind in _WORST if kind in kinds), "good")


def advise(offer: Offer, means: Means) -> Advice:
    """What a session on these terms comes to. Price, expected value and face value must be above 0."""
    limits, per_second = means.limits, offer.price * units_per_second(offer.job_type)
    ticket_seconds = offer.ev / per_second if per_second else None
    most = min(limits.max_tickets, floor(limits.max_total_ev_wei / offer.ev))
    fee = offer.price if not per_second else per_second * _first_seconds(offer.job_type)
    first_tickets = max(1, ceil(fee / offer.ev))
    findings = [*_ticket_findings(offer, limits), *_first_payment_findings(offer, limits, fee, first_tickets, most, per_second)]
    headroom: int | None = None
    interval: Fraction | None = None
    if ticket_seconds is not None:
        headroom = _right_headroom(ticket_seconds, means.interval_seconds)
        interval = min(Fraction(TOLERATED_SECONDS, 2), most * ticket_seconds)
        findings += _pace_findings(ticket_seconds, means, most, headroom, interval)
    share = means.reserve_wei // means.pool_size if means.reserve_wei is not None and means.pool_size else means.reserve_wei
    winners = means.deposit_wei // offer.face_value if means.deposit_wei is not None else None
    findings += _funds_findings(offer, means, winners, share)
    signature_share = means.signature_wei / offer.ev if means.signature_wei is not None else None
    if signature_share is not None and signature_share > DEAR_SIGNATURE:
        text = f"each signature costs {_percent(signature_share)} of what its ticket is worth, {_wei(offer.ev)} wei"
        hint = "choose an orchestrator with a larger ticket EV; limits.min_ticket_ev_wei refuses smaller ones"
        findings.append(Finding("costly", "signature_cost", text, hint))
    return Advice(
        ticket_seconds,
        first_tickets,
        means.interval_seconds / ticket_seconds if ticket_seconds is not None else None,
        headroom,
        interval,
        most * ticket_seconds if ticket_seconds is not None else None,
        winners,
        share,
        signature_share,
        tuple(findings),
    )


def _first_seconds(job_type: str) -> int:
    return FIRST_LIVE_SECONDS if job_type == "live" else FIRST_LV2V_SECONDS


def _right_headroom(ticket_seconds: Fraction, interval_seconds: Fraction) -> int:
    """Without headroom a payment comes when the credit is used up: too late where a ticket lasts longer than the interval, or
    the interval longer than what is tolerated."""
    is_needed = ticket_seconds > interval_seconds or interval_seconds > TOLERATED_SECONDS
    return ceil(interval_seconds) + SLOW_CALL_SECONDS if is_needed else 0


def _ticket_findings(offer: Offer, limits: TicketLimits) -> list[Finding]:
    """One ticket against its limits."""
    found = []
    if offer.ev >= offer.face_value:
        text = f"a ticket is worth {_wei(offer.ev)} wei, its face value is {offer.face_value} wei: it would always win"
        found.append(Finding("refused", "face_value_too_low", text, "choose another orchestrator"))
    if offer.ev > limits.max_ticket_ev_wei:
        text = f"a ticket is worth {_wei(offer.ev)} wei, limits.max_ticket_ev_wei is {limits.max_ticket_ev_wei}"
        found.append(Finding("refused", "ticket_ev_exceeded", text, "choose another orchestrator, or raise the limit"))
    if offer.ev < limits.min_ticket_ev_wei:
        text = f"a ticket is worth {_wei(offer.ev)} wei, limits.min_ticket_ev_wei is {limits.min_ticket_ev_wei}"
        found.append(Finding("refused", "ticket_ev_too_low", text, "choose another orchestrator, or lower the limit"))
    if offer.ev > limits.max_total_ev_wei:
        text = f"a ticket is worth {_wei(offer.ev)} wei, limits.max_total_ev_wei is {limits.max_total_ev_wei}"
        found.append(Finding("refused", "total_ev_exceeded", text, "choose another orchestrator, or raise the limit"))
    return found


def _first_payment_findings(
    offer: Offer, limits: TicketLimits, fee: Fraction, first_tickets: int, most: int, per_second: Fraction
) -> list[Finding]:
    """The first payment, which is for a fixed time or one job, against the limits of a payment."""
    if first_tickets > most > 0:
        what = f"{_first_seconds(offer.job_type)} s" if per_second else "one job"
        code = "too_many_tickets" if first_tickets > limits.max_tickets else "total_ev_exceeded"
        text = f"the first payment, for {what}, takes {first_tickets} tickets, and the limits allow {most}"
        hint = "is the price one for this job type? Else choose an orchestrator with a larger ticket EV"
        return [Finding("refused", code, text, hint)]
    if limits.max_credit_seconds is None or not per_second:
        return []
    bought = (first_tickets * offer.ev - fee) / per_second
    if bought <= limits.max_credit_seconds:
        return []
    text = f"the first payment buys {_seconds(bought)} s beyond what is owed, limits.max_credit_seconds is {limits.max_credit_seconds}"
    return [Finding("refused", "credit_exceeded", text, "choose an orchestrator with a smaller ticket EV, or raise the limit")]


def _pace_findings(ticket_seconds: Fraction, means: Means, most: int, headroom: int, right_interval: Fraction) -> list[Finding]:
    """How tickets come against how often the client pays and what the orchestrator tolerates."""
    found = []
    interval = means.interval_seconds
    if most and interval / ticket_seconds > most:
        found.append(
            Finding(
                "refused",
                "too_many_tickets",
                f"a payment every {_seconds(interval)} s takes {ceil(interval / ticket_seconds)} tickets, and the limits allow {most}",
                f"pay every {_seconds(right_interval)} s or more often, or choose an orchestrator with a larger ticket EV",
            )
        )
    if headroom and means.headroom_seconds < interval:
        found.append(
            Finding(
                "lapses",
                "sessions_lapse",
                f"this orchestrator's sessions will lapse: one ticket lasts {_seconds(ticket_seconds)} s, the client pays every "
                f"{_seconds(interval)} s, {means.headroom_seconds} s are bought ahead, and about {TOLERATED_SECONDS} s without payment are "
                "tolerated",
                f"set headroom_seconds to {headroom}, or choose an orchestrator with a smaller ticket EV",
            )
        )
    outage = most * ticket_seconds
    if outage < SHORT_OUTAGE_SECONDS and most:
        found.append(
            Finding(
                "risky",
                "short_outage",
                f"one payment covers {_seconds(outage)} s at most: a session that owes more is refused from then on",
                "turn catch_up on, or choose an orchestrator with a larger ticket EV",
            )
        )
    return found


def _funds_findings(offer: Offer, means: Means, winners: int | None, share: int | None) -> list[Finding]:
    """The face value against what stands behind it."""
    found = []
    if means.deposit_wei is not None and winners is not None:
        coverable = means.deposit_wei // means.limits.deposit_multiplier
        if offer.face_value > coverable:
            text = f"a winner takes {offer.face_value} wei, the deposit covers {coverable} (divided by {means.limits.deposit_multiplier})"
            hint = "fund the deposit, or choose an orchestrator with a smaller face value"
            found.append(Finding("refused", "deposit_too_small", text, hint))
        elif winners < FEW_WINNERS:
            text = f"the deposit of {means.deposit_wei} wei covers {winners} winners of {offer.face_value} wei"
            found.append(Finding("risky", "few_winners", text, "fund the deposit"))
    if share is not None and offer.face_value > share:
        text = f"a winner takes {offer.face_value} wei, one orchestrator's share of the reserve is {share} wei"
        found.append(Finding("risky", "reserve_share", text, "fund the reserve: orchestrators refuse tickets that it does not cover"))
    return found


def describe(advice: Advice) -> dict[str, Any]:
    """As it is shown: seconds as numbers cut to milliseconds, wei as text."""
    return {
        "verdict": advice.verdict,
        "ticketSeconds": _number(advice.ticket_seconds),
        "firstTickets": min(advice.first_tickets, MAX_SECONDS),
        "ticketsPerPayment": _number(advice.tickets_a_payment),
        "rightHeadroomSeconds": advice.right_headroom_seconds,
        "rightIntervalSeconds": _number(advice.right_interval_seconds),
        "outageSeconds": _number(advice.outage_seconds),
        "winnersCovered": None if advice.winners_covered is None else min(advice.winners_covered, MAX_SECONDS),
        "reserveShareWei": None if advice.reserve_share_wei is None else str(advice.reserve_share_wei),
        "signatureShare": _number(advice.signature_share),
        "findings": [finding._asdict() for finding in advice.findings],
    }


def _number(value: Fraction | None) -> float | None:
    return None if value is None else int(min(value, Fraction(MAX_SECONDS)) * 1000) / 1000


def _seconds(value: Fraction) -> str:
    return float_string(value, 1).removesuffix(".0")


def _wei(value: Fraction) -> str:
    return float_string(value, 0)


def _percent(share: Fraction) -> str:
    return f"{float_string(share * 100, 1).removesuffix('.0')} %"
