"""Brings one sink its events: in order, the same batch again after a failure, and past what it refuses.

A batch that the receiver refuses is halved until what it refuses is one event. That event is at fault where its size is, or
where the receiver takes others: then it is parked. Until that is known it is held, and events behind it are tried; a
receiver that refuses everything is itself at fault, and nothing is parked for it. Order is kept for what was never refused.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from livepeer_remote_signer.adapters.events.outbox import Outbox
from livepeer_remote_signer.adapters.events.sink import Sink, SinkRefused
from livepeer_remote_signer.core.rules.events import OutboxEvent, event_id

BATCH_EVENTS = 500
MAX_REFUSALS = 8
"""So many events, refused one after the other, end an attempt: the receiver may be at fault."""

MAX_HELD = 1000
"""With so many events held nothing new is tried: the receiver is at fault."""

_log = logging.getLogger(__name__)


class PublisherMeter(Protocol):
    """Told what happened to batches."""

    def sent(self, kind: str, events: int) -> None: ...

    def send_failed(self, kind: str) -> None: ...


class _Held(NamedTuple):
    """An event that was refused by itself, and what was said."""

    event: OutboxEvent
    refusal: SinkRefused


class Publisher:
    """One sink's way from the outbox."""

    def __init__(self, sink: Sink, outbox: Outbox, meter: PublisherMeter) -> None:
        self._sink = sink
        self._outbox = outbox
        self._meter = meter
        self._parts: deque[Sequence[OutboxEvent]] = deque()
        """What is left of the batch in work, in order; a refused part stands there as its halves."""
        self._taken: list[int] = []
        """Taken, and not marked yet."""
        self._held: dict[int, _Held] = {}
        self._refusals = 0
        """Events refused one after the other, since the receiver took something."""
        self._has_taken = False

    def forget(self) -> None:
        """Another process sends now: what is in work here is read anew."""
        self._parts.clear()
        self._taken.clear()
        self._held.clear()

    async def advance(self) -> int:
        """Sends one batch of at most BATCH_EVENTS. Returns how many events it was, 0: nothing was waiting.

        Raises SinkError when the sink is away or refuses something that cannot be parked yet, LedgerUnavailable for the outbox.
        """
        await self._mark()
        self._refusals, self._has_taken = 0, False
        if not self._parts:
            if self._held:
                await self._try_held()
            await self._read()
        count = sum(map(len, self._parts))
        while self._parts:
            await self._send_first()
        if self._held:
            if not self._has_taken:
                raise self._held[min(self._held)].refusal
            await self._settle()
        return count

    async def _read(self) -> None:
        """The next batch, without what is held."""
        if len(self._held) < MAX_HELD:
            waiting = await self._outbox.pending(self._sink.name, BATCH_EVENTS + len(self._held))
            if batch := [event for event in waiting if event.id not in self._held][:BATCH_EVENTS]:
                self._parts.append(batch)

    async def _send_first(self) -> None:
        """Sends the first part; where it is refused its halves take its place, or the event that it is is held."""
        part = self._parts[0]
        try:
            await self._publish(part)
        except SinkRefused as refusal:
            self._parts.popleft()
            if len(part) > 1:
                middle = len(part) // 2
                self._parts.extendleft((part[middle:], part[:middle]))
            elif refusal.is_certain:
                await self._park(part[0], refusal)
            else:
                self._hold(part[0], refusal)
        else:
            self._parts.popleft()
            await self._mark()

    def _hold(self, event: OutboxEvent, refusal: SinkRefused) -> None:
        self._held[event.id] = _Held(event, refusal)
        self._refusals += 1
        if self._refusals >= MAX_REFUSALS:
            self._parts.clear()  # the rest is read again, without what is held
            raise refusal

    async def _publish(self, events: Sequence[OutboxEvent]) -> None:
        await self._sink.publish([event.payload for event in events])
        self._meter.sent(self._sink.kind, len(events))
        self._refusals, self._has_taken = 0, True
        self._taken += [event.id for event in events]

    async def _mark(self) -> None:
        """What could not be marked is marked later: it is not sent again."""
        if self._taken:
            await self._outbox.mark_sent(self._sink.name, tuple(self._taken))
            self._taken.clear()

    async def _try_held(self) -> None:
        """All of them at once and in order: a receiver that was at fault takes them as soon as it is mended."""
        try:
            await self._publish([held.event for held in self._held.values()])
        except SinkRefused:
            return
        self._held.clear()
        await self._mark()

    async def _settle(self) -> None:
        """The receiver takes events: those that it still refuses, each by itself, are at fault."""
        for held in list(self._held.values()):
            try:
                await self._publish([held.event])
            except SinkRefused as refusal:
                await self._park(held.event, refusal)
            del self._held[held.event.id]
            await self._mark()

    async def _park(self, event: OutboxEvent, refusal: SinkRefused) -> None:
        await self._outbox.park(self._sink.name, event, str(refusal))
        _log.error("a billing event is parked, see the command `events parked`: event %s: %s", event_id(event.payload), refusal)


async def publish_acceptable(sink: Sink, events: Sequence[bytes]) -> list[tuple[bytes, str]]:
    """Publishes all that the sink takes, halving what it refuses. Returns each event that it refuses, with the reason.

    Raises SinkError when the sink is away.
    """
    refused: list[tuple[bytes, str]] = []
    parts = deque([events])
    while parts:
        part = parts.popleft()
        try:
            await sink.publish(part)
        except SinkRefused as refusal:
            if len(part) > 1:
                middle = len(part) // 2
                parts.extendleft((part[middle:], part[:middle]))
            else:
                refused.append((part[0], str(refusal)))
    return refused
