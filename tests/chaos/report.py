"""What the chaos run tells: the table of faults, and everything that was promised and did not hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tests.chaos.books import Fault
from tests.chaos.clients import CLIENT_SECONDS, Call

LONGEST_SECONDS = 5.0
ANSWER_SECONDS = 4.5
"""What `limits.answer_seconds` is by default: so much of the client's patience is left for the way and for a busy machine."""

SAID_SOON = ("PostgreSQL frozen 14 s", "PostgreSQL frozen 60 s")
"""What /readyz must tell of within five seconds."""


class Row(NamedTuple):
    """One line of the table: a fault, and what became of the sessions."""

    rig: str
    fault: str
    began: float
    ended: float
    alive_before: int
    alive_after: int
    behind: list[str]
    not_ready_after: float | None
    ready_after: float | None
    late_seconds: float = 0.0
    """By how much this machine woke somebody late meanwhile: what it does to us it does to the signers."""


def within(calls: Sequence[Call], row: Row) -> list[Call]:
    """The calls that were made during the fault."""
    return [call for call in calls if row.began <= call.began_at <= row.ended]


def longest(calls: Sequence[Call], row: Row) -> float:
    """The longest that a client waited for an answer to a call that it made during the fault."""
    return max((call.took for call in within(calls, row)), default=0.0)


def given_up(calls: Sequence[Call], row: Row) -> list[Call]:
    """The calls of the fault that nobody answered for as long as their client waits: the connection stood, and nothing came."""
    return [call for call in within(calls, row) if call.status is None and call.took >= CLIENT_SECONDS - 0.1]


def table(calls: Mapping[str, Sequence[Call]], rows: Sequence[Row], faults: Sequence[Fault]) -> str:
    """For people. `calls` by the name of their rig."""
    head = ("rig", "fault", "alive before", "after", "lost", "paid twice", "longest wait", "503 after", "ready again")
    lines: list[tuple[Any, ...]] = []
    for row in rows:
        found = [fault for fault in faults if row.began <= fault.at <= row.ended]
        lost = len(row.behind) + sum(fault.kind == "lost" for fault in found)
        twice = sum(fault.kind == "twice" for fault in found)
        seconds = [f"{value:.1f} s" if value is not None else "" for value in (row.not_ready_after, row.ready_after)]
        wait = f"{longest(calls[row.rig], row):.2f} s"
        lines.append((row.rig, row.fault, row.alive_before, row.alive_after, lost, twice, wait, *seconds))
    widths = [max(len(str(line[at])) for line in (head, *lines)) for at in range(len(head))]
    return "\n".join(
        "  ".join(str(cell).ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in (head, *lines)
    )


def answers(calls: Sequence[Call], row: Row) -> str:
    """What was answered during a fault, by status and count, and one example of each that was no payment."""
    seen: dict[str, list[Call]] = {}
    for call in within(calls, row):
        seen.setdefault(str(call.status), []).append(call)
    return ", ".join(f"{len(found)} x {status} {found[0].error[:160]}" for status, found in seen.items())


def find_problems(calls: Mapping[str, Sequence[Call]], rows: Sequence[Row]) -> list[str]:
    """Sessions that ended or are behind, answers that came too late or not at all, and readiness that came too late."""
    problems = []
    for row in rows:
        where, made = f"{row.rig}, {row.fault}", calls[row.rig]
        limit = LONGEST_SECONDS + row.late_seconds
        problems += [f"{where}: {who}" for who in row.behind]
        if row.alive_after < row.alive_before:
            problems.append(f"{where}: {row.alive_before - row.alive_after} sessions ended; {answers(made, row)}")
        if (waited := longest(made, row)) > limit:
            problems.append(f"{where}: a client waited {waited:.2f} s; {answers(made, row)}")
        unanswered = given_up(made, row)
        if unanswered and row.late_seconds < LONGEST_SECONDS - ANSWER_SECONDS:
            problems.append(f"{where}: {len(unanswered)} calls were not answered before their clients gave up; {answers(made, row)}")
        if row.ready_after is not None and row.ready_after > limit:
            problems.append(f"{where}: /readyz is well only {row.ready_after:.1f} s after it was mended")
        if row.fault in SAID_SOON and (row.not_ready_after is None or row.not_ready_after > limit):
            problems.append(f"{where}: /readyz says 503 only after {row.not_ready_after} s")
    return problems


def find_tracebacks(logs: Mapping[str, Sequence[Path]]) -> list[str]:
    """Logs with a traceback in them, by the name of their rig."""
    return [
        f"{rig}: {log.name} has a traceback"
        for rig, found in logs.items()
        for log in found
        if "Traceback" in log.read_text("utf-8", "replace")
    ]
