"""Units, fees and ticket counts: recorded doubles, exact sums, and never a ticket more than is due."""

from __future__ import annotations

from fractions import Fraction
from math import ceil

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from livepeer_remote_signer.core.errors import BadJobType, NoBillableUnits, NoTickets
from livepeer_remote_signer.core.rules.billing import (
    PIXELS_PER_SECOND,
    Billed,
    bill_units,
    go_seconds,
    lv2v_pixels,
    no_tickets,
    not_due_seconds,
    seconds_between_tickets,
    tickets_due,
    units_per_second,
)

SECOND = 10**9
amounts = st.builds(Fraction, st.integers(0, 10**30), st.integers(1, 10**20))
evs = st.builds(Fraction, st.integers(1, 10**30), st.integers(1, 10**30))


def test_the_first_payment_is_ten_seconds_of_live_and_sixty_of_lv2v() -> None:
    assert bill_units("live", 0, None, 5) == Billed(10, 10 * SECOND)
    assert bill_units("lv2v", 0, None, 5) == Billed(60 * 27_648_000, 60 * SECOND)


@pytest.mark.parametrize(
    ("elapsed_ns", "units"), [(1, 1), (SECOND, 1), (SECOND + 1, 2), (5 * SECOND, 5), (59_999_999_999, 60), (2**63 - 1, 9_223_372_037)]
)
def test_live_bills_started_seconds(elapsed_ns: int, units: int) -> None:
    assert bill_units("live", 0, 1_000, 1_000 + elapsed_ns) == Billed(units, elapsed_ns)


def test_a_duration_ends_where_gos_does() -> None:
    assert bill_units("live", 0, 0, 2**70) == bill_units("live", 0, 0, 2**63 - 1)


