"""A line to PostgreSQL that goes silent: every wait has an end, nobody queues, and it is noticed at once when it is back."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import pytest

from livepeer_remote_signer.adapters.ledger.postgres import PostgresStore
from livepeer_remote_signer.adapters.ledger.postgres_link import Link, Server, _targets, fetch, translated
from livepeer_remote_signer.adapters.ledger.store import ConnectionLost, StoreFailed
from livepeer_remote_signer.core.errors import LedgerUnavailable
from livepeer_remote_signer.core.rules.ledger import Record
from livepeer_remote_signer.core.rules.payment import PaymentPlan
from tests.ledgers import OpenLedger, Session, opened, outcome_of
from tests.postgres import Line

TIMEOUT_SECONDS = 2.0


@asynccontextmanager
async def behind_a_line(url: str) -> AsyncIterator[tuple[Line, OpenLedger]]:
    """A ledger whose line can be cut. `count` and `sql` look into the database past the line."""
    line = Line(url)
    async with line.running(), opened(line.url, store={"timeout_seconds": TIMEOUT_SECONDS}) as (ledger,):
        ledger._place = url
        yield line, ledger
        line.mend()


async def until(holds: Callable[[], bool], seconds: float = 20) -> None:
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.01)


async def test_payments_on_a_silent_line_end_in_time_and_later_ones_at_once_until_a_look_finds_it_back(
    postgres_url: Callable[[], str],
) -> None:
    async with behind_a_line(postgres_url()) as (line, ledger):
        session = Session()
        assert await ledger.pay(session.next()) is None
        await ledger.housekeeping.start()
        line.cut()
        first = [Session().next() for _ in range(5)]
        started = time.monotonic()
        results = await asyncio.gather(*(outcome_of(ledger, payment) for payment in first))
        assert time.monotonic() - started < 30
        assert all(isinstance(result, LedgerUnavailable) for result in results)
        await until(lambda: ledger.store._server.down is not None)  # type: ignore[attr-defined]
        accepted = line.accepted
        started = time.monotonic()
        later = [session.next(), *(Session().next() for _ in range(40))]
        results = await asyncio.gather(*(outcome_of(ledger, payment) for payment in later))
        assert time.monotonic() - started < TIMEOUT_SECONDS, "nobody queues behind a dead line"
        assert all(isinstance(result, LedgerUnavailable) and result.retry_after_seconds == 1 for result in results)
        assert line.accepted <= accepted + 1, "one look tries, not each caller"
        assert all(payment.made == [] for payment in first + later), "nothing was signed that could not be recorded"
        assert "did not answer within 2 s" in ledger.housekeeping.failure
        line.mend()
        await until(lambda: not ledger.housekeeping.failure)
        for payment in (*first, *later):
            assert await ledger.pay(payment) is None
        assert await ledger.count("lrs_payments") == 47
        await ledger.housekeeping.close()


async def test_nobody_waits_for_the_turn_of_the_look_that_tries_a_server_that_is_down(postgres_url: Callable[[], str]) -> None:
    async with opened(postgres_url(), store={"timeout_seconds": TIMEOUT_SECONDS}) as (ledger,):
        session = Session()
        assert await ledger.pay(session.next()) is None
        server, side = ledger.store._server, ledger.store._side  # type: ignore[attr-defined]
        await side._lock.acquire()
        server.down = "it is down"
        ledger.engine.failure = "it is down"
        for call in (ledger.pay(session.next()), ledger.controls.suspend(None, "test"), ledger.pay(session.request(0))):
            with pytest.raises(LedgerUnavailable, match="it is down"):
                await call
        side._lock.release()
        await ledger.housekeeping.refresh()
        assert await ledger.pay(session.request(1)) is None


async def test_a_line_that_goes_silent_between_signing_and_recording_leaves_one_payment_at_most(postgres_url: Callable[[], str]) -> None:
    async with behind_a_line(postgres_url()) as (line, ledger):
        session = Session()
        assert await ledger.pay(session.next()) is None
        payment = session.next()

        def sign(plan: PaymentPlan) -> Record:
            if not payment.made:
                line.cut()
            return payment.sign(plan)

        with pytest.raises(LedgerUnavailable):
            await ledger.engine.pay(payment.key, payment.plan, sign)
        line.mend()
        await ledger.store.check()
        again = await ledger.pay(payment)
        assert again in (None, payment.stored)
        assert await ledger.count("lrs_payments") == 2
        assert len({nonce for _, nonce in payment.nonces}) == 1


async def test_only_where_the_commit_was_asked_for_a_payment_may_be_recorded(
    postgres_url: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for step, is_in_doubt in (("_write", False), ("_ask_to_commit", True)):
        async with behind_a_line(postgres_url()) as (line, ledger):
            real = getattr(PostgresStore, step)

            async def cut_before(self: PostgresStore, *values: Any, real: Any = real, line: Line = line) -> None:
                line.cut()
                await real(self, *values)

            with monkeypatch.context() as patched:
                patched.setattr(PostgresStore, step, cut_before)
                with pytest.raises(LedgerUnavailable) as caught:
                    await ledger.pay(Session().next())
            assert caught.value.may_be_recorded is is_in_doubt, step


async def test_one_silent_connection_beside_a_server_that_answers_is_replaced_and_nobody_notices(postgres_url: Callable[[], str]) -> None:
    """As behind a NAT that has forgotten one connection."""
    url = postgres_url()
    line = Line(url)
    async with line.running(), opened(url, store={"timeout_seconds": TIMEOUT_SECONDS}) as (ledger,):
        batches: Link = ledger.store._batches  # type: ignore[attr-defined]
        batches._connection = await psycopg.AsyncConnection.connect(line.url, autocommit=True)
        line.cut()
        looking = asyncio.create_task(keep_checking(ledger))
        payment = Session().next()
        assert await ledger.pay(payment) is None
        assert len(payment.made) == 1
        looking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await looking


async def keep_checking(ledger: OpenLedger) -> None:
    while True:
        await ledger.store.check()
        await asyncio.sleep(0.02)


async def test_a_caller_that_leaves_does_not_leave_a_connection_in_the_middle_of_an_answer(postgres_url: Callable[[], str]) -> None:
    async with behind_a_line(postgres_url()) as (line, ledger):
        session = Session()
        for _ in range(2):
            assert await ledger.pay(session.next()) is None
        line.cut()
        asking = asyncio.create_task(ledger.store.newest_state(session.state_id))
        await asyncio.sleep(0.05)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        line.mend()
        assert await ledger.store.newest_state(session.state_id) is not None


async def test_what_fails_after_its_caller_left_is_no_fault_in_the_log(
    postgres_url: Callable[[], str], caplog: pytest.LogCaptureFixture
) -> None:
    async with behind_a_line(postgres_url()) as (line, ledger):
        line.cut()
        asking = asyncio.create_task(ledger.controls.suspend("bob", "test"))
        await until(lambda: ledger.store._side._lock.locked())  # type: ignore[attr-defined]
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await until(lambda: ledger.store._server.down is not None)  # type: ignore[attr-defined]
        await until(lambda: not ledger.store._side._lock.locked())  # type: ignore[attr-defined]
        await asyncio.sleep(0)
        gc.collect()
        assert "never retrieved" not in caplog.text


async def test_a_server_that_never_answers_does_not_hold_up_a_start(postgres_url: Callable[[], str]) -> None:
    url = postgres_url()
    line = Line(url)
    async with line.running():
        line.cut()
        started = time.monotonic()
        with pytest.raises(StoreFailed, match=r"did not answer within 2 s|ConnectionTimeout"):
            async with opened(line.url, store={"timeout_seconds": TIMEOUT_SECONDS}):
                raise AssertionError("it cannot be open")
        assert time.monotonic() - started < 20


async def test_a_server_that_was_silent_at_the_start_is_used_as_soon_as_it_answers(postgres_url: Callable[[], str]) -> None:
    """As where a signer is restarted in the middle of an outage."""
    line = Line(postgres_url())
    async with line.running():
        line.cut()
        store = PostgresStore(line.url, writer="late", timeout_seconds=0.5)
        ledger = OpenLedger(store, (), {})
        ledger.housekeeping._is_open = False
        await ledger.housekeeping.start()
        ledger.engine.start()
        with pytest.raises(LedgerUnavailable, match=r"did not answer within 0\.5 s"):
            await ledger.pay(Session().next())
        line.mend()
        await until(lambda: not ledger.housekeeping.failure)
        assert await ledger.pay(Session().next()) is None
        await ledger.engine.close()
        await ledger.housekeeping.close()
        await store.close()


async def test_of_several_hosts_one_that_hangs_does_not_stand_before_the_one_that_answers(postgres_url: Callable[[], str]) -> None:
    url = postgres_url()
    dead, alive = Line(url), Line(url)
    async with dead.running(), alive.running():
        dead.cut()
        ports = [psycopg.conninfo.conninfo_to_dict(line.url)["port"] for line in (dead, alive)]
        both = psycopg.conninfo.make_conninfo(alive.url, host="127.0.0.1,127.0.0.1", port=",".join(map(str, ports)))
        async with opened(both, store={"timeout_seconds": 2}) as (ledger,):
            assert await ledger.pay(Session().next()) is None
        assert dead.accepted >= 1


def test_what_the_operator_does_not_set_is_set_so_that_a_dead_host_is_noticed() -> None:
    (target,) = _targets("postgresql://u@db.example/x?keepalives_idle=60&target_session_attrs=any", 2.5)
    values = psycopg.conninfo.conninfo_to_dict(target)
    assert {name: values[name] for name in ("tcp_user_timeout", "keepalives_idle", "keepalives_interval", "connect_timeout")} == {
        "tcp_user_timeout": "2500",
        "keepalives_idle": "60",
        "keepalives_interval": "2",
        "connect_timeout": "3",
    }
    assert values["target_session_attrs"] == "any"
    (target,) = _targets("postgresql://u@db.example/x", 2)
    assert psycopg.conninfo.conninfo_to_dict(target)["target_session_attrs"] == "read-write"
    several = [psycopg.conninfo.conninfo_to_dict(t) for t in _targets("postgresql://u@a.example:1,b.example:2/x", 2)]
    assert [(values["host"], values["port"]) for values in several] == [("a.example", "1"), ("b.example", "2")]
    assert len(_targets("postgresql://u@a.example,b.example/x?target_session_attrs=any", 2)) == 1, "then the operator's order counts"


async def test_a_server_that_is_read_only_now_is_a_lost_connection(postgres_url: Callable[[], str]) -> None:
    """The old primary after a fail-over: it lets in who is connected, and refuses to write."""
    async with opened(postgres_url()) as (ledger,):
        session = Session()
        assert await ledger.pay(session.next()) is None
        for link in (ledger.store._batches, ledger.store._side):  # type: ignore[attr-defined]
            await link.run(lambda connection: connection.execute("SET default_transaction_read_only = on"))
        assert await ledger.pay(session.next()) is None, "the connection was opened anew, and takes writes"
        await ledger.controls.suspend("bob", "test")
        assert await ledger.count("lrs_payments") == 2


def test_only_a_lost_connection_may_be_repeated() -> None:
    assert isinstance(translated(psycopg.errors.ReadOnlySqlTransaction()), ConnectionLost)
    assert isinstance(translated(psycopg.errors.AdminShutdown()), ConnectionLost)
    assert not isinstance(translated(psycopg.errors.LockNotAvailable()), ConnectionLost)
    assert not isinstance(translated(psycopg.errors.QueryCanceled()), ConnectionLost)


async def test_an_answer_that_had_come_when_this_process_stood_still_counts_and_its_connection_is_replaced(
    postgres_url: Callable[[], str],
) -> None:
    server = Server(postgres_url(), TIMEOUT_SECONDS)
    link = Link(server)

    async def late(connection: psycopg.AsyncConnection[Any]) -> list[Any]:
        rows = await fetch(connection, "SELECT 1")
        link._cut(connection)  # as the clock does that runs out in the same turn of the event loop
        return rows

    assert await link.run(late) == [(1,)]
    assert not link.is_open
    assert await link.run(lambda connection: fetch(connection, "SELECT 2")) == [(2,)]
    assert server.down is None
    await link.close()
    await server.close()


async def test_what_is_written_is_never_written_on_another_connection_than_the_one_that_has_the_transaction(
    postgres_url: Callable[[], str],
) -> None:
    async with opened(postgres_url()) as (ledger,):
        payment = Session().next()
        link: Link = ledger.store._batches  # type: ignore[attr-defined]

        def sign(plan: PaymentPlan) -> Record:
            if not payment.made:
                assert link._connection is not None
                link._connection.pgconn.finish()
            return payment.sign(plan)

        assert await ledger.engine.pay(payment.key, payment.plan, sign) is None
        assert len(payment.made) == 2, "the batch was judged again, on locked rows"
        assert await ledger.count("lrs_payments") == await ledger.count("lrs_sessions") == 1


async def test_who_waits_too_long_for_a_turn_is_told_so(postgres_url: Callable[[], str]) -> None:
    server = Server(postgres_url(), 0.3)
    link = Link(server)
    slow = asyncio.create_task(link.use(lambda connection: fetch(connection, "SELECT 1")))
    await slow
    await link._lock.acquire()
    with pytest.raises(StoreFailed, match="too slow"):
        await link.fetch("SELECT 1")
    link._lock.release()
    assert await link.fetch("SELECT 1") == [(1,)]
    await link.close()
    await server.close()
