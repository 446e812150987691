"""The supervisor's decisions: never a moment without enough workers that accept, whatever happens in whatever order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from livepeer_remote_signer.process.fleet import (
    CALM_SECONDS,
    MARGIN_SECONDS,
    MAX_DELAY_SECONDS,
    READY_SECONDS,
    Action,
    Ending,
    Fleet,
    Spawn,
    Tell,
)


def spawned(actions: list[Action]) -> list[int]:
    return [action.slot for action in actions if isinstance(action, Spawn)]


def told(actions: list[Action], what: str) -> list[int]:
    return [action.slot for action in actions if isinstance(action, Tell) and action.what == what]


def serving(count: int, now: float = 0.0) -> Fleet:
    """A fleet whose workers are all ready."""
    fleet = Fleet(count, drain_seconds=20)
    for _ in range(2):
        for slot in spawned(fleet.actions(now)):
            fleet.ready(slot)
    assert fleet.actions(now) == []
    return fleet


def test_the_first_worker_goes_ahead_and_the_others_follow_once_it_is_ready() -> None:
    fleet = Fleet(3, drain_seconds=20)
    assert fleet.actions(0) == [Spawn(0, 1)]
    assert fleet.actions(0) == []
    fleet.ready(0)
    assert fleet.actions(1) == [Spawn(1, 1), Spawn(2, 1)]
    assert fleet.is_timed
    fleet.ready(1)
    fleet.ready(2)
    assert fleet.actions(2) == []
    assert not fleet.is_timed


def test_in_turn_the_next_starts_when_the_one_before_is_ready_or_gone() -> None:
    fleet = Fleet(3, drain_seconds=20, in_turn=True)
    for slot in range(3):
        assert fleet.actions(slot) == [Spawn(slot, 1)]
        assert fleet.actions(slot) == []
        fleet.ready(slot)
    assert fleet.actions(3) == []
    fleet.exited(0, 100)
    fleet.exited(2, 100)
    assert spawned(fleet.actions(100)) == [0]
    assert fleet.exited(0, 103) is Ending.CRASHED
    (slot,) = spawned(fleet.actions(103))
    fleet.ready(slot)
    (last,) = spawned(fleet.actions(104))
    fleet.ready(last)
    assert fleet.actions(105) == []


def test_a_service_that_cannot_start_is_tried_once_and_has_failed() -> None:
    fleet = Fleet(3, drain_seconds=20)
    fleet.actions(0)
    assert fleet.exited(0, 1) is Ending.NO_START
    assert fleet.actions(1) == []
    assert fleet.is_over
    assert fleet.has_failed


def test_ready_workers_stay_as_long_as_they_like() -> None:
    assert serving(2).actions(10**9) == []


def test_old_workers_retire_only_when_all_new_ones_are_ready() -> None:
    fleet = serving(2)
    assert fleet.restart()
    assert fleet.actions(1) == [Spawn(2, 2)]
    fleet.ready(2)
    assert fleet.actions(2) == [Spawn(3, 2)]
    assert fleet.actions(2) == []
    fleet.ready(3)
    assert fleet.actions(3) == [Tell(0, "retire"), Tell(1, "retire")]
    assert fleet.exited(0, 4) is Ending.ASKED
    assert fleet.exited(1, 4) is Ending.ASKED
    assert fleet.actions(5) == []


def test_a_restart_that_fails_leaves_the_old_workers_alone() -> None:
    fleet = serving(2)
    fleet.restart()
    fleet.actions(1)
    assert fleet.exited(2, 2) is Ending.NO_RESTART
    assert fleet.actions(2) == []
    assert not fleet.is_timed
    assert fleet.restart()
    assert fleet.actions(3) == [Spawn(2, 3)]


def test_a_new_worker_that_is_ready_leaves_again_when_another_cannot_start() -> None:
    fleet = serving(2)
    fleet.restart()
    fleet.actions(1)
    fleet.ready(2)
    fleet.actions(1)
    assert fleet.exited(3, 2) is Ending.NO_RESTART
    assert fleet.actions(2) == [Tell(2, "retire")]


def test_a_restart_asked_for_during_a_restart_follows_it() -> None:
    fleet = serving(1)
    assert fleet.restart()
    fleet.actions(1)
    assert not fleet.restart()
    fleet.ready(1)
    actions = fleet.actions(2)
    assert told(actions, "retire") == [0]
    assert spawned(actions) == [2]


def test_a_worker_that_dies_is_replaced_at_once_and_nobody_waits_for_one_that_died_young() -> None:
    fleet = serving(2)
    for now in range(100, 160, 4):
        assert fleet.exited(0, now) is Ending.CRASHED
        assert fleet.actions(now) == [Spawn(0, 1)]
        fleet.ready(0)
        fleet.exited(1, now + 2)
        assert fleet.actions(now + 2) == [Spawn(1, 1)]
        fleet.ready(1)
    young = 200.0
    fleet.exited(0, young)
    for _ in range(12):  # one place keeps dying at once
        while not fleet.actions(young):
            young += 0.1
        fleet.exited(0, young)
    assert fleet.actions(young + 5) == []
    fleet.exited(1, young + 5)
    assert fleet.actions(young + 5) == [Spawn(0, 1)]
    fleet.ready(0)
    assert fleet.actions(young + MAX_DELAY_SECONDS) == [Spawn(1, 1)]


def test_a_worker_that_dies_young_is_replaced_later_each_time() -> None:
    fleet = serving(1)
    waits = []
    now = 100.0
    for _ in range(12):
        assert fleet.exited(0, now) is Ending.CRASHED
        due = next(tenths for tenths in range(10_000) if spawned(fleet.actions(now + tenths / 10)))
        waits.append(due / 10)
        now += due / 10
        fleet.ready(0)
        fleet.actions(now)
    assert waits[0] <= 0.1
    assert waits == sorted(waits)
    assert waits[-1] == MAX_DELAY_SECONDS
    assert fleet.exited(0, now + CALM_SECONDS) is Ending.CRASHED
    assert spawned(fleet.actions(now + CALM_SECONDS + 0.1)) == [0]


def test_a_worker_that_is_never_ready_is_killed() -> None:
    fleet = serving(1)
    fleet.restart()
    fleet.actions(1)
    assert fleet.actions(1 + READY_SECONDS) == [Tell(1, "kill")]
    assert fleet.exited(1, 2 + READY_SECONDS) is Ending.NO_RESTART


def test_a_worker_that_does_not_leave_is_killed() -> None:
    fleet = serving(2)
    fleet.stop()
    assert told(fleet.actions(5), "stop") == [0, 1]
    assert fleet.actions(5 + 20) == []
    assert told(fleet.actions(5 + 20 + MARGIN_SECONDS), "kill") == [0, 1]
    assert not fleet.is_over
    fleet.exited(0, 40)
    fleet.exited(1, 40)
    assert fleet.is_over
    assert not fleet.has_failed


EVENTS = st.lists(st.sampled_from(["ready", "die", "fail", "leave", "restart", "wait", "stop"]), max_size=60)


@given(count=st.integers(1, 4), in_turn=st.booleans(), events=EVENTS, data=st.data())
def test_enough_workers_accept_whatever_happens(count: int, in_turn: bool, events: list[str], data: st.DataObject) -> None:
    """Against a model that only counts: without deaths no action ever takes the ready ones below `count`."""
    fleet, now, phases, deaths, complete = Fleet(count, 20, in_turn=in_turn), 0.0, {}, 0, False

    def act() -> None:
        for action in fleet.actions(now):
            if isinstance(action, Spawn):
                assert action.slot not in phases, "a slot is used twice"
                assert not in_turn or "starting" not in phases.values()
                phases[action.slot] = "starting"
            elif action.what != "kill":
                phases[action.slot] = "leaving"

    act()
    for event in events:
        now += 0.5
        of = {"ready": "starting", "fail": "starting", "die": "ready", "leave": "leaving"}.get(event)
        candidates = sorted(slot for slot, phase in phases.items() if phase == of)
        if event == "restart":
            fleet.restart()
        elif event == "stop" and data.draw(st.integers(0, 9)) == 0:
            fleet.stop()
        elif candidates:
            slot = data.draw(st.sampled_from(candidates))
            if event == "ready":
                fleet.ready(slot)
                phases[slot] = "ready"
            else:
                ending = fleet.exited(slot, now)
                assert (ending is Ending.ASKED) == (event == "leave" or (fleet.is_stopping and not fleet.has_failed))
                assert event != "die" or ending in (Ending.CRASHED, Ending.ASKED)
                deaths += event == "die"
                del phases[slot]
        act()
        ready = sum(phase == "ready" for phase in phases.values())
        complete = complete or ready >= count
        if complete and not fleet.is_stopping:
            assert ready >= count - deaths
        assert len(phases) <= 64 + deaths
    assert fleet.is_over == (fleet.is_stopping and not phases)
