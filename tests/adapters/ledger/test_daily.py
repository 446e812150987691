"""What was paid by day: each payment counts once, whatever clocks, replicas and commits do."""

from __future__ import annotations

import asyncio
import json
import random
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from livepeer_remote_signer.adapters.ledger.controls import Controls
from livepeer_remote_signer.adapters.ledger.redeemed import RedeemedChange, RedeemedRow
from livepeer_remote_signer.adapters.ledger.store import ConnectionLost, StoreFailed, Writes
from livepeer_remote_signer.core.errors import LedgerUnavailable
from livepeer_remote_signer.core.protocol.timestamps import NS_PER_SECOND
from livepeer_remote_signer.core.rules.budgets import Budget
from livepeer_remote_signer.core.rules.events import EventSource, encode_event
from livepeer_remote_signer.core.rules.ledger import Record
from livepeer_remote_signer.core.rules.signed import digest_payer
from livepeer_remote_signer.core.rules.usage import USAGE_NAMES, UsageQuery, UsageRow, UsageSum, day_text, days_of_month, names_of
from tests.ledgers import OpenLedger, Payment, Session, opened
from tests.plans import NOW_NS, ORCHESTRATOR, costing

Place = Path | str
DAY = 86_400 * NS_PER_SECOND
TODAY = NOW_NS // DAY
ALL = UsageQuery(0, 10**6)


async def total(ledger: OpenLedger, **query: object) -> UsageSum:
    (row,) = await ledger.store.daily(ALL._replace(**query))  # type: ignore[arg-type] # fields of the query
    return row.sums


def priced(payment: Payment, eth_usd: Fraction | None, events: list[bytes]) -> Payment:
    """Signs as the service does: the event and the ledger are told the same price."""
    made = payment.sign

    def sign(plan: object) -> Record:
        record = made(plan)  # type: ignore[arg-type] # a plan
        event = encode_event(payment.made[-1], EventSource(bytes(20), "i"), "0" * 32, eth_usd=eth_usd)
        events.append(event)
        return replace(record, event=event, eth_usd=eth_usd)

    payment.sign = sign  # type: ignore[method-assign]
    return payment


async def test_sums_of_replicas_are_those_of_the_events_to_the_wei(place: Place) -> None:
    async with opened(place, 3, sinks=("sink",)) as ledgers:
        draw = random.Random(7)
        events: list[bytes] = []
        for turn in range(30):
            session = Session(auth_id=draw.choice("abc"), started_ns=NOW_NS + draw.randrange(3) * DAY)
            payment = session.next(tickets=draw.randrange(1, 4))
            payment.plan = costing(payment.plan, Fraction(draw.randrange(10**9), 7))
            rate = draw.choice([None, Fraction(draw.randrange(10**6), 100)])
            assert await ledgers[turn % 3].pay(priced(payment, rate, events)) is None
        told = [json.loads(event)["data"] for event in events]
        for auth_id in "abc":
            own = [event for event in told if event["auth_id"] == auth_id]
            found = (await total(ledgers[0], auth_id=auth_id)).describe()
            assert found["payments"] == found["sessions"] == len(own) > 0
            assert found["tickets"] == sum(event["num_tickets"] for event in own)
            assert int(found["total_ev_wei"]) == sum(int(event["total_ev"]) for event in own)
            assert int(found["fee_wei"]) == sum(int(event["computed_fee"]) for event in own)
            assert Fraction(found["seconds"]) == sum(Fraction(str(event["billable_secs"])) for event in own)
            in_usd = [Fraction(event["computed_fee_usd"]) for event in own if event["computed_fee_usd"] is not None]
            assert found["payments_without_usd"] == len(own) - len(in_usd)
            assert in_usd
            assert Fraction(found["fee_usd"]) == sum(in_usd)


