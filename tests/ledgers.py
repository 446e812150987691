"""Ledgers for tests: several of them on one database stand for several processes; payments are made up, not signed."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import psycopg
from msgspec.structs import replace

from livepeer_remote_signer.adapters.ledger.controls import Controls
from livepeer_remote_signer.adapters.ledger.engine import GroupCommitLedger
from livepeer_remote_signer.adapters.ledger.housekeeping import Housekeeping
from livepeer_remote_signer.adapters.ledger.outbox import LedgerOutbox
from livepeer_remote_signer.adapters.ledger.postgres import PostgresStore
from livepeer_remote_signer.adapters.ledger.sqlite import SqliteStore
from livepeer_remote_signer.adapters.ledger.users import Users
from livepeer_remote_signer.core.errors import SignerError
from livepeer_remote_signer.core.protocol.state import encode_state
from livepeer_remote_signer.core.protocol.timestamps import NS_PER_SECOND
from livepeer_remote_signer.core.rules.budgets import Budget
from livepeer_remote_signer.core.rules.ledger import Found, LedgerRules, Record, RequestKey, Stored
from livepeer_remote_signer.core.rules.payment import PaymentPlan
from tests.plans import CHAIN, NOW_NS, orchestrator_info, plan_payment


class OpenLedger:
    """One process's ledger, with the parts that tests look into."""

    def __init__(
        self, store: SqliteStore | PostgresStore, budgets: Sequence[Budget], options: dict[str, Any], place: Path | str = ""
    ) -> None:
        self._place = place
        retention = options.get("retention_seconds", 86_400)
        self.now_ns = NOW_NS
        self.view = CHAIN
        self.store = store
        self.users = Users(store.users, budgets, clock_ns=lambda: self.now_ns, holds_keys=True)
        self.engine = GroupCommitLedger(
            store,
            LedgerRules(tuple(budgets), retention, runtime=self.users.budgets),
            turn_wait_seconds=options.get("turn_wait_seconds", 2.0),
            reserves=options.get("reserves", False),
            senders=options.get("senders", ()),
        )
        self.controls = Controls(store, budgets, self.users, lambda: self.now_ns)
        self.outbox = LedgerOutbox(
            store,
            holder=os.urandom(4).hex(),
            sinks=options.get("sinks", ("sink",)),
            max_pending=options.get("max_pending", 1000),
            refuse_when_full=options.get("refuse_when_full", True),
            set_full=self.engine.set_outbox_full,
        )
        self.housekeeping = Housekeeping(
            store,
            self.engine,
            self.outbox,
            self.users,
            holder=os.urandom(4).hex(),
            retention_seconds=retention,
            usage_retention_days=options.get("usage_retention_days", 400),
            audit_retention_days=400,
            clock_ns=lambda: self.now_ns,
            view=lambda: self.view,
        )
        self.housekeeping._is_open = True  # `opened` has opened the store

    async def pay(self, payment: Payment) -> Found:
        """As the service does: looked up first, then paid in its turn. None: it is recorded."""
        async with self.engine.turn(payment.key):
            found = await self.engine.find(payment.key, payment.plan.now_ns)
            return found or await self.engine.pay(payment.key, payment.plan, payment.sign)

    async def count(self, table: str) -> int:
        """Rows in a table, once what waited is added to the sums."""
        await self.store.fold()
        count: int = run_sql(self._place, f"SELECT count(*) FROM {table}")[0][0]
        return count

    def sql(self, statement: str) -> list[tuple[Any, ...]]:
        """What one statement returns, run by another process as it were."""
        return run_sql(self._place, statement)


@asynccontextmanager
async def opened(place: Path | str, count: int = 1, *, budgets: Sequence[Budget] = (), **options: Any) -> AsyncIterator[list[OpenLedger]]:
    """Ledgers on one database: a file's path, or a connection string."""
    async with AsyncExitStack() as stack:
        ledgers = []
        for _ in range(count):
            writer = os.urandom(4).hex()
            store = (
                SqliteStore(place, writer=writer, **options.get("store", {}))
                if isinstance(place, Path)
                else PostgresStore(place, writer=writer, **options.get("store", {}))
            )
            await store.open()
            stack.push_async_callback(store.close)
            ledger = OpenLedger(store, budgets, options, place)
            await ledger.users.follow()
            ledger.engine.start()
            stack.push_async_callback(ledger.engine.close)
            ledgers.append(ledger)
        yield ledgers


