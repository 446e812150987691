"""Signers over a PostgreSQL that freezes, fails over to a standby, or stands behind pgbouncer's transaction pooling."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from psycopg import conninfo

from livepeer_remote_signer.adapters.ledger.postgres_link import Link, Server, fetch
from tests.lateness import Lateness
from tests.operate.conftest import skip_or_fail
from tests.policy.processes import SignerProcess, UnitSession, signer_processes
from tests.ports import free_port
from tests.postgres import Postgres, postgres_server, standby_of

pytestmark = pytest.mark.operate

TRUSTING = {"trusted_proxies": ["127.0.0.0/8"]}
WITHIN_SECONDS = 5.0
"""And as much as the machine is late."""


@asynccontextmanager
async def signers_on(url: str, folder: Path, count: int) -> AsyncIterator[tuple[list[SignerProcess], httpx.AsyncClient]]:
    ledger: dict[str, Any] = {"backend": "postgres", "url": url}
    async with (
        signer_processes(folder, count, ledger=ledger, auth=TRUSTING) as signers,
        httpx.AsyncClient(trust_env=False, timeout=30) as client,
    ):
        yield signers, client


@asynccontextmanager
async def watched() -> AsyncIterator[Lateness]:
    lateness = Lateness()
    watching = asyncio.create_task(lateness.watch())
    yield lateness
    watching.cancel()


async def timed(answer: Any) -> tuple[int, float]:
    """The status, and after how many seconds."""
    started = time.monotonic()
    response = await answer
    return response.status_code, time.monotonic() - started


async def until_status(client: httpx.AsyncClient, url: str, status: int) -> float:
    """How long it took until a GET had this status."""
    started = time.monotonic()
    while (await client.get(url)).status_code != status:
        assert time.monotonic() - started < 60, f"{url} is not {status} after 60 s"
        await asyncio.sleep(0.05)
    return time.monotonic() - started


def count_of(url: str, what: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute(f"SELECT {what} FROM lrs_payments").fetchone()  # type: ignore[call-overload]
    assert row is not None
    count: int = row[0]
    return count


async def test_a_frozen_server_is_unready_and_each_payment_is_answered_in_time_and_both_are_well_soon_after(tmp_path: Path) -> None:
    with postgres_server() as postgres:
        url = postgres.create()
        async with signers_on(url, tmp_path, 1) as ((signer,), client), watched() as lateness:
            sessions = [UnitSession(f"auth-{n}") for n in range(12)]
            for session in sessions:
                assert (await session.pay(client, signer.url)).status_code == 200
            postgres.freeze()
            try:
                frozen_at = time.monotonic()
                paying = [asyncio.create_task(timed(session.pay(client, signer.url))) for session in sessions[:6]]
                assert await until_status(client, signer.url + "/readyz", 503) < WITHIN_SECONDS + lateness.most()
                answers = await asyncio.gather(*paying)
                while time.monotonic() - frozen_at < 8:
                    answers += [await timed(session.pay(client, signer.url)) for session in sessions]
                    new = UnitSession("new")
                    answers.append(await timed(new.pay(client, signer.url)))
                    await asyncio.sleep(0.2)
                checks = (await client.get(signer.url + "/readyz")).json()["checks"]
            finally:
                postgres.thaw()
            assert {status for status, _ in answers} == {503}
            assert max(seconds for _, seconds in answers) < WITHIN_SECONDS + lateness.most()
            assert [check["name"] for check in checks if "did not answer within 2 s" in str(check)] == ["ledger"], checks
            thawed_at = time.monotonic()
            await until_status(client, signer.url + "/readyz", 200)
            for session in sessions:
                assert (await session.pay(client, signer.url)).status_code == 200
            assert time.monotonic() - thawed_at < WITHIN_SECONDS + lateness.most()
        assert count_of(url, "count(*)") == count_of(url, "count(DISTINCT (state_id, seq))")


async def pay_for_a_while(
    sessions: list[UnitSession], signers: list[SignerProcess], client: httpx.AsyncClient, seconds: float
) -> Counter[int]:
    """Each session pays as fast as it is answered, every time at the next signer."""
    statuses: Counter[int] = Counter()
    until = time.monotonic() + seconds

    async def keep_paying(number: int) -> None:
        session, turn = sessions[number], number
        while time.monotonic() < until:
            turn += 1
            statuses[(await session.pay(client, signers[turn % len(signers)].url)).status_code] += 1

    await asyncio.gather(*(keep_paying(number) for number in range(len(sessions))))
    return statuses


async def test_after_a_fail_over_every_session_goes_on_at_the_new_primary_without_a_restart(tmp_path: Path) -> None:
    with postgres_server() as first, standby_of(first) as second:
        schema = conninfo.conninfo_to_dict(first.create())["options"]
        url = conninfo.make_conninfo(first.url, host=f"{first.host},{second.host}", options=schema)
        async with signers_on(url, tmp_path, 2) as (signers, client):
            sessions = [UnitSession(f"auth-{n}") for n in range(6)]
            statuses = await pay_for_a_while(sessions, signers, client, 1)
            assert set(statuses) == {200}
            bodies = [session.body() for session in sessions]
            answers = [(await session.pay(client, signers[0].url)).content for session in sessions]
            await replayed(first, second)
            first.run("ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()")  # it answers 25006 from now on
            second.run("SELECT pg_promote()")
            switched_at = time.monotonic()
            paid = set[int]()
            while len(paid) < len(sessions):
                assert time.monotonic() - switched_at < 60, f"{len(paid)} of {len(sessions)} sessions go on"
                for number, session in enumerate(sessions):
                    response = await session.pay(client, signers[number % 2].url)
                    assert response.status_code in (200, 503), "no answer may end a session"
                    if response.status_code == 200:
                        paid.add(number)
            for number, session in enumerate(sessions):
                repeated = await client.post(signers[1].url + "/generate-live-payment", content=bodies[number], headers=session.headers)
                assert repeated.content == answers[number], "what the old primary recorded is known at the new one"
            for signer in signers:
                assert await until_status(client, signer.url + "/readyz", 200) < 2 * WITHIN_SECONDS
            assert set(await pay_for_a_while(sessions, signers, client, 1)) == {200}
        at_second = conninfo.make_conninfo(second.url, options=schema)
        assert count_of(at_second, "count(*)") == count_of(at_second, "count(DISTINCT (state_id, seq))")
    tickets = [ticket for session in sessions for ticket in session.tickets]
    assert len(tickets) == len(set(tickets)), "no nonce twice"


async def replayed(first: Postgres, second: Postgres) -> None:
    """Returns when the standby has all that the primary has written."""
    with psycopg.connect(first.url) as connection:
        row = connection.execute("SELECT pg_current_wal_lsn()::text").fetchone()
    assert row is not None
    deadline = time.monotonic() + 60
    with psycopg.connect(second.url, autocommit=True) as connection:
        while connection.execute("SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", row).fetchone() != (True,):
            assert time.monotonic() < deadline, "the standby does not catch up"
            await asyncio.sleep(0.05)


@contextmanager
def pgbouncer(postgres: Postgres, database: str, pool_size: int) -> Iterator[str]:
    """The connection string of a pooler whose server connections change hands with every transaction."""
    program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    if program is None:
        skip_or_fail("pgbouncer is not installed")
    folder, port = Path(tempfile.mkdtemp(prefix="pgbouncer")), free_port()
    (folder / "users.txt").write_text('"postgres" ""\n')
    (folder / "pgbouncer.ini").write_text(
        f"""[databases]
{database} = host={postgres.host} dbname={database} user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = trust
auth_file = {folder}/users.txt
pool_mode = transaction
default_pool_size = {pool_size}
max_client_conn = 100
"""
    )
    command = [str(program), "-q", str(folder / "pgbouncer.ini")]
    if os.geteuid() == 0:
        folder.chmod(0o755)
        command += ["-u", postgres.data.owner()]
    url = f"postgresql://postgres@127.0.0.1:{port}/{database}"
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while True:
            with suppress(psycopg.OperationalError):
                psycopg.connect(url, prepare_threshold=None).close()
                break
            assert process.poll() is None, "pgbouncer ended"
            assert time.monotonic() < deadline, "pgbouncer does not answer"
            time.sleep(0.05)
        yield url
    finally:
        process.terminate()
        process.wait(20)
        shutil.rmtree(folder)


async def check_settings(url: str) -> None:
    """Inside a payment's transaction, and only there, commits are on disk and locks are waited for in bounds."""
    link = Link(Server(url, 2))
    show = "SELECT current_setting('synchronous_commit'), current_setting('lock_timeout')"
    assert await link.fetch(show) == [("off", "0")]
    assert link.is_pooled

    async def inside(connection: psycopg.AsyncConnection[Any]) -> list[Any]:
        async with connection.transaction():
            await connection.execute(*link.settings(is_local=True))
            return await fetch(connection, show)

    assert await link.use(inside) == [("on", "1500ms")]
    assert await link.fetch(show) == [("off", "0")]
    await link.close()


