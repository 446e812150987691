"""Carries events from the outbox to the sinks: in order, at least once, by one process at a time.

Each sink has its own pace: one that is down holds up nobody else, and its events wait in the outbox. A batch that failed is
sent again as it was, after a pause that grows, so that a receiver can tell it by its idempotency key.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Sequence
from contextlib import suppress

from livepeer_remote_signer.adapters.events.outbox import Outbox
from livepeer_remote_signer.adapters.events.publisher import BATCH_EVENTS, Publisher, PublisherMeter
from livepeer_remote_signer.adapters.events.sink import Sink, SinkError, SinkRefused
from livepeer_remote_signer.core.errors import LedgerUnavailable, SignerError
from livepeer_remote_signer.core.rules.events import Backlog

IDLE_SECONDS = 0.2
LEASE_SECONDS = 4.0
FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 30.0
LONGEST_REFUSED_SECONDS = 2.0
"""A receiver that refuses an event may take the next one: it is not left alone for long."""

_log = logging.getLogger(__name__)


class Forwarder:
    """Runs from `start` to `stop`."""

    def __init__(self, outbox: Outbox, sinks: Sequence[Sink], meter: PublisherMeter) -> None:
        self._outbox = outbox
        self._sinks = sinks
        self._meter = meter
        self._leased_until = 0.0
        self._is_stopping = False
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begins to forward, on the running event loop."""
        self._tasks = [asyncio.create_task(self._keep_lease())]
        self._tasks += [asyncio.create_task(self._forward(sink)) for sink in self._sinks]

    async def stop(self, drain_seconds: float) -> None:
        """Sends what can still be sent within `drain_seconds`, then lets another process have the lease."""
        self._is_stopping = True
        if not self._tasks:
            return
        _, late = await asyncio.wait(self._tasks[1:], timeout=drain_seconds) if self._sinks else (set(), set())
        for task in (self._tasks[0], *late):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        try:
            await self._outbox.give_lease()
        except SignerError as error:
            _log.warning("the lease on the outbox runs out by itself: %s", error.message)
        for sink in self._sinks:
            try:
                await sink.aclose()
            except SinkError as error:
                _log.warning("%s", error)

    @property
    def backlog(self) -> Backlog:
        """What waits to be sent."""
        return self._outbox.backlog

    @property
    def sink_faults(self) -> list[str]:
        """Why each sink takes no events, in the order of the configuration; "" for those that do."""
        faults = self._outbox.sink_faults
        return [faults.get(sink.name, "") for sink in self._sinks]

    @property
    def has_lease(self) -> bool:
        """Whether this process may publish."""
        return time.monotonic() < self._leased_until

    async def _keep_lease(self) -> None:
        while True:
            asked_at = time.monotonic()
            try:
                if await self._outbox.take_lease(LEASE_SECONDS):
                    self._leased_until = asked_at + LEASE_SECONDS
                else:
                    self._leased_until = 0.0
            except SignerError as error:
                _log.warning("the lease on the outbox could not be renewed: %s", error.message)
            await asyncio.sleep(LEASE_SECONDS / 3)

    async def _forward(self, sink: Sink) -> None:
        publisher = Publisher(sink, self._outbox, self._meter)
        failures = 0
        while self.has_lease or not self._is_stopping:
            if not self.has_lease:
                publisher.forget()
                await asyncio.sleep(IDLE_SECONDS)
                continue
            try:
                count = await publisher.advance()
                await self._report(sink, None)
            except SinkError as error:
                longest = LONGEST_REFUSED_SECONDS if isinstance(error, SinkRefused) else LONGEST_PAUSE_SECONDS
                wait = min(error.retry_after_seconds or _pause_seconds(failures), longest)
                await self._failed(sink, str(error))
            except SignerError as error:
                _log.warning("events wait to be sent: %s", error.message)
                wait = _pause_seconds(failures)
            except Exception as error:  # noqa: BLE001 - whatever a client library raises must not end the forwarding
                _log.exception("forwarding events to %s failed", sink.kind)
                wait = _pause_seconds(failures)
                await self._failed(sink, f"the {sink.kind} sink failed, see the log: {type(error).__name__}")
            else:
                failures = 0
                if count == 0 and self._is_stopping:
                    return
                if count < BATCH_EVENTS and not self._is_stopping:
                    await asyncio.sleep(IDLE_SECONDS)
                continue
            failures += 1
            await asyncio.sleep(wait * random.uniform(0.8, 1.2))  # noqa: S311 - spreads retries, guards nothing

    async def _failed(self, sink: Sink, fault: str) -> None:
        self._meter.send_failed(sink.kind)
        _log.warning("events wait to be sent: %s", fault)
        await self._report(sink, fault)

    async def _report(self, sink: Sink, fault: str | None) -> None:
        """Tells every process on this outbox how the sink is, when that has changed. What cannot be told now is told next time."""
        if self._outbox.sink_faults.get(sink.name) != fault:
            with suppress(LedgerUnavailable):
                await self._outbox.report_sink(sink.name, fault)


def _pause_seconds(failures: int) -> float:
    """Grows with the failures before this one."""
    return min(FIRST_PAUSE_SECONDS * (1 << min(failures, 16)), LONGEST_PAUSE_SECONDS)
