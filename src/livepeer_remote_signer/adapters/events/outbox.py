"""What a forwarder needs of the store of events, and the store that is used without a ledger: a bounded queue in memory.

A ledger's events, written in the payment's own transaction, are read through `adapters.ledger.outbox`.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Protocol

from livepeer_remote_signer.core.protocol.timestamps import NS_PER_MS
from livepeer_remote_signer.core.rules.events import Backlog, OutboxEvent

DEFAULT_MEMORY_LIMIT = 10_000


class Outbox(Protocol):
    """Events that were stored with their payments, and which sinks have them. A sink is known by its name.

    Every method may raise LedgerUnavailable; the caller tries again later.
    """

    @property
    def backlog(self) -> Backlog:
        """What some sink has not got, as last counted."""

    async def take_lease(self, seconds: float) -> bool:
        """Whether this process publishes for the next `seconds`: nobody else holds the lease, or it ran out. Renews its own."""

    async def give_lease(self) -> None:
        """Ends this process's lease, so that another one need not wait for it to run out."""

    async def pending(self, sink: str, limit: int) -> Sequence[OutboxEvent]:
        """The oldest events that `sink` has not got, in the order in which each session's were stored."""

    async def mark_sent(self, sink: str, ids: Sequence[int]) -> None:
        """Notes that `sink` has these; an event that every sink has is durably done with."""

    async def park(self, sink: str, event: OutboxEvent, reason: str) -> None:
        """Sets aside an event that `sink` refuses, until an operator decides: it waits for this sink no more."""

    @property
    def sink_faults(self) -> Mapping[str, str]:
        """Why a sink takes no events, by its name; those that take them are left out. As any process last reported it."""

    async def report_sink(self, sink: str, fault: str | None) -> None:
        """Tells why a sink takes no events, None: it takes them."""


class MemoryOutbox:
    """Events of a process without a ledger: best effort, gone with the process, counted when lost.

    `publish` is called on the paying path and must not wait, so a full queue drops its oldest event.
    """

    def __init__(self, sinks: Sequence[str], limit: int = DEFAULT_MEMORY_LIMIT, clock_ns: Callable[[], int] = time.time_ns) -> None:
        self._queues: dict[str, OrderedDict[int, OutboxEvent]] = {sink: OrderedDict() for sink in sinks}
        self._limit = limit
        self._clock_ns = clock_ns
        self._last_id = 0
        self._lost = 0
        self._faults: dict[str, str] = {}

    def publish(self, payload: bytes) -> None:
        """Queues an event for every sink."""
        self._last_id += 1
        event = OutboxEvent(self._last_id, self._clock_ns() // NS_PER_MS, payload)
        for queue in self._queues.values():
            if len(queue) >= self._limit:
                queue.popitem(last=False)
                self._lost += 1
            queue[event.id] = event

    def abandon(self) -> int:
        """Counts what is still queued as lost: for the end of the process. Returns how many deliveries that are."""
        left = sum(len(queue) for queue in self._queues.values())
        for queue in self._queues.values():
            queue.clear()
        self._lost += left
        return left

    @property
    def backlog(self) -> Backlog:
        """The longest queue, and the oldest event in any. What is lost counts once for each sink."""
        queues = self._queues.values()
        oldest = min((next(iter(queue.values())).made_ms for queue in queues if queue), default=None)
        return Backlog(max(map(len, queues), default=0), oldest, self._lost, 0)

    async def take_lease(self, seconds: float) -> bool:
        """Always: nobody else can see this queue."""
        return True

    async def give_lease(self) -> None:
        """Nothing to end."""

    async def pending(self, sink: str, limit: int) -> Sequence[OutboxEvent]:
        """The oldest queued events of a sink."""
        return list(islice(self._queues[sink].values(), limit))

    async def mark_sent(self, sink: str, ids: Sequence[int]) -> None:
        """Forgets what was sent. What the limit dropped meanwhile is passed over."""
        queue = self._queues[sink]
        for id in ids:
            queue.pop(id, None)

    async def park(self, sink: str, event: OutboxEvent, reason: str) -> None:
        """Nobody could find it again: it is lost."""
        if self._queues[sink].pop(event.id, None) is not None:
            self._lost += 1

    @property
    def sink_faults(self) -> Mapping[str, str]:
        """As this process reported them."""
        return self._faults

    async def report_sink(self, sink: str, fault: str | None) -> None:
        """Noted for this process."""
        if fault is None:
            self._faults.pop(sink, None)
        else:
            self._faults[sink] = fault
