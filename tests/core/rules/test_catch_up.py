"""A session that owes more than one payment may hold pays in parts: never more than was owed, never above a limit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from msgspec import structs

from livepeer_remote_signer.core.errors import (
    BudgetExceeded,
    NoTickets,
    RateExceeded,
    RefreshSession,
    SignerError,
    TooManyTickets,
    TotalEvExceeded,
)
from livepeer_remote_signer.core.protocol.state import SignerState
from livepeer_remote_signer.core.protocol.ticket import REFRESH_AT_NONCE
from livepeer_remote_signer.core.rules.billing import MAX_TICKETS, PIXELS_PER_SECOND, Billed, bill_credit, bill_units, lv2v_pixels
from livepeer_remote_signer.core.rules.budgets import Budget, Claim, Spender, Usage, claims_of, fit_budgets, spend_of
from livepeer_remote_signer.core.rules.limits import TicketLimits
from livepeer_remote_signer.core.rules.payment import PaymentPlan, PaymentRequest
from tests.decisions import SECOND, STATE, decide, sealed
from tests.outcomes import outcome
from tests.strategies import NOW_NS, info_bytes, new_request

MAX_SECONDS = 900
LIMITS = TicketLimits()
EV = 10**12

types = st.sampled_from(["live", "lv2v"])
seconds_per_ticket = st.fractions(Fraction(1, 40), 60, max_denominator=10**4)
"""How long one ticket pays for: from 40 tickets a second to one a minute."""

backlogs = st.integers(SECOND, 200 * SECOND) | st.integers(MAX_SECONDS - 50, MAX_SECONDS).map(lambda seconds: seconds * SECOND)


def owing(job_type: str, lasts: Fraction, elapsed_ns: int, balance: Fraction = Fraction(0)) -> PaymentRequest:
    """The next request of a session that was last paid so long ago, and whose tickets last so long."""
    state = structs.replace(
        STATE,
        type=job_type,
        balance=balance,
        initial_price_per_unit=round(EV / lasts),
        initial_pixels_per_unit=PIXELS_PER_SECOND if job_type == "lv2v" else 1,
        last_update_ns=NOW_NS - elapsed_ns,
    )
    return continuing(state)


def continuing(state: SignerState, rand_hash: bytes = b"\xcc" * 32) -> PaymentRequest:
    """The request that goes on from a state, with the offer it began with."""
    offer = info_bytes(
        price=state.initial_price_per_unit, pixels=state.initial_pixels_per_unit, ev=EV, expiration=1_775_600_000, rand_hash=rand_hash
    )
    return new_request(type=state.type, orchestrator=offer, **sealed(state))


def is_part(plan: object) -> bool:
    return isinstance(plan, PaymentPlan) and plan.owed_ns > 0


def paid_in_parts(request: PaymentRequest, limits: TicketLimits, pauses: Sequence[int]) -> Iterator[PaymentPlan]:
    """The payments of one backlog, each a pause after the one before and with params of its own, up to one that owes nothing."""
    now_ns = NOW_NS
    for turn in range(4 * MAX_SECONDS):
        plan = decide(request, now_ns, limits=limits, headroom_seconds=30, catch_up_seconds=MAX_SECONDS)
        yield plan
        if not plan.owed_ns:
            return
        now_ns += pauses[turn % len(pauses)]
        request = continuing(plan.state, turn.to_bytes(32, "big"))
    raise AssertionError("the session never catches up")


@given(
    types,
    seconds_per_ticket,
    backlogs,
    st.integers(0, 10**13),
    st.integers(41, 200),
    st.lists(st.integers(0, SECOND // 2), min_size=1, max_size=4),
)
@example("live", Fraction(1, 2), 900 * SECOND, 0, 100, [0])
@example("lv2v", Fraction(1, 2), 900 * SECOND, 0, 100, [SECOND // 2])
def test_a_backlog_is_paid_once_within_every_limit_and_comes_to_an_end(
    job_type: str, lasts: Fraction, elapsed_ns: int, balance: int, most: int, pauses: list[int]
) -> None:
    limits = TicketLimits(max_total_ev_wei=most * EV)
    request = owing(job_type, lasts, elapsed_ns, Fraction(balance))
    assume(not isinstance(outcome(lambda: decide(request, limits=limits)), NoTickets))
    units, dated_ns, credit, parts = 0, NOW_NS - elapsed_ns, Fraction(balance), 0
    for plan in paid_in_parts(request, limits, pauses):
        units += plan.billed.units
        parts += 1
        assert 1 <= plan.num_tickets <= MAX_TICKETS
        assert plan.total_ev <= limits.max_total_ev_wei
        assert plan.previous_update_ns == dated_ns
        assert plan.state.last_update_ns == plan.updated_ns == dated_ns + plan.billed.elapsed_ns <= plan.now_ns
        assert plan.fee == plan.billed.units * plan.price
        assert plan.state.balance == credit + plan.total_ev - plan.fee >= 0
        assert plan.state.sender_nonce == plan.first_nonce - 1 + plan.num_tickets
        if plan.owed_ns:
            assert plan.billed.elapsed_ns >= SECOND
            assert plan.state.balance < plan.price  # all that the credit covers is billed, nothing is bought ahead
        dated_ns, credit = plan.updated_ns, plan.state.balance
    at_once = bill_units(job_type, 0, NOW_NS - elapsed_ns, plan.now_ns).units
    assert dated_ns == plan.now_ns
    if job_type == "live":
        assert units == at_once
    else:
        assert at_once - parts < units < at_once + parts


@given(
    st.sampled_from(["live", "lv2v", "fixed", ""]),
    seconds_per_ticket,
    st.integers(1, 2000 * SECOND),
    st.integers(0, 10**13),
    st.integers(0, 60),
)
def test_whoever_pays_without_catching_up_pays_the_same_with_it(
    job_type: str, lasts: Fraction, elapsed_ns: int, balance: int, headroom: int
) -> None:
    request = structs.replace(owing(job_type, lasts, elapsed_ns, Fraction(balance)), in_pixels=10**9)
    without = outcome(lambda: decide(request, headroom_seconds=headroom))
    with_it = outcome(lambda: decide(request, headroom_seconds=headroom, catch_up_seconds=MAX_SECONDS))
    if isinstance(without, PaymentPlan):
        assert isinstance(with_it, PaymentPlan)
        assert structs.replace(with_it, may_be_part=False) == without
        assert with_it.owed_ns == 0
    elif is_part(with_it):
        assert isinstance(without, TooManyTickets | TotalEvExceeded)
        assert job_type in ("live", "lv2v")
        assert elapsed_ns <= MAX_SECONDS * SECOND
    else:
        assert type(with_it) is type(without)
        assert str(with_it) == str(without)


@pytest.mark.parametrize("job_type", ["live", "lv2v"])
def test_what_is_owed_longer_than_the_limit_is_refused_as_ever(job_type: str) -> None:
    owed = owing(job_type, Fraction(1), MAX_SECONDS * SECOND)
    assert is_part(outcome(lambda: decide(owed, catch_up_seconds=MAX_SECONDS)))
    longer = owing(job_type, Fraction(1), MAX_SECONDS * SECOND + 1)
    with pytest.raises(TooManyTickets) as refused:
        decide(longer, catch_up_seconds=MAX_SECONDS)
    assert refused.value.hint == "901 s are owed, more than catch_up.max_seconds (900) allows: start a new session without state"
    with pytest.raises(TotalEvExceeded, match="20000000000000 wei") as refused_ev:
        decide(owing(job_type, Fraction(10), MAX_SECONDS * SECOND + 1), catch_up_seconds=MAX_SECONDS)
    assert "start a new session" in str(refused_ev.value.hint)


@pytest.mark.parametrize("job_type", ["live", "lv2v"])
@pytest.mark.parametrize(("tickets_a_second", "is_paid"), [("19.9", True), ("20.1", False)])
def test_limits_that_do_not_cover_one_second_refuse_as_ever(job_type: str, tickets_a_second: str, is_paid: bool) -> None:
    request = owing(job_type, 1 / Fraction(tickets_a_second), 30 * SECOND)
    limits = TicketLimits(max_total_ev_wei=20 * EV)
    tried = outcome(lambda: decide(request, limits=limits, catch_up_seconds=MAX_SECONDS))
    assert is_part(tried) is is_paid
    if not is_paid:
        assert isinstance(tried, TooManyTickets)
        assert "catch_up" not in str(tried.hint)


def test_a_first_payment_is_never_a_part() -> None:
    request = new_request(type="lv2v", orchestrator=info_bytes(price=10**9, pixels=1))
    with pytest.raises(TooManyTickets) as refused:
        decide(request, catch_up_seconds=MAX_SECONDS)
    assert "a price per second belongs to type live" in str(refused.value.hint)


def held(limit_wei: int, window: str) -> Claim:
    return claims_of([Budget("global", "*", window, "ev", limit_wei)], Spender("", "", b"\xaa" * 20))[0]  # type: ignore[arg-type]


@given(types, seconds_per_ticket, st.integers(SECOND, MAX_SECONDS * SECOND), st.integers(0, 120 * EV), st.sampled_from(["total", "hour"]))
def test_a_budget_that_covers_a_part_is_paid_up_to_its_limit(
    job_type: str, lasts: Fraction, elapsed_ns: int, left_wei: int, window: str
) -> None:
    plan = outcome(lambda: decide(owing(job_type, lasts, elapsed_ns), catch_up_seconds=MAX_SECONDS))
    assume(isinstance(plan, PaymentPlan))
    claim = held(left_wei, window)
    fitted = outcome(lambda: fit_budgets(plan, [claim], {claim.key: Usage()}))
    if isinstance(fitted, SignerError):
        assert isinstance(fitted, BudgetExceeded if window == "total" else RateExceeded)
        assert spend_of(plan.with_tickets(plan.min_tickets), "ev") > left_wei
        return
    assert fitted.num_tickets == plan.num_tickets or spend_of(structs.replace(fitted, num_tickets=fitted.num_tickets + 1), "ev") > left_wei
    assert spend_of(fitted, "ev") <= left_wei
    assert fitted.fee <= fitted.total_ev == fitted.fee + fitted.state.balance
    assert fitted.owed_ns == 0 or fitted.billed.elapsed_ns >= SECOND
    raised = fitted.with_first_nonce(400)
    assert raised.state == structs.replace(fitted.state, sender_nonce=399 + fitted.num_tickets)
    with pytest.raises(RefreshSession):
        fitted.with_first_nonce(REFRESH_AT_NONCE + 1)


def test_a_part_leaves_the_verdict_and_the_owner_of_the_session_as_they_were_decided() -> None:
    plan = decide(owing("live", Fraction(1), 80 * SECOND), limits=TicketLimits(max_total_ev_wei=100 * EV), catch_up_seconds=MAX_SECONDS)
    assert plan.owed_ns == 0
    owned = structs.replace(plan, state=structs.replace(plan.state, auth_id="alice", auth_expiry=7, auth_binding="b"))
    part = owned.with_tickets(30)
    assert part.owed_ns == plan.now_ns - plan.previous_update_ns - part.billed.elapsed_ns > 0  # type: ignore[operator]
    assert (part.state.auth_id, part.state.auth_expiry, part.state.auth_binding) == ("alice", 7, "b")


@given(types, st.fractions(0, 10**13), st.fractions(Fraction(1, 10**3), 10**13))
def test_credit_is_billed_to_its_last_second_or_nanosecond(job_type: str, credit: Fraction, price: Fraction) -> None:
    if job_type == "lv2v":
        price /= PIXELS_PER_SECOND
    assume(credit / price < MAX_SECONDS * PIXELS_PER_SECOND)
    billed = bill_credit(job_type, credit, price)
    assert billed.units * price <= credit < (billed.units + 1) * price
    if job_type == "live":
        assert billed.elapsed_ns == billed.units * SECOND
    else:
        assert lv2v_pixels(billed.elapsed_ns) == billed.units
        assert lv2v_pixels(billed.elapsed_ns + 2) > billed.units


def test_credit_of_hours_stops_before_the_nanosecond_whose_double_is_rounded_up_to_the_next_pixel() -> None:
    units, elapsed_ns = 466_318_415_592, 16_866_262_138_056
    assert bill_credit("lv2v", Fraction(units), Fraction(1)) == Billed(units, elapsed_ns)
    assert (elapsed_ns + 1) * PIXELS_PER_SECOND < (units + 1) * SECOND, "of exact numbers the next nanosecond were covered as well"
    assert lv2v_pixels(elapsed_ns + 1) == units + 1


def test_a_first_payment_cannot_be_cut_into_parts() -> None:
    """A ticket is worth a hair less than a second: eleven pay for the first ten."""
    offer = info_bytes(price=EV, pixels=1, ev=EV, expiration=1_775_600_000)
    first = structs.replace(decide(new_request(type="live", orchestrator=offer)), may_be_part=True)
    assert (first.previous_update_ns, first.min_tickets, first.due_tickets) == (None, 2, 11)
    assert first.with_tickets(11).num_tickets == 11
    with pytest.raises(ValueError, match=r"^a first payment has no parts$"):
        first.with_tickets(10)