async def test_three_replicas_behind_transaction_pooling_pay_everything_and_hold_budgets_and_switches(tmp_path: Path) -> None:
    with postgres_server() as postgres:
        postgres.run("CREATE DATABASE pooled")
        postgres.run("ALTER SYSTEM SET synchronous_commit = off", "SELECT pg_reload_conf()")
        direct = conninfo.make_conninfo(postgres.url, dbname="pooled")
        with pgbouncer(postgres, "pooled", 4) as url:  # 12 connections of 3 signers share 4
            await check_settings(url)
            async with signers_on(url, tmp_path, 3) as (signers, client):
                sessions = [UnitSession(f"auth-{n}") for n in range(24)]
                statuses = await pay_for_a_while(sessions, signers, client, 6)
                assert set(statuses) == {200}, statuses
                assert statuses[200] > len(sessions)
                body, answer = sessions[0].body(), (await sessions[0].pay(client, signers[0].url)).content
                repeated = await client.post(signers[1].url + "/generate-live-payment", content=body, headers=sessions[0].headers)
                assert repeated.content == answer
                for signer in signers:
                    assert (await client.get(signer.url + "/readyz")).status_code == 200
        assert count_of(direct, "count(*)") == statuses[200] + 1
        assert count_of(direct, "count(DISTINCT (state_id, seq))") == statuses[200] + 1
        tickets = [ticket for session in sessions for ticket in session.tickets]
        assert len(tickets) == len(set(tickets))
