"""The accountant of the chaos run notices what it is there for."""

from __future__ import annotations

from typing import Any

import pytest

from livepeer_remote_signer.core.protocol.timestamps import encode_rfc3339_ns
from tests.chaos.books import Totals, agree, judge_events, judge_new_sessions, judge_replies, totals_of
from tests.chaos.clients import Call, Client
from tests.plans import NOW_NS

SECOND = 10**9


def event(step: int, since: float, until: float, **changes: Any) -> dict[str, Any]:
    """One payment of a session, times in seconds after its start."""
    from_ns, to_ns = NOW_NS + round(since * SECOND), NOW_NS + round(until * SECOND)
    return {
        "session_id": "s",
        "manifest_id": "m",
        "sequence_number": step,
        "previous_time": encode_rfc3339_ns(from_ns),
        "current_time": encode_rfc3339_ns(to_ns),
        "current_time_unix": to_ns // 10**6,
        "billable_secs": (to_ns - from_ns) / SECOND,
        "num_tickets": 3,
        "total_ev": "100",
        **changes,
    }


def reply(step: int, until: float, name: str = "s") -> Call:
    state = {"StateID": name, "SequenceNumber": step, "LastUpdate": encode_rfc3339_ns(NOW_NS + round(until * SECOND))}
    return Call("client", 0.0, 0.1, 200, "", state)


def client(calls: list[Call], *, has_key: bool = False) -> Client:
    made = Client("client", "m", has_key=has_key)
    made.calls = calls
    return made


IN_DOUBT = Call("client", 0.0, 4.5, 503, '{"error":{"message":"late","may_be_recorded":true}}', None)
UNANSWERED = Call("client", 0.0, 5.0, None, "ReadTimeout", None)
REFUSED = Call("client", 0.0, 0.1, 503, '{"error":{"message":"late"}}', None)

GOOD = [event(0, 0, 0), event(1, 0, 3), event(2, 3, 20.5), event(3, 20.5, 23)]
REPLIES = [reply(0, 0), reply(1, 3), reply(2, 20.5), reply(3, 23)]


def test_a_session_that_was_paid_once_is_in_order() -> None:
    assert judge_events(reversed(GOOD)) == []
    assert judge_replies(REPLIES, GOOD) == []
    assert judge_new_sessions([client(REPLIES)], GOOD) == ([], 0)


@pytest.mark.parametrize(
    ("events", "kind", "said"),
    [
        ([*GOOD[:2], event(2, 2.5, 20.5)], "twice", "0.500 s of s are paid twice"),
        ([*GOOD[:2], event(2, 3.5, 20.5)], "lost", "0.500 s of s are not paid"),
        ([*GOOD, event(3, 23, 26)], "twice", "step 3 of s has two events"),
        ([GOOD[0], event(2, 0, 3)], "lost", "after step 0 of s comes 2"),
        ([GOOD[0], event(1, 0, 3, billable_secs=2)], "lost", "step 1 of s bills 2 s of 3.0 s"),
    ],
)
def test_time_that_is_paid_twice_or_not_at_all_is_found(events: list[dict[str, Any]], kind: str, said: str) -> None:
    (fault,) = judge_events(events)
    assert (fault.kind, fault.what) == (kind, said)


def test_an_answer_without_an_event_or_with_another_time_is_found() -> None:
    (missing,) = judge_replies(REPLIES, GOOD[:3])
    assert (missing.kind, missing.what) == ("lost", "step 3 of client was answered and has no event")
    (other,) = judge_replies([*REPLIES[:3], reply(3, 24)], GOOD)
    assert other.kind == "twice"


@pytest.mark.parametrize(
    ("calls", "has_key", "kinds", "may_be"),
    [
        ([IN_DOUBT], True, ["lost"], 0),
        ([REFUSED], False, ["twice"], 1),
        ([IN_DOUBT], False, [], 1),
        ([UNANSWERED], False, [], 1),
    ],
)
def test_a_new_session_that_nobody_heard_of_is_found_unless_its_client_was_told_that_it_may_be(
    calls: list[Call], has_key: bool, kinds: list[str], may_be: int
) -> None:
    unheard = judge_new_sessions([client([*calls, *REPLIES], has_key=has_key)], [*GOOD, event(0, 0, 0, session_id="orphan")])
    assert ([fault.kind for fault in unheard.faults], unheard.may_be) == (kinds, may_be)


def test_nor_is_one_of_a_stranger_passed_over() -> None:
    (fault,) = judge_new_sessions([client(REPLIES)], [*GOOD, event(0, 0, 0, session_id="orphan", manifest_id="other")]).faults
    assert (fault.kind, fault.what) == ("lost", "1 sessions of other were paid and nobody heard of them")


@pytest.mark.parametrize(
    ("ledger", "fits"),
    [
        (Totals(4, 12, 400), True),
        (Totals(4, 12, 404), True),
        (Totals(4, 12, 405), False),
        (Totals(4, 12, 399), False),
        (Totals(5, 12, 400), False),
        (Totals(4, 13, 400), False),
    ],
)
def test_the_ledgers_sums_are_held_against_the_events(ledger: Totals, fits: bool) -> None:
    assert agree(totals_of(GOOD), ledger) is fits