def fold_tallies(place: Path | str) -> None:
    """Adds what payments left to be added to the sums, as the next process would."""

    async def fold() -> None:
        writer = os.urandom(4).hex()
        store = SqliteStore(place, writer=writer) if isinstance(place, Path) else PostgresStore(place, writer=writer)
        await store.open()
        try:
            await store.fold()
        finally:
            await store.close()

    with ThreadPoolExecutor(1) as thread:  # the caller may have an event loop
        thread.submit(asyncio.run, fold()).result()


def run_sql(place: Path | str, statement: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
    """What one statement returns, committed, on a connection of its own."""
    if isinstance(place, Path):
        connection = sqlite3.connect(place, isolation_level=None, timeout=10)
        try:
            return connection.execute(statement, values).fetchall()
        finally:
            connection.close()
    with psycopg.connect(place, autocommit=True) as server:
        cursor = server.execute(statement, values or None)  # type: ignore[arg-type] # our own text
        return cursor.fetchall() if cursor.description is not None else []


class Payment:
    """One request of a session. `made` are the plans it was signed for, the last one counts."""

    def __init__(self, key: RequestKey, plan: PaymentPlan, event: bytes | None = None) -> None:
        self.key = key
        self.plan = plan
        self.event = event
        self.made: list[PaymentPlan] = []

    def sign(self, plan: PaymentPlan) -> Record:
        """A record that tells which call made it."""
        self.made.append(plan)
        return Record(encode_state(plan.state), b"reply to " + self.key.digest, self.event)

    @property
    def stored(self) -> Stored:
        """What must be found of it."""
        return Stored(b"reply to " + self.key.digest, self.key.auth_id, encode_state(self.made[-1].state))

    @property
    def nonces(self) -> list[tuple[bytes, int]]:
        """The nonces it was given, with their params."""
        plan = self.made[-1]
        return [(plan.session.info.ticket_params.recipient_rand_hash, plan.first_nonce + n) for n in range(plan.num_tickets)]


class Session:
    """A client's session: each payment goes on from the one before."""

    def __init__(self, *, auth_id: str = "", app: str = "", rand_hash: bytes | None = None, started_ns: int = NOW_NS) -> None:
        self.state_id = os.urandom(16).hex()
        self.auth_id = auth_id
        self.app = app
        self.info = orchestrator_info(rand_hash=rand_hash or os.urandom(32), now_ns=started_ns + 10_000 * NS_PER_SECOND)
        self.now_ns = started_ns
        self.sequence_number = -1

    def next(self, *, tickets: int = 1, event: bytes | None = None, **changes: Any) -> Payment:
        """The next request in order."""
        self.sequence_number += 1
        self.now_ns += 5 * NS_PER_SECOND
        return self.request(self.sequence_number, tickets=tickets, event=event, **changes)

    def request(self, sequence_number: int, *, tickets: int = 1, event: bytes | None = None, **changes: Any) -> Payment:
        """A request for any place, made now; its digest is its own."""
        plan = plan_payment(self.info, now_ns=self.now_ns)
        credit = plan.state.balance + 100 * plan.session.info.ev
        names = {"state_id": self.state_id, "auth_id": self.auth_id, "app": self.app, "sequence_number": sequence_number}
        plan = replace(plan, state=replace(plan.state, balance=credit, **names), due_tickets=0)
        plan = replace(plan.with_tickets(tickets), due_tickets=tickets)
        key = RequestKey(
            state_id=self.state_id,
            sequence_number=sequence_number,
            digest=os.urandom(32),
            auth_id=self.auth_id,
            idempotency_key=b"",
            last_update_ns=self.now_ns - 5 * NS_PER_SECOND if sequence_number else None,
            is_new=sequence_number == 0,
        )
        return Payment(replace(key, **changes), plan, event)


async def signed_for(ledger: OpenLedger, sender: bytes, tickets: int) -> Payment:
    """A payment of a new session, whose tickets are this sender's."""
    payment = Session(started_ns=ledger.now_ns).next(tickets=tickets)
    payment.plan = replace(payment.plan, sender=sender)
    await ledger.pay(payment)
    return payment


async def outcome_of(ledger: OpenLedger, payment: Payment) -> object:
    """What a payment came to: None when it was recorded, what was found, or the refusal."""
    try:
        return await ledger.pay(payment)
    except SignerError as error:
        return error
