"""Several sinks over the ledger's own table, in a real SQLite file."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from livepeer_remote_signer.adapters.events.forwarder import Forwarder
from livepeer_remote_signer.adapters.events.stored import StoredOutbox
from livepeer_remote_signer.adapters.ledger.outbox import Outbox
from livepeer_remote_signer.adapters.ledger.sqlite import SqliteStore
from livepeer_remote_signer.adapters.ledger.store import StoreFailed
from livepeer_remote_signer.core.errors import LedgerUnavailable
from livepeer_remote_signer.core.rules.events import OutboxLevel
from tests.adapters.events.making import CountingMeter, ListSink, make_event


@asynccontextmanager
async def opened(path: Path, holder: str = "me") -> AsyncIterator[tuple[SqliteStore, Outbox]]:
    """A ledger file and its outbox."""
    store = SqliteStore(path, writer=holder)
    await store.open()
    try:
        yield store, Outbox(store, holder=holder, max_pending=1000, refuse_when_full=True, set_full=lambda full: None)
    finally:
        await store.close()


async def record(store: SqliteStore, event: bytes) -> None:
    """Puts an event into the table, as a payment's transaction does."""
    await store.execute("INSERT INTO lrs_outbox (made_ms, payload) VALUES (?, ?)", (time.time_ns() // 1_000_000, event))


async def test_an_event_is_done_with_when_every_sink_has_it(tmp_path: Path) -> None:
    async with opened(tmp_path / "ledger") as (store, table):
        outbox = StoredOutbox(table, ["one", "two"], StoreFailed)
        assert await outbox.take_lease(5)
        for n in range(3):
            await record(store, make_event(sequence_number=n))
        ids = [entry.position for entry in await outbox.pending_events("one", 10)]
        await outbox.mark_sent("one", ids)
        assert await outbox.pending_events("one", 10) == []
        assert len(await outbox.pending_events("two", 10)) == 3
        await outbox.mark_sent("two", ids[:2])
        assert [row.id for row in await table.pending(10)] == ids[2:]
        await table.refresh()
        assert (await outbox.outbox_level()).pending == 1
        await outbox.mark_sent("two", ids[2:])
        await table.refresh()
        assert await outbox.outbox_level() == OutboxLevel(0, None)


async def test_a_sink_goes_on_while_another_is_far_behind(tmp_path: Path) -> None:
    async with opened(tmp_path / "ledger") as (store, table):
        outbox = StoredOutbox(table, ["up", "down"], StoreFailed)
        await outbox.take_lease(5)
        for n in range(50):
            await record(store, make_event(sequence_number=n))
        seen: list[int] = []
        while entries := await outbox.pending_events("up", 7):
            seen += [entry.position for entry in entries]
            await outbox.mark_sent("up", [entry.position for entry in entries])
        assert seen == sorted(set(seen))
        assert len(seen) == 50
        assert len(await table.pending(100)) == 50, "the other sink has none of them"


async def test_an_event_that_was_committed_late_is_not_passed_over(tmp_path: Path) -> None:
    async with opened(tmp_path / "ledger") as (store, table):
        outbox = StoredOutbox(table, ["up", "down"], StoreFailed)
        await outbox.take_lease(5)
        late, early = make_event(sequence_number=0), make_event(sequence_number=1)
        await store.execute("INSERT INTO lrs_outbox (id, made_ms, payload) VALUES (?, ?, ?)", (8, 0, early))
        await outbox.mark_sent("up", [entry.position for entry in await outbox.pending_events("up", 10)])
        await store.execute("INSERT INTO lrs_outbox (id, made_ms, payload) VALUES (?, ?, ?)", (5, 0, late))
        assert [entry.event for entry in await outbox.pending_events("up", 10)] == [late]
        assert [entry.event for entry in await outbox.pending_events("down", 10)] == [late, early]


async def test_a_restart_sends_again_what_was_not_done_with_and_nothing_else(tmp_path: Path) -> None:
    events = [make_event(sequence_number=n) for n in range(4)]
    async with opened(tmp_path / "ledger", "first") as (store, table):
        outbox = StoredOutbox(table, ["one"], StoreFailed)
        await outbox.take_lease(0.05)
        for event in events:
            await record(store, event)
        entries = await outbox.pending_events("one", 10)
        await outbox.mark_sent("one", [entry.position for entry in entries[:2]])
    await asyncio.sleep(0.06)
    async with opened(tmp_path / "ledger", "second") as (_, table):
        outbox = StoredOutbox(table, ["one"], StoreFailed)
        assert await outbox.take_lease(5)
        assert [entry.event for entry in await outbox.pending_events("one", 10)] == events[2:]


async def test_one_process_at_a_time_holds_the_lease(tmp_path: Path) -> None:
    async with opened(tmp_path / "ledger", "first") as (_, one), opened(tmp_path / "ledger", "second") as (_, two):
        first, second = StoredOutbox(one, ["x"], StoreFailed), StoredOutbox(two, ["x"], StoreFailed)
        assert await first.take_lease(5)
        assert not await second.take_lease(5)
        assert await first.take_lease(5)
        await first.give_lease()
        assert await second.take_lease(5)


async def test_a_forwarder_empties_the_table(tmp_path: Path) -> None:
    async with opened(tmp_path / "ledger") as (store, table):
        sinks = [ListSink("one"), ListSink("two", refusals=1)]
        forwarder = Forwarder(StoredOutbox(table, ["one", "two"], StoreFailed), sinks, CountingMeter())
        events = [make_event(sequence_number=n) for n in range(20)]
        for event in events:
            await record(store, event)
        forwarder.start()
        await asyncio.sleep(0.05)
        await forwarder.stop(5)
        assert sinks[0].taken == sinks[1].taken == events
        assert await table.pending(10) == []


async def test_what_a_full_outbox_drops_is_counted_as_lost(tmp_path: Path) -> None:
    lost: list[int] = []
    async with opened(tmp_path / "ledger") as (store, _):
        table = Outbox(store, holder="me", max_pending=3, refuse_when_full=False, set_full=lambda full: None)
        outbox = StoredOutbox(table, ["one"], StoreFailed, lost.append)
        for n in range(5):
            await record(store, make_event(sequence_number=n))
        for _ in range(2):
            await table.refresh()
            assert (await outbox.outbox_level()).pending == 3
    assert lost == [2]


async def test_a_database_that_fails_is_an_unavailable_ledger() -> None:
    async def fails(*_: object) -> list[object]:
        raise StoreFailed("the disk is full")

    table = SimpleNamespace(pending=fails, mark_sent=fails, hold_lease=fails, release_lease=fails)
    outbox = StoredOutbox(table, ["one"], StoreFailed)  # type: ignore[arg-type]
    for call in (outbox.take_lease(1), outbox.give_lease(), outbox.pending_events("one", 1), outbox.mark_sent("one", [1])):
        with pytest.raises(LedgerUnavailable, match="the disk is full"):
            await call
