"""What the ledger tells a caller of itself. Nothing here waits for payments, nor do payments wait for it."""

from __future__ import annotations

from collections.abc import Callable

from livepeer_remote_signer.adapters.ledger.controls import Controls
from livepeer_remote_signer.adapters.ledger.store import Store, text_bytes
from livepeer_remote_signer.core.protocol.timestamps import NS_PER_MS
from livepeer_remote_signer.core.rules.caller_usage import MAX_OPEN_SESSIONS, OPEN_SECONDS, CallerUsage
from livepeer_remote_signer.core.rules.usage import UsageQuery, UsageSum


class CallerBooks:
    """Reads for one auth id at a time. Raises LedgerUnavailable."""

    def __init__(self, store: Store, controls: Controls, clock_ns: Callable[[], int]) -> None:
        self._store = store
        self._controls = controls
        self._clock_ns = clock_ns

    def today(self) -> int:
        """The day of UTC, since 1970."""
        return self._controls.today()

    async def read(self, auth_id: str, query: UsageQuery) -> CallerUsage:
        """What is known of this auth id alone, whatever the query says."""
        query = query._replace(auth_id=auth_id)
        totals = await self._store.daily(query._replace(group=(), after=None))
        rows = await self._store.daily(query._replace(limit=query.limit + 1))
        since_ms = self._clock_ns() // NS_PER_MS - OPEN_SECONDS * 1000
        sessions = await self._store.open_sessions(text_bytes(auth_id), since_ms, MAX_OPEN_SESSIONS + 1)
        total = totals[0].sums if totals else UsageSum()
        return CallerUsage(query, total, rows, await self._controls.budgets_of(auth_id), sessions)
