"""PostgreSQL's own faults: connections that break, a server that stops, replicas that want the same rows in any order."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from msgspec.structs import replace

from livepeer_remote_signer.adapters.ledger.postgres import PostgresStore
from livepeer_remote_signer.adapters.ledger.postgres_link import Link, _targets
from livepeer_remote_signer.adapters.ledger.store import ConnectionLost, StoreFailed
from livepeer_remote_signer.core.errors import (
    BudgetExceeded,
    LedgerUnavailable,
    RateExceeded,
    SessionBusy,
    SignerError,
    StaleState,
    Suspended,
)
from livepeer_remote_signer.core.protocol.timestamps import NS_PER_SECOND
from livepeer_remote_signer.core.rules.budgets import Budget
from livepeer_remote_signer.core.rules.ledger import Newest, Record
from livepeer_remote_signer.core.rules.payment import PaymentPlan
from tests.ledgers import OpenLedger, Payment, Session, opened, outcome_of
from tests.plans import NOW_NS


def kill_connections(url: str) -> None:
    """Ends every connection but its own, as a fail-over does."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname IS NOT NULL")


async def test_a_broken_connection_is_opened_again_without_anybody_noticing(postgres_url: Callable[[], str]) -> None:
    url = postgres_url()
    async with opened(url) as (ledger,):
        session = Session()
        payments = []
        for _ in range(4):
            payments.append(session.next())
            assert await ledger.pay(payments[-1]) is None
            await asyncio.to_thread(kill_connections, url)
        assert await ledger.pay(payments[1]) == payments[1].stored
        await asyncio.to_thread(kill_connections, url)
        assert await ledger.count("lrs_payments") == 4


async def test_a_connection_that_breaks_inside_a_transaction_pays_once(postgres_url: Callable[[], str]) -> None:
    url = postgres_url()
    budget = Budget("global", "*", "total", "ev", 10 * 10**12)
    async with opened(url, budgets=[budget]) as (ledger,):
        payment = Session().next()

        def sign(plan: PaymentPlan) -> Record:
            if not payment.made:
                kill_connections(url)
            return payment.sign(plan)

        assert await ledger.engine.pay(payment.key, payment.plan, sign) is None
        assert len(payment.made) == 2
        assert payment.nonces[0][1] == 1
        assert await ledger.count("lrs_payments") == 1
        assert (await ledger.controls.usage())[0].spent_wei == 10**12


