"""The outbox: billing events that were recorded with their payments, until every sink has them.

Ids grow with time. Within a session they grow in the order of its payments; between replicas on PostgreSQL an event may
appear after one with a higher id, so what is unsent is asked for from the beginning, or, by a sink that others are behind,
from a little before its last one. One process at a time publishes: the one that holds the lease.

The table only knows whether an event is done with. Which sink has which event is remembered here until all have it; then it
is marked in the table. A restart while one sink is down therefore sends what waits for it to the others once more, under the
same ids.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from livepeer_remote_signer.adapters.ledger.store import Store
from livepeer_remote_signer.core.errors import OutboxFull
from livepeer_remote_signer.core.protocol.timestamps import NS_PER_MS
from livepeer_remote_signer.core.rules.events import Backlog, OutboxEvent, ParkedEvent, event_id
from livepeer_remote_signer.core.rules.id_spans import IdSpans

LEASE = "events"
OVERLAP = 1000
"""How far behind a sink's last event is looked for one that was committed late by another replica."""

MAX_SPANS = 10_000
"""What is remembered of a sink: some 700 kB. What is forgotten beyond it is sent again."""

_CHUNK = 500


class LedgerOutbox:
    """Reads and marks events. Every method raises LedgerUnavailable when the database cannot do it."""

    def __init__(
        self,
        store: Store,
        *,
        holder: str,
        sinks: Sequence[str],
        max_pending: int,
        refuse_when_full: bool,
        set_full: Callable[[OutboxFull | None], None],
    ) -> None:
        self._store = store
        self._holder = holder
        self._max_pending = max_pending
        self._refuse_when_full = refuse_when_full
        self._set_full = set_full
        self._has = {sink: IdSpans(MAX_SPANS) for sink in sinks}
        """Read and changed between two awaits only: the sinks' tasks meet here."""
        self._last = dict.fromkeys(sinks, 0)
        self._done: set[int] = set()
        """What every sink has and the table has not been told yet."""
        self.backlog = Backlog(0, None, 0, 0)
        """As last counted: `refresh` runs every second."""
        self.sink_faults: Mapping[str, str] = {}
        """Why a sink takes no events, by its name; as any process reported it, read with the backlog."""

    async def pending(self, sink: str, limit: int) -> list[OutboxEvent]:
        """The oldest events that `sink` has not got."""
        has = self._has[sink]
        is_ahead = self._last[sink] > min(self._last.values())
        after = max(0, self._last[sink] - OVERLAP) if is_ahead else 0
        found: list[OutboxEvent] = []
        is_first = not is_ahead
        while True:
            rows = await self.unsent(limit, after)
            if is_first and rows:
                has.forget_below(rows[0].id)  # only this sink's own reading ends what is remembered of it: no other one is under way
                is_first = False
            found += [row for row in rows if row.id not in has]
            if len(rows) < limit or len(found) >= limit:
                return found[:limit]
            after = rows[-1].id

    async def mark_sent(self, sink: str, ids: Sequence[int]) -> None:
        """Notes that a sink has these; what every sink has is marked in the table, also where that failed before."""
        for id in ids:
            self._has[sink].add(id)
        self._last[sink] = max(self._last[sink], *ids)
        self._done.update(id for id in ids if all(id in has for has in self._has.values()))
        done = sorted(self._done)
        for start in range(0, len(done), _CHUNK):
            chunk = done[start : start + _CHUNK]
            await self._store.mark_sent(chunk)
            self._done.difference_update(chunk)

    async def park(self, sink: str, event: OutboxEvent, reason: str) -> None:
        """Keeps an event that a sink refuses, with the reason, until an operator sends or drops it. The sink counts as having it."""
        await self._store.park(ParkedEvent(event_id(event.payload), sink, reason, _now_ms(), event.made_ms, event.payload))
        await self.mark_sent(sink, [event.id])

    def count_parked(self) -> int:
        """How many events wait for an operator, as of the last look."""
        return self.backlog.parked

    async def parked(self, limit: int, after: tuple[str, str] = ("", "")) -> list[ParkedEvent]:
        """Parked events, by id and sink. Go on with the last one's."""
        return await self._store.parked(limit, after)

    async def unpark(self, event: ParkedEvent) -> bool:
        """An operator has sent it, or given it up. False when another one did."""
        return await self._store.unpark(event.id, event.sink)

    async def report_sink(self, sink: str, fault: str | None) -> None:
        """Tells all processes why a sink takes no events, None: it takes them."""
        await self._store.put_sink_fault(sink, fault, _now_ms())
        others = {name: why for name, why in self.sink_faults.items() if name != sink}
        self.sink_faults = others if fault is None else {**others, sink: fault}

    async def unsent(self, limit: int, after_id: int = 0) -> list[OutboxEvent]:
        """The oldest events that some sink has not got."""
        return await self._store.unsent_events(limit, after_id)

    async def since(self, since_ms: int, after_id: int = 0, limit: int = _CHUNK) -> list[OutboxEvent]:
        """Events made at or after a time, sent or not, in order: to be sent once more. Go on with the last one's id."""
        return await self._store.events_since(since_ms, after_id, limit)

    async def take_lease(self, seconds: float) -> bool:
        """Whether this process may publish for so long; renewed by asking again before it ends."""
        return await self._store.take_lease(LEASE, self._holder, int(seconds * 1000))

    async def give_lease(self) -> None:
        """Lets another process publish at once."""
        await self._store.give_lease(LEASE, self._holder)

    async def refresh(self) -> None:
        """Counts the backlog and applies its limit: drops the oldest events, or has payments refused."""
        (pending, oldest_ms, parked), dropped = await self._store.backlog(), 0
        if pending > self._max_pending and not self._refuse_when_full:
            dropped = await self._store.drop_unsent(self._max_pending)
            pending, oldest_ms, parked = await self._store.backlog()
        self.backlog = Backlog(pending, oldest_ms, self.backlog.lost + dropped, parked)
        self.sink_faults = await self._store.sink_faults()
        self._set_full(self._full() if self._refuse_when_full and pending >= self._max_pending else None)

    def _full(self) -> OutboxFull:
        age = self.backlog.oldest_age_seconds(_now_ms())
        return OutboxFull(
            f"{self.backlog.pending} billing events wait to be sent, the most that ledger.max_pending_events allows is {self._max_pending}",
            hint="the operator must mend the events' sinks, or set ledger.on_full: drop_oldest",
            retry_after_seconds=5,
            pending=self.backlog.pending,
            limit=self._max_pending,
            oldest_age_seconds=round(age),
        )


def _now_ms() -> int:
    return time.time_ns() // NS_PER_MS
