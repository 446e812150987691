"""What runs beside payments: reads switches and settings, counts the backlog and the last hour's spend, forgets old rows in small steps."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

from livepeer_remote_signer.adapters.ledger.closing import close_minutes
from livepeer_remote_signer.adapters.ledger.engine import GroupCommitLedger
from livepeer_remote_signer.adapters.ledger.forgetting import Forgetting
from livepeer_remote_signer.adapters.ledger.outbox import LedgerOutbox
from livepeer_remote_signer.adapters.ledger.owner import Owner, WrongLedger, claim
from livepeer_remote_signer.adapters.ledger.store import Store, StoreFailed
from livepeer_remote_signer.adapters.ledger.users import Users
from livepeer_remote_signer.core.protocol.timestamps import NS_PER_MS
from livepeer_remote_signer.core.rules.chain import ChainView
from livepeer_remote_signer.core.rules.reservation import SWEPT_MS
from livepeer_remote_signer.core.rules.usage import SECONDS_PER_DAY

REFRESH_SECONDS = 0.5
PRUNE_SECONDS = 5.0
FOLD_SECONDS = 1.0
"""How old the sums beside the payments may be in the tables; what reads them adds what waits before."""

WRITE_BACK_SECONDS = 1.0
"""A second's pages are written to the file once, however often they changed."""

SILENT_SECONDS = 4.0
"""A database is looked at every half second; one that did nothing for so long is taken for one that does nothing."""

COUNT_RESTS, MAX_COUNT_REST_SECONDS = 20, 20.0
"""A long backlog takes long to count, and is counted for a twentieth of the time; one count that was held up, by a disk or a busy machine,
leaves what payments are refused for no older than this."""

LARGE_LOG_BYTES = 256 * 1024 * 1024
"""Four times what SQLite keeps of it."""

SWEPT_AT_ONCE = 100
"""Reservations that are given back in one transaction."""

KEPT_LONGER_SECONDS = 300
"""Rows outlive the retention by as much as clocks may differ: what is adopted by age must not have been forgotten here."""

_log = logging.getLogger(__name__)


