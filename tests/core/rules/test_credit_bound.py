"""No payment buys more seconds beyond what is owed than the bound allows, and headroom is never refused for it."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from livepeer_remote_signer.core.errors import CreditExceeded, NoTickets, SignerError
from livepeer_remote_signer.core.protocol.ticket import MAX_WIN_PROB
from livepeer_remote_signer.core.rules.billing import PIXELS_PER_SECOND, tickets_due
from livepeer_remote_signer.core.rules.limits import TicketLimits
from livepeer_remote_signer.core.rules.payment import PaymentPlan, PaymentRequest
from tests.decisions import SECOND, STATE, decide, sealed
from tests.outcomes import outcome
from tests.strategies import NOW_NS, info_bytes, new_request

EV = 10**12
WHOLE = {"face_value": 3 * EV, "win_prob": MAX_WIN_PROB // 3}
"""Params whose EV is exactly that: 2^256 - 1 is divisible by 3."""


def bounded(seconds: int | None) -> TicketLimits:
    """Default limits, and the bound."""
    return TicketLimits(max_credit_seconds=seconds)


def first(lasts: Fraction | int, job_type: str = "live", **fields: Any) -> PaymentRequest:
    """A new session's request, whose ticket lasts about so many seconds."""
    pixels = PIXELS_PER_SECOND if job_type in ("lv2v", "") else 1
    price = max(1, round(EV / Fraction(lasts)))
    return new_request(orchestrator=info_bytes(price=price, pixels=pixels, **WHOLE), type=job_type, **fields)


def bought_seconds(plan: PaymentPlan) -> Fraction:
    """What was bought beyond what was owed, by its definition."""
    units = 1 if plan.session.request.type == "live" else PIXELS_PER_SECOND
    return (plan.total_ev - max(Fraction(0), plan.fee - plan.balance_before)) / (plan.price * units)


def test_a_session_at_one_wei_is_refused_with_both_numbers() -> None:
    request = new_request(orchestrator=info_bytes(price=1, pixels=1, ev=3 * 10**12), type="live")
    assert decide(request).num_tickets == 1  # without the bound: 3e12 wei for a fee of 10
    refusal = outcome(lambda: decide(request, limits=bounded(3600)))
    assert isinstance(refusal, CreditExceeded)
    assert refusal.values["credit_seconds"] == 3 * 10**12 - 10
    assert refusal.values["max_credit_seconds"] == 3600
    assert refusal.values["num_tickets"] == 1
    assert refusal.hint
    assert "limits.max_credit_seconds" in refusal.hint


@pytest.mark.parametrize(("job_type", "first_seconds"), [("live", 10), ("lv2v", 60)])
def test_a_ticket_that_lasts_exactly_as_long_passes(job_type: str, first_seconds: int) -> None:
    price = Fraction(EV, 500)
    pixels = 1 if job_type == "live" else PIXELS_PER_SECOND
    request = new_request(orchestrator=info_bytes(price=int(price), pixels=pixels, **WHOLE), type=job_type)
    beyond = 500 - first_seconds
    assert bought_seconds(decide(request, limits=bounded(beyond))) == beyond
    refusal = outcome(lambda: decide(request, limits=bounded(beyond - 1)))
    assert isinstance(refusal, CreditExceeded)
    assert (refusal.values["credit_seconds"], refusal.values["max_credit_seconds"]) == (beyond, beyond - 1)


def test_untyped_work_is_bounded_as_pixels_and_a_fixed_job_is_not() -> None:
    untyped = first(5000, "", in_pixels=PIXELS_PER_SECOND)
    assert isinstance(outcome(lambda: decide(untyped, limits=bounded(4998))), CreditExceeded)
    assert decide(untyped, limits=bounded(4999)).num_tickets == 1
    assert decide(first(10**9, "fixed"), limits=bounded(1)).num_tickets == 1


def test_headroom_is_cut_to_the_bound_and_never_refused_for_it() -> None:
    request = first(1)
    wanted = decide(request, headroom_seconds=8)
    assert bought_seconds(wanted) == 8
    cut = decide(request, headroom_seconds=8, limits=bounded(3))
    assert cut.num_tickets == wanted.num_tickets - 5
    assert bought_seconds(cut) == 3


def test_where_nothing_is_due_a_bound_that_allows_none_ahead_means_no_tickets() -> None:
    state = structs.replace(STATE, type="live", balance=Fraction(EV), initial_price_per_unit=10**6, last_update_ns=NOW_NS - SECOND)
    offer = info_bytes(price=10**6, **WHOLE)
    request = new_request(orchestrator=offer, **sealed(state), manifest_id="m")
    headroom = 2_000_000
    assert decide(request, headroom_seconds=headroom).num_tickets > 0
    refusal = outcome(lambda: decide(request, headroom_seconds=headroom, limits=bounded(5)))
    assert isinstance(refusal, NoTickets)
    assert "max_credit_seconds" in (refusal.hint or "")


@given(
    st.sampled_from(["live", "lv2v"]),
    st.fractions(Fraction(1, 4), 10**5, max_denominator=1000),
    st.fractions(0, 3 * EV, max_denominator=10**6),
    st.integers(1, 120),
    st.integers(1, 10**5),
    st.integers(0, 60),
)
def test_the_bound_holds_and_refuses_nothing_else(
    job_type: str, lasts: Fraction, balance: Fraction, elapsed: int, most: int, headroom: int
) -> None:
    request = first(lasts, job_type)
    price, pixels = max(1, round(EV / lasts)), PIXELS_PER_SECOND if job_type == "lv2v" else 1
    state = structs.replace(
        STATE,
        type=job_type,
        balance=balance,
        initial_price_per_unit=price,
        initial_pixels_per_unit=pixels,
        last_update_ns=NOW_NS - elapsed * SECOND,
    )
    request = structs.replace(request, manifest_id="m", **sealed(state))
    free = outcome(lambda: decide(request, headroom_seconds=headroom))
    plain = outcome(lambda: decide(request, limits=bounded(most)))
    ahead = outcome(lambda: decide(request, limits=bounded(most), headroom_seconds=headroom))
    if isinstance(free, SignerError):
        assert type(ahead) is type(free)
    elif isinstance(ahead, PaymentPlan):
        assert bought_seconds(ahead) <= most
        assert ahead.num_tickets <= free.num_tickets
        assert ahead.num_tickets == free.num_tickets or bought_seconds(ahead) + free.session.info.ev / (free.price * pixels) > most
    elif isinstance(ahead, CreditExceeded):
        assert isinstance(plain, CreditExceeded)  # not for the headroom
    else:
        assert isinstance(ahead, NoTickets)
        assert isinstance(plain, NoTickets)


def test_of_tickets_within_a_credit_one_more_passes_it() -> None:
    due = tickets_due(Fraction(5), (12, 1), (7, 2))
    assert due.tickets == 2
    assert due.bought_beyond(2) == 0
    assert due.tickets_within(Fraction(0)) == 2
    assert due.tickets_within(Fraction(7, 2)) == 3
    assert due.tickets_within(Fraction(7, 2) - Fraction(1, 1000)) == 2
