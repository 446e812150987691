"""Forgetting outruns what arrives, ends with what nobody counts any more, and gives the disk back."""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
import time
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from livepeer_remote_signer.adapters.ledger import forgetting, housekeeping, postgres_statements, sqlite, sqlite_connections
from livepeer_remote_signer.adapters.ledger.forgetting import LEASE, STEP_SECONDS
from livepeer_remote_signer.adapters.ledger.gauges import add_ledger_gauges
from livepeer_remote_signer.adapters.ledger.postgres import PostgresStore
from livepeer_remote_signer.adapters.ledger.running import RunningLedger
from livepeer_remote_signer.adapters.ledger.sqlite import SqliteStore
from livepeer_remote_signer.adapters.ledger.store import Aging, Forgotten
from livepeer_remote_signer.adapters.metrics.registry import Metrics
from livepeer_remote_signer.adapters.metrics.slots import Slots
from livepeer_remote_signer.core.errors import BudgetExceeded
from livepeer_remote_signer.core.protocol.timestamps import NS_PER_SECOND
from livepeer_remote_signer.core.rules.budgets import Budget
from livepeer_remote_signer.core.rules.chain import ClockFault, StaleReading
from tests.ledgers import OpenLedger, Session, opened, run_sql
from tests.plans import CHAIN, NOW_NS
from tests.prometheus_text import parse_metrics

Place = Path | str
TOTAL = Budget("auth_id", "*", "total", "ev", 10**13)
HOURLY = Budget("global", "*", "hour", "ev", 10**18)


def later(ledger: OpenLedger, seconds: int) -> None:
    ledger.now_ns += seconds * NS_PER_SECOND


async def test_what_was_counted_for_a_budget_goes_when_it_is_removed_and_not_before(place: Place) -> None:
    async with opened(place, budgets=[TOTAL, HOURLY], retention_seconds=3600) as (before,):
        await before.pay(Session(auth_id="alice").next())
        assert await before.count("lrs_usage") == 2
    run_sql(place, "UPDATE lrs_usage SET touched_ms = NULL")  # as the release before writes them
    async with opened(place, budgets=[HOURLY], retention_seconds=3600) as (removed,):
        await removed.housekeeping.prune()
        assert await removed.count("lrs_usage") == 2, "nobody knows yet for how long it has not been counted"
        later(removed, 3000)
        await removed.housekeeping.prune()
        assert await removed.count("lrs_usage") == 2
        later(removed, 1000)
        await removed.housekeeping.prune()
        assert removed.sql("SELECT count(*) FROM lrs_usage WHERE key LIKE '%total%'") == [(0,)]


async def test_by_a_clock_that_is_known_to_be_wrong_nothing_is_forgotten_and_no_minute_is_over(place: Place) -> None:
    """Two days ahead by mistake: what was spent still counts when the clock is right again, and no old state is paid once more."""
    async with opened(place, budgets=[TOTAL, HOURLY], retention_seconds=3600) as (ledger,):
        session = Session(auth_id="alice")
        await ledger.pay(session.next())
        later(ledger, 2 * 86_400)
        for fault in ({"clock_fault": ClockFault("two days ahead", 172_800.0, 30.0)}, {"stale": StaleReading("no answer", None, 60.0)}):
            ledger.view = replace(CHAIN, **fault)
            await ledger.housekeeping.prune()
            await ledger.housekeeping.close_minutes()
            assert [await ledger.count(table) for table in ("lrs_payments", "lrs_usage", "lrs_closings")] == [1, 2, 0]
        ledger.view = CHAIN
        await ledger.housekeeping.close_minutes()
        await ledger.housekeeping.prune()
        assert [await ledger.count(table) for table in ("lrs_payments", "lrs_closings")] == [0, 1]


async def test_a_budget_that_another_replica_counts_is_not_forgotten_by_one_that_does_not_know_it(place: Place) -> None:
    async with opened(place, budgets=[TOTAL], retention_seconds=3600) as (knows,), opened(place, retention_seconds=3600) as (ignorant,):
        for step in range(10):
            await knows.pay(Session(auth_id="alice", started_ns=NOW_NS + step * 1000 * NS_PER_SECOND).next())
            ignorant.now_ns = NOW_NS + step * 1000 * NS_PER_SECOND
            await ignorant.housekeeping.prune()
        with pytest.raises(BudgetExceeded):
            await knows.pay(Session(auth_id="alice", started_ns=ignorant.now_ns).next())


