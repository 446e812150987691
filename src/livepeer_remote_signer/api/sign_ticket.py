"""`POST /signTicket`: the same payment in JSON throughout, for callers without protobuf.

Source: section 5.2 of the protocol. Names are exact, unknown ones are errors; the reply adds the tickets and the figures
that a person reads.
"""

from __future__ import annotations

import json
from binascii import b2a_base64
from collections.abc import Callable
from fractions import Fraction
from typing import Any

from livepeer_remote_signer.api.live_payment import parse_max_price_field
from livepeer_remote_signer.core.errors import BadField
from livepeer_remote_signer.core.protocol.amounts import float_string
from livepeer_remote_signer.core.protocol.eip191 import checksum_address
from livepeer_remote_signer.core.protocol.json_forms import capabilities_from_json, info_from_json
from livepeer_remote_signer.core.protocol.strict_json import (
    JsonObject,
    base64_field,
    exact_object,
    int64_field,
    parse_base64,
    parse_json,
    text_field,
)
from livepeer_remote_signer.core.protocol.timestamps import NS_PER_SECOND
from livepeer_remote_signer.core.rules.billing import units_per_second
from livepeer_remote_signer.core.rules.payment import PaymentPlan, PaymentRequest
from livepeer_remote_signer.service.signing import SignedPayment

REQUEST_KEYS = frozenset({"signerState", "orchestratorInfo", "manifestId", "type", "inPixels", "app", "maxPrice", "capabilities"})


def parse_sign_ticket(body: bytes) -> PaymentRequest:
    """Step 1 of a payment. Raises BadJson, BadField, BadOrchestrator or BadCapabilities."""
    return payment_of(exact_object(parse_json(body), "the body", REQUEST_KEYS))


def payment_of(fields: dict[str, Any]) -> PaymentRequest:
    """The payment that a body's fields ask for. Raises BadField, BadOrchestrator or BadCapabilities."""
    state, sig = parse_signer_state(text_field(fields, "signerState", "signerState"))
    return PaymentRequest(
        orchestrator=_message_field(fields, "orchestratorInfo", info_from_json),
        state=state,
        state_sig=sig,
        manifest_id=text_field(fields, "manifestId", "manifestId"),
        app=text_field(fields, "app", "app"),
        type=text_field(fields, "type", "type"),
        in_pixels=int64_field(fields, "inPixels", "inPixels"),
        max_price=parse_max_price_field(fields.get("maxPrice"), exact_object),
        capabilities=_message_field(fields, "capabilities", capabilities_from_json),
    )


def _message_field(fields: dict[str, Any], key: str, from_json: Callable[[JsonObject], bytes]) -> bytes:
    value = fields.get(key)
    return from_json(value) if isinstance(value, JsonObject) else base64_field(fields, key, key)


def parse_signer_state(text: str) -> tuple[bytes, bytes]:
    """State and seal of `base64(State).base64(Sig)`; both empty for a new session. Raises BadField."""
    if not text:
        return b"", b""
    state, dot, sig = text.partition(".")
    if not (state and dot and sig):
        raise BadField("signerState is not base64(State).base64(Sig)", hint="send signerState back exactly as it was returned")
    return parse_base64(state, "signerState"), parse_base64(sig, "signerState")


def encode_signer_state(state: bytes, sig: bytes) -> str:
    """The state as one opaque string."""
    return f"{b2a_base64(state, newline=False).decode()}.{b2a_base64(sig, newline=False).decode()}"


def encode_sign_ticket(signed: SignedPayment, interval_seconds: float) -> bytes:
    """The reply's body. Amounts are decimal strings in wei, exact when whole, else with three decimals."""
    plan = signed.plan
    info = plan.session.info
    params = info.ticket_params
    shared = {
        "recipient": checksum_address(params.recipient),
        "sender": checksum_address(signed.sender),
        "faceValue": str(params.face_value),
        "winProb": str(params.win_prob),
        "recipientRandHash": "0x" + params.recipient_rand_hash.hex(),
        "creationRound": plan.creation_round,
        "creationRoundBlockHash": "0x" + plan.creation_round_block_hash.hex(),
    }
    reply = {
        "payment": b2a_base64(signed.payment, newline=False).decode(),
        "segCreds": b2a_base64(signed.seg_creds, newline=False).decode(),
        "signerState": encode_signer_state(signed.state, signed.state_sig),
        "tickets": [
            {**shared, "senderNonce": t.sender_nonce, "hash": "0x" + t.hash.hex(), "sig": "0x" + t.sig.hex()} for t in signed.tickets
        ],
        "manifestId": plan.session.manifest_id,
        "fee": wei_text(plan.fee),
        "ticketEv": wei_text(info.ev),
        "totalEv": wei_text(plan.total_ev),
        "balance": wei_text(plan.state.balance),
        "units": str(plan.billed.units),
        **time_figures(plan, interval_seconds),
    }
    return json.dumps(reply, separators=(",", ":")).encode()


MAX_CREDIT_SECONDS = Fraction(10**12)
"""Thirty thousand years: a state of ours may hold a balance that no float holds."""


def time_figures(plan: PaymentPlan, interval_seconds: float) -> dict[str, float | None]:
    """Seconds billed, how long the paid credit lasts, what is still owed, and when to call next; null without time.

    The next call is due one payment interval before the credit is used up, and at least a second from now: in a second
    where time is owed.
    """
    per_second = plan.price * units_per_second(plan.session.request.type)
    if not per_second:
        return dict.fromkeys(("billedSeconds", "creditSeconds", "owedSeconds", "nextPaymentInSeconds"))
    credit = int(min(plan.state.balance / per_second, MAX_CREDIT_SECONDS) * 1000) / 1000
    next_payment = 1.0 if plan.owed_ns else max(1.0, round(credit - interval_seconds, 3))
    return {
        "billedSeconds": round(plan.billed.elapsed_ns / NS_PER_SECOND, 9),
        "creditSeconds": credit,
        "owedSeconds": round(plan.owed_ns / NS_PER_SECOND, 9),
        "nextPaymentInSeconds": next_payment,
    }


def wei_text(value: Fraction) -> str:
    """Wei as a decimal string: exact when whole, else with three decimals."""
    return str(value.numerator) if value.denominator == 1 else float_string(value, 3)
