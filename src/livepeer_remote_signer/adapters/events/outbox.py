"""What a forwarder needs of the store of events, and the store that is used without a ledger: a bounded queue in memory.

A ledger implements `Outbox` over tables that `Reservation.settle` writes in the payment's own transaction.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from livepeer_remote_signer.core.events import OutboxEntry, OutboxLevel

DEFAULT_MEMORY_LIMIT = 10_000


class Outbox(Protocol):
    """Events that were stored with their payments, and which sinks have them. A sink is known by a name that outlives restarts.

    Every method may raise LedgerUnavailable; the caller tries again later.
    """

    async def take_lease(self, owner: str, seconds: float) -> bool:
        """Whether `owner` publishes for the next `seconds`: nobody else holds the lease, or it ran out. Renews its own."""

    async def give_lease(self, owner: str) -> None:
        """Ends `owner`'s lease, so that another process need not wait for it to run out. Nothing happens without one."""

    async def pending_events(self, sink: str, limit: int) -> Sequence[OutboxEntry]:
        """The oldest events that `sink` has not got, in the order of positions. Must not miss an event whose payment was
        committed later than that of a higher position: what was sent is marked one by one, there is no cursor."""

    async def mark_sent(self, sink: str, positions: Sequence[int]) -> None:
        """Durably notes that `sink` has these. An event that every sink has may be removed when its retention ends."""

    async def outbox_level(self, sinks: Sequence[str]) -> OutboxLevel:
        """How many events some of `sinks` have not got, and the time of the oldest."""

    async def events_since(self, since_ns: int, after_position: int, limit: int) -> Sequence[OutboxEntry]:
        """Kept events stored at or after `since_ns`, sent or not, with positions above `after_position`: for a replay."""


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

    async def take_lease(self, owner: str, seconds: float) -> bool:
        """Always: nobody else can see this queue."""
        return True

    async def give_lease(self, owner: str) -> None:
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

    async def outbox_level(self, sinks: Sequence[str]) -> OutboxLevel:
        """The longest queue, and the oldest event in any."""
        queues = [self._queues[sink] for sink in sinks]
        oldest = [queue[0][0] for queue in queues if queue]
        return OutboxLevel(max(map(len, queues), default=0), min(oldest, default=None))

    async def events_since(self, since_ns: int, after_position: int, limit: int) -> Sequence[OutboxEntry]:
        """Nothing: what was sent is not kept."""
        return []