async def test_a_commit_whose_answer_was_lost_counts_once_whether_it_was_recorded_or_not(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(place) as (ledger,):
        session = Session(auth_id="a")
        assert await ledger.pay(session.next()) is None
        commit = ledger.store.commit

        async def unheard(writes: Writes) -> None:
            await commit(writes)
            raise ConnectionLost("the answer is missing", may_be_recorded=True)

        monkeypatch.setattr(ledger.store, "commit", unheard)
        lost = session.next()
        assert await ledger.pay(lost) == lost.stored, "it was recorded, and is found to be"
        monkeypatch.setattr(ledger.store, "commit", commit)
        assert await ledger.pay(session.next()) is None
        assert (await total(ledger)).payments == await ledger.count("lrs_payments") == 3

        async def undone(writes: Writes) -> None:
            await ledger.store.rollback()
            raise StoreFailed("the disk is full")

        monkeypatch.setattr(ledger.store, "commit", undone)
        with pytest.raises(LedgerUnavailable):
            await ledger.pay(session.next())
        monkeypatch.setattr(ledger.store, "commit", commit)
        assert await ledger.pay(session.request(3)) is None
        assert (await total(ledger)).payments == await ledger.count("lrs_payments") == 4
        ((paid,),) = ledger.sql("SELECT sum(payments) FROM lrs_spend")
        assert paid == 4, "the statistics by minute as well"


async def test_a_clock_that_steps_back_and_a_process_that_starts_anew_lose_and_double_nothing(place: Place) -> None:
    for _ in range(2):
        async with opened(place) as (ledger,):
            for days in (0, 3, 1, 4, 0, 0, 5, 2):
                assert await ledger.pay(Session(auth_id="a", started_ns=NOW_NS + days * DAY).next()) is None
    async with opened(place) as (ledger,):
        rows = await ledger.store.daily(ALL._replace(group=("day",)))
        assert {row.day: row.sums.payments for row in rows} == {TODAY + days: count * 2 for days, count in enumerate((3, 1, 1, 1, 1, 1))}


async def test_pages_of_every_grouping_give_each_row_once_and_add_up(place: Place) -> None:
    async with opened(place, 2) as ledgers:
        for turn in range(12):
            session = Session(auth_id="abcd"[turn % 4], started_ns=NOW_NS + turn % 3 * DAY)
            assert await ledgers[turn % 2].pay(session.next()) is None
        for mask in range(1, 8):
            group = tuple(name for place_of, name in enumerate(USAGE_NAMES) if mask >> place_of & 1)
            rows: list[UsageRow] = []
            while page := await ledgers[0].store.daily(
                ALL._replace(group=group, limit=2, after=names_of(rows[-1], group) if rows else None)
            ):
                assert len(page) <= 2
                rows += page
            keys = [names_of(row, group) for row in rows]
            assert keys == sorted(set(keys))
            assert sum(row.sums.payments for row in rows) == 12
        assert (await total(ledgers[0], orchestrator=ORCHESTRATOR)).payments == 12
        assert await total(ledgers[0], orchestrator=bytes(20)) == UsageSum()
        assert (await total(ledgers[0], first_day=TODAY + 1, last_day=TODAY + 1)).payments == 4


async def test_days_are_kept_for_as_long_as_is_said_and_longer_than_payments(place: Place) -> None:
    async with opened(place, retention_seconds=3600, usage_retention_days=40) as (ledger,):
        assert await ledger.pay(Session(auth_id="a").next()) is None
        assert await ledger.pay(Session(auth_id="a", started_ns=NOW_NS + DAY).next()) is None
        ledger.now_ns = NOW_NS + 40 * DAY
        await ledger.housekeeping.prune()
        assert await ledger.count("lrs_payments") == 0
        assert (await total(ledger)).payments == 2
        ledger.now_ns += DAY
        await ledger.housekeeping.prune()
        rows = await ledger.store.daily(ALL._replace(group=("day",)))
        assert [row.day for row in rows] == [TODAY + 1]


async def test_a_batch_writes_one_line_for_each_day_auth_id_and_orchestrator(place: Place) -> None:
    async with opened(place) as (ledger,):
        sessions = [Session(auth_id=auth_id) for auth_id in "aaabbb"]
        for _ in range(3):
            await asyncio.gather(*(ledger.pay(session.next()) for session in sessions))
        assert await ledger.count("lrs_daily") == 2
        assert (await total(ledger)).payments == 18
        assert (await total(ledger)).sessions == 6


async def test_amounts_beyond_what_a_database_counts_in_are_exact(place: Place) -> None:
    async with opened(place) as (ledger,):
        huge = 10**26 + 7
        for _ in range(3):
            payment = Session(auth_id="a").next()
            payment.plan = costing(payment.plan, Fraction(huge))
            assert await ledger.pay(payment) is None
            await ledger.store.fold()
            ledger.store._sums._open.begin_parts()
        assert await ledger.count("lrs_daily") == 3
        assert (await total(ledger)).fee_wei == 3 * huge


async def test_open_sessions_are_those_of_one_auth_id_that_were_paid_lately(place: Place) -> None:
    async with opened(place, 2) as (ledger, other):
        mine, stale, others = Session(auth_id="a"), Session(auth_id="a", started_ns=NOW_NS - 600 * NS_PER_SECOND), Session(auth_id="b")
        for session in (mine, stale, others):
            assert await ledger.pay(session.next()) is None
        for _ in range(3):
            assert await other.pay(mine.next()) is None
        since_ms = (NOW_NS - 60 * NS_PER_SECOND) // 10**6
        (found,) = await ledger.store.open_sessions(b"a", since_ms, 10)
        assert (found.state.state_id, found.state.sequence_number) == (mine.state_id, 3)
        assert found.paid_ms - found.started_ms == 15_000
        for _ in range(4):
            assert await ledger.pay(Session(auth_id="a").next()) is None
        assert len(await ledger.store.open_sessions(b"a", since_ms, 3)) == 3
        assert await ledger.store.open_sessions(b"c", 0, 3) == []


async def test_a_caller_reads_its_budgets_also_under_the_name_it_had_before_namespaces(place: Place) -> None:
    budget = Budget("auth_id", "*", "total", "ev", 10 * 10**12)
    hourly = Budget("auth_id", "key:a", "hour", "ev", 10**12)
    globally = Budget("global", "*", "day", "ev", 10**18)
    async with opened(place, budgets=[budget, hourly, globally]) as (ledger,):
        assert await ledger.pay(Session(auth_id="a").next(tickets=3)) is None
        uses = [(use.budget.window, use.spent_wei, use.left_wei) for use in await ledger.controls.budgets_of("a")]
        assert uses == [("total", 3 * 10**12, 7 * 10**12)]
        named = Controls(ledger.store, [budget, hourly, globally], ledger.users, lambda: NOW_NS, namespaces=True)
        uses = [(use.budget.window, use.spent_wei, use.left_wei) for use in await named.budgets_of("key:a")]
        assert uses == [("total", 3 * 10**12, 7 * 10**12), ("hour", 0, 10**12)]
        assert await Controls(ledger.store, [globally], ledger.users, lambda: NOW_NS).budgets_of("a") == []


def redeemed(number: int, payer: bytes, found_ms: int, **others: Any) -> RedeemedRow:
    """A ticket that the chain has paid a wei for, and a million more for its number."""
    return RedeemedRow(
        ticket=bytes([number]) * 32,
        sender=b"s" * 20,
        block=number,
        block_hash="0x1",
        transaction="0x2",
        log_index=0,
        recipient=b"r" * 20,
        round=1,
        terms=1,
        nonce=1,
        rand_hash=bytes(32),
        face_value_wei=10**20,
        paid_wei=10**20 + number,
        win_prob=1,
        payer=payer,
        verdict="ours",
        found_ms=found_ms,
    )._replace(**others)


async def test_a_statement_says_what_was_drawn_in_its_month_where_the_chain_is_followed(place: Place) -> None:
    async with opened(place) as (ledger,):
        month = day_text(TODAY)[:7]
        first, last = days_of_month(month)
        assert (await ledger.controls.statement("alice", month)).drawn_wei is None
        alice, begins_ms, ends_ms = digest_payer("alice"), first * 86_400_000, (last + 1) * 86_400_000
        rows = [
            redeemed(1, alice, begins_ms),
            redeemed(2, alice, ends_ms - 1),
            redeemed(3, alice, ends_ms),
            redeemed(4, alice, begins_ms - 1),
            redeemed(5, digest_payer("bob"), begins_ms),
            redeemed(6, alice, begins_ms, verdict="foreign"),
        ]
        await ledger.store.change_redeemed(RedeemedChange({"chain": "{}"}, rows))
        assert (await ledger.controls.statement("alice", month)).drawn_wei == 2 * 10**20 + 3
        assert (await ledger.controls.statement("carol", month)).drawn_wei == 0
