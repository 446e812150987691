"""Who is held back when the webhook is silent: whoever met the silence, and everybody only where most do."""

from __future__ import annotations

from livepeer_remote_signer.adapters.auth import breaker as module
from livepeer_remote_signer.adapters.auth.breaker import CircuitBreaker


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_what_one_callers_data_causes_holds_back_that_caller_alone() -> None:
    clock = Clock()
    breaker = CircuitBreaker(clock)
    breaker.answered("alice")
    for _ in range(20):
        if breaker.enter("mallory"):
            breaker.silent("mallory")
    assert not breaker.enter("mallory")
    assert breaker.enter("alice")
    assert not breaker.is_open
    clock.now = 2
    assert breaker.enter("mallory"), "a probe of its own"
    breaker.silent("mallory")
    assert not breaker.enter("mallory"), "the second opening"
    clock.now = 4
    assert breaker.enter("mallory")
    assert not breaker.enter("mallory"), "one probe at a time"
    breaker.answered("mallory")
    assert breaker.enter("mallory")


def test_where_most_of_those_who_asked_lately_meet_silence_nobody_is_let_through() -> None:
    clock = Clock()
    breaker = CircuitBreaker(clock)
    for caller in ("a", "b", "c"):
        breaker.answered(caller)
    for caller in ("a", "a", "a", "a", "a"):
        breaker.silent(caller)
    assert not breaker.is_open
    breaker.silent("b")
    assert breaker.is_open
    assert not breaker.enter("c")
    clock.now = 2
    assert breaker.enter("c")
    assert not breaker.enter("d"), "one probe for all"
    breaker.silent("c")
    assert not breaker.enter("d"), "the second opening"
    clock.now = 4
    assert breaker.enter("d")
    breaker.answered("d")
    assert not breaker.is_open
    assert breaker.enter("c")


def test_a_caller_who_is_alone_is_everybody_and_who_went_a_minute_ago_does_not_count() -> None:
    clock = Clock()
    breaker = CircuitBreaker(clock)
    breaker.answered("alice")
    clock.now = 60
    for _ in range(5):
        assert breaker.enter("bob")
        breaker.silent("bob")
    assert breaker.is_open


def test_a_probe_that_is_given_up_lets_the_next_one_probe() -> None:
    clock = Clock()
    breaker = CircuitBreaker(clock, failures_to_open=1)
    breaker.silent("a")
    clock.now = 2
    assert breaker.enter("a")
    breaker.abandoned("a")
    assert breaker.enter("a")


def test_what_is_remembered_of_callers_is_bounded() -> None:
    breaker = CircuitBreaker(Clock())
    for number in range(3000):
        breaker.silent(f"c{number}")
    assert len(breaker._callers) == module.MAX_CALLERS


def test_a_probe_that_was_silent_for_longer_than_the_pause_is_followed_at_once() -> None:
    clock = Clock()
    breaker = CircuitBreaker(clock, failures_to_open=1)
    breaker.silent("a")
    clock.now = 2
    assert breaker.enter("b")
    clock.now = 3.5
    assert not breaker.enter("a"), "one probe at a time"
    clock.now = 5
    breaker.silent("b")
    assert breaker.is_open
    assert breaker.enter("a"), "the service is known to be back a time-out after it came back, not a time-out and a pause"
    clock.now = 5.5
    breaker.silent("a")
    assert not breaker.enter("b"), "a probe that failed at once is followed after the pause"
    clock.now = 7
    assert breaker.enter("b")
