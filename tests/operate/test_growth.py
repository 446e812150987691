"""What the measurements of growth are made of: rows that a ledger reads as its own, sessions that are new, a pool that is asked."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from benchmarks import load
from benchmarks.beside import SimulatedPool, scrape
from benchmarks.growth import MAX_RATIO, Found
from benchmarks.laying import RETENTION_SECONDS, Place, lay_auth_ids, lay_events, lay_payments, lay_switches, postgres_place, sqlite_place
from benchmarks.measure import BUSY, Figures, Measured, Served, serving
from livepeer_remote_signer.adapters.ledger.postgres import PostgresStore
from livepeer_remote_signer.adapters.ledger.sqlite import SqliteStore
from livepeer_remote_signer.adapters.ledger.store import Minutes, Store
from tests.ports import free_port

pytestmark = [pytest.mark.operate, pytest.mark.timeout(600)]

PAYMENTS, AUTH_IDS, SWITCHES, EVENTS = 1000, 300, 200, 100
CONNECTIONS = 4
MAX_PASSES = 60
TOKEN = "t" * 43


def lay_some_of_all(place: Place) -> None:
    lay_payments(place, PAYMENTS)
    lay_auth_ids(place, AUTH_IDS)
    lay_switches(place, SWITCHES)
    lay_events(place, EVENTS)


async def check_rows(store: Store) -> None:
    """What was laid is found by the ways a signer reads it."""
    await store.open()
    try:
        assert len(await store.list_switches()) == SWITCHES
        assert len(await store.usage("", 2 * AUTH_IDS)) == AUTH_IDS
        assert len(await store.unsent_events(2 * EVENTS, 0)) == EVENTS
        sums = await store.spend_over_time(Minutes(0, 1 << 32), 60)
        assert sum(spent.payments for _, spent in sums) == PAYMENTS
        half_age_ms = RETENTION_SECONDS * 1000
        before_ms = (await store.oldest())["payments"] + half_age_ms
        assert (await store.forget("payments", before_ms, 2 * PAYMENTS)).rows == PAYMENTS // 2
    finally:
        await store.close()


def test_rows_that_are_laid_into_sqlite(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    with sqlite_place(path) as place:
        lay_some_of_all(place)
    asyncio.run(check_rows(SqliteStore(path, writer="test")))


def test_rows_that_are_laid_into_postgres(postgres_url: Callable[[], str]) -> None:
    url = postgres_url()
    with postgres_place(url) as place:
        lay_some_of_all(place)
    asyncio.run(check_rows(PostgresStore(url, writer="test", timeout_seconds=10)))


def found(cpu: float = 1.0, p99: float = 1.0, console: float = 0.0, scrape: float = 0.0) -> Found:
    """What costs so many times the empty ledger's CPU and p99; how long the console's answer and a scrape took, in seconds."""
    figures = Figures(1000, 0.005, 0.01 * p99, 0.0001 * cpu, 0.00002, {"200": 1000})
    return Found(Measured(figures, 100, 0.5), console, scrape, 0, [])


@pytest.mark.parametrize(
    ("row", "is_over"),
    [
        (found(cpu=1.49, p99=1.49, console=0.49, scrape=0.19), False),
        (found(cpu=1.51), True),
        (found(p99=1.51), True),
        (found(console=0.51), True),
        (found(scrape=0.21), True),
    ],
)
def test_a_row_that_costs_more_than_it_may_is_told(row: Found, is_over: bool) -> None:
    empty = found().measured
    assert row.is_over(empty, MAX_RATIO, 1.0, 1.0) is is_over
    assert not row.is_over(empty, MAX_RATIO, 1.1, 1.0), "within the room that is given to a noisy machine"


def test_a_busy_machine_excuses_times_on_the_clock_and_as_much_cpu_as_it_is_busy() -> None:
    empty, busy = found().measured, 2 * BUSY
    assert not found(p99=10, console=10, scrape=10, cpu=MAX_RATIO * busy * 0.99).is_over(empty, MAX_RATIO, 1.0, busy)
    assert found(cpu=MAX_RATIO * busy * 1.01).is_over(empty, MAX_RATIO, 1.0, busy)


def with_admin(folder: Path) -> tuple[int, dict[str, Any]]:
    """The admin listener's port, and a configuration with a ledger."""
    port, token = free_port(), folder / "token"
    token.write_text(TOKEN)
    token.chmod(0o600)
    ledger = {"backend": "sqlite", "path": str(folder / "ledger.sqlite")}
    return port, {"ledger": ledger, "admin": {"listen": f"127.0.0.1:{port}", "token_file": str(token)}}


def pay(served: Served, **more: Any) -> int:
    """A second of payments: how many."""
    plan = {"port": served.port, "seconds": 1, "connections": CONNECTIONS, "tickets": 1, "chained": False, **more}
    result = asyncio.run(load.run(plan))
    assert set(result["statuses"]) == {200}
    paid: int = result["requests"]
    return paid


def test_each_payment_is_a_new_session_with_params_of_its_own(tmp_path: Path) -> None:
    port, config = with_admin(tmp_path)
    with serving(tmp_path, config) as bare:
        served = bare._replace(admin_port=port, admin_token=TOKEN)
        paid = pay(served, new_sessions=True) + CONNECTIONS  # each connection's first is not counted
        seconds, behind = scrape(served)
        assert seconds > 0
        assert behind == 0
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as connection:
        sessions, rows = connection.execute("SELECT count(DISTINCT state_id), count(*) FROM lrs_payments").fetchone()
        assert connection.execute("SELECT count(*) FROM lrs_nonces").fetchone() == (rows,)
    assert sessions == rows == paid


def test_a_pool_is_asked_while_payments_are_made(tmp_path: Path) -> None:
    pool = SimulatedPool(3, 2)
    _, config = with_admin(tmp_path)
    with pool.running() as discovery, serving(tmp_path, config | discovery) as served:
        with pool.asked(served) as seen:
            before = pool.count_asked()
            for number in range(MAX_PASSES):
                assert pay(served, first_session=number * CONNECTIONS) > 0
                if pool.count_asked() > before:
                    break
        assert "lists 3, " in seen.notes[-1]


def test_a_pool_that_nobody_asks_is_no_measurement(tmp_path: Path) -> None:
    pool = SimulatedPool(1, 1)
    with pool.running(), serving(tmp_path) as served, pytest.raises(RuntimeError, match="no orchestrator was asked"), pool.asked(served):
        pass