async def test_a_commit_whose_outcome_was_lost_is_found_again(postgres_url: Callable[[], str], monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(postgres_url()) as (ledger,):
        real, lost = PostgresStore.commit, []

        async def commit(self: PostgresStore, writes: object) -> None:
            await real(self, writes)  # type: ignore[arg-type]
            if not lost:
                lost.append(writes)
                await self._batches.close()
                raise ConnectionLost("the connection to PostgreSQL broke")

        monkeypatch.setattr(PostgresStore, "commit", commit)
        first = Session().next()
        assert await ledger.pay(first) == first.stored
        assert await ledger.count("lrs_payments") == 1


@pytest.mark.parametrize("has_transaction_clock", [True, False])
async def test_a_process_that_stands_still_inside_a_transaction_is_cut_off_and_pays_all_the_same(
    postgres_url: Callable[[], str], monkeypatch: pytest.MonkeyPatch, has_transaction_clock: bool
) -> None:
    """Else it would hold rows that other replicas wait for."""
    if not has_transaction_clock:  # as on servers before 17
        prepare = Link._prepare

        async def older(self: Link, connection: psycopg.AsyncConnection[Any]) -> None:
            monkeypatch.setattr(type(connection.info), "server_version", 160_000)
            await prepare(self, connection)

        monkeypatch.setattr(Link, "_prepare", older)
    async with opened(postgres_url(), store={"timeout_seconds": 1.0}) as (ledger,):
        payment = Session().next()

        def sign(plan: PaymentPlan) -> Record:
            if not payment.made:
                time.sleep(5)
            return payment.sign(plan)

        assert await ledger.engine.pay(payment.key, payment.plan, sign) is None
        assert len(payment.made) == 2
        assert await ledger.count("lrs_payments") == 1


async def test_a_commit_that_the_server_answers_with_a_rollback_records_and_hands_out_nothing(
    postgres_url: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(postgres_url()) as (ledger,):
        execute, spoiled = psycopg.AsyncConnection.execute, []

        async def spoil(self: Any, query: Any, *parameters: Any, **options: Any) -> Any:
            if query == "COMMIT" and not spoiled:
                spoiled.append(query)
                with pytest.raises(psycopg.errors.DivisionByZero):
                    await execute(self, "SELECT 1/0")  # what a deferred trigger or a lost session would do to it
            return await execute(self, query, *parameters, **options)

        monkeypatch.setattr(psycopg.AsyncConnection, "execute", spoil)
        payment = Session().next()
        with pytest.raises(LedgerUnavailable, match="rolled the transaction back"):
            await ledger.pay(payment)
        assert spoiled == ["COMMIT"]
        assert await ledger.count("lrs_payments") == 0
        assert await ledger.pay(payment) is None
        assert await ledger.count("lrs_payments") == 1


async def test_places_of_sessions_whose_payments_an_older_release_forgot_go_by_the_thousand(postgres_url: Callable[[], str]) -> None:
    async with opened(postgres_url(), retention_seconds=3600) as (ledger,):
        await asyncio.gather(*(ledger.pay(Session().next()) for _ in range(20)))
        ledger.sql("INSERT INTO lrs_sessions SELECT sha256(n::text::bytea), 1, 1 FROM generate_series(1, 4500) AS n")
        for _ in range(3):  # 2,000 names a look
            await ledger.housekeeping.prune()
        assert await ledger.count("lrs_sessions") == 20
        ledger.sql("INSERT INTO lrs_sessions SELECT sha256(n::text::bytea), 1, 1 FROM generate_series(1, 10) AS n")
        await ledger.housekeeping.prune()
        assert await ledger.count("lrs_sessions") == 20, "it begins again at the first name"


async def test_with_a_sessions_newest_payment_its_place_is_forgotten(postgres_url: Callable[[], str]) -> None:
    async with opened(postgres_url(), retention_seconds=3600) as (ledger,):
        gone, stays = Session(), Session()
        for session in (gone, stays):
            for _ in range(3):
                assert await ledger.pay(session.next()) is None
        ledger.sql(f"UPDATE lrs_payments SET made_ms = 1 WHERE state_id = '{gone.state_id}' OR seq < 2")
        ledger.sql(f"UPDATE lrs_sessions SET made_ms = 1 WHERE state_id = '{gone.state_id}'")
        assert (await ledger.store.forget("payments", 10, 100)).rows == 5
        assert ledger.sql("SELECT convert_from(state_id, 'UTF8') FROM lrs_sessions") == [(stays.state_id,)]
        assert await ledger.pay(stays.next()) is None


async def test_sixty_four_ways_of_contention_neither_deadlock_nor_overspend(postgres_url: Callable[[], str]) -> None:
    """Two processes, shared budgets, shared params and shared sessions, every batch in an order of its own."""
    budgets = [Budget("auth_id", "*", "total", "ev", 120 * 10**12), Budget("global", "*", "hour", "ev", 150 * 10**12)]
    async with opened(postgres_url(), 2, budgets=budgets) as ledgers:
        rand_hashes = [os.urandom(32) for _ in range(3)]
        shared = [Session(auth_id=f"auth-{n % 2}", rand_hash=random.choice(rand_hashes)) for n in range(16)]
        paid: list[Payment] = []

        async def attempt(ledger: OpenLedger, payment: Payment) -> None:
            result = await outcome_of(ledger, payment)
            assert result is None or isinstance(result, Newest | SessionBusy | BudgetExceeded | RateExceeded), result
            if result is None:
                paid.append(payment)

        for _ in range(8):
            payments = [session.next(tickets=random.randint(1, 2)) for session in shared]
            crowd = [Payment(replace(p.key, digest=os.urandom(32)), p.plan) for p in payments for _ in range(4)]
            random.shuffle(crowd)
            await asyncio.gather(*(attempt(ledgers[n % 2], payment) for n, payment in enumerate(crowd)))
        nonces = [nonce for payment in paid for nonce in payment.nonces]
        assert len(nonces) == len(set(nonces))
        places = [(payment.key.state_id, payment.key.sequence_number) for payment in paid]
        assert len(places) == len(set(places))
        by_auth_id = [sum(p.made[-1].num_tickets for p in paid if p.key.auth_id == f"auth-{n}") for n in range(2)]
        assert max(by_auth_id) <= 120
        assert sum(by_auth_id) == 150
        with pytest.raises(SignerError):
            await ledgers[0].pay(Session(auth_id="auth-0").next(tickets=2))


@pytest.mark.parametrize("last_update_ns", [NOW_NS + 5 * NS_PER_SECOND, NOW_NS + 4000 * NS_PER_SECOND])
async def test_a_late_request_of_a_session_that_is_half_forgotten_is_stale_and_the_ledger_is_well(
    postgres_url: Callable[[], str], last_update_ns: int
) -> None:
    async with opened(postgres_url(), retention_seconds=3600) as (ledger,):
        session = Session()
        for _ in range(2):
            assert await ledger.pay(session.next()) is None
        ledger.sql("DELETE FROM lrs_payments")  # as pruning does, before it comes to the session
        session.now_ns = NOW_NS + 4000 * NS_PER_SECOND
        with pytest.raises(StaleState) as caught:
            await ledger.pay(session.request(1, last_update_ns=last_update_ns))
        assert caught.value.hint == "start a new session without state"
        assert ledger.engine.failure is None


async def test_a_payment_that_waited_for_a_lock_obeys_a_kill_switch_that_was_set_meanwhile(postgres_url: Callable[[], str]) -> None:
    url = postgres_url()
    async with opened(url, budgets=[Budget("global", "*", "total", "ev", 10**18)]) as (ledger,):
        assert await ledger.pay(Session().next()) is None
        waiting = Session().next()
        with psycopg.connect(url) as other:
            other.execute("SELECT * FROM lrs_usage FOR UPDATE")
            paying = asyncio.create_task(outcome_of(ledger, waiting))
            await asyncio.sleep(0.2)
            await ledger.controls.suspend(None, "test")
        assert isinstance(await paying, Suspended)
        assert waiting.made == []


async def test_a_server_that_cannot_be_reached_is_named_by_nothing_but_that() -> None:
    store = PostgresStore("postgresql://user:hunter2@127.0.0.1:1/db", writer="w")
    with pytest.raises(StoreFailed, match="PostgreSQL cannot be reached") as caught:
        await store.open()
    assert "hunter2" not in str(caught.value)
    assert "127.0.0.1" not in str(caught.value)
    await store.close()


def test_a_connection_string_that_is_none_is_not_repeated() -> None:
    with pytest.raises(ValueError, match="no libpq connection string") as caught:
        PostgresStore("this is : not = one secret", writer="w")
    assert "secret" not in str(caught.value)


async def test_a_ledger_whose_server_comes_later_starts_then(postgres_url: Callable[[], str]) -> None:
    url = postgres_url()
    async with opened(url) as (ledger,):
        store = PostgresStore("host=127.0.0.1 port=1 connect_timeout=1", writer="late")
        late = OpenLedger(store, (), {})
        late.housekeeping._is_open = False
        await late.housekeeping.start()
        late.engine.start()
        payment = Session().next()
        with pytest.raises(LedgerUnavailable):
            await late.pay(payment)
        assert payment.made == []
        assert late.housekeeping.failure
        store._server._targets = _targets(url, 2)  # the same address, now with a server behind it
        async with asyncio.timeout(30):
            while late.housekeeping.failure:  # noqa: ASYNC110 - what is waited for has no event
                await asyncio.sleep(0.05)
        assert await late.pay(payment) is None
        await late.engine.close()
        await late.housekeeping.close()
        await store.close()
        assert await ledger.count("lrs_payments") == 1


async def test_a_budget_that_is_used_up_by_another_process_refuses_here(postgres_url: Callable[[], str]) -> None:
    async with opened(postgres_url(), 2, budgets=[Budget("global", "*", "total", "ev", 10**12)]) as (one, other):
        assert await one.pay(Session().next()) is None
        with pytest.raises(BudgetExceeded):
            await other.pay(Session().next())


async def test_two_who_ask_for_one_sessions_place_at_once_are_both_answered(postgres_url: Callable[[], str]) -> None:
    async with opened(postgres_url()) as (ledger,):
        session = Session()
        await ledger.pay(session.next())
        async with asyncio.timeout(20):
            one, other, nobody = await asyncio.gather(*(ledger.store.tip(name) for name in (session.state_id, session.state_id, "nobody")))
        assert one == other
        assert one is not None
        assert one.sequence_number == 0
        assert nobody is None
