"""Several sinks over the ledger's own table, in a real SQLite file."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from livepeer_remote_signer.adapters.events import forwarder as forwarding
from livepeer_remote_signer.adapters.events.forwarder import Forwarder
from livepeer_remote_signer.adapters.ledger.outbox import LedgerOutbox
from livepeer_remote_signer.adapters.ledger.sqlite import SqliteStore
from livepeer_remote_signer.api.errors import status_of
from livepeer_remote_signer.core.errors import LedgerUnavailable
from livepeer_remote_signer.core.rules.events import Backlog, OutboxEvent
from tests.adapters.events.making import CountingMeter, ListSink, make_event
from tests.ledgers import run_sql


@asynccontextmanager
async def opened(path: Path, *sinks: str, holder: str = "me", **options: Any) -> AsyncIterator[tuple[SqliteStore, LedgerOutbox]]:
    """A ledger file and its outbox for these sinks."""
    store = SqliteStore(path, writer=holder)
    await store.open()
    try:
        limits = {"max_pending": 1000, "refuse_when_full": True, **options}
        yield store, LedgerOutbox(store, holder=holder, sinks=sinks, set_full=lambda full: None, **limits)
    finally:
        await store.close()


async def record(store: SqliteStore, event: bytes) -> None:
    """Puts an event into the table, as a payment's transaction does."""
    await asyncio.to_thread(
        run_sql, store._file.path, "INSERT INTO lrs_outbox (made_ms, payload) VALUES (?, ?)", (time.time_ns() // 1_000_000, event)
    )


async def test_an_event_is_done_with_when_every_sink_has_it(tmp_path: Path) -> None:
    async with opened(tmp_path / "ledger", "one", "two") as (store, outbox):
        assert await outbox.take_lease(5)
        for n in range(3):
            await record(store, make_event(sequence_number=n))
        ids = [event.id for event in await outbox.pending("one", 10)]
        await outbox.mark_sent("one", ids)
        assert await outbox.pending("one", 10) == []
        assert len(await outbox.pending("two", 10)) == 3
        await outbox.mark_sent("two", ids[:2])
        assert [row.id for row in await outbox.unsent(10)] == ids[2:]
        await outbox.refresh()
        assert outbox.backlog.pending == 1
        await outbox.mark_sent("two", ids[2:])
        await outbox.refresh()
        assert outbox.backlog == Backlog(0, None, 0, 0)


async def test_a_sink_goes_on_while_another_is_far_behind(tmp_path: Path) -> None:
    async with opened(tmp_path / "ledger", "up", "down") as (store, outbox):
        await outbox.take_lease(5)
        for n in range(50):
            await record(store, make_event(sequence_number=n))
        seen: list[int] = []
        while entries := await outbox.pending("up", 7):
            seen += [event.id for event in entries]
            await outbox.mark_sent("up", [event.id for event in entries])
        assert seen == sorted(set(seen))
        assert len(seen) == 50
        assert len(await outbox.unsent(100)) == 50, "the other sink has none of them"


async def test_an_event_that_was_committed_late_is_not_passed_over(tmp_path: Path) -> None:
    async with opened(tmp_path / "ledger", "up", "down") as (store, outbox):
        await outbox.take_lease(5)
        late, early = make_event(sequence_number=0), make_event(sequence_number=1)
        await asyncio.to_thread(run_sql, store._file.path, "INSERT INTO lrs_outbox (id, made_ms, payload) VALUES (?, ?, ?)", (8, 0, early))
        await outbox.mark_sent("up", [event.id for event in await outbox.pending("up", 10)])
        await asyncio.to_thread(run_sql, store._file.path, "INSERT INTO lrs_outbox (id, made_ms, payload) VALUES (?, ?, ?)", (5, 0, late))
        assert [event.payload for event in await outbox.pending("up", 10)] == [late]
        assert [event.payload for event in await outbox.pending("down", 10)] == [late, early]


async def test_a_restart_sends_again_what_was_not_done_with_and_nothing_else(tmp_path: Path) -> None:
    events = [make_event(sequence_number=n) for n in range(4)]
    async with opened(tmp_path / "ledger", "one", holder="first") as (store, outbox):
        await outbox.take_lease(0.05)
        for event in events:
            await record(store, event)
        entries = await outbox.pending("one", 10)
        await outbox.mark_sent("one", [event.id for event in entries[:2]])
    await asyncio.sleep(0.06)
    async with opened(tmp_path / "ledger", "one", holder="second") as (_, outbox):
        assert await outbox.take_lease(5)
        assert [event.payload for event in await outbox.pending("one", 10)] == events[2:]


async def test_one_process_at_a_time_holds_the_lease(tmp_path: Path) -> None:
    async with opened(tmp_path / "ledger", holder="first") as (_, first), opened(tmp_path / "ledger", holder="second") as (_, second):
        assert await first.take_lease(5)
        assert not await second.take_lease(5)
        assert await first.take_lease(5)
        await first.give_lease()
        assert await second.take_lease(5)


async def test_a_forwarder_empties_the_table(tmp_path: Path) -> None:
    async with opened(tmp_path / "ledger", "one", "two") as (store, outbox):
        sinks = [ListSink("one"), ListSink("two", refusals=1)]
        forwarder = Forwarder(outbox, sinks, CountingMeter())
        events = [make_event(sequence_number=n) for n in range(20)]
        for event in events:
            await record(store, event)
        forwarder.start()
        await asyncio.sleep(0.05)
        await forwarder.stop(5)
        assert sinks[0].taken == sinks[1].taken == events
        assert await outbox.unsent(10) == []


async def test_what_a_full_outbox_drops_is_counted_as_lost(tmp_path: Path) -> None:
    async with opened(tmp_path / "ledger", "one", max_pending=3, refuse_when_full=False) as (store, outbox):
        for n in range(5):
            await record(store, make_event(sequence_number=n))
        for _ in range(2):
            await outbox.refresh()
            assert (outbox.backlog.pending, outbox.backlog.lost) == (3, 2)


async def test_a_database_that_fails_is_an_unavailable_ledger(tmp_path: Path) -> None:
    async with opened(tmp_path / "ledger", "one") as (_, outbox):
        os.rename(tmp_path / "ledger", tmp_path / "moved")
        for call in (outbox.take_lease(1), outbox.give_lease(), outbox.pending("one", 1), outbox.mark_sent("one", [1])):
            with pytest.raises(LedgerUnavailable, match=r"ledger\.path cannot be found any more") as failed:
                await call
            assert failed.value.message.startswith("the ledger could not do it: ledger.path")
            assert status_of(failed.value) == 503


async def test_a_mark_that_failed_is_made_up_for_by_the_next_one(tmp_path: Path) -> None:
    async with opened(tmp_path / "ledger", "one") as (store, outbox):
        for n in range(2):
            await record(store, make_event(sequence_number=n))
        ids = [event.id for event in await outbox.pending("one", 10)]
        os.rename(tmp_path / "ledger", tmp_path / "moved")
        with pytest.raises(LedgerUnavailable):
            await outbox.mark_sent("one", ids[:1])
        os.rename(tmp_path / "moved", tmp_path / "ledger")
        assert [event.id for event in await outbox.pending("one", 10)] == ids[1:], "it is known all the same"
        await outbox.mark_sent("one", ids[1:])
        assert await outbox.unsent(10) == []


async def test_sinks_that_finish_in_each_others_gaps_are_both_counted(tmp_path: Path) -> None:
    async with opened(tmp_path / "ledger", "one", "two") as (store, outbox):
        for n in range(3):
            await record(store, make_event(sequence_number=n))
        first, second, third = [event.id for event in await outbox.pending("one", 10)]
        await outbox.mark_sent("two", [first])
        await asyncio.gather(outbox.mark_sent("one", [first, second, third]), outbox.mark_sent("two", [second, third]))
        assert await outbox.unsent(10) == []


async def test_a_sink_that_reads_while_the_other_one_marks_gets_nothing_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(tmp_path / "ledger", "one", "two") as (store, outbox):
        await record(store, make_event())
        (event,) = await outbox.pending("one", 10)
        await outbox.mark_sent("one", [event.id])
        unsent = outbox.unsent

        async def slow(limit: int, after_id: int = 0) -> list[OutboxEvent]:
            rows = await unsent(limit, after_id)
            await outbox.mark_sent("two", [event.id])
            assert await unsent(10) == []
            return rows

        monkeypatch.setattr(outbox, "unsent", slow)
        assert await outbox.pending("one", 10) == []


async def test_two_healthy_sinks_leave_nothing_behind_while_payments_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forwarding, "IDLE_SECONDS", 0.001)
    async with opened(tmp_path / "ledger", "one", "two") as (store, outbox):
        sinks = [ListSink("one"), ListSink("two")]
        forwarder = Forwarder(outbox, sinks, CountingMeter())
        forwarder.start()
        events = [make_event(sequence_number=n) for n in range(300)]
        for event in events:
            await record(store, event)
        await forwarder.stop(10)
        assert sinks[0].taken == sinks[1].taken == events, "each once"
        assert await outbox.unsent(10) == []
    async with opened(tmp_path / "ledger", "one", "two", holder="restarted") as (_, outbox):
        assert await outbox.pending("one", 10) == await outbox.pending("two", 10) == []
