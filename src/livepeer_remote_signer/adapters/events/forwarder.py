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
from typing import Protocol

from livepeer_remote_signer.adapters.events.outbox import Outbox
from livepeer_remote_signer.adapters.events.sink import Sink, SinkError
from livepeer_remote_signer.core.errors import SignerError
from livepeer_remote_signer.core.rules.events import Backlog, OutboxEvent

BATCH_EVENTS = 500
IDLE_SECONDS = 0.2
LEASE_SECONDS = 4.0
FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 30.0

_log = logging.getLogger(__name__)


class ForwarderMeter(Protocol):
    """Told what happened to batches."""

    def sent(self, kind: str, events: int) -> None: ...

    def send_failed(self, kind: str) -> None: ...


class Forwarder:
    """Runs from `start` to `stop`."""

    def __init__(self, outbox: Outbox, sinks: Sequence[Sink], meter: ForwarderMeter) -> None:
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
        batch: Sequence[OutboxEvent] = ()
        is_taken = False
        pause = FIRST_PAUSE_SECONDS
        while True:
            if not self.has_lease:
                batch, is_taken = (), False
                if self._is_stopping:
                    return
                await asyncio.sleep(IDLE_SECONDS)
                continue
            try:
                batch = batch or await self._outbox.pending(sink.name, BATCH_EVENTS)
                if not batch and self._is_stopping:
                    return
                if batch:
                    if not is_taken:
                        await sink.publish([event.payload for event in batch])
                        self._meter.sent(sink.kind, len(batch))
                        is_taken = True
                    await self._outbox.mark_sent(sink.name, [event.id for event in batch])
            except (SinkError, SignerError) as error:
                self._failed(sink, str(error))
                wait = getattr(error, "retry_after_seconds", None) or pause
            except Exception as error:  # noqa: BLE001 - whatever a client library raises must not end the forwarding
                _log.exception("forwarding events to %s failed", sink.kind)
                self._failed(sink, type(error).__name__)
                wait = pause
            else:
                is_full = len(batch) == BATCH_EVENTS
                batch, is_taken, pause = (), False, FIRST_PAUSE_SECONDS
                if not is_full:
                    await asyncio.sleep(0 if self._is_stopping else IDLE_SECONDS)
                continue
            await asyncio.sleep(min(wait, LONGEST_PAUSE_SECONDS) * random.uniform(0.8, 1.2))  # noqa: S311 - spreads retries, guards nothing
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    def _failed(self, sink: Sink, reason: str) -> None:
        self._meter.send_failed(sink.kind)
        _log.warning("events wait to be sent: %s", reason)
