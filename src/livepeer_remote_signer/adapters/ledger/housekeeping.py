"""What runs beside payments: reads switches and settings, counts the backlog, forgets old rows in small steps."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from livepeer_remote_signer.adapters.ledger.controls import Controls
from livepeer_remote_signer.adapters.ledger.engine import GroupCommitLedger
from livepeer_remote_signer.adapters.ledger.outbox import LedgerOutbox
from livepeer_remote_signer.adapters.ledger.store import Store, StoreFailed
from livepeer_remote_signer.core.rules.ledger import NS_PER_MS

REFRESH_SECONDS = 0.5
PRUNE_SECONDS = 5.0
KEPT_LONGER_SECONDS = 300
"""Rows outlive the retention by as much as clocks may differ: what is adopted by age must not have been forgotten here."""

STEP_ROWS = 200
_STEP_PAUSE_SECONDS = 0.02

_log = logging.getLogger(__name__)


class Housekeeping:
    """Two tasks: forgetting many rows takes long, and changes shall be known at once all the same.

    A fault of the database is logged once and tried again with the next look.
    """

    def __init__(
        self,
        store: Store,
        ledger: GroupCommitLedger,
        controls: Controls,
        outbox: LedgerOutbox | None,
        *,
        retention_seconds: int,
        clock_ns: Callable[[], int],
        has_sessions_table: bool,
    ) -> None:
        self._store = store
        self._ledger = ledger
        self._controls = controls
        self._outbox = outbox
        self._kept_ms = (retention_seconds + KEPT_LONGER_SECONDS) * 1000
        self._clock_ns = clock_ns
        self._swept = {("lrs_nonces", "rand_hash", "used_ms"): b""}
        if has_sessions_table:
            self._swept["lrs_sessions", "state_id", "made_ms"] = b""
        self._settings: dict[str, str] = {}
        self.on_settings: Callable[[dict[str, str]], None] | None = None
        """Called with all shared settings whenever one has changed, and once at start."""
        self._tasks: list[asyncio.Task[None]] = []
        self._count_at = 0.0
        self._is_open = False
        self._look_failure = ""
        self._prune_failure = ""

    @property
    def failure(self) -> str:
        """Why the database could not be looked at, or rows not be forgotten, last time; "" when they could."""
        return self._look_failure or self._prune_failure

    async def start(self, must_open: bool) -> None:
        """Opens the store and begins. Raises LedgerUnavailable if it `must_open` now; else it is tried again until it opens."""
        try:
            await self._open()
        except StoreFailed as error:
            if must_open:
                raise
            self._look_failure = _noted(error, "")
        self._tasks = [
            asyncio.create_task(self._keep_looking(), name="ledger-housekeeping"),
            asyncio.create_task(self._keep_pruning(), name="ledger-pruning"),
        ]

    async def close(self) -> None:
        """Stops after the step in work."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _keep_looking(self) -> None:
        while True:
            try:
                await self._open()
                await self.refresh()
                self._look_failure = ""
            except StoreFailed as error:
                self._look_failure = _noted(error, self._look_failure)
            await asyncio.sleep(REFRESH_SECONDS)

    async def _keep_pruning(self) -> None:
        while True:
            wait_seconds = REFRESH_SECONDS
            if self._is_open:
                try:
                    await self.prune()
                    self._prune_failure = ""
                    wait_seconds = PRUNE_SECONDS
                except StoreFailed as error:
                    self._prune_failure = _noted(error, self._prune_failure or self._look_failure)
            await asyncio.sleep(wait_seconds)

    async def _open(self) -> None:
        if not self._is_open:
            await self._store.open()
            self._is_open = True

    async def refresh(self) -> None:
        """Switches, settings and the backlog as they stand now; after a failure, whether rows can be written again."""
        if self._ledger.failure is not None:
            await self._ledger.probe()
        self._ledger.switches = await self._controls.read_switches()
        settings = await self._controls.settings()
        if settings != self._settings:
            self._settings = settings
            if self.on_settings is not None:
                self.on_settings(settings)
        loop = asyncio.get_running_loop()
        if self._outbox is not None and (started := loop.time()) >= self._count_at:
            await self._outbox.refresh()
            self._count_at = loop.time() + 20 * (loop.time() - started)  # a long backlog takes long to count

    async def prune(self) -> None:
        """Forgets what is older than the retention. Events that were not sent are never forgotten by age."""
        before = self._clock_ns() // NS_PER_MS - self._kept_ms
        for table, condition in (("lrs_payments", "made_ms < ?"), ("lrs_outbox", "made_ms < ? AND sent = 1")):
            statement = f"""DELETE FROM {table} WHERE id IN (SELECT id FROM
                (SELECT * FROM {table} ORDER BY id LIMIT {STEP_ROWS}) AS oldest WHERE {condition})"""  # noqa: S608 - our own names
            forgotten = STEP_ROWS
            while forgotten == STEP_ROWS:
                forgotten = await self._store.execute(statement, (before,))
                await asyncio.sleep(_STEP_PAUSE_SECONDS)
        await self._store.execute("DELETE FROM lrs_spend WHERE minute < ?", (before // 60_000,))
        await self._store.execute("DELETE FROM lrs_usage WHERE expires_ms < ?", (self._clock_ns() // NS_PER_MS,))
        for name in self._swept:
            await self._sweep(name, before)

    async def _sweep(self, name: tuple[str, str, str], before: int) -> None:
        """One step through a table whose key has no order in time; the next step goes on from there."""
        table, key, time_column = name
        start = self._swept[name]
        rows = await self._store.query(
            f"SELECT {key} FROM {table} WHERE {key} > ? ORDER BY {key} LIMIT 1 OFFSET {10 * STEP_ROWS}",  # noqa: S608 - our own names
            (start,),
        )
        end = bytes(rows[0][0]) if rows else None
        condition, parameters = ("", (start, before)) if end is None else (f" AND {key} <= ?", (start, before, end))
        await self._store.execute(f"DELETE FROM {table} WHERE {key} >= ? AND {time_column} < ?{condition}", parameters)  # noqa: S608
        self._swept[name] = end or b""


def _noted(error: StoreFailed, before: str) -> str:
    """What is wrong, logged when it is not what was wrong `before`."""
    if error.reason != before:
        _log.warning("the ledger cannot be read: %s", error.reason)
    return error.reason
