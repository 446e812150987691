"""Spending over time, and who spends most."""

from __future__ import annotations

from livepeer_remote_signer.adapters.overview.spending import Span, Spending, rest_of, span_until, spending
from livepeer_remote_signer.core.rules.ledger import SpendSum


def paid(ev_wei: int) -> SpendSum:
    return SpendSum(1, 2, ev_wei, 100 * ev_wei, ev_wei - 1)


def test_a_span_ends_with_the_bucket_of_now_and_its_bounds_stand_still() -> None:
    assert span_until(1000, 1, 60) == Span(941, 1, 60)
    assert span_until(1000, 24, 60) == span_until(1007, 24, 60)
    assert span_until(1008, 24, 60).first_minute == span_until(1007, 24, 60).first_minute + 24


def test_each_bucket_stands_at_its_place_and_those_without_a_payment_are_zero() -> None:
    found = spending([(5, paid(7)), (8, paid(50))], Span(20, 4, 4))
    assert found == Spending(SpendSum(2, 4, 57, 5700, 55), (7, 0, 0, 50))
    assert spending([], Span(20, 4, 4)) == Spending(SpendSum(), (0, 0, 0, 0))


def test_the_rest_is_what_nobody_who_is_shown_has_spent() -> None:
    total = Spending(SpendSum(9, 8, 7, 6, 5), (3, 4))
    shown = [Spending(SpendSum(1, 1, 1, 1, 1), (1, 0)), Spending(SpendSum(2, 2, 2, 2, 2), (0, 2))]
    assert rest_of(total, shown) == Spending(SpendSum(6, 5, 4, 3, 2), (2, 2))
    assert rest_of(total, []) == total
