"""Spending over time, and how long funds last."""

from __future__ import annotations

from fractions import Fraction
from typing import NamedTuple

from livepeer_remote_signer.adapters.overview.spending import (
    Span,
    add_sums,
    expected_burn_wei_per_hour,
    expected_runway_hours,
    span_until,
    spending,
)
from livepeer_remote_signer.core.rules.ledger import SpendSum


class Line(NamedTuple):
    minute: int
    auth_id: str
    orchestrator: bytes
    paid: SpendSum


def line(minute: int, auth_id: str, ev_wei: int, orchestrator: bytes = b"\1" * 20) -> Line:
    return Line(minute, auth_id, orchestrator, SpendSum(1, 2, ev_wei, 100 * ev_wei, ev_wei - 1))


def test_a_span_ends_with_the_bucket_of_now_and_its_bounds_stand_still() -> None:
    assert span_until(1000, 1, 60) == Span(941, 1, 60)
    assert span_until(1000, 24, 60) == span_until(1007, 24, 60)
    assert span_until(1008, 24, 60).first_minute == span_until(1007, 24, 60).first_minute + 24
    span = span_until(1000, 24, 60)
    assert span.bucket_of(1000) == 59
    assert span.bucket_of(span.first_minute) == 0
    assert span.bucket_of(span.first_minute - 1) is None
    assert span.bucket_of(span.first_minute + 24 * 60) is None


def test_spending_is_ranked_by_expected_value_and_the_rest_is_summed() -> None:
    lines = [line(10, "a", 5), line(11, "b", 50), line(12, "c", 1), line(12, "a", 6), line(13, "d", 2), line(99, "late", 999)]
    found = spending(lines, Span(10, 1, 4), lambda entry: entry.auth_id, str, 2)
    assert [(part.name, part.paid.ev_wei, part.ev_wei_by_bucket) for part in found] == [
        ("b", 50, (0, 50, 0, 0)),
        ("a", 11, (5, 0, 6, 0)),
        ("", 3, (0, 0, 1, 2)),
    ]
    assert found[1].paid == SpendSum(payments=2, tickets=4, ev_wei=11, face_value_wei=1100, fee_wei=9)
    assert sum(part.paid.payments for part in found) == 5


def test_nobody_is_left_out_where_all_are_shown() -> None:
    assert [part.name for part in spending([line(10, "a", 5)], Span(10, 1, 1), lambda entry: entry.auth_id, str, 2)] == ["a"]
    assert spending([], Span(10, 1, 1), lambda entry: entry.auth_id, str, 2) == []


def test_equal_spenders_stand_in_the_order_of_their_names() -> None:
    lines = [line(10, "b", 5), line(10, "a", 5)]
    assert [part.name for part in spending(lines, Span(10, 1, 1), lambda entry: entry.auth_id, str, 2)] == ["a", "b"]


def test_sums_add_up_field_by_field() -> None:
    assert add_sums(SpendSum(1, 2, 3, 4, 5), SpendSum(10, 20, 30, 40, 50)) == SpendSum(11, 22, 33, 44, 55)


def test_the_burn_counts_the_last_hour_alone() -> None:
    lines = [line(39, "a", 1000), line(40, "a", 100), line(100, "a", 10), line(101, "a", 1)]
    assert expected_burn_wei_per_hour(lines, 100) == 110


def test_the_runway_is_exact_and_unknown_while_nothing_is_signed() -> None:
    assert expected_runway_hours(10**18, 3 * 10**15) == Fraction(1000, 3)
    assert expected_runway_hours(0, 7) == 0
    assert expected_runway_hours(10**18, 0) is None
