"""A ledger's events for several sinks, over a table that only knows whether an event is done with.

Which sink has which event is remembered here until all have it; then it is marked in the table. A restart while one sink is
down therefore sends what waits for it to the others once more, under the same ids.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NoReturn, Protocol

from livepeer_remote_signer.core.errors import LedgerUnavailable
from livepeer_remote_signer.core.rules.events import OutboxEntry, OutboxLevel

OVERLAP = 1000
"""How far behind a sink's last event is looked for one that was committed late by another replica."""

_NS_PER_MS = 1_000_000


class StoredEvent(Protocol):
    """A row of the table."""

    @property
    def id(self) -> int: ...

    @property
    def payload(self) -> bytes: ...


class Backlog(Protocol):
    """What the table holds that is not done with, as last counted."""

    @property
    def pending(self) -> int: ...

    @property
    def oldest_ms(self) -> int | None: ...

    @property
    def dropped(self) -> int:
        """How many were dropped unsent by this process, as configured for a full outbox."""


class EventTable(Protocol):
    """The ledger's outbox."""

    @property
    def backlog(self) -> Backlog: ...

    async def pending(self, limit: int, after_id: int = 0) -> Sequence[StoredEvent]:
        """The oldest rows that are not done with, by id."""

    async def mark_sent(self, ids: Sequence[int]) -> None:
        """These are done with."""

    async def hold_lease(self, seconds: float) -> bool:
        """Whether this process may publish for so long."""

    async def release_lease(self) -> None:
        """Ends this process's lease."""


class StoredOutbox:
    """The `Outbox` of a process that has a ledger. `failure` is what the table raises when the database cannot do it."""

    def __init__(
        self,
        table: EventTable,
        sinks: Sequence[str],
        failure: type[Exception],
        on_lost: Callable[[int], None] = lambda count: None,
    ) -> None:
        self._table = table
        self._on_lost = on_lost
        self._lost = 0
        self._failure = failure
        self._has: dict[str, set[int]] = {sink: set() for sink in sinks}
        self._last: dict[str, int] = dict.fromkeys(sinks, 0)
        self._is_holder = False

    async def take_lease(self, seconds: float) -> bool:
        """Asks the table. What is remembered of the sinks ends with the lease: meanwhile another process sends."""
        try:
            holds = await self._table.hold_lease(seconds)
        except self._failure as error:
            _unavailable(error)
        if not self._is_holder:
            for sink, has in self._has.items():
                has.clear()
                self._last[sink] = 0
        self._is_holder = holds
        return holds

    async def give_lease(self) -> None:
        """Asks the table."""
        try:
            await self._table.release_lease()
        except self._failure as error:
            _unavailable(error)

    async def pending_events(self, sink: str, limit: int) -> Sequence[OutboxEntry]:
        """Reads from the table's beginning, or from near the sink's last event while another sink is behind."""
        has = self._has[sink]
        after = max(0, self._last[sink] - OVERLAP) if has else 0
        found: list[OutboxEntry] = []
        try:
            while True:
                rows = await self._table.pending(limit, after)
                found += [OutboxEntry(row.id, row.payload) for row in rows if row.id not in has]
                if len(rows) < limit or len(found) >= limit:
                    return found[:limit]
                after = rows[-1].id
        except self._failure as error:
            _unavailable(error)

    async def mark_sent(self, sink: str, positions: Sequence[int]) -> None:
        """Marks in the table what every sink has now."""
        done = [position for position in positions if all(position in has for name, has in self._has.items() if name != sink)]
        if done:
            try:
                await self._table.mark_sent(done)
            except self._failure as error:
                _unavailable(error)
        self._has[sink].update(positions)
        for has in self._has.values():
            has.difference_update(done)
        self._last[sink] = max(self._last[sink], *positions)

    async def outbox_level(self) -> OutboxLevel:
        """As the ledger last counted."""
        backlog = self._table.backlog
        if backlog.dropped > self._lost:
            self._on_lost(backlog.dropped - self._lost)
            self._lost = backlog.dropped
        return OutboxLevel(backlog.pending, None if backlog.oldest_ms is None else backlog.oldest_ms * _NS_PER_MS)


def _unavailable(error: Exception) -> NoReturn:
    raise LedgerUnavailable(str(error)) from None
