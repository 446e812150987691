"""The guard: orchestrators that take first payments and deliver nothing, or earn too fast, are paused for a while."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import takewhile

import pytest
from msgspec.structs import replace

from livepeer_remote_signer.core.errors import OrchestratorPaused
from livepeer_remote_signer.core.rules import guard as rules
from livepeer_remote_signer.core.rules.guard import ABANDONED_AFTER_NS, OrchestratorGuard
from livepeer_remote_signer.core.rules.payment import PaymentPlan
from livepeer_remote_signer.core.rules.policy import apply_auth_id
from tests.plans import NOW_NS, orchestrator_info, plan_payment

SECOND = 10**9


def first(now_ns: int, job_type: str = "live", address: bytes = bytes([5]) * 20, auth_id: str = "") -> PaymentPlan:
    return apply_auth_id(plan_payment(orchestrator_info(address=address, now_ns=now_ns), now_ns=now_ns, job_type=job_type), auth_id)


def pay(guard: OrchestratorGuard, plan: PaymentPlan) -> PaymentPlan:
    guard.check(plan)
    guard.paid(plan)
    return plan


def abandoning(limit: int) -> OrchestratorGuard:
    return OrchestratorGuard(window_seconds=600, pause_seconds=300, max_abandoned_sessions=limit)


def test_sessions_that_never_go_on_pause_their_orchestrator_and_no_other() -> None:
    guard = abandoning(3)
    for _ in range(4):
        pay(guard, first(NOW_NS))
    later = NOW_NS + ABANDONED_AFTER_NS
    with pytest.raises(OrchestratorPaused) as caught:
        guard.check(first(later))
    assert caught.value.retry_after_seconds == 300
    assert "4 sessions" in caught.value.message
    guard.check(first(later, address=bytes([6]) * 20))
    with pytest.raises(OrchestratorPaused) as caught:
        guard.check(first(later + 299 * SECOND))
    assert caught.value.retry_after_seconds == 1
    pay(guard, first(later + 300 * SECOND))


def test_sessions_that_go_on_or_are_young_do_not_count() -> None:
    guard = abandoning(1)
    started = [pay(guard, first(NOW_NS)) for _ in range(5)]
    guard.check(first(NOW_NS + ABANDONED_AFTER_NS - 1))
    for plan in started[:4]:
        at = NOW_NS + 60 * SECOND
        guard.paid(plan_payment(orchestrator_info(address=bytes([5]) * 20, now_ns=at), state=plan.state, now_ns=at))
    guard.check(first(NOW_NS + ABANDONED_AFTER_NS))


def test_jobs_of_one_payment_cannot_be_abandoned_and_old_sessions_are_forgotten() -> None:
    guard = abandoning(1)
    for _ in range(5):
        pay(guard, first(NOW_NS - 601 * SECOND))
    for _ in range(5):
        pay(guard, first(NOW_NS, "fixed"))
    guard.check(first(NOW_NS + ABANDONED_AFTER_NS))


def test_spend_within_the_window_is_limited_before_it_is_made() -> None:
    each = int(first(NOW_NS).total_ev) + 1
    guard = OrchestratorGuard(window_seconds=60, pause_seconds=10, max_spend_wei=3 * each)
    for second in range(3):
        pay(guard, first(NOW_NS + second * SECOND))
    with pytest.raises(OrchestratorPaused, match="would pass the limit") as caught:
        guard.check(first(NOW_NS + 3 * SECOND))
    wait = caught.value.retry_after_seconds
    assert wait is not None
    with pytest.raises(OrchestratorPaused, match="would pass the limit") as caught:
        guard.check(replace(first(NOW_NS + 3 * SECOND), num_tickets=4))
    assert caught.value.retry_after_seconds == wait + 1
    pay(guard, first(NOW_NS + (3 + wait) * SECOND))
    with pytest.raises(OrchestratorPaused):
        guard.check(first(NOW_NS + (3 + wait) * SECOND))


def test_a_payment_that_is_only_asked_for_pauses_nobody() -> None:
    each = first(NOW_NS).total_ev
    guard = OrchestratorGuard(window_seconds=60, pause_seconds=10, max_spend_wei=int(each) + 1)
    large = replace(first(NOW_NS), num_tickets=100)
    with pytest.raises(OrchestratorPaused, match="0 wei were paid") as caught:
        guard.check(large)
    assert caught.value.retry_after_seconds is None
    pay(guard, first(NOW_NS))


def test_spend_that_has_reached_the_limit_pauses_the_orchestrator() -> None:
    each = first(NOW_NS).total_ev
    guard = OrchestratorGuard(window_seconds=60, pause_seconds=300, max_spend_wei=int(each))
    guard.paid(first(NOW_NS))
    for second in (1, 299):
        with pytest.raises(OrchestratorPaused, match="paused for") as caught:
            guard.check(first(NOW_NS + second * SECOND))
        assert caught.value.retry_after_seconds == 301 - second
    guard.paid(first(NOW_NS + 301 * SECOND))


def test_spend_that_is_older_than_the_window_is_forgotten() -> None:
    each = int(first(NOW_NS).total_ev) + 1
    guard = OrchestratorGuard(window_seconds=60, pause_seconds=10, max_spend_wei=2 * each)
    for step in range(10):  # two of them lie within a minute, never three
        pay(guard, first(NOW_NS + step * 31 * SECOND))
    with pytest.raises(OrchestratorPaused):
        pay(guard, first(NOW_NS + (9 * 31 + 28) * SECOND))
    pay(guard, first(NOW_NS + 10 * 31 * SECOND))


def test_one_callers_sessions_pause_an_orchestrator_for_that_caller_alone() -> None:
    guard = abandoning(3)
    for _ in range(4):
        pay(guard, first(NOW_NS, auth_id="mallory"))
        pay(guard, first(NOW_NS, auth_id="carol", address=bytes([6]) * 20))
    later = NOW_NS + ABANDONED_AFTER_NS
    with pytest.raises(OrchestratorPaused, match="for this caller"):
        guard.check(first(later, auth_id="mallory"))
    for auth_id in ("alice", "carol", ""):
        pay(guard, first(later, auth_id=auth_id))
    with pytest.raises(OrchestratorPaused):
        guard.check(first(later, auth_id="mallory"))


def test_one_callers_spend_counts_for_that_caller_alone() -> None:
    each = int(first(NOW_NS).total_ev) + 1
    guard = OrchestratorGuard(window_seconds=60, pause_seconds=10, max_spend_wei=2 * each)
    for auth_id in ("mallory", "mallory", "alice"):
        pay(guard, first(NOW_NS, auth_id=auth_id))
    with pytest.raises(OrchestratorPaused):
        guard.check(first(NOW_NS, auth_id="mallory"))
    pay(guard, first(NOW_NS, auth_id="alice"))


def test_what_is_remembered_is_bounded_and_the_newest_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "MAX_PAIRS", 2)
    guard = abandoning(1)
    for auth_id, address in (("a", 5), ("a", 5), ("b", 6), ("b", 6), ("c", 7)):
        pay(guard, first(NOW_NS, auth_id=auth_id, address=bytes([address]) * 20))
    later = NOW_NS + ABANDONED_AFTER_NS
    guard.check(first(later, auth_id="a"))
    with pytest.raises(OrchestratorPaused):
        guard.check(first(later, auth_id="b", address=bytes([6]) * 20))
    for number in range(100):
        pay(guard, first(later, auth_id=f"d{number}"))
    assert guard.pairs == 2
    assert len(guard._seen) <= 2


def test_a_caller_whose_oldest_orchestrator_made_room_keeps_its_newer_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "MAX_PAIRS", 3)
    guard = abandoning(1)
    for auth_id, address in (("a", 5), ("a", 6), ("b", 7), ("b", 8)):
        for _ in range(2):
            pay(guard, first(NOW_NS, auth_id=auth_id, address=bytes([address]) * 20))
    assert guard.pairs == 3
    assert {auth_id: [address[0] for address in callers] for auth_id, callers in guard._seen.items()} == {"a": [6], "b": [7, 8]}
    later = NOW_NS + ABANDONED_AFTER_NS
    guard.check(first(later, auth_id="a", address=bytes([5]) * 20))
    with pytest.raises(OrchestratorPaused, match="2 sessions"):
        guard.check(first(later, auth_id="a", address=bytes([6]) * 20))
    pay(guard, first(later, auth_id="c"))
    assert list(guard._seen) == ["b", "c"], "with its last one the caller goes too"


def test_made_up_orchestrators_of_one_caller_take_nobody_elses_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "MAX_PAIRS", 100)
    monkeypatch.setattr(rules, "MAX_PAIRS_A_CALLER", 10)
    guard = abandoning(1)
    for _ in range(2):
        pay(guard, first(NOW_NS, auth_id="alice"))
    for number in range(200):
        pay(guard, first(NOW_NS, auth_id="mallory", address=number.to_bytes(20, "big")))
    assert guard.pairs == 11
    with pytest.raises(OrchestratorPaused):
        guard.check(first(NOW_NS + ABANDONED_AFTER_NS, auth_id="alice"))


def test_sessions_that_wait_to_go_on_are_bounded_and_the_first_ones_are_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "MAX_STARTED", 1)
    guard = abandoning(2)
    for second in range(50):
        guard.paid(first(NOW_NS + second * SECOND))
    (seen,) = guard._seen[""].values()
    assert len(seen.started) == 3
    with pytest.raises(OrchestratorPaused, match="3 sessions"):
        guard.check(first(NOW_NS + 2 * SECOND + ABANDONED_AFTER_NS))


def test_a_payment_looks_at_sessions_that_may_be_abandoned_and_at_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at = []

    def noting(keep: Callable[[int], bool], starts: Iterable[int]) -> Iterator[int]:
        return takewhile(keep, (looked_at.append(start) or start for start in starts))  # type: ignore[func-returns-value]

    guard = abandoning(2)
    began = pay(guard, first(NOW_NS))
    for _ in range(500):
        guard.paid(first(NOW_NS + SECOND))
    monkeypatch.setattr(rules, "takewhile", noting)
    at = NOW_NS + ABANDONED_AFTER_NS
    guard.check(plan_payment(orchestrator_info(address=bytes([5]) * 20, now_ns=at), state=began.state, now_ns=at))
    assert not looked_at, "a session that goes on is not judged"
    guard.check(first(at))
    assert looked_at == [NOW_NS, NOW_NS + SECOND]


def test_a_payment_that_is_only_asked_about_is_refused_and_begins_no_pause() -> None:
    each = first(NOW_NS).total_ev
    guard = OrchestratorGuard(window_seconds=60, pause_seconds=300, max_spend_wei=int(each))
    guard.paid(first(NOW_NS))
    with pytest.raises(OrchestratorPaused, match="paused for this caller for 300 s"):
        guard.check(first(NOW_NS + SECOND), is_paid=False)
    guard.check(replace(first(NOW_NS + 70 * SECOND), num_tickets=0), is_paid=False)
    guard.check(replace(first(NOW_NS + 70 * SECOND), num_tickets=0))


def test_of_one_callers_orchestrators_the_one_that_was_not_paid_for_longest_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "MAX_PAIRS_A_CALLER", 2)
    guard = abandoning(1)
    for address in (5, 6, 5, 7):
        pay(guard, first(NOW_NS, address=bytes([address]) * 20))
    assert [address[0] for address in guard._seen[""]] == [5, 7]
