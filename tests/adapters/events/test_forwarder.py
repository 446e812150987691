"""The forwarder: in order, at least once, by one process at a time, whatever a sink does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from types import SimpleNamespace

import pytest

from livepeer_remote_signer.adapters.events import forwarder as module
from livepeer_remote_signer.adapters.events.forwarder import Forwarder
from livepeer_remote_signer.adapters.events.outbox import MemoryOutbox
from livepeer_remote_signer.adapters.events.sink import SinkError, SinkRefused
from livepeer_remote_signer.core.errors import LedgerUnavailable
from livepeer_remote_signer.core.rules.events import Backlog, OutboxEvent
from tests.adapters.events.making import CountingMeter, ListSink, make_event


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses that a test can wait for."""
    monkeypatch.setattr(module, "IDLE_SECONDS", 0.01)
    monkeypatch.setattr(module, "FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(module, "LONGEST_PAUSE_SECONDS", 0.05)
    monkeypatch.setattr(module, "LEASE_SECONDS", 5.0)


async def until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    """Waits for a condition; fails when it does not come."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.005)


class Lease:
    """Held by one at a time."""

    def __init__(self) -> None:
        self.holder: object = None
        self.until = 0.0


class SharedOutbox(MemoryOutbox):
    """The memory outbox with a lease that is really one process's, and moments at which it cannot be reached."""

    def __init__(self, sinks: Sequence[str], lease: Lease | None = None) -> None:
        super().__init__(sinks)
        self.lease = lease or Lease()
        self.failures_to_mark = 0
        self.is_down = False

    async def take_lease(self, seconds: float) -> bool:
        now = asyncio.get_running_loop().time()
        if self.is_down:
            raise LedgerUnavailable("down")
        if self.lease.holder not in (None, self) and now < self.lease.until:
            return False
        self.lease.holder, self.lease.until = self, now + seconds
        return True

    async def give_lease(self) -> None:
        if self.lease.holder is self:
            self.lease.holder = None

    async def mark_sent(self, sink: str, ids: Sequence[int]) -> None:
        if self.failures_to_mark:
            self.failures_to_mark -= 1
            raise LedgerUnavailable("not now")
        await super().mark_sent(sink, ids)

    async def pending(self, sink: str, limit: int) -> Sequence[OutboxEvent]:
        if self.is_down:
            raise LedgerUnavailable("down")
        return await super().pending(sink, limit)


async def test_events_reach_every_sink_in_order() -> None:
    sinks = [ListSink("one"), ListSink("two")]
    outbox, meter = MemoryOutbox(["one", "two"]), CountingMeter()
    forwarder = Forwarder(outbox, sinks, meter)
    forwarder.start()
    events = [make_event(sequence_number=n) for n in range(1200)]
    for event in events[:700]:
        outbox.publish(event)
    await until(lambda: len(sinks[0].taken) == 700)
    for event in events[700:]:
        outbox.publish(event)
    await forwarder.stop(2)
    assert sinks[0].taken == sinks[1].taken == events
    assert meter.sent_events["file"] == 2400
    assert all(sink.is_closed for sink in sinks)
    assert outbox.backlog == Backlog(0, None, 0, 0)


async def test_a_sink_that_refuses_gets_the_same_batch_again_and_holds_up_no_other() -> None:
    good, bad = ListSink("good"), ListSink("bad", refusals=3)
    outbox, meter = MemoryOutbox(["good", "bad"]), CountingMeter()
    events = [make_event(sequence_number=n) for n in range(10)]
    for event in events:
        outbox.publish(event)
    forwarder = Forwarder(outbox, [good, bad], meter)
    forwarder.start()
    await until(lambda: len(good.taken) == 10)
    outbox.publish(make_event(sequence_number=10))
    await until(lambda: len(bad.taken) == 11)
    await forwarder.stop(1)
    assert bad.batches[:4] == [events] * 4, "as it was, though more was waiting by then"
    assert meter.failures["file"] == 3


async def test_what_was_sent_but_not_marked_is_marked_later_and_not_sent_again() -> None:
    sink, outbox = ListSink("one"), SharedOutbox(["one"])
    outbox.failures_to_mark = 2
    outbox.publish(make_event())
    forwarder = Forwarder(outbox, [sink], CountingMeter())
    forwarder.start()
    await until(lambda: outbox.backlog.pending == 0)
    await forwarder.stop(1)
    assert len(sink.taken) == 1
    assert outbox.failures_to_mark == 0


async def test_an_unreachable_outbox_is_asked_again() -> None:
    sink, outbox = ListSink("one"), SharedOutbox(["one"])
    outbox.is_down = True
    outbox.publish(make_event())
    forwarder = Forwarder(outbox, [sink], CountingMeter())
    forwarder.start()
    await asyncio.sleep(0.1)
    assert sink.taken == []
    outbox.is_down = False
    await until(lambda: len(sink.taken) == 1)
    await forwarder.stop(1)


async def test_one_process_publishes_and_another_takes_over_when_it_stops() -> None:
    lease = Lease()
    outbox, other = SharedOutbox(["one"], lease), SharedOutbox(["one"], lease)
    other._queues = outbox._queues
    first_sink, second_sink = ListSink("one"), ListSink("one")
    first = Forwarder(outbox, [first_sink], CountingMeter())
    second = Forwarder(other, [second_sink], CountingMeter())
    first.start()
    await until(lambda: first.has_lease)
    second.start()
    for n in range(20):
        outbox.publish(make_event(sequence_number=n))
        await asyncio.sleep(0.005)
    await until(lambda: len(first_sink.taken) == 20)
    assert second_sink.taken == []
    await first.stop(1)
    outbox.publish(make_event(sequence_number=20))
    await until(lambda: len(second_sink.taken) == 1)
    await second.stop(1)


async def test_a_sink_that_raises_anything_at_all_does_not_end_the_forwarding() -> None:
    class Faulty(ListSink):
        async def publish(self, events: Sequence[bytes]) -> None:
            if self.refusals:
                self.refusals -= 1
                raise RuntimeError("a fault in a client library")
            await super().publish(events)

    sink, outbox = Faulty("one", refusals=2), MemoryOutbox(["one"])
    outbox.publish(make_event())
    meter = CountingMeter()
    forwarder = Forwarder(outbox, [sink], meter)
    forwarder.start()
    await until(lambda: len(sink.taken) == 1)
    await forwarder.stop(1)
    assert meter.failures["file"] == 2


async def test_stopping_waits_no_longer_than_it_may() -> None:
    sink, outbox = ListSink("one", refusals=10**6), MemoryOutbox(["one"])
    outbox.publish(make_event())
    forwarder = Forwarder(outbox, [sink], CountingMeter())
    forwarder.start()
    async with asyncio.timeout(20):
        await forwarder.stop(0.2)
    assert sink.taken == []


async def test_the_level_shows_how_many_wait_and_since_when() -> None:
    sink = ListSink("one", refusals=10**6)
    outbox = MemoryOutbox(["one"], clock_ns=lambda: 42 * 10**6)
    forwarder = Forwarder(outbox, [sink], CountingMeter())
    forwarder.start()
    for _ in range(3):
        outbox.publish(make_event())
    assert forwarder.backlog == Backlog(3, 42, 0, 0)
    assert forwarder.backlog.oldest_age_seconds(1042) == 1
    await forwarder.stop(0)


def test_a_full_queue_drops_the_oldest_and_counts_it() -> None:
    outbox = MemoryOutbox(["one", "two"], limit=2)
    events = [make_event(sequence_number=n) for n in range(3)]
    for event in events:
        outbox.publish(event)
    pending = asyncio.run(outbox.pending("one", 10))
    assert [event.payload for event in pending] == events[1:]
    assert outbox.backlog.lost == 2, "one for each sink"
    assert outbox.abandon() == 4
    assert outbox.backlog == Backlog(0, None, 6, 0)


class Pauses:
    """Asyncio as the forwarder sees it: what it would wait for is noted, and over at once."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seen: list[object]) -> None:
        self.seen = seen
        self.of_lease: set[float] = set()
        monkeypatch.setattr(module, "asyncio", SimpleNamespace(**{**vars(asyncio), "sleep": self._sleep}))

    async def _sleep(self, seconds: float) -> None:
        task = asyncio.current_task()
        if task is not None and "_keep_lease" in repr(task.get_coro()):
            self.of_lease.add(seconds)
        else:
            self.seen.append(seconds)
        await asyncio.sleep(0.001)


class ScriptedSink(ListSink):
    """Fails as it is told, and then takes everything."""

    def __init__(self, *faults: SinkError | None) -> None:
        super().__init__("one")
        self.faults = list(faults)

    async def publish(self, events: Sequence[bytes]) -> None:
        if self.faults and (fault := self.faults.pop(0)):
            raise fault
        await super().publish(events)


async def test_a_sink_that_fails_is_left_alone_for_longer_each_time_or_as_long_as_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("IDLE_SECONDS", 0.3), ("FIRST_PAUSE_SECONDS", 0.2), ("LONGEST_PAUSE_SECONDS", 30.0), ("LEASE_SECONDS", 4.0)):
        monkeypatch.setattr(module, name, value)
    pauses = Pauses(monkeypatch, [])
    away = SinkError("away")
    sink = ScriptedSink(
        away, away, SinkError("busy", 7.0), SinkError("busy", 90.0), *[away] * 6, None, away, SinkRefused("no", is_certain=False)
    )
    outbox = MemoryOutbox(["one"])
    outbox.publish(make_event())
    forwarder = Forwarder(outbox, [sink], CountingMeter())
    forwarder.start()
    await until(lambda: len(sink.taken) == 1)
    outbox.publish(make_event())
    await until(lambda: len(sink.taken) == 2)
    await forwarder.stop(5)
    waited = [seconds for seconds in pauses.seen if seconds != 0.3]
    asked_for = [0.2, 0.4, 7, 30, 3.2, 6.4, 12.8, 25.6, 30, 30, 0.2, 0.4]
    assert len(waited) == len(asked_for)
    for seconds, wanted in zip(waited, asked_for, strict=True):
        assert isinstance(seconds, float)
        assert 0.8 * wanted <= seconds <= 1.2 * wanted
    assert pauses.of_lease == {4.0 / 3}, "it is renewed well before its end"


async def test_a_receiver_that_refuses_is_asked_again_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE_SECONDS", 1.0)
    monkeypatch.setattr(module, "LONGEST_PAUSE_SECONDS", 30.0)
    pauses = Pauses(monkeypatch, [])
    sink, outbox = ScriptedSink(*[SinkRefused("no")] * 12), MemoryOutbox(["one"])
    outbox.publish(make_event())
    forwarder = Forwarder(outbox, [sink], CountingMeter())
    forwarder.start()
    await until(lambda: len(sink.taken) == 1)
    await forwarder.stop(5)
    waited = [seconds for seconds in pauses.seen if isinstance(seconds, float) and seconds > 0.1]
    assert len(waited) > 3
    assert max(waited) <= module.LONGEST_REFUSED_SECONDS * 1.2


async def test_between_full_batches_nothing_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    class Noting(ListSink):
        async def publish(self, events: Sequence[bytes]) -> None:
            seen.append(len(events))
            await super().publish(events)

    seen: list[object] = []
    Pauses(monkeypatch, seen)
    sink, outbox = Noting("one"), MemoryOutbox(["one"])
    for number in range(1200):
        outbox.publish(make_event(sequence_number=number))
    forwarder = Forwarder(outbox, [sink], CountingMeter())
    forwarder.start()
    await until(lambda: len(sink.taken) == 1200)
    await forwarder.stop(5)
    first = seen.index(500)
    assert seen[first : first + 4] == [500, 500, 200, module.IDLE_SECONDS]


async def test_why_a_sink_takes_nothing_is_told_until_it_does() -> None:
    good, bad = ListSink("good"), ListSink("bad", refusals=10**9)
    outbox = MemoryOutbox(["good", "bad"])
    outbox.publish(make_event())
    forwarder = Forwarder(outbox, [good, bad], CountingMeter())
    forwarder.start()
    await until(lambda: forwarder.sink_faults == ["", "not now"])
    bad.refusals = 0
    await until(lambda: forwarder.sink_faults == ["", ""])
    await forwarder.stop(1)


async def test_what_another_process_sent_while_it_had_the_lease_is_not_sent_again() -> None:
    sink, lease = ListSink("one", refusals=10**9), Lease()
    outbox = SharedOutbox(["one"], lease)
    first, second = make_event(), make_event()
    outbox.publish(first)
    forwarder = Forwarder(outbox, [sink], CountingMeter())
    forwarder.start()
    await until(lambda: len(sink.batches) > 1)
    lease.holder, lease.until = "another", asyncio.get_running_loop().time() + 3600
    await until(lambda: not forwarder.has_lease)
    await asyncio.sleep(5 * module.IDLE_SECONDS)  # the attempt that was in work ends, and the next look sees whose turn it is
    await outbox.mark_sent("one", [1])
    outbox.publish(second)
    sink.refusals, lease.holder = 0, None
    await until(lambda: outbox.backlog.pending == 0)
    await forwarder.stop(1)
    assert sink.taken == [second]


def test_the_backlog_is_the_longest_queue_and_nothing_without_a_sink() -> None:
    outbox = MemoryOutbox(["one", "two"])
    for _ in range(3):
        outbox.publish(make_event())
    asyncio.run(outbox.mark_sent("one", [1, 2]))
    assert outbox.backlog.pending == 3
    assert MemoryOutbox([]).backlog == Backlog(0, None, 0, 0)
