"""The outbox: billing events that were recorded with their payments, until somebody has sent them.

Ids grow with time. Within a session they grow in the order of its payments; between replicas on PostgreSQL an event may
appear after one with a higher id, so what is pending is asked for from the beginning, and `after_id` is only for reading
ahead. One process at a time publishes: the one that holds the lease.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from livepeer_remote_signer.adapters.ledger.store import Store
from livepeer_remote_signer.core.errors import OutboxFull

LEASE = "events"
_CHUNK = 500


class OutboxEvent(NamedTuple):
    """One event. `id` is the outbox's own; `made_ms` is its payment's time, unix milliseconds."""

    id: int
    made_ms: int
    payload: bytes


class Backlog(NamedTuple):
    """What waits to be sent. `oldest_ms` is None when nothing does; `dropped` counts since start of this process."""

    pending: int
    oldest_ms: int | None
    dropped: int

    def oldest_age_seconds(self, now_ms: int) -> float:
        """How long the oldest event has waited."""
        return 0.0 if self.oldest_ms is None else max(0.0, (now_ms - self.oldest_ms) / 1000)


class Outbox:
    """Reads and marks events. Every method raises StoreFailed when the database cannot do it."""

    def __init__(
        self,
        store: Store,
        *,
        holder: str,
        max_pending: int,
        refuse_when_full: bool,
        set_full: Callable[[OutboxFull | None], None],
    ) -> None:
        self._store = store
        self._holder = holder
        self._max_pending = max_pending
        self._refuse_when_full = refuse_when_full
        self._set_full = set_full
        self.backlog = Backlog(0, None, 0)
        """As last counted: `refresh` runs every second."""

    async def pending(self, limit: int, after_id: int = 0) -> list[OutboxEvent]:
        """The oldest events that are not marked as sent."""
        rows = await self._store.query(
            "SELECT id, made_ms, payload FROM lrs_outbox WHERE sent = 0 AND id > ? ORDER BY id LIMIT ?", (after_id, limit)
        )
        return [OutboxEvent(id, made_ms, bytes(payload)) for id, made_ms, payload in rows]

    async def mark_sent(self, ids: Sequence[int]) -> None:
        """These events need not be sent again."""
        for start in range(0, len(ids), _CHUNK):
            chunk = ids[start : start + _CHUNK]
            marks = ", ".join("?" * len(chunk))
            await self._store.execute(f"UPDATE lrs_outbox SET sent = 1 WHERE id IN ({marks})", tuple(chunk))  # noqa: S608 - only marks

    async def since(self, since_ms: int, after_id: int = 0, limit: int = _CHUNK) -> list[OutboxEvent]:
        """Events made at or after a time, sent or not, in order: to be sent once more. Go on with the last one's id."""
        rows = await self._store.query(
            "SELECT id, made_ms, payload FROM lrs_outbox WHERE made_ms >= ? AND id > ? ORDER BY id LIMIT ?", (since_ms, after_id, limit)
        )
        return [OutboxEvent(id, made_ms, bytes(payload)) for id, made_ms, payload in rows]

    async def hold_lease(self, seconds: float) -> bool:
        """Whether this process may publish for so long; renewed by asking again before it ends."""
        now = self._store.now_ms_sql
        rows = await self._store.query(
            f"""INSERT INTO lrs_leases (name, holder, until_ms) VALUES (?, ?, {now} + ?)
            ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until_ms = excluded.until_ms
            WHERE lrs_leases.holder = excluded.holder OR lrs_leases.until_ms < {now} RETURNING holder""",  # noqa: S608 - our own SQL
            (LEASE, self._holder, int(seconds * 1000)),
        )
        return bool(rows)

    async def release_lease(self) -> None:
        """Lets another process publish at once."""
        await self._store.execute("DELETE FROM lrs_leases WHERE name = ? AND holder = ?", (LEASE, self._holder))

    async def refresh(self) -> None:
        """Counts the backlog and applies its limit: drops the oldest events, or has payments refused."""
        pending, dropped = await self._count(), 0
        if pending > self._max_pending and not self._refuse_when_full:
            dropped = await self._drop_surplus()
            pending = await self._count()
        oldest = await self._store.query("SELECT made_ms FROM lrs_outbox WHERE sent = 0 ORDER BY id LIMIT 1")
        self.backlog = Backlog(pending, oldest[0][0] if oldest else None, self.backlog.dropped + dropped)
        self._set_full(self._full() if self._refuse_when_full and pending >= self._max_pending else None)

    async def _count(self) -> int:
        count: int = (await self._store.query("SELECT count(*) FROM lrs_outbox WHERE sent = 0"))[0][0]
        return count

    async def _drop_surplus(self) -> int:
        """How many of the oldest were dropped. What is too much is found by the statement that drops it: others may do the same now."""
        return await self._store.execute(
            "DELETE FROM lrs_outbox WHERE sent = 0 AND id <= (SELECT id FROM lrs_outbox WHERE sent = 0 ORDER BY id DESC LIMIT 1 OFFSET ?)",
            (self._max_pending,),
        )

    def _full(self) -> OutboxFull:
        age = self.backlog.oldest_age_seconds(time.time_ns() // 1_000_000)
        return OutboxFull(
            f"{self.backlog.pending} billing events wait to be sent, the most that ledger.max_pending_events allows is {self._max_pending}",
            hint="the operator must mend the events' sinks, or set ledger.on_full: drop_oldest",
            retry_after_seconds=5,
            pending=self.backlog.pending,
            limit=self._max_pending,
            oldest_age_seconds=round(age),
        )
