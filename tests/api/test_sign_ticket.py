"""The figures of `/signTicket` that a client acts on: how long the credit lasts, when to call again, what is owed."""

from __future__ import annotations

import json
from fractions import Fraction
from typing import Any

import pytest
from msgspec.structs import replace

from livepeer_remote_signer.api.sign_ticket import encode_sign_ticket, parse_signer_state
from livepeer_remote_signer.core.errors import BadField
from livepeer_remote_signer.core.protocol.timestamps import NS_PER_SECOND
from livepeer_remote_signer.core.rules.billing import Billed
from livepeer_remote_signer.service.signing import SignedPayment
from tests.plans import NOW_NS, PRICE_PER_UNIT, orchestrator_info, plan_payment

INTERVAL_SECONDS = 5


def figures(job_type: str, credit_seconds: Fraction | int, elapsed_ns: int = 10 * NS_PER_SECOND, owed_ns: int = 0) -> dict[str, Any]:
    """What is told of a payment that leaves so much credit."""
    pixels = 27_648_000 if job_type == "lv2v" else 1
    plan = plan_payment(orchestrator_info(price_per_unit=PRICE_PER_UNIT // pixels), job_type="live")
    session = replace(plan.session, request=replace(plan.session.request, type=job_type))
    state = replace(plan.state, balance=plan.price * pixels * credit_seconds)
    plan = replace(plan, session=session, state=state, billed=Billed(7, elapsed_ns), owed_ns=owed_ns)
    reply: dict[str, Any] = json.loads(encode_sign_ticket(SignedPayment(plan, bytes(20), b"", b"", b"{}", b"", ()), INTERVAL_SECONDS))
    return {name: reply[name] for name in ("billedSeconds", "creditSeconds", "owedSeconds", "nextPaymentInSeconds")}


@pytest.mark.parametrize("job_type", ["live", "lv2v"])
@pytest.mark.parametrize(
    ("credit", "credit_seconds", "next_seconds"),
    [
        (25, 25.0, 20.0),
        (Fraction(123_456, 10_000), 12.345, 7.345),  # cut to milliseconds: never told to last longer than it does
        (6, 6.0, 1.0),
        (Fraction(59, 10), 5.9, 1.0),  # never below a second
        (0, 0.0, 1.0),
        (Fraction(10**400, 7), 1e12, 1e12 - INTERVAL_SECONDS),  # more than a float holds
    ],
)
def test_the_next_call_is_due_an_interval_before_the_credit_ends(
    job_type: str, credit: Fraction | int, credit_seconds: float, next_seconds: float
) -> None:
    told = figures(job_type, credit)
    assert told == {"billedSeconds": 10.0, "creditSeconds": credit_seconds, "owedSeconds": 0.0, "nextPaymentInSeconds": next_seconds}


def test_billed_seconds_are_the_time_that_was_billed_to_the_nanosecond() -> None:
    assert figures("live", 25, elapsed_ns=61_250_000_001)["billedSeconds"] == 61.250000001


def test_while_time_is_owed_the_next_call_is_due_in_a_second_whatever_the_credit() -> None:
    told = figures("live", 25, owed_ns=90_500_000_000)
    assert (told["owedSeconds"], told["nextPaymentInSeconds"]) == (90.5, 1.0)


@pytest.mark.parametrize("job_type", ["fixed", ""])
def test_where_time_does_not_count_none_is_told(job_type: str) -> None:
    assert set(figures(job_type, 25).values()) == {None}


def test_figures_of_a_real_first_payment_agree_with_each_other() -> None:
    plan = plan_payment(now_ns=NOW_NS)
    reply = json.loads(encode_sign_ticket(SignedPayment(plan, bytes(20), b"", b"", b"{}", b"", ()), INTERVAL_SECONDS))
    assert reply["billedSeconds"] == 10.0
    assert int(reply["fee"]) == 10 * PRICE_PER_UNIT
    assert reply["creditSeconds"] == int(plan.state.balance * 1000 / PRICE_PER_UNIT) / 1000


@pytest.mark.parametrize("text", [".", "AAAA", "AAAA.", ".AAAA"])
def test_a_state_without_one_of_its_halves_is_refused(text: str) -> None:
    with pytest.raises(BadField, match="signerState is not base64"):
        parse_signer_state(text)
