"""The accountant: what clients were answered, what events say and what the ledger holds, held against each other.

One event a payment; a session's events tile its time without a gap and without an overlap; every 200 is a payment of the
ledger; budgets hold.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from livepeer_remote_signer.core.protocol.timestamps import parse_rfc3339_ns
from tests.chaos.clients import Call, Client


class Fault(NamedTuple):
    """Something that does not add up; `at` is the unix second of the payment it is about."""

    at: float
    kind: str
    what: str


def _time_ns(text: str) -> int:
    parsed = parse_rfc3339_ns(text)
    assert parsed is not None
    return parsed


def judge_events(events: Iterable[dict[str, Any]]) -> list[Fault]:
    """What is wrong among the events of one rig: time that was paid twice, or not at all, and steps that are missing."""
    sessions: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for event in events:
        sessions[event["session_id"]].append(event)
    faults = []
    for name, steps in sessions.items():
        steps.sort(key=lambda step: (step["sequence_number"], step["current_time_unix"]))
        for earlier, later in pairwise(steps):
            at = later["current_time_unix"] / 1000
            if later["sequence_number"] == earlier["sequence_number"]:
                faults.append(Fault(at, "twice", f"step {later['sequence_number']} of {name} has two events"))
            elif later["sequence_number"] != earlier["sequence_number"] + 1:
                faults.append(Fault(at, "lost", f"after step {earlier['sequence_number']} of {name} comes {later['sequence_number']}"))
            between_ns = _time_ns(later["previous_time"]) - _time_ns(earlier["current_time"])
            billed_ns = _time_ns(later["current_time"]) - _time_ns(later["previous_time"])
            if between_ns < 0:
                faults.append(Fault(at, "twice", f"{-between_ns / 1e9:.3f} s of {name} are paid twice"))
            elif between_ns > 0:
                faults.append(Fault(at, "lost", f"{between_ns / 1e9:.3f} s of {name} are not paid"))
            if round(later["billable_secs"] * 1e9) != billed_ns:
                faults.append(
                    Fault(at, "lost", f"step {later['sequence_number']} of {name} bills {later['billable_secs']} s of {billed_ns / 1e9} s")
                )
    return faults


def judge_replies(calls: Iterable[Call], events: Iterable[dict[str, Any]]) -> list[Fault]:
    """Replies without an event, or that say something else than theirs."""
    known = {(event["session_id"], event["sequence_number"]): event for event in events}
    faults = []
    for call in calls:
        if call.state is None:
            continue
        event = known.get((call.state["StateID"], call.state["SequenceNumber"]))
        place = f"step {call.state['SequenceNumber']} of {call.client}"
        if event is None:
            faults.append(Fault(call.ended_at, "lost", f"{place} was answered and has no event"))
        elif _time_ns(event["current_time"]) != _time_ns(call.state["LastUpdate"]):
            faults.append(Fault(call.ended_at, "twice", f"{place} was answered with another time than its event's"))
    return faults


class Unheard(NamedTuple):
    """Of new sessions that were paid and that no client ever heard of: what is wrong, and how many begun without a key may be so."""

    faults: list[Fault]
    may_be: int


def judge_new_sessions(clients: Sequence[Client], events: Iterable[dict[str, Any]]) -> Unheard:
    """A new session whose request had a key is always heard of in the end. One without a key may be paid twice, where its client
    was told that the first payment may be recorded: that is counted apart."""
    answered = {call.state["StateID"] for client in clients for call in client.calls if call.state is not None}
    unheard: dict[str, set[str]] = defaultdict(set)
    for event in events:
        if event["session_id"] not in answered:
            unheard[event["manifest_id"]].add(event["session_id"])
    told = {client.manifest_id: sum(call.is_in_doubt for call in client.calls) for client in clients if not client.has_key}
    faults = [
        Fault(0, "twice" if manifest in told else "lost", f"{len(sessions)} sessions of {manifest} were paid and nobody heard of them")
        for manifest, sessions in unheard.items()
        if len(sessions) > told.get(manifest, 0)
    ]
    return Unheard(faults, sum(len(sessions) for manifest, sessions in unheard.items() if manifest in told))


class Totals(NamedTuple):
    """Payments, tickets and expected value (wei, each payment's rounded up)."""

    payments: int
    tickets: int
    ev_wei: int


def totals_of(events: Sequence[dict[str, Any]]) -> Totals:
    """What the events add up to. An event's `total_ev` is rounded to the nearest wei, a ledger's sum up: see `agree`."""
    return Totals(len(events), sum(e["num_tickets"] for e in events), sum(int(e["total_ev"]) for e in events))


def agree(events: Totals, ledger: Totals) -> bool:
    """Whether they say the same; the two ways of rounding differ by at most a wei a payment."""
    return events[:2] == ledger[:2] and 0 <= ledger.ev_wei - events.ev_wei <= events.payments
