"""Everything that a signer stands on fails in turn, under sessions of the published SDK: none ends, and every second is paid once.

Two rigs run at the same time: two signers on one PostgreSQL with a standby, and one signer of two workers on SQLite.
"""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from fractions import Fraction
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
from psycopg import conninfo

from tests.chaos.books import Fault, Totals, agree, judge_events, judge_new_sessions, judge_replies, totals_of
from tests.chaos.clients import SdkLoops
from tests.chaos.report import Row, find_problems, find_tracebacks, table
from tests.chaos.rig import CAP_WEI, CAPPED, Rig, rig
from tests.hooks import says, silence
from tests.ledgers import fold_tallies
from tests.operate.test_python_sdk import sdk_python  # noqa: F401 - a fixture
from tests.postgres import Line, Postgres, postgres_server, standby_of

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]

RECOVERY_SECONDS = 40.0

Step = Callable[[], Awaitable[None]]


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
    """One fault, of so many seconds, and until all sessions are paid up again. Half-way a session begins, every other one without a key."""
    sessions, known, began = [client for client in rig.clients if client.is_alive], len(rig.clients), time.time()
    await break_it()
    await asyncio.sleep(seconds / 2)
    rig.begin_session(f"during {fault}", has_key=known % 2 == 0)
    sessions += rig.clients[known:]
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
        rig.lateness.most(began, ended),
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


def events_of_clients(rig: Rig) -> list[dict[str, Any]]:
    """What was received of all but the one whose budget ends."""
    return [event for event in rig.receiver.events.values() if event["auth_id"] != CAPPED]


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
    faults += judge_new_sessions(rig.clients, events_of_clients(rig)).faults
    faults += [Fault(0, "twice", f"event {id} was sent with two contents") for id in rig.receiver.contradictions]
    return faults + [Fault(0, "lost", f"the orchestrator refused a payment: {refusal}") for refusal in rig.orchestrator.refusals]


def both_hosts(line: str, standby: str, schema: str) -> str:
    """A connection string with two hosts: the line to the first server, the second server itself."""
    over_line = conninfo.conninfo_to_dict(line)
    with psycopg.connect(standby) as connection:
        host, port = connection.info.host, connection.info.port
    return conninfo.make_conninfo(line, host=f"{over_line['host']},{host}", port=f"{over_line['port']},{port}", options=schema)


async def test_no_session_ends_and_every_second_is_paid_once(
    sdk_python: Path,  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
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
    calls = {found.name: [call for client in found.clients for call in client.calls] for found in rigs}
    told = table(calls, rows, faults)
    may_be = sum(judge_new_sessions(found.clients, events_of_clients(found)).may_be for found in rigs)
    with capsys.disabled():  # also of a run that was well
        print(f"\n{told}\nnew sessions begun without a key, paid, never heard of, as their clients were told may be: {may_be}")
    problems = [fault.what for fault in faults] + find_problems(calls, rows)
    problems += find_tracebacks({found.name: found.fleet.logs() for found in rigs})
    assert all(row.alive_before > 0 for row in rows)
    assert not problems, "\n".join((told, "", *problems))
