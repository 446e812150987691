"""The outbox: every recorded payment's event, in order, until it is marked as sent; one publisher at a time; limits."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from livepeer_remote_signer.adapters.ledger.housekeeping import MAX_COUNT_REST_SECONDS
from livepeer_remote_signer.core.errors import OutboxFull
from livepeer_remote_signer.core.protocol.timestamps import NS_PER_SECOND
from livepeer_remote_signer.core.rules.events import event_id
from tests.adapters.events.making import make_event
from tests.ledgers import Session, opened
from tests.plans import NOW_NS

Place = Path | str


async def test_events_come_with_their_payments_in_order_per_session(place: Place) -> None:
    async with opened(place, 2) as ledgers:
        sessions = [Session() for _ in range(8)]
        for step in range(4):
            payments = [session.next(event=f"{n} {step}".encode()) for n, session in enumerate(sessions)]
            await asyncio.gather(*(ledgers[n % 2].pay(payment) for n, payment in enumerate(payments)))
        refused = sessions[0].request(0, event=b"refused")
        await ledgers[0].pay(refused)
        events = await ledgers[1].outbox.unsent(100)
        assert len(events) == 32
        assert [event.id for event in events] == sorted({event.id for event in events})
        for n in range(8):
            assert [e.payload for e in events if e.payload.startswith(b"%d " % n)] == [b"%d %d" % (n, step) for step in range(4)]


async def test_what_is_marked_as_sent_is_not_pending_and_can_be_replayed(place: Place) -> None:
    async with opened(place) as (ledger,):
        session = Session()
        for n in range(6):
            await ledger.pay(session.next(event=b"%d" % n))
        events = await ledger.outbox.unsent(4)
        assert [e.payload for e in events] == [b"0", b"1", b"2", b"3"]
        await ledger.outbox.mark_sent("sink", [e.id for e in events])
        assert [e.payload for e in await ledger.outbox.unsent(10)] == [b"4", b"5"]
        assert [e.payload for e in await ledger.outbox.unsent(10, after_id=events[-1].id + 1)] == [b"5"]
        since = NOW_NS // 10**6 + 15_000
        assert [e.payload for e in await ledger.outbox.since(since)] == [b"2", b"3", b"4", b"5"]
        first = await ledger.outbox.since(since, limit=2)
        assert [e.payload for e in await ledger.outbox.since(since, first[-1].id, 2)] == [b"4", b"5"]


async def test_one_process_at_a_time_publishes(place: Place) -> None:
    async with opened(place, 2) as (one, other):
        assert await one.outbox.take_lease(30)
        assert not await other.outbox.take_lease(30)
        assert await one.outbox.take_lease(30)
        await other.outbox.give_lease()
        assert not await other.outbox.take_lease(30)
        await one.outbox.give_lease()
        assert await other.outbox.take_lease(0.05)
        await asyncio.sleep(0.1)
        assert await one.outbox.take_lease(30)


async def test_a_full_outbox_refuses_before_anything_is_signed_and_recovers(place: Place) -> None:
    async with opened(place, max_pending=3) as (ledger,):
        for n in range(3):
            await ledger.pay(Session().next(event=b"%d" % n))
        await ledger.outbox.refresh()
        refused = Session().next(event=b"3")
        with pytest.raises(OutboxFull, match="3 billing events wait"):
            await ledger.pay(refused)
        assert refused.made == []
        assert ledger.outbox.backlog.pending == 3
        await ledger.outbox.mark_sent("sink", [e.id for e in await ledger.outbox.unsent(1)])
        await ledger.outbox.refresh()
        assert await ledger.pay(refused) is None


async def test_where_the_oldest_may_be_dropped_they_are_and_they_are_counted(place: Place) -> None:
    async with opened(place, max_pending=3, refuse_when_full=False) as (ledger,):
        session = Session()
        for n in range(8):
            await ledger.pay(session.next(event=b"%d" % n))
        await ledger.outbox.refresh()
        assert [e.payload for e in await ledger.outbox.unsent(10)] == [b"5", b"6", b"7"]
        assert ledger.outbox.backlog.pending == 3
        assert ledger.outbox.backlog.lost == 5
        assert ledger.outbox.backlog.oldest_age_seconds(NOW_NS // 10**6 + 90_000) == 60


async def test_two_processes_that_see_the_same_surplus_drop_it_once(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(place, 2, max_pending=3, refuse_when_full=False) as (slow, quick):
        session = Session()
        for n in range(8):
            await slow.pay(session.next(event=b"%d" % n))
        backlog = slow.store.backlog

        async def overtaken() -> tuple[int, int | None, int]:
            counted = await backlog()
            await quick.outbox.refresh()
            return counted

        monkeypatch.setattr(slow.store, "backlog", overtaken)
        await slow.outbox.refresh()
        assert [e.payload for e in await quick.outbox.unsent(10)] == [b"5", b"6", b"7"]
        assert (quick.outbox.backlog.lost, slow.outbox.backlog.lost) == (5, 0)
        assert slow.outbox.backlog.pending == 3


async def test_after_a_count_that_was_held_up_the_next_one_comes_within_twenty_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path / "ledger") as (ledger,):
        loop, ahead, counts = asyncio.get_running_loop(), [0.0], [0]
        now = loop.time
        monkeypatch.setattr(loop, "time", lambda: now() + ahead[0])

        async def held_up() -> None:
            counts[0] += 1
            ahead[0] += 30.0

        monkeypatch.setattr(ledger.outbox, "refresh", held_up)
        for _ in range(2):
            await ledger.housekeeping.refresh()
            assert counts == [1]
        ahead[0] += MAX_COUNT_REST_SECONDS
        await ledger.housekeeping.refresh()
        assert counts == [2]
        assert MAX_COUNT_REST_SECONDS <= 20


async def test_only_sent_events_are_forgotten_by_age(place: Place) -> None:
    async with opened(place, retention_seconds=3600) as (ledger,):
        session = Session()
        for n in range(4):
            await ledger.pay(session.next(event=b"%d" % n))
        await ledger.outbox.mark_sent("sink", [e.id for e in await ledger.outbox.unsent(2)])
        ledger.now_ns += 7200 * NS_PER_SECOND
        await ledger.housekeeping.prune()
        assert [e.payload for e in await ledger.outbox.since(0)] == [b"2", b"3"]


async def test_a_backlog_above_its_limit_is_kept_whole_where_payments_are_refused(place: Place) -> None:
    async with opened(place, max_pending=3) as (ledger,):
        session = Session()
        for n in range(5):  # one batch, or a second process, passes the limit before it is counted
            await ledger.pay(session.next(event=b"%d" % n))
        for _ in range(2):
            await ledger.outbox.refresh()
            assert (ledger.outbox.backlog.pending, ledger.outbox.backlog.lost) == (5, 0)
        assert [e.payload for e in await ledger.outbox.unsent(10)] == [b"0", b"1", b"2", b"3", b"4"]
        with pytest.raises(OutboxFull):
            await ledger.pay(session.next(event=b"5"))


async def test_a_parked_event_fills_no_backlog_and_is_kept_until_somebody_decides(place: Place) -> None:
    async with opened(place, 2, max_pending=3, sinks=("one", "two"), retention_seconds=3600) as (ledger, other):
        payloads = [make_event(sequence_number=n) for n in range(3)]
        for payload in payloads:
            await ledger.pay(Session().next(event=payload))
        events = await ledger.outbox.pending("one", 10)
        await ledger.outbox.park("one", events[0], "HTTP 400 \ud800")
        await ledger.outbox.park("one", events[0], "HTTP 400")
        await ledger.outbox.mark_sent("one", [events[1].id])
        assert await ledger.outbox.pending("one", 10) == events[2:]
        assert await ledger.outbox.pending("two", 10) == events, "the other one gets it all the same"
        await ledger.outbox.mark_sent("two", [event.id for event in events])
        for outbox in (ledger.outbox, other.outbox):
            await outbox.refresh()
            assert (outbox.backlog.pending, outbox.backlog.parked) == (1, 1)
        await ledger.pay(Session().next(event=make_event()))
        ledger.now_ns += 7200 * NS_PER_SECOND
        await ledger.housekeeping.prune()
        (parked,) = await other.outbox.parked(10)
        assert (parked.id, parked.sink, parked.reason) == (event_id(payloads[0]), "one", "HTTP 400")
        assert (parked.made_ms, parked.payload) == (events[0].made_ms, payloads[0])
        assert await other.outbox.unpark(parked)
        assert not await ledger.outbox.unpark(parked), "once"
        await ledger.outbox.refresh()
        assert ledger.outbox.backlog.parked == 0


async def test_parked_events_are_listed_in_pages_and_once_for_each_sink(place: Place) -> None:
    async with opened(place, sinks=("one", "two")) as (ledger,):
        for n in range(4):
            await ledger.pay(Session().next(event=make_event(sequence_number=n)))
        for sink in ("one", "two"):
            for event in await ledger.outbox.pending(sink, 10):
                await ledger.outbox.park(sink, event, "no")
        found: list[tuple[str, str]] = []
        after = ("", "")
        while page := await ledger.outbox.parked(3, after):
            found += [(event.id, event.sink) for event in page]
            after = found[-1]
        assert found == sorted(found)
        assert len(set(found)) == 8
        assert await ledger.outbox.unsent(10) == []


async def test_every_process_sees_how_a_sink_is(place: Place) -> None:
    async with opened(place, 2) as (ledger, other):
        await ledger.outbox.report_sink("sink", "the receiver answered HTTP 503")
        assert ledger.outbox.sink_faults == {"sink": "the receiver answered HTTP 503"}
        await other.outbox.refresh()
        assert other.outbox.sink_faults == ledger.outbox.sink_faults
        await other.outbox.report_sink("sink", "another reason")
        await other.outbox.report_sink("sink", None)
        await ledger.outbox.refresh()
        assert ledger.outbox.sink_faults == other.outbox.sink_faults == {}


@pytest.mark.parametrize(("ahead_ms", "is_taken_over"), [(86_400_000, True), (61_000, True), (50_000, False)])
async def test_a_lease_that_a_wrong_clock_dated_ahead_is_taken_over(place: Place, ahead_ms: int, is_taken_over: bool) -> None:
    async with opened(place, 2) as (dated_ahead, other):
        assert await dated_ahead.store.take_lease("events", "before the clock was set back", ahead_ms)
        assert await other.outbox.take_lease(4) == is_taken_over
        if is_taken_over:
            assert not await dated_ahead.outbox.take_lease(4), "then it is a lease as any"
