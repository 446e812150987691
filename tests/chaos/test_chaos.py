"""Everything that a signer stands on fails in turn, under sessions of the published SDK: none ends, and every second is paid once.

Two rigs run at the same time: two signers on one PostgreSQL with a standby, and one signer of two workers on SQLite.
"""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import psycopg
import pytest
from psycopg import conninfo

from tests.chaos.books import Fault, Totals, agree, judge_events, judge_replies, totals_of, unanswered_sessions
from tests.chaos.clients import Call, SdkLoops
from tests.chaos.rig import CAP_WEI, CAPPED, Rig, rig
from tests.hooks import says, silence
from tests.ledgers import fold_tallies
from tests.operate.test_python_sdk import sdk_python  # noqa: F401 - a fixture
from tests.postgres import Line, Postgres, postgres_server, standby_of

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]

LONGEST_SECONDS = 5.0
RECOVERY_SECONDS = 40.0
SAID_SOON = ("PostgreSQL frozen 14 s", "PostgreSQL frozen 60 s")
"""What /readyz must tell of within five seconds."""

Step = Callable[[], Awaitable[None]]


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


class Readiness:
    """What /readyz said, asked twice a second."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self.said: list[tuple[float, int]] = []

    async def watch(self) -> None:
        while True:
            asked = time.time()
            self.said.append((asked, await self._rig.fleet.ready(self._rig.fleet.urls[0])))
            await asyncio.sleep(0.5)

    def first(self, is_ready: bool, since: float, until: float) -> float | None:
        """How many seconds after `since` it was asked first with that answer."""
        return next((at - since for at, status in self.said if since <= at <= until and (status == 200) == is_ready), None)


async def suffer(rig: Rig, readiness: Readiness, fault: str, seconds: float, break_it: Step, mend_it: Step) -> Row:
    """One fault, of so many seconds, and until all sessions are paid up again. Half-way another session begins."""
    sessions, began = [client for client in rig.clients if client.is_alive], time.time()
    await break_it()
    await asyncio.sleep(seconds / 2)
    rig.begin_session(f"during {fault}")
    await asyncio.sleep(seconds / 2)
    await mend_it()
    mended = time.time()
    behind = await rig.caught_up(RECOVERY_SECONDS)
    await asyncio.sleep(1)
    ended = time.time()
    not_ready = readiness.first(False, began, mended)
    alive = sum(client.is_alive for client in sessions)
    print(f"{rig.name}: {fault}, {alive} of {len(sessions)} sessions alive", file=sys.stderr)
    return Row(
        rig.name,
        fault,
        began,
        ended,
        len(sessions),
        alive,
        behind,
        not_ready,
        None if not_ready is None else readiness.first(True, mended, ended),
    )


def step(action: Callable[[], object]) -> Step:
    """The action as a step of a script."""

    async def take() -> None:
        action()

    return take


def become(thing: object, name: str, value: object) -> Step:
    """The step that sets an attribute."""
    return step(lambda: setattr(thing, name, value))


async def nothing() -> None: ...


async def postgres_script(rig: Rig, primary: Postgres, standby: Postgres, line: Line, rows: list[Row]) -> None:
    """What happens to the rig on PostgreSQL."""
    readiness = Readiness(rig)
    watching = asyncio.create_task(readiness.watch())

    async def take(fault: str, seconds: float, break_it: Step, mend_it: Step = nothing) -> None:
        rows.append(await suffer(rig, readiness, fault, seconds, break_it, mend_it))

    async def restart() -> None:
        await asyncio.to_thread(primary.start)

    async def fail_over() -> None:
        """The old primary lives on, read-only; the standby, which has every commit, takes over."""
        read_only = ("ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()")
        await asyncio.to_thread(primary.run, *read_only)
        await asyncio.to_thread(standby.run, "SELECT pg_promote()")

    freeze, thaw, mend = step(primary.freeze), step(primary.thaw), step(line.mend)
    await take("nothing", 6, nothing)
    await take("PostgreSQL frozen 3 s", 3, freeze, thaw)
    await take("PostgreSQL frozen 14 s", 14, freeze, thaw)
    await take(
        "PostgreSQL slower by 500 ms, 10 s",
        10,
        become(line, "delay_seconds", 0.5),
        become(line, "delay_seconds", 0.0),
    )
    await take("connections reset, none for 4 s", 4, step(line.refuse), mend)
    await take("line cut without a word, 8 s", 8, step(line.cut), mend)
    await take("PostgreSQL killed, down 4 s", 4, step(primary.kill), restart)
    await take("PostgreSQL frozen 60 s", 60, freeze, thaw)
    await take("PostgreSQL failed over", 6, fail_over)
    watching.cancel()


def processes_of(rig: Rig) -> list[psutil.Process]:
    """Supervisor and workers of the rig's first signer."""
    parent = psutil.Process(rig.fleet.processes[0].pid)
    return [parent, *parent.children(recursive=True)]