async def test_left_overs_of_more_spenders_than_one_look_takes_all_go(place: Place) -> None:
    async with opened(place, budgets=[HOURLY], retention_seconds=3600) as (ledger,):
        await ledger.pay(Session().next())
        numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1700)"
        name = '\'["auth_id","total","ev","auth-\' || i || \'"]\''
        ledger.sql(f"{numbers} INSERT INTO lrs_usage (key, amounts, touched_ms) SELECT {name}, '[]', 1 FROM n")
        for _ in range(4):
            await ledger.housekeeping.prune()
        assert await ledger.count("lrs_usage") == 1


async def test_one_process_at_a_time_forgets_and_another_one_goes_on_when_it_has_ended(place: Place) -> None:
    async with opened(place, 2, retention_seconds=3600) as (one, other):
        await one.pay(Session().next())
        later(one, 7200)
        later(other, 7200)
        assert await other.store.take_lease(LEASE, "somebody", 10_000)
        await one.housekeeping.prune()
        assert await one.count("lrs_payments") == 1
        assert one.housekeeping.forgetting.behind_seconds["payments"] > 3000
        await other.store.give_lease(LEASE, "somebody")
        await one.housekeeping.prune()
        assert await one.count("lrs_payments") == 0


@pytest.mark.parametrize("waits", [0.0, 2 * STEP_SECONDS])
@pytest.mark.parametrize(("computed", "fitting"), [(0.0, 50), (0.15, 50), (0.3, 25)], ids=["server", "disk", "processor"])
async def test_the_work_of_a_step_sets_the_size_of_the_next_and_the_wait_for_a_turn_does_not(
    place: Place, monkeypatch: pytest.MonkeyPatch, waits: float, computed: float, fitting: int
) -> None:
    """`computed` is the part of the work that the signer's own processor does, which payments need: of that a step has a fifth."""
    async with opened(place, retention_seconds=3600) as (ledger,):
        limits: list[int] = []
        left = 1500

        async def forget(kind: Aging, before_ms: int, limit: int) -> Forgotten:
            nonlocal left
            limits.append(limit)
            await asyncio.sleep(waits)
            gone = min(left, limit)
            left -= gone
            worked = limit * STEP_SECONDS / 50  # 50 rows fit into a step
            return Forgotten(gone, worked, worked, worked * computed)

        async def oldest() -> dict[Aging, int]:
            return {"nonces": 1} if left else {}

        monkeypatch.setattr(ledger.store, "forget", forget)
        monkeypatch.setattr(ledger.store, "oldest", oldest)
        await ledger.housekeeping.prune()
        assert left == 0
        assert limits[0] > limits[3]
        assert set(limits[2:]) == {fitting}


async def test_what_a_step_says_of_its_work_does_not_count_the_turn_it_waited_for(place: Place) -> None:
    async with opened(place, retention_seconds=3600) as (ledger,):
        assert isinstance(ledger.store, SqliteStore | PostgresStore)
        await ledger.pay(Session().next())
        turn = ledger.store._file.turn if isinstance(ledger.store, SqliteStore) else asyncio.Lock()
        async with turn:
            step = asyncio.create_task(ledger.store.forget("nonces", 2**53, 100))
            await asyncio.sleep(1.5)
        rows, worked, held, _ = await step
        assert rows == 1
        assert 0 <= worked <= held < 1.5


