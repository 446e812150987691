"""From the first event to the last: sinks are made ready, and at the end what is lost is counted aloud."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

import pytest

from livepeer_remote_signer.adapters.events.delivery import Delivery
from livepeer_remote_signer.adapters.events.forwarder import Forwarder
from livepeer_remote_signer.adapters.events.outbox import MemoryOutbox
from livepeer_remote_signer.adapters.events.sink import SinkError
from tests.adapters.events.making import CountingMeter, ListSink, make_event


class StartedSink(ListSink):
    """Takes events once it was made ready, or never."""

    def __init__(self, *, is_silent: bool = False) -> None:
        super().__init__()
        self._is_ready = False
        self._is_silent = is_silent

    async def start(self) -> None:
        self._is_ready = True

    async def publish(self, events: Sequence[bytes]) -> None:
        assert self._is_ready
        if self._is_silent:
            await asyncio.Event().wait()
        await super().publish(events)


def delivery(sink: ListSink, memory: MemoryOutbox, *, drain_seconds: float = 20, has_ledger: bool = False) -> Delivery:
    return Delivery([sink], Forwarder(memory, [sink], CountingMeter()), None if has_ledger else memory, drain_seconds)


async def test_events_are_sent_from_the_start_and_the_rest_at_the_end(caplog: pytest.LogCaptureFixture) -> None:
    sink, memory = StartedSink(), MemoryOutbox(["list"])
    running = delivery(sink, memory)
    first, last = make_event(), make_event()
    memory.publish(first)
    await running.start()
    async with asyncio.timeout(20):
        while sink.taken != [first]:  # noqa: ASYNC110 - the sink's plain list
            await asyncio.sleep(0.01)
    memory.publish(last)
    await running.stop()
    assert sink.taken == [first, last]
    assert sink.is_closed
    assert not caplog.records


@pytest.mark.parametrize("has_ledger", [False, True])
async def test_what_cannot_be_sent_is_lost_aloud_unless_a_ledger_keeps_it(caplog: pytest.LogCaptureFixture, has_ledger: bool) -> None:
    sink, memory = StartedSink(is_silent=True), MemoryOutbox(["list"])
    running = delivery(sink, memory, drain_seconds=0.05, has_ledger=has_ledger)
    await running.start()
    for _ in range(3):
        memory.publish(make_event())
    await running.stop()
    told = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert [words.partition(" could")[0] for words in told] == ([] if has_ledger else ["3 billing events"])
    assert memory.backlog.pending == (3 if has_ledger else 0)


async def test_a_sink_that_cannot_be_made_ready_ends_the_start() -> None:
    class Unwritable(ListSink):
        async def start(self) -> None:
            raise SinkError("it cannot be written")

    memory = MemoryOutbox(["list"])
    running = delivery(Unwritable(), memory)
    with pytest.raises(SinkError, match="cannot be written"):
        await running.start()
    await running.stop()