async def sqlite_script(rig: Rig, rows: list[Row]) -> None:
    """What happens to the rig on SQLite: all that is not the database."""
    readiness = Readiness(rig)
    watching = asyncio.create_task(readiness.watch())

    async def take(fault: str, seconds: float, break_it: Step, mend_it: Step = nothing) -> None:
        rows.append(await suffer(rig, readiness, fault, seconds, break_it, mend_it))

    def fill_disk(limit: int) -> None:
        for process in processes_of(rig):
            process.rlimit(psutil.RLIMIT_FSIZE, (limit, psutil.RLIM_INFINITY))

    def hang(is_hanging: bool) -> None:
        for node in rig.nodes:
            node.is_hanging = is_hanging

    def lie(blocks: int, feed: Fraction) -> None:
        rig.chains[-1].l1_lie, rig.chains[-1].feed_lie = blocks, feed

    await take("nothing", 6, nothing)
    await take("worker killed", 3, step(lambda: processes_of(rig)[-1].kill()))
    await take(
        "webhook frozen 14 s",
        14,
        become(rig.hook, "answer", silence),
        become(rig.hook, "answer", says({"status": 200})),
    )
    await take("RPC frozen 14 s", 14, step(lambda: hang(True)), step(lambda: hang(False)))
    await take("one RPC endpoint 5 blocks ahead", 8, step(lambda: lie(5, Fraction(10**6))), step(lambda: lie(0, Fraction(1))))
    await take(
        "one RPC endpoint 5,000,000 blocks ahead", 8, step(lambda: lie(5_000_000, Fraction(10**6))), step(lambda: lie(0, Fraction(1)))
    )
    await take(
        "receiver of events away 10 s",
        10,
        become(rig.receiver, "is_away", True),
        become(rig.receiver, "is_away", False),
    )
    await take("disk full 14 s", 14, step(lambda: fill_disk(4096)), step(lambda: fill_disk(psutil.RLIM_INFINITY)))
    await take("clock an hour ahead, 14 s", 14, step(lambda: rig.fleet.set_clock(3600)), step(lambda: rig.fleet.set_clock(0)))
    watching.cancel()


async def all_received(rig: Rig, payments: Callable[[], int], seconds: float = 60) -> None:
    """Until the receiver has an event of each payment."""
    give_up = time.monotonic() + seconds
    while len(rig.receiver.events) < payments() and time.monotonic() < give_up:  # noqa: ASYNC110 - as an accountant looks
        await asyncio.sleep(0.2)


def postgres_totals(url: str) -> Totals:
    """What the ledger's statistics hold."""
    fold_tallies(url)
    with psycopg.connect(url) as connection:
        found = connection.execute("SELECT sum(payments), sum(tickets), sum(ev_wei::numeric) FROM lrs_spend").fetchone()
    assert found is not None
    return Totals(*map(int, found))


def sqlite_totals(path: Path) -> Totals:
    """The same of a file; the sum is made here, since SQLite's would be a float."""
    fold_tallies(path)
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT payments, tickets, ev_wei FROM lrs_spend").fetchall()
    return Totals(sum(row[0] for row in rows), sum(row[1] for row in rows), sum(int(row[2]) for row in rows))


def audit(rig: Rig, ledger: Totals) -> list[Fault]:
    """What does not add up over the whole run."""
    events = list(rig.receiver.events.values())
    calls = [call for client in rig.clients for call in client.calls]
    faults = [*judge_events(events), *judge_replies(calls, events)]
    if not agree(totals_of(events), ledger):
        faults.append(Fault(0, "lost", f"the ledger holds {ledger}, the events say {totals_of(events)}"))
    spent = sum(int(event["total_ev"]) for event in events if event["auth_id"] == CAPPED)
    if not 0.9 * CAP_WEI < spent <= CAP_WEI:
        faults.append(Fault(0, "budget", f"{spent} wei were spent of a budget of {CAP_WEI} wei"))
    capped = {event["session_id"] for event in events if event["auth_id"] == CAPPED}
    lost = [name for name in unanswered_sessions(calls, events) if name not in capped]
    faults += [Fault(0, "lost", f"session {name} was paid and its client, whose request had a key, never heard of it") for name in lost]
    faults += [Fault(0, "twice", f"event {id} was sent with two contents") for id in rig.receiver.contradictions]
    return faults + [Fault(0, "lost", f"the orchestrator refused a payment: {refusal}") for refusal in rig.orchestrator.refusals]


def longest(calls: Sequence[Call], row: Row) -> float:
    """The longest that a client waited for an answer to a call that it made during the fault."""
    return max((call.took for call in calls if row.began <= call.began_at <= row.ended), default=0.0)