class Housekeeping:
    """Six tasks: forgetting many rows and adding up takes long, and changes shall be known at once all the same.

    A fault of the database is logged once and tried again with the next look.
    """

    def __init__(
        self,
        store: Store,
        ledger: GroupCommitLedger,
        outbox: LedgerOutbox | None,
        users: Users,
        *,
        holder: str,
        retention_seconds: int,
        usage_retention_days: int,
        audit_retention_days: int,
        clock_ns: Callable[[], int],
        owner: Owner | None = None,
        view: Callable[[], ChainView] | None = None,
    ) -> None:
        """`owner`: whose ledger it must be; None for whoever only looks. By a clock that the chain's `view` says to be wrong nothing is
        forgotten, and no minute is over."""
        self._view = view
        self._store = store
        self._ledger = ledger
        self._outbox = outbox
        self._users = users
        self._holder = holder
        kept_ms = (retention_seconds + KEPT_LONGER_SECONDS) * 1000
        self.forgetting = Forgetting(
            store,
            users,
            holder=holder,
            kept_ms=kept_ms,
            usage_kept_ms=max(kept_ms, usage_retention_days * SECONDS_PER_DAY * 1000),
            audit_kept_ms=audit_retention_days * SECONDS_PER_DAY * 1000,
            clock_ns=clock_ns,
        )
        self._clock_ns = clock_ns
        self._owner = owner
        self._since = ""
        self._log_warned_bytes = 0
        self._settings: dict[str, str] = {}
        self.on_settings: Callable[[dict[str, str]], None] | None = None
        """Called with all shared settings whenever one has changed, and once at start."""
        self._tasks: list[asyncio.Task[None]] = []
        self._count_at = 0.0
        self._is_open = False
        self._look_failure = ""

    @property
    def failure(self) -> str:
        """Why payments cannot be recorded now; "" when they can, as far as the last look tells, which is a second ago at most."""
        failure = self._ledger.failure or self._look_failure
        silent_seconds = time.monotonic() - self._store.answered_at
        if failure or silent_seconds <= SILENT_SECONDS:
            return failure
        return "the database has not answered yet" if math.isinf(silent_seconds) else f"the database is silent for {silent_seconds:.0f} s"

    async def start(self) -> None:
        """Opens the store and begins. Raises LedgerUnavailable for one that must open now, and for one that is somebody else's; else it
        is tried again until it opens, and no payment is recorded before."""
        try:
            await self._open()
        except WrongLedger:
            raise
        except StoreFailed as error:
            if self._store.must_open:
                raise
            self._look_failure = self._ledger.barred = _noted(error, "")
        self._tasks = [
            asyncio.create_task(self._keep_looking(), name="ledger-housekeeping"),
            asyncio.create_task(self._keep_doing(self.prune), name="ledger-pruning"),
            asyncio.create_task(self._keep_doing(self.sweep), name="ledger-sweeping"),
            asyncio.create_task(self._keep_doing(self.close_minutes), name="ledger-closing"),
            asyncio.create_task(self._keep_doing(self._store.fold, FOLD_SECONDS), name="ledger-folding"),
            asyncio.create_task(self._keep_doing(self._store.write_back, WRITE_BACK_SECONDS), name="ledger-writing-back"),
        ]

    async def close(self) -> None:
        """Stops after the step in work."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._is_open:
            with suppress(StoreFailed):  # of the last seconds it is not known then which keys were used
                await self._users.note_used(at_once=True)
            with suppress(StoreFailed):  # what waits is added by whoever is next
                await self._store.fold()

    async def _keep_looking(self) -> None:
        while True:
            try:
                await self._open()
                await self.refresh()
                self._look_failure = ""
                self._tell_once()
            except StoreFailed as error:
                self._look_failure = _noted(error, self._look_failure)
                if not self._is_open:
                    self._ledger.barred = error.reason
            await asyncio.sleep(REFRESH_SECONDS)

    async def _keep_doing(self, step: Callable[[], Awaitable[None]], every_seconds: float = PRUNE_SECONDS) -> None:
        failure = ""
        while True:
            wait_seconds = REFRESH_SECONDS
            if self._is_open:
                try:
                    await step()
                    failure = ""
                    wait_seconds = every_seconds
                except StoreFailed as error:
                    failure = _noted(error, failure or self._look_failure)
            await asyncio.sleep(wait_seconds)

    async def _open(self) -> None:
        if not self._is_open:
            await self._store.open()
            if self._owner is not None:
                self._since = await claim(self._store, self._owner, self._clock_ns() // NS_PER_MS)
            self._ledger.use_switches(await self._store.switches())
            await self._users.follow()
            self._is_open = True
            self._ledger.barred = None

    def _tell_once(self) -> None:
        """Which ledger it is: a configuration that was edited without a restart, or a new volume, shows here."""
        if self._since:
            waiting = self._outbox.backlog.pending if self._outbox is not None else 0
            _log.info("ledger: %s, in use since %s, %d events wait to be sent", self._store.place, self._since, waiting)
            self._since = ""

    async def refresh(self) -> None:
        """Switches, settings and the backlog as they stand now; after a failure, whether rows can be written again."""
        await self._store.check()
        self._watch_log()
        if self._ledger.failure is not None:
            await self._ledger.probe()
        self._ledger.use_switches(await self._store.switches())
        await self._users.follow()
        settings = await self._store.settings()
        if settings != self._settings:
            self._settings = settings
            if self.on_settings is not None:
                self.on_settings(settings)
        loop = asyncio.get_running_loop()
        if self._outbox is not None and (started := loop.time()) >= self._count_at:
            await self._outbox.refresh()
            self._count_at = loop.time() + min(COUNT_RESTS * (loop.time() - started), MAX_COUNT_REST_SECONDS)

    def _watch_log(self) -> None:
        """A log that grows is kept from the file by somebody who reads it: told when it is large, and each time it has doubled."""
        size = self._store.log_bytes() or 0
        if size < LARGE_LOG_BYTES:
            self._log_warned_bytes = 0
        elif size >= 2 * self._log_warned_bytes:
            self._log_warned_bytes = size
            _log.warning(
                "the ledger's write-ahead log has %d MB: somebody has been reading the file all the time, as a copy or a shell that "
                "was left open does; it can be written back when that ends",
                size // 1_000_000,
            )

    async def prune(self) -> None:
        """Forgets what is older than the retention. Events that were not sent are never forgotten by age. Notes which keys were used."""
        await self._users.note_used()
        await self._store.fold()  # what has waited for long is added to lines that are old
        if self._is_time_known():
            await self.forgetting.forget_due()

    async def close_minutes(self) -> None:
        """Closes the digests of the minutes that are over."""
        if self._is_time_known():
            await close_minutes(self._store, self._holder, self._clock_ns)

    def _is_time_known(self) -> bool:
        return self._view is None or self._view().is_time_known

    async def sweep(self) -> None:
        """Gives back what was reserved and never signed: by a process that ended, or whose key did not answer it. Any process may:
        each reservation ends once."""
        given_back = 0
        while True:
            now_ns = self._clock_ns()
            now_ms = now_ns // NS_PER_MS
            old = await self._store.old_reservations(now_ms - SWEPT_MS, now_ms + SWEPT_MS, SWEPT_AT_ONCE)
            ended = await asyncio.gather(*(self._ledger.release(reservation, now_ns) for reservation in old), return_exceptions=True)
            given_back += ended.count(True)
            faults = [fault for fault in ended if isinstance(fault, BaseException)]
            if faults or len(old) < SWEPT_AT_ONCE:
                break
        if given_back:
            _log.warning("%d payments that were reserved and never signed were given back to their budgets", given_back)
        if faults:
            raise faults[0] if isinstance(faults[0], StoreFailed) else StoreFailed(f"reservations cannot be given back: {faults[0]}")


def _noted(error: StoreFailed, before: str) -> str:
    """What is wrong, logged when it is not what was wrong `before`."""
    if error.reason != before:
        _log.warning("the ledger cannot be read: %s", error.reason)
    return error.reason