@given(st.integers(1, 10**15))
def test_live_units_are_the_exact_ceiling_for_any_realistic_time(elapsed_ns: int) -> None:
    assert bill_units("live", 0, 0, elapsed_ns).units == -(-elapsed_ns // SECOND)


@given(st.integers(0, 2**63 - 1))
def test_seconds_are_gos_double_and_pixels_its_truncated_product(elapsed_ns: int) -> None:
    seconds = float(elapsed_ns // SECOND) + float(elapsed_ns % SECOND) / float(SECOND)
    assert go_seconds(elapsed_ns) == seconds
    assert lv2v_pixels(elapsed_ns) == int(Fraction(27_648_000.0 * seconds))


@pytest.mark.parametrize(
    ("elapsed_ns", "pixels"),
    [(36, 0), (37, 1), (1_032_156_250, 28_537_055), (33_333_333_333, 921_599_999), (59_999_999_999, 1_658_879_999)],
)
def test_pixels_are_the_truncated_double_even_where_the_exact_product_is_whole(elapsed_ns: int, pixels: int) -> None:
    assert lv2v_pixels(elapsed_ns) == pixels


@pytest.mark.parametrize("job_type", ["live", "lv2v"])
@pytest.mark.parametrize("elapsed_ns", [0, -1, -3 * SECOND])
def test_when_no_time_has_passed_nothing_is_due(job_type: str, elapsed_ns: int) -> None:
    with pytest.raises(NoTickets, match="no tickets"):
        bill_units(job_type, 0, 10 * SECOND, 10 * SECOND + elapsed_ns)


@pytest.mark.parametrize(("job_type", "second"), [("live", 1), ("lv2v", 27_648_000)])
def test_a_session_dated_ahead_owes_a_second_where_the_clock_is_right_and_nothing_elsewhere(job_type: str, second: int) -> None:
    now_ns = 1_000 * SECOND
    for ahead_ns in (30 * SECOND + 1, 3600 * SECOND, 2**62):
        assert bill_units(job_type, 0, now_ns + ahead_ns, now_ns, is_clock_right=True) == Billed(second, SECOND)
        with pytest.raises(NoTickets, match="no tickets"):
            bill_units(job_type, 0, now_ns + ahead_ns, now_ns)
    for close_ns in (0, 1, 30 * SECOND):
        with pytest.raises(NoTickets, match="no tickets"):
            bill_units(job_type, 0, now_ns + close_ns, now_ns, is_clock_right=True)
    assert bill_units(job_type, 0, now_ns - 3 * SECOND, now_ns, is_clock_right=True) == bill_units(job_type, 0, now_ns - 3 * SECOND, now_ns)


@pytest.mark.parametrize("last_update_ns", [None, 0, 2**62])
def test_fixed_is_one_unit_and_untyped_what_was_asked_whatever_the_clock_says(last_update_ns: int | None) -> None:
    assert bill_units("fixed", 0, last_update_ns, 7) == Billed(1, 0)
    assert bill_units("", 921_600, last_update_ns, 7, is_clock_right=True) == Billed(921_600, 0)


@pytest.mark.parametrize("in_pixels", [0, -1, -(2**63)])
def test_untyped_needs_a_positive_number_of_units(in_pixels: int) -> None:
    with pytest.raises(NoBillableUnits, match="missing billable unit or job type"):
        bill_units("", in_pixels, None, 7)


def test_an_lv2v_moment_of_less_than_a_pixel_bills_nothing() -> None:
    with pytest.raises(NoBillableUnits):
        bill_units("lv2v", 0, 0, 36)


@pytest.mark.parametrize("job_type", ["LIVE", "live ", "audio", "x" * 1000])
def test_other_job_types_are_refused(job_type: str) -> None:
    with pytest.raises(BadJobType, match="invalid job type") as refusal:
        bill_units(job_type, 5, None, 7)
    assert len(str(refusal.value.values["type"])) <= 32


def test_only_live_and_lv2v_turn_time_into_units() -> None:
    assert [units_per_second(t) for t in ("live", "lv2v", "fixed", "", "x")] == [1, 27_648_000, 0, 0, 0]


def unreduced(amount: Fraction) -> tuple[int, int]:
    """The ratio as a payment has it, which is not always in lowest terms."""
    return amount.numerator * 6, amount.denominator * 6


@given(amounts, amounts, evs)
def test_the_tickets_due_cover_the_fee_and_one_less_would_not(balance: Fraction, fee: Fraction, ev: Fraction) -> None:
    due = tickets_due(balance, unreduced(fee), ev.as_integer_ratio())
    required = max(fee, ev)
    assert due.tickets == due.tickets_ahead == max(0, ceil((required - balance) / ev))
    if due.tickets:
        assert balance + due.tickets * ev >= required > balance + (due.tickets - 1) * ev
        assert due.balance_after(due.tickets) == balance + due.tickets * ev - fee >= 0
    else:
        assert balance >= required


@given(amounts, amounts, evs, amounts)
def test_headroom_never_lessens_what_is_due_and_buys_just_enough(balance: Fraction, fee: Fraction, ev: Fraction, ahead: Fraction) -> None:
    due = tickets_due(balance, unreduced(fee), ev.as_integer_ratio(), ahead)
    assert due.tickets == tickets_due(balance, fee.as_integer_ratio(), ev.as_integer_ratio()).tickets <= due.tickets_ahead
    covered = due.balance_after(due.tickets_ahead)
    assert covered >= ahead - 1  # the headroom is a convenience: its last fraction of a denominator may be missing
    if due.tickets_ahead > due.tickets:
        assert covered - ev < ahead


@given(amounts, amounts)
def test_a_ticket_worth_nothing_buys_nothing(balance: Fraction, fee: Fraction) -> None:
    due = tickets_due(balance, fee.as_integer_ratio(), (0, 1), Fraction(10))
    assert (due.tickets, due.tickets_ahead) == (0, 0)


@pytest.mark.parametrize(
    ("balance", "fee", "ev", "tickets"),
    [
        (Fraction(100), Fraction(100), Fraction(100), 0),
        (Fraction(99), Fraction(100), Fraction(100), 1),
        (Fraction(10), Fraction(5), Fraction(100), 1),
        (Fraction(100), Fraction(5), Fraction(100), 0),
        (Fraction(0), Fraction(10_000), Fraction(100), 100),
        (Fraction(0), Fraction(10_001), Fraction(100), 101),
        (Fraction(1, 3), Fraction(7, 3), Fraction(1), 2),
        (Fraction(0), Fraction(2**126), Fraction(1, 2**256 - 1), 2**126 * (2**256 - 1)),
    ],
)
def test_edges_of_what_is_due(balance: Fraction, fee: Fraction, ev: Fraction, tickets: int) -> None:
    assert tickets_due(balance, fee.as_integer_ratio(), ev.as_integer_ratio()).tickets == tickets


def test_the_time_between_tickets_is_ev_over_price_a_second() -> None:
    assert seconds_between_tickets(Fraction(7), Fraction(2), "live") == Fraction(7, 2)
    assert seconds_between_tickets(Fraction(PIXELS_PER_SECOND * 3), Fraction(1), "lv2v") == 3
    assert seconds_between_tickets(Fraction(7), Fraction(2), "fixed") is None
    assert seconds_between_tickets(Fraction(7), Fraction(2), "") is None


@given(
    job_type=st.sampled_from(["live", "lv2v"]),
    seconds=st.fractions(min_value=0, max_value=10**5),
    price=st.integers(1, 10**12),
    elapsed_ns=st.integers(1, 10**14),
)
@example(job_type="live", seconds=Fraction(96_260_064_043, 962_601), price=1, elapsed_ns=1_000_001)
def test_when_the_time_that_is_named_is_over_the_credit_does_not_cover_it_and_just_before_it_does(
    job_type: str, seconds: Fraction, price: int, elapsed_ns: int
) -> None:
    credit = seconds * price * units_per_second(job_type)
    named = not_due_seconds(job_type, credit, Fraction(price), elapsed_ns)
    assert named is not None
    named_ns = round(named * 1000) * 10**6

    def fee_after(ns: int) -> int:
        return bill_units(job_type, 0, 0, elapsed_ns + ns).units * price

    assert fee_after(named_ns) > credit or named > 86_399  # a day, cut to the whole seconds of live: nobody is sent away for longer
    if named > 0.002:
        assert fee_after(named_ns - 2 * 10**6) <= credit


def test_nobody_is_sent_away_for_longer_than_a_day_or_where_time_does_not_count() -> None:
    assert not_due_seconds("live", Fraction(10**400), Fraction(1), 1) == 86_400.0
    assert not_due_seconds("fixed", Fraction(5), Fraction(1), 0) is None
    refusal = no_tickets("later", 4.2, required="5")
    assert (refusal.retry_after_seconds, refusal.values) == (5, {"nextPaymentInSeconds": 4.2, "required": "5"})
    refusal = no_tickets("never", None, required="5")
    assert (refusal.retry_after_seconds, refusal.hint, refusal.values) == (None, "never", {"required": "5"})
    assert no_tickets("now", 0.001).retry_after_seconds == 1
