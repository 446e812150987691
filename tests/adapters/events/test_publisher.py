"""One sink's way: what it refuses is found by halving and parked, the others go on, and nobody is parked for the receiver's own fault."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable, Sequence

import pytest

from livepeer_remote_signer.adapters.events import publisher as module
from livepeer_remote_signer.adapters.events.outbox import MemoryOutbox
from livepeer_remote_signer.adapters.events.publisher import Publisher, publish_acceptable
from livepeer_remote_signer.adapters.events.sink import SinkError, SinkRefused
from livepeer_remote_signer.core.errors import LedgerUnavailable
from livepeer_remote_signer.core.rules.events import OutboxEvent, event_id
from tests.adapters.events.making import CountingMeter, ListSink, make_event


class PickySink(ListSink):
    """Refuses every batch that holds an event it does not like; `is_away` and `refuses_all` are faults of its own."""

    def __init__(self, *disliked: bytes, is_certain: bool = False) -> None:
        super().__init__("picky")
        self.disliked = set(disliked)
        self.is_certain = is_certain
        self.is_away = self.refuses_all = False

    async def publish(self, events: Sequence[bytes]) -> None:
        if self.is_away:
            raise SinkError("nobody there")
        if self.refuses_all or self.disliked & set(events):
            self.batches.append(list(events))
            raise SinkRefused("HTTP 400", is_certain=self.is_certain and len(events) == 1)
        await super().publish(events)


class ParkingOutbox(MemoryOutbox):
    """Keeps what is parked, and can be out of reach for some calls."""

    def __init__(self) -> None:
        super().__init__(["picky"])
        self.parked: list[tuple[bytes, str]] = []
        self.failures_to_mark = 0

    async def park(self, sink: str, event: OutboxEvent, reason: str) -> None:
        self.parked.append((event.payload, reason))
        await super().mark_sent(sink, [event.id])

    async def mark_sent(self, sink: str, ids: Sequence[int]) -> None:
        if self.failures_to_mark:
            self.failures_to_mark -= 1
            raise LedgerUnavailable("not now")
        await super().mark_sent(sink, ids)


def events_in(outbox: MemoryOutbox, count: int) -> list[bytes]:
    """So many new events of one session, queued."""
    events = [make_event(sequence_number=n) for n in range(count)]
    for event in events:
        outbox.publish(event)
    return events


async def advance_until_idle(publisher: Publisher, rounds: int = 50) -> list[str]:
    """Advances until nothing is left to do, or nothing changes any more. Returns what failed on the way."""
    failures = []
    for _ in range(rounds):
        try:
            if not await publisher.advance():
                return failures
        except (SinkError, LedgerUnavailable) as error:
            failures.append(str(error))
    return failures


@pytest.mark.parametrize("places", [(0,), (499,), (250, 251), (0, 17, 18, 19, 303, 499), tuple(range(100, 140))])
async def test_what_is_refused_is_parked_and_the_others_arrive_once_and_in_order(
    places: Sequence[int], caplog: pytest.LogCaptureFixture
) -> None:
    outbox = ParkingOutbox()
    events = events_in(outbox, 600)
    bad = [events[place] for place in places]
    sink = PickySink(*bad)
    with caplog.at_level(logging.ERROR):
        await advance_until_idle(Publisher(sink, outbox, CountingMeter()))
    assert sink.taken == [event for event in events if event not in bad]
    assert outbox.parked == [(event, "HTTP 400") for event in bad]
    assert outbox.backlog.pending == 0
    assert outbox.backlog.lost == 0
    for event in bad:
        assert event_id(event) in caplog.text
    assert len(sink.batches) < 40 + 25 * len(places), "found by halving"


async def test_an_event_that_is_too_large_is_parked_at_once_also_alone() -> None:
    outbox = ParkingOutbox()
    (event,) = events_in(outbox, 1)
    sink = PickySink(event, is_certain=True)
    await Publisher(sink, outbox, CountingMeter()).advance()
    assert outbox.parked == [(event, "HTTP 400")]
    assert outbox.backlog.pending == 0


async def test_an_event_that_is_refused_alone_waits_for_another_one_to_be_taken() -> None:
    outbox = ParkingOutbox()
    (bad,) = events_in(outbox, 1)
    sink = PickySink(bad)
    publisher = Publisher(sink, outbox, CountingMeter())
    for _ in range(3):
        with pytest.raises(SinkRefused, match="HTTP 400"):
            await publisher.advance()
    assert outbox.parked == []
    good = make_event()
    outbox.publish(good)
    await advance_until_idle(publisher)
    assert (sink.taken, outbox.parked) == ([good], [(bad, "HTTP 400")])


async def test_a_receiver_that_refuses_everything_gets_it_all_in_order_when_it_is_mended() -> None:
    outbox = ParkingOutbox()
    events = events_in(outbox, 700)
    sink = PickySink()
    sink.refuses_all = True
    publisher = Publisher(sink, outbox, CountingMeter())
    for _ in range(20):
        asked = len(sink.batches)
        with pytest.raises(SinkRefused):
            await publisher.advance()
        assert len(sink.batches) - asked < 30, "it is not asked about each event"
    assert outbox.parked == []
    sink.refuses_all = False
    await advance_until_idle(publisher)
    assert sink.taken == events
    assert outbox.parked == []


async def test_more_events_than_an_attempt_looks_at_do_not_stand_in_the_way() -> None:
    outbox = ParkingOutbox()
    events = events_in(outbox, 300)
    sink = PickySink(*events[:100])
    await advance_until_idle(Publisher(sink, outbox, CountingMeter()))
    assert sink.taken == events[100:]
    assert [event for event, _ in outbox.parked] == events[:100]


async def test_no_more_is_held_than_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_HELD", 16)
    outbox = ParkingOutbox()
    events = events_in(outbox, 100)
    sink = PickySink()
    sink.refuses_all = True
    publisher = Publisher(sink, outbox, CountingMeter())
    assert len(await advance_until_idle(publisher, 20)) == 20
    assert len(publisher._held) == 16
    sink.refuses_all = False
    await advance_until_idle(publisher)
    assert sink.taken == events


async def test_a_sink_that_goes_away_amid_halving_gets_the_rest_later_and_nothing_twice() -> None:
    outbox = ParkingOutbox()
    events = events_in(outbox, 64)
    sink = PickySink(events[40])
    publish, calls = sink.publish, itertools.count()

    async def publish_or_leave(batch: Sequence[bytes]) -> None:
        sink.is_away = next(calls) % 3 == 2
        await publish(batch)

    sink.publish = publish_or_leave  # type: ignore[method-assign]
    failures = await advance_until_idle(Publisher(sink, outbox, CountingMeter()))
    assert "nobody there" in failures
    assert sink.taken == [event for event in events if event != events[40]]
    assert [event for event, _ in outbox.parked] == [events[40]]


async def test_what_was_taken_but_not_marked_is_not_sent_again_also_amid_halving() -> None:
    outbox = ParkingOutbox()
    events = events_in(outbox, 16)
    sink = PickySink(events[5])
    outbox.failures_to_mark = 3
    failures = await advance_until_idle(Publisher(sink, outbox, CountingMeter()))
    assert failures == ["not now"] * 3
    assert sink.taken == [event for event in events if event != events[5]]
    assert outbox.backlog.pending == 0


async def test_who_loses_the_lease_begins_anew() -> None:
    outbox = ParkingOutbox()
    events = events_in(outbox, 4)
    sink = PickySink()
    sink.is_away = True
    publisher = Publisher(sink, outbox, CountingMeter())
    with pytest.raises(SinkError):
        await publisher.advance()
    await outbox.mark_sent("picky", [1, 2])  # by another process
    publisher.forget()
    sink.is_away = False
    await publisher.advance()
    assert sink.taken == events[2:]


async def test_who_loses_the_lease_forgets_what_was_held_and_what_was_to_be_marked() -> None:
    outbox = ParkingOutbox()
    events = events_in(outbox, 1)
    sink = PickySink(*events)
    publisher = Publisher(sink, outbox, CountingMeter())
    with pytest.raises(SinkRefused):
        await publisher.advance()
    await outbox.mark_sent("picky", [1])  # by another process
    publisher.forget()
    assert await publisher.advance() == 0
    assert len(sink.batches) == 1
    events_in(outbox, 1)
    outbox.failures_to_mark = 1
    with pytest.raises(LedgerUnavailable):
        await publisher.advance()
    publisher.forget()
    outbox.failures_to_mark = 1
    events_in(outbox, 0)
    assert await publisher._mark() is None, "nothing is left to be marked"
    assert outbox.failures_to_mark == 1


@pytest.mark.parametrize("disliked", [lambda n: False, lambda n: n % 7 == 3, lambda n: True])
def test_publishing_what_is_acceptable_returns_the_rest(disliked: Callable[[int], bool]) -> None:
    events = [make_event(sequence_number=n) for n in range(50)]
    bad = [event for n, event in enumerate(events) if disliked(n)]
    sink = PickySink(*bad)
    assert asyncio.run(publish_acceptable(sink, events)) == [(event, "HTTP 400") for event in bad]
    assert sink.taken == [event for event in events if event not in bad]


async def test_without_a_ledger_what_would_be_parked_is_counted_as_lost() -> None:
    outbox = MemoryOutbox(["picky"])
    events = events_in(outbox, 3)
    sink = PickySink(events[1])
    await advance_until_idle(Publisher(sink, outbox, CountingMeter()))
    assert sink.taken == [events[0], events[2]]
    assert (outbox.backlog.pending, outbox.backlog.lost) == (0, 1)