async def test_payments_go_on_while_a_large_backlog_is_forgotten(place: Place) -> None:
    async with opened(place, retention_seconds=3600) as (ledger,):
        await ledger.pay(Session().next())
        raw = "BLOB" if isinstance(place, Path) else "bytea"
        numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)"
        ledger.sql(f"{numbers} INSERT INTO lrs_nonces (rand_hash, last_nonce, used_ms) SELECT CAST('nonce' || i AS {raw}), 1, i FROM n")
        forgetting = asyncio.create_task(ledger.housekeeping.prune())
        waits: list[float] = []
        while not forgetting.done():
            started = time.monotonic()
            assert await ledger.pay(Session().next()) is None
            waits.append(time.monotonic() - started)
        await forgetting
        assert ledger.sql("SELECT count(*) FROM lrs_nonces WHERE used_ms < 100000") == [(0,)]
        assert len(waits) > 3, "payments were made between the steps"


async def test_every_way_of_forgetting_and_of_sending_again_goes_by_an_index(place: Place) -> None:
    async with opened(place):
        if isinstance(place, Path):
            statements = [*sqlite._FORGET.values(), sqlite._OLDEST, sqlite._SINCE, sqlite._FIRST_SINCE]
            plans = [run_sql(place, f"EXPLAIN QUERY PLAN {s}", (1,) * (1 if "?1" in s else s.count("?"))) for s in statements]
            steps = [detail for plan in plans for *_, detail in plan]
            assert [step for step in steps if step.startswith("SCAN lrs_") and " USING " not in step] == []
            assert len([step for step in steps if step.startswith("SEARCH lrs_")]) >= len(statements)
            return
        values = {"before": 1, "limit": 1, "after": b"", "end": None}
        named = [*(one + postgres_statements.FORGOTTEN for one in postgres_statements.FORGET.values()), postgres_statements.SWEEP_SESSIONS]
        listed = {postgres_statements.SINCE: (1, 1, 1), postgres_statements.FIRST_SINCE: (1, 1), postgres_statements.OLDEST: ()}
        with psycopg.connect(place) as connection:
            connection.execute("SET enable_seqscan = off")  # so that it is chosen only where there is no index
            for statement, given in [*((s, values) for s in named), *listed.items()]:
                plan = connection.execute(f"EXPLAIN {statement}", given).fetchall()  # type: ignore[call-overload]
                assert not [line for (line,) in plan if "Seq Scan on lrs_" in line], plan


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.sqlite"


def pages(path: Path) -> tuple[int, int]:
    """All pages of a file, and the free ones among them."""
    (count,) = run_sql(path, "SELECT page_count, freelist_count FROM pragma_page_count, pragma_freelist_count")
    return count[0], count[1]


def fill(path: Path, megabytes: int) -> None:
    """Payments long gone, of a kilobyte each."""
    run_sql(
        path,
        f"""WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {megabytes * 1000})
        INSERT INTO lrs_payments (state_id, seq, digest, auth_id, is_healed, made_ms, state, kept)
        SELECT CAST(i AS BLOB), 0, x'00', x'00', 0, i, randomblob(500), randomblob(500) FROM n""",
    )


async def test_a_new_file_gives_back_what_it_does_not_need_any_more_and_an_old_one_waits_for_the_command(path: Path) -> None:
    async with opened(path, retention_seconds=3600) as (ledger,):
        fill(path, 16)
        before, _ = pages(path)
        await ledger.housekeeping.prune()
        after, free = pages(path)
        assert after < before / 2
        assert free <= before // 16 + 1025
        assert await ledger.pay(Session().next()) is None
    assert run_sql(path, "PRAGMA integrity_check") == [("ok",)]
    old = path.with_name("old.sqlite")
    with sqlite3.connect(old) as made:  # as releases before made it
        made.execute("CREATE TABLE lrs_meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID")
        made.execute("PRAGMA user_version = 1")
    made.close()
    async with opened(old, retention_seconds=3600) as (ledger,):
        fill(old, 16)
        before, _ = pages(old)
        await ledger.housekeeping.prune()
        after, free = pages(old)
        assert (after, free > before / 2) == (before, True)