def table(rigs: Sequence[Rig], rows: Sequence[Row], faults: Sequence[Fault]) -> str:
    """For people."""
    calls = {found.name: [call for client in found.clients for call in client.calls] for found in rigs}
    head = ("rig", "fault", "alive before", "after", "lost", "paid twice", "longest wait", "503 after", "ready again")
    lines: list[tuple[Any, ...]] = []
    for row in rows:
        within = [fault for fault in faults if row.began <= fault.at <= row.ended]
        lost = len(row.behind) + sum(fault.kind == "lost" for fault in within)
        twice = sum(fault.kind == "twice" for fault in within)
        seconds = [f"{value:.1f} s" if value is not None else "" for value in (row.not_ready_after, row.ready_after)]
        lines.append(
            (row.rig, row.fault, row.alive_before, row.alive_after, lost, twice, f"{longest(calls[row.rig], row):.2f} s", *seconds)
        )
    widths = [max(len(str(line[at])) for line in (head, *lines)) for at in range(len(head))]
    return "\n".join(
        "  ".join(str(cell).ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in (head, *lines)
    )


def answers(calls: Sequence[Call], row: Row) -> str:
    """What was answered during a fault, by status and count, and one example of each that was no payment."""
    seen: dict[str, list[Call]] = {}
    for call in calls:
        if row.began <= call.began_at <= row.ended:
            seen.setdefault(str(call.status), []).append(call)
    return ", ".join(f"{len(found)} x {status} {found[0].error[:160]}" for status, found in seen.items())


def find_problems(rigs: Sequence[Rig], rows: Sequence[Row]) -> list[str]:
    """Sessions that ended or are behind, answers and readiness that came too late, and tracebacks in a log."""
    problems = [
        f"{found.name}: {log.name} has a traceback"
        for found in rigs
        for log in found.fleet.logs()
        if "Traceback" in log.read_text("utf-8", "replace")
    ]
    calls = {found.name: [call for client in found.clients for call in client.calls] for found in rigs}
    for row in rows:
        where = f"{row.rig}, {row.fault}"
        within = LONGEST_SECONDS + max(late for found in rigs for at, late in found.lateness if row.began <= at <= row.ended)
        problems += [f"{where}: {who}" for who in row.behind]
        if row.alive_after < row.alive_before:
            problems.append(f"{where}: {row.alive_before - row.alive_after} sessions ended; {answers(calls[row.rig], row)}")
        if (waited := longest(calls[row.rig], row)) > within:
            problems.append(f"{where}: a client waited {waited:.2f} s; {answers(calls[row.rig], row)}")
        if row.ready_after is not None and row.ready_after > within:
            problems.append(f"{where}: /readyz is well only {row.ready_after:.1f} s after it was mended")
        if row.fault in SAID_SOON and (row.not_ready_after is None or row.not_ready_after > within):
            problems.append(f"{where}: /readyz says 503 only after {row.not_ready_after} s")
    return problems


def both_hosts(line: str, standby: str, schema: str) -> str:
    """A connection string with two hosts: the line to the first server, the second server itself."""
    over_line = conninfo.conninfo_to_dict(line)
    with psycopg.connect(standby) as connection:
        host, port = connection.info.host, connection.info.port
    return conninfo.make_conninfo(line, host=f"{over_line['host']},{host}", port=f"{over_line['port']},{port}", options=schema)


async def test_no_session_ends_and_every_second_is_paid_once(sdk_python: Path, tmp_path: Path) -> None:  # noqa: F811
    rows: list[Row] = []
    with postgres_server() as primary, standby_of(primary) as standby:
        primary.run("ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()")
        standby.run("ALTER SYSTEM SET wal_retrieve_retry_interval = '200ms'", "SELECT pg_reload_conf()")
        schema = conninfo.conninfo_to_dict(primary.create())["options"]
        async with SdkLoops(sdk_python) as loops, Line(primary.url).running() as line:
            hosts = both_hosts(line.url, standby.url, schema)
            file = tmp_path / "ledger.sqlite"
            async with (
                rig(
                    tmp_path, "postgres", loops, replicas=2, workers=1, sdk_sessions=6, ledger={"backend": "postgres", "url": hosts}
                ) as one,
                rig(
                    tmp_path, "sqlite", loops, replicas=1, workers=2, sdk_sessions=4, ledger={"backend": "sqlite", "path": str(file)}
                ) as other,
            ):
                rigs = (one, other)
                await asyncio.gather(*(found.caught_up(30) for found in rigs))
                await asyncio.gather(postgres_script(one, primary, standby, line, rows), sqlite_script(other, rows))
                ledgers = (lambda: postgres_totals(conninfo.make_conninfo(standby.url, options=schema)), lambda: sqlite_totals(file))
                for found, totals in zip(rigs, ledgers, strict=True):
                    await all_received(found, lambda totals=totals: totals().payments)  # type: ignore[misc]
            # the signers have ended, so nothing is paid any more
            faults = [fault for found, totals in zip(rigs, ledgers, strict=True) for fault in audit(found, totals())]
    told = table(rigs, rows, faults)
    print("\n" + told, file=sys.stderr)
    problems = [fault.what for fault in faults] + find_problems(rigs, rows)
    assert all(row.alive_before > 0 for row in rows)
    assert not problems, "\n".join((told, "", *problems))
