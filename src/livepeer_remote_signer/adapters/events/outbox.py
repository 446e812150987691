"""What a forwarder needs of the store of events, and the store that is used without a ledger: a bounded queue in memory.

A ledger's events, written in the payment's own transaction, are read through `stored.StoredOutbox`.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from livepeer_remote_signer.core.rules.events import OutboxEntry, OutboxLevel

DEFAULT_MEMORY_LIMIT = 10_000


class Outbox(Protocol):
    """Events that were stored with their payments, and which sinks have them. A sink is known by its name.

    Every method may raise LedgerUnavailable; the caller tries again later.
    """

    async def take_lease(self, seconds: float) -> bool:
        """Whether this process publishes for the next `seconds`: nobody else holds the lease, or it ran out. Renews its own."""

    async def give_lease(self) -> None:
        """Ends this process's lease, so that another one need not wait for it to run out."""

    async def pending_events(self, sink: str, limit: int) -> Sequence[OutboxEntry]:
        """The oldest events that `sink` has not got, in the order in which each session's were stored."""

    async def mark_sent(self, sink: str, positions: Sequence[int]) -> None:
        """Notes that `sink` has these; an event that every sink has is durably done with."""

    async def outbox_level(self) -> OutboxLevel:
        """How many events some sink has not got, and the time of the oldest."""


class MemoryOutbox:
    """Events of a process without a ledger: best effort, gone with the process, counted when lost.

    `publish` is called on the paying path and must not wait, so a full queue drops its oldest event.
    """

    def __init__(
        self,
        sinks: Sequence[str],
        limit: int = DEFAULT_MEMORY_LIMIT,
        on_lost: Callable[[int], None] = lambda count: None,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._queues: dict[str, deque[tuple[int, OutboxEntry]]] = {sink: deque() for sink in sinks}
        self._limit = limit
        self._on_lost = on_lost
        self._clock_ns = clock_ns
        self._position = 0

    def publish(self, event: bytes) -> None:
        """Queues an event for every sink."""
        self._position += 1
        item = (self._clock_ns(), OutboxEntry(self._position, event))
        for queue in self._queues.values():
            if len(queue) >= self._limit:
                queue.popleft()
                self._on_lost(1)
            queue.append(item)

    def abandon(self) -> int:
        """Counts what is still queued as lost: for the end of the process. Returns how many deliveries that are."""
        lost = sum(len(queue) for queue in self._queues.values())
        for queue in self._queues.values():
            queue.clear()
        if lost:
            self._on_lost(lost)
        return lost

    async def take_lease(self, seconds: float) -> bool:
        """Always: nobody else can see this queue."""
        return True

    async def give_lease(self) -> None:
        """Nothing to end."""

    async def pending_events(self, sink: str, limit: int) -> Sequence[OutboxEntry]:
        """The oldest queued events of a sink."""
        queue = self._queues[sink]
        return [queue[index][1] for index in range(min(limit, len(queue)))]

    async def mark_sent(self, sink: str, positions: Sequence[int]) -> None:
        """Forgets what was sent. What the limit dropped meanwhile is passed over."""
        queue, sent = self._queues[sink], set(positions)
        while queue and queue[0][1].position in sent:
            queue.popleft()

    async def outbox_level(self) -> OutboxLevel:
        """The longest queue, and the oldest event in any."""
        queues = self._queues.values()
        oldest = [queue[0][0] for queue in queues if queue]
        return OutboxLevel(max(map(len, queues), default=0), min(oldest, default=None))
