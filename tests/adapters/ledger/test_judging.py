"""What the ledger would say to a payment, on SQLite and a real PostgreSQL: as the payment, without a row or a wait."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from msgspec.structs import replace

from livepeer_remote_signer.adapters.ledger.store import Wanted
from livepeer_remote_signer.core.errors import LedgerUnavailable, OutboxFull
from livepeer_remote_signer.core.protocol.timestamps import NS_PER_SECOND
from livepeer_remote_signer.core.rules.budgets import Budget
from tests.ledgers import Session, opened

TICKET_WEI = 10**12
TABLES = ("lrs_payments", "lrs_nonces", "lrs_usage", "lrs_spend", "lrs_outbox")


async def test_what_is_judged_is_what_is_paid_and_leaves_nothing_behind(place: Path | str) -> None:
    budgets = [Budget("auth_id", "*", "total", "ev", 5 * TICKET_WEI), Budget("global", "", "hour", "ev", 4 * TICKET_WEI)]
    async with opened(place, 2, budgets=budgets) as (one, other):
        session = Session(auth_id="a", rand_hash=bytes([3]) * 32)
        assert await one.pay(session.next(tickets=2)) is None
        rows = [await one.count(table) for table in TABLES]
        ahead = session.next(tickets=3)
        ahead.plan = replace(ahead.plan, due_tickets=1)
        judged = await other.engine.judge(ahead.key, ahead.plan)
        assert judged.refusals == []
        assert (judged.plan.num_tickets, judged.plan.first_nonce) == (2, 3)
        assert [(use.id, use.left_wei // TICKET_WEI) for use in judged.budgets] == [("a", 3), ("", 2)]
        assert [await one.count(table) for table in TABLES] == rows
        assert await other.pay(ahead) is None
        assert ahead.made[-1] == judged.plan


async def test_all_that_refuses_is_told(place: Path | str) -> None:
    budgets = [Budget("auth_id", "*", "total", "ev", TICKET_WEI), Budget("global", "", "hour", "ev", TICKET_WEI)]
    async with opened(place, budgets=budgets) as (ledger,):
        await ledger.controls.suspend("a", "test")
        late = Session(auth_id="a")
        asked = late.request(4, tickets=2)
        asked.key = replace(asked.key, last_update_ns=late.now_ns - 10**6 * NS_PER_SECOND)
        ledger.engine.set_outbox_full(OutboxFull("no room"))
        judged = await ledger.engine.judge(asked.key, asked.plan)
        codes = [refusal.code for refusal in judged.refusals]
        assert codes == ["outbox_full", "suspended", "stale_state", "budget_exceeded", "rate_exceeded"]


async def test_the_recipients_nonces_are_looked_at(place: Path | str) -> None:
    async with opened(place) as (ledger,):
        spent = Session(rand_hash=bytes([4]) * 32)
        for _ in range(5):
            assert await ledger.pay(spent.next(tickets=100)) is None
        judged = await ledger.engine.judge((new := Session(rand_hash=bytes([4]) * 32).next()).key, new.plan)
        assert [refusal.code for refusal in judged.refusals] == ["refresh_session"]


async def test_it_waits_for_no_payment_and_no_payment_for_it(place: Path | str) -> None:
    async with opened(place, 2) as (one, other):
        payment, asked = Session().next(), Session().next()
        wanted = Wanted([payment.key.state_id], [bytes([5]) * 32], [], [], [])
        await one.store.begin(wanted, 1000)
        try:
            async with asyncio.timeout(20):
                for ledger in (one, other):
                    assert (await ledger.engine.judge(asked.key, asked.plan)).refusals == []
        finally:
            await one.store.rollback()


async def test_a_database_that_is_gone_is_said_to_be(place: Path | str) -> None:
    if isinstance(place, str):
        pytest.skip("a server that is gone is told in test_postgres")
    async with opened(place) as (ledger,):
        asked = Session().next()
        os.rename(moved_from := str(place), f"{place}.moved")
        with pytest.raises(LedgerUnavailable):
            await ledger.engine.judge(asked.key, asked.plan)
        os.rename(f"{place}.moved", moved_from)