async def test_a_reader_that_keeps_the_log_from_being_written_back_is_told_of(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(housekeeping, "LARGE_LOG_BYTES", 200_000)
    async with opened(path) as (ledger,):
        await ledger.pay(Session().next())
        reader = sqlite3.connect(path, isolation_level=None)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM lrs_payments").fetchone()
        with caplog.at_level(logging.WARNING):
            while (ledger.store.log_bytes() or 0) < 500_000:
                await asyncio.gather(*(ledger.pay(Session().next()) for _ in range(50)))
                await ledger.housekeeping.refresh()
        reader.close()
        told = [record for record in caplog.records if "write-ahead log has" in record.message]
        assert 1 <= len(told) <= 2, "told when it is large and when it has doubled, not with every look"


async def test_the_log_is_brought_into_the_file_beside_payments_and_begun_anew_when_it_is_long(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_connections, "WRITTEN_BACK_ROWS", 100)
    monkeypatch.setattr(sqlite_connections, "LONG_LOG_PAGES", 200)

    async with opened(path) as (ledger,):
        paid, largest = 0, 0

        async def pay_on() -> None:
            nonlocal paid, largest
            await asyncio.gather(*(ledger.pay(Session().next()) for _ in range(20)))
            paid += 20
            largest = max(largest, ledger.store.log_bytes() or 0)

        async def payments_go_on(until: asyncio.Task[None]) -> None:
            while not until.done():
                await pay_on()

        for _ in range(60):
            await pay_on()
            writing = asyncio.create_task(ledger.store.write_back())
            await payments_go_on(writing)
            await writing
        assert await ledger.count("lrs_payments") == paid
        assert largest < paid * 4096, "pages of the log are used again"
        inside = sqlite3.connect(f"file:{path}?immutable=1", uri=True)  # reads the file alone
        (written,) = inside.execute("SELECT count(*) FROM lrs_payments").fetchone()
        inside.close()
        assert written > paid / 2


async def test_few_rows_are_not_written_back(path: Path) -> None:
    async with opened(path) as (ledger,):
        await ledger.pay(Session().next())
        before = os.stat(path).st_mtime_ns
        await ledger.store.write_back()
        assert os.stat(path).st_mtime_ns == before


async def test_how_far_forgetting_is_behind_and_since_when_the_database_is_silent_are_figures(place: Place) -> None:
    async with opened(place, 2, retention_seconds=3600) as (ledger, other):
        metrics = Metrics(Slots(None))
        parts = RunningLedger(ledger.store, ledger.engine, ledger.controls, ledger.users, ledger.outbox, ledger.housekeeping)
        add_ledger_gauges(metrics, parts)
        await ledger.pay(Session().next())
        later(ledger, 3600 + 300 + 105)
        assert await other.store.take_lease(LEASE, "somebody", 10_000)
        await ledger.housekeeping.prune()
        read = parse_metrics(metrics.render())
        assert read["livepeer_signer_ledger_forgetting_behind_seconds"].value(kind="payments") == 100.0
        assert read["livepeer_signer_ledger_forgetting_behind_seconds"].value(kind="usage") == 0.0
        assert 0 <= read["livepeer_signer_ledger_silent_seconds"].value() < 20
        assert ("livepeer_signer_ledger_log_bytes" in read) is isinstance(ledger.store, SqliteStore)
        assert ledger.housekeeping.failure == ""


@pytest.mark.parametrize("age", [3.0, 5.0, float("inf")])
async def test_a_database_that_is_silent_for_longer_than_a_look_takes_is_not_ready(path: Path, age: float) -> None:
    async with opened(path) as (ledger,):
        await ledger.housekeeping.refresh()
        ledger.store._file.answered_at = time.monotonic() - age  # type: ignore[attr-defined]
        assert ledger.housekeeping.failure == {3.0: "", 5.0: "the database is silent for 5 s"}.get(age, "the database has not answered yet")


async def test_a_slow_disk_gives_pages_back_a_few_at_a_time_and_comes_to_an_end(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(path, retention_seconds=3600) as (ledger,):
        left, limits = 300, list[int]()

        async def give_back(limit: int) -> int:
            nonlocal left
            limits.append(limit)
            left -= min(limit, left)
            return left

        monkeypatch.setattr(ledger.store, "give_back", give_back)
        monkeypatch.setattr(forgetting, "STEP_SECONDS", 0.0)
        async with asyncio.timeout(60):
            await ledger.housekeeping.prune()
    assert left == 0
    assert min(limits) == forgetting.MIN_PAGES
