"""Rates: a minute's worth at once, evenly refilled, each caller on its own."""

from __future__ import annotations

import pytest

from livepeer_remote_signer.core.errors import RateExceeded
from livepeer_remote_signer.core.rules import rates as rules
from livepeer_remote_signer.core.rules.rates import Brake, CallerRates, SecondQuota


def test_a_minutes_worth_at_once_and_then_as_it_is_refilled() -> None:
    brake = Brake()
    assert [brake.wait_seconds("a", 6, 1, 100) for _ in range(7)] == [0] * 6 + [10]
    assert brake.wait_seconds("b", 6, 1, 100) == 0
    assert brake.wait_seconds("a", 6, 1, 109.5) == 1
    assert brake.wait_seconds("a", 6, 1, 110) == 0
    assert brake.wait_seconds("a", 6, 1, 110) == 10


def test_more_than_a_minutes_worth_waits_for_a_full_minute_and_is_paid_off() -> None:
    brake = Brake()
    assert brake.wait_seconds("a", 60, 100, 1000) == 0
    assert brake.wait_seconds("a", 60, 1, 1000) == 41
    assert brake.wait_seconds("a", 60, 1, 1041) == 0
    assert brake.wait_seconds("a", 60, 100, 1050) > 0
    assert Brake().wait_seconds("a", 0, 1, 1000) == 3600


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "MAX_CALLERS", 10)
    brake = Brake()
    for number in range(100):
        brake.wait_seconds(f"c{number}", 1, 1, 0)
    assert len(brake._free_at) == 10
    assert brake.wait_seconds("c99", 1, 1, 0) == 60


def test_payments_and_tickets_are_two_rates() -> None:
    limits = CallerRates(2, 100)
    limits.check("a", 60, 0)
    with pytest.raises(RateExceeded, match="100 tickets a minute") as caught:
        limits.check("a", 60, 0)
    assert (caught.value.retry_after_seconds, caught.value.values["unit"]) == (12, "tickets")
    with pytest.raises(RateExceeded, match="2 payments a minute"):
        limits.check("a", 1, 0)
    limits.check("b", 100, 0)
    CallerRates(None, None).check("a", 10**6, 0)


def test_within_any_second_there_are_no_more_than_the_quota() -> None:
    quota = SecondQuota(5)
    assert [quota.take(2, 10.0), quota.take(2, 10.5), quota.take(2, 10.6), quota.take(1, 10.7)] == [True, True, False, True]
    assert not quota.take(1, 10.99)
    assert quota.take(2, 11.0)
    assert not quota.take(1, 11.49)
    assert quota.take(2, 11.5)
    assert quota.take(5, 100.0)
    assert not quota.take(1, 100.99)


def test_more_than_the_quota_may_when_nothing_was_taken_within_a_second() -> None:
    quota = SecondQuota(5)
    assert quota.take(8, 10.0)
    assert not quota.take(8, 10.9)
    assert quota.take(8, 11.0)


def test_what_is_only_asked_about_is_judged_and_not_counted() -> None:
    limits = CallerRates(1, 100)
    for _ in range(3):
        limits.check("a", 5, 0, is_counted=False)
    limits.check("a", 5, 0)
    with pytest.raises(RateExceeded):
        limits.check("a", 5, 0, is_counted=False)
