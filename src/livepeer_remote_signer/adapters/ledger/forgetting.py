"""Forgets what has grown old, faster than it arrives and without keeping payments waiting.

One process at a time forgets: the one that holds the lease. It takes steps, each a committed transaction of as many rows
as fit into `STEP_SECONDS` of work, of which `COMPUTED_SECONDS` on the signer's own processor, and rests after each for as
long as it kept others out, so that payments have the database at least half of the time. How long it waited for its turn
says nothing of a step: the busier payments are, the more there is to forget. Rows are found by an index of their times:
neither their number nor one that must stay slows a step down.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from livepeer_remote_signer.adapters.ledger.store import AGING, Aging, Store
from livepeer_remote_signer.adapters.ledger.user_store import REQUESTS_KEPT_MS
from livepeer_remote_signer.adapters.ledger.users import Users
from livepeer_remote_signer.core.protocol.timestamps import NS_PER_MS

STEP_SECONDS = 0.02
COMPUTED_SECONDS = 0.004
"""A payment waits for a step and for the batch before its own, which takes some 10 ms."""

MIN_STEP_ROWS, FIRST_STEP_ROWS, MAX_STEP_ROWS = 10, 100, 5000
SWEPT_SESSIONS = 2000
SWEPT_BUDGETS = 500
"""Looked at with each look, by name: of what is left of a budget that was removed nothing else tells."""

MIN_PAGES, FIRST_PAGES, MAX_PAGES = 16, 128, 4096
LEASE = "forgetting"
LEASE_MS = 10_000
_RENEW_SECONDS = 3.0
_MIN_REST_SECONDS = 0.001
_MS_PER_MINUTE = 60_000
_MS_PER_DAY = 86_400_000
DRAWS_KEPT_MS = 5 * 24 * 3600 * 1000
"""Tickets are redeemed for up to three rounds, on Arbitrum One some three days."""

REDEEMED_KEPT_MS = 400 * 24 * 3600 * 1000


class Forgetting:
    """Rows are kept for `kept_ms`, what was paid by day for `usage_kept_ms`, spending in windows until its windows have passed."""

    def __init__(
        self,
        store: Store,
        users: Users,
        *,
        holder: str,
        kept_ms: int,
        usage_kept_ms: int,
        audit_kept_ms: int,
        clock_ns: Callable[[], int],
    ) -> None:
        self._store = store
        self._holder = holder
        self._users = users
        self._kept_ms = kept_ms
        self._usage_kept_ms = usage_kept_ms
        self._audit_kept_ms = audit_kept_ms
        self._clock_ns = clock_ns
        self._step_rows = dict.fromkeys(AGING, FIRST_STEP_ROWS)
        self._swept = b""
        self._swept_budget = ""
        self._pages = FIRST_PAGES
        self.behind_seconds: dict[Aging, float] = {}
        """By kind: for how long the oldest row should have been forgotten, as last seen. A look comes every few seconds."""

    async def forget_due(self) -> None:
        """Everything that is due now, unless another process is at it. Raises StoreFailed."""
        bounds = self._bounds()
        due = await self._look(bounds)
        held_at = -_RENEW_SECONDS
        while due:
            if time.monotonic() - held_at >= _RENEW_SECONDS:
                if not await self._store.take_lease(LEASE, self._holder, LEASE_MS):
                    return
                held_at = time.monotonic()
            for kind in list(due):
                if not await self._step(kind, bounds[kind]):
                    due.remove(kind)
        await self._look(bounds)
        self._swept = await self._store.sweep_sessions(self._swept, bounds["payments"], SWEPT_SESSIONS) or b""
        await self._sweep_budgets(bounds)
        await self._give_back()

    async def _sweep_budgets(self, bounds: dict[Aging, int]) -> None:
        """What is kept of budgets that neither the configuration nor the runtime has goes when nobody has counted it for as long as
        payments are kept.

        Another replica may have them in its configuration: what it counts is not touched.
        """
        rows = await self._store.list_usage(self._swept_budget, SWEPT_BUDGETS)
        self._swept_budget = rows[-1][0] if len(rows) == SWEPT_BUDGETS else ""
        removed = [(key, touched_ms) for key, touched_ms in rows if not self._users.counts(key)]
        if unknown := [key for key, touched_ms in removed if touched_ms is None]:
            await self._store.touch_usage(unknown, bounds["usage"])
        if old := [key for key, touched_ms in removed if touched_ms is not None and touched_ms < bounds["payments"]]:
            await self._store.forget_usage(old, bounds["payments"])

    async def _give_back(self) -> None:
        """Pages of a file, as many at a time as fit into a step."""
        left = 1
        while left:
            started = time.monotonic()
            left = await self._store.give_back(self._pages)
            took = time.monotonic() - started
            if took > STEP_SECONDS:
                self._pages = max(MIN_PAGES, self._pages // 2)
            elif took < STEP_SECONDS / 2:
                self._pages = min(MAX_PAGES, self._pages * 2)
            if left:
                await asyncio.sleep(max(took, _MIN_REST_SECONDS))

    def _bounds(self) -> dict[Aging, int]:
        """The time that rows of each kind are forgotten before, unix milliseconds."""
        now_ms = self._clock_ns() // NS_PER_MS
        old_ms = now_ms - self._kept_ms
        old_minute_ms = old_ms // _MS_PER_MINUTE * _MS_PER_MINUTE
        draws_ms = min(old_minute_ms, now_ms // _MS_PER_MINUTE * _MS_PER_MINUTE - DRAWS_KEPT_MS)
        return {
            "payments": old_ms,
            "nonces": old_ms,
            "events": old_ms,
            "spend": old_minute_ms,
            "usage": now_ms,
            "draws": draws_ms,
            "days": (now_ms - self._usage_kept_ms) // _MS_PER_DAY * _MS_PER_DAY,
            "seg_creds": old_ms,
            "api_keys": now_ms,
            "user_budgets": now_ms,
            "audit": now_ms - self._audit_kept_ms,
            "admin_requests": now_ms - REQUESTS_KEPT_MS,
            "redeemed": now_ms - REDEEMED_KEPT_MS,
            "digests": old_minute_ms,
            "closings": now_ms - self._usage_kept_ms,
        }

    async def _look(self, bounds: dict[Aging, int]) -> list[Aging]:
        """The kinds of which something is due; also notes how far behind each is."""
        oldest = await self._store.oldest()
        self.behind_seconds = {kind: max(0, bounds[kind] - oldest.get(kind, bounds[kind])) / 1000 for kind in AGING}
        return [kind for kind, seconds in self.behind_seconds.items() if seconds]

    async def _step(self, kind: Aging, before_ms: int) -> bool:
        """One step, and a rest. Whether more may be due."""
        rows = self._step_rows[kind]
        done = await self._store.forget(kind, before_ms, rows)
        used = max(done.worked_seconds / STEP_SECONDS, done.computed_seconds / COMPUTED_SECONDS)
        if used > 1:
            self._step_rows[kind] = max(MIN_STEP_ROWS, rows // 2)
        elif used < 1 / 2 and done.rows == rows:
            self._step_rows[kind] = min(MAX_STEP_ROWS, rows * 2)
        await asyncio.sleep(max(done.held_seconds, _MIN_REST_SECONDS))
        return done.rows == rows
