"""The SQLite file behind a ledger: its connections, who may write when, and the thread each kind of work runs in."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import math
import os
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeVar

from livepeer_remote_signer.adapters.ledger.going_on import to_its_end
from livepeer_remote_signer.adapters.ledger.steps import NEWEST_STEP, SCHEMA_VERSION, missing_steps
from livepeer_remote_signer.adapters.ledger.store import Forgotten, NoLedger, Row, StoreFailed

LOCK_WAIT_SECONDS = 2.0
_LOCK_POLL_SECONDS = 0.0005
_SIDE_WAIT_SECONDS = 5.0
WRITTEN_BACK_ROWS = 1000
"""When so many rows have changed, what the write-ahead log holds is brought into the file, beside payments."""

LONG_LOG_PAGES = 8192
"""32 MB: then the log is to be begun anew, which payments wait for a moment for. Where they pause it happens by itself."""

INLINE_PAGES = 16_384
"""64 MB: what nobody has brought into the file by then a payment's commit does, as at every thousandth page by default."""

INCREMENTAL = 2
"""Of `PRAGMA auto_vacuum`: free pages are noted, and can be given back some at a time."""

_MAGIC = b"SQLite format 3\0"
_HEAD_BYTES = 100
_VERSION_AT = slice(60, 64)
"""Of SQLite's file format: `PRAGMA user_version` in the head."""

_T = TypeVar("_T")


class SqliteConnections:
    """Four connections: one writes, one reads on the event loop's thread, and two read in threads of their own: what is short,
    and what may take long, for which nothing else waits."""

    def __init__(self, path: Path, *, lock_wait_seconds: float = LOCK_WAIT_SECONDS, may_create: bool = True) -> None:
        """Without `may_create` a ledger that is not there is not made: `open` raises NoLedger."""
        self.path = path
        self.turn = asyncio.Lock()
        """Held by who writes, from the beginning of a transaction to its end."""
        self._may_create = may_create
        self._lock_wait_seconds = lock_wait_seconds
        self._commits = ThreadPoolExecutor(1, "ledger-commit")
        self._side_thread = ThreadPoolExecutor(1, "ledger-side")
        self._slow_thread = ThreadPoolExecutor(1, "ledger-slow")
        self._file = (0, 0)
        self._written_back = 0
        self.answered_at = -math.inf
        """When something was last done, by the monotonic clock."""

    async def open(self) -> None:
        """Makes the file, for its owner only, and takes the steps its tables lack. Raises StoreFailed."""
        # SQLite does not wait for another worker that turns a new file to its log at the same moment
        await self._in(self._side_thread, lambda: _once_free(self._open, _SIDE_WAIT_SECONDS))

    def _open(self) -> None:
        try:
            descriptor = os.open(self.path, (os.O_CREAT if self._may_create else 0) | os.O_RDWR | os.O_CLOEXEC, 0o600)
            try:
                self._file = _identity(os.fstat(descriptor))
                _try_lock(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            if isinstance(error, FileNotFoundError) and not self._may_create:
                raise NoLedger("there is no ledger at ledger.path") from None
            raise StoreFailed(f"ledger.path cannot be opened for writing: {error.strerror}") from None
        with ExitStack() as opened:
            self._side = self._connect(_SIDE_WAIT_SECONDS, opened)
            check_is_ledger(self._side, may_be_new=self._may_create)
            self._side.execute(f"PRAGMA auto_vacuum = {INCREMENTAL}")  # holds for a file that is made now, and for none that is there
            self._side.execute("PRAGMA journal_mode = WAL")
            self._take_steps()
            self.write = self._connect(0.0, opened)
            self.write.execute("PRAGMA cache_size = -32768")
            self.write.execute("PRAGMA cache_spill = OFF")
            self.read = self._connect(0.25, opened)
            self._slow = self._connect(_SIDE_WAIT_SECONDS, opened)
            opened.pop_all()  # from here on `close` closes them

    def _take_steps(self) -> None:
        """All that are missing, or none of them."""
        side = self._side
        side.execute("BEGIN IMMEDIATE")
        try:
            version = side.execute("PRAGMA user_version").fetchone()[0]
            has_meta = side.execute("SELECT 1 FROM sqlite_schema WHERE name = 'lrs_meta'").fetchone() is not None
            row = side.execute("SELECT value FROM lrs_meta WHERE name = 'schema_step'").fetchone() if has_meta else None
            if steps := missing_steps(version, int(row[0]) if row is not None else 0):
                for step in steps:
                    for statement in step.sqlite:
                        side.execute(statement)
                side.execute("INSERT OR REPLACE INTO lrs_meta (name, value) VALUES ('schema_step', ?)", (str(NEWEST_STEP),))
                side.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            side.execute("COMMIT")
        except BaseException:
            if side.in_transaction:
                side.rollback()
            raise

    def _connect(self, wait_seconds: float, opened: ExitStack) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=wait_seconds, isolation_level=None, check_same_thread=False, cached_statements=256)
        opened.callback(connection.close)
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA journal_size_limit = 67108864")
        connection.execute(f"PRAGMA wal_autocheckpoint = {INLINE_PAGES}")
        return connection

    async def close(self) -> None:
        """Waits for what is in work."""
        await self._in(self._side_thread, self._side.close)
        await self._in(self._slow_thread, self._slow.close)
        await self._in(self._commits, self.write.close)
        self.read.close()
        self._commits.shutdown()
        self._side_thread.shutdown()
        self._slow_thread.shutdown()

    async def begin(self) -> None:
        """The write lock, without a pause where nobody else writes. Raises StoreFailed."""
        with translated():
            try:
                self.write.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                if not _is_busy(error):
                    raise
                await asyncio.get_running_loop().run_in_executor(self._commits, self._wait_for_lock)

    async def commit(self) -> None:
        """Returns when what was written is on disk."""
        await asyncio.get_running_loop().run_in_executor(self._commits, self.write.execute, "COMMIT")
        self.answered_at = time.monotonic()

    async def rollback(self) -> None:
        """A transaction that the database has ended already needs none."""
        if self.write.in_transaction:
            await asyncio.get_running_loop().run_in_executor(self._commits, self.write.rollback)

    async def write_back(self) -> None:
        """Brings what the log holds into the file. Commits would do so now and then, and wait for the disk twice more: of ten batches
        one took 13 ms instead of 3 beside a large file."""
        changed = self.write.total_changes
        if changed - self._written_back < WRITTEN_BACK_ROWS:
            return
        self._written_back = changed
        if await self._in(self._slow_thread, lambda: _write_back(self._slow)) >= LONG_LOG_PAGES:
            await self._in(self._slow_thread, lambda: _write_back(self._slow))  # what came meanwhile: little is left then
            await to_its_end(self._write_back_in_turn())

    async def _write_back_in_turn(self) -> None:
        """All of it: whoever writes next begins the log anew."""
        async with self.turn:
            await self._in(self._commits, lambda: _write_back(self.write))

    def log_bytes(self) -> int:
        """The size of the write-ahead log."""
        try:
            return os.stat(f"{self.path}-wal").st_size
        except OSError:
            return 0

    def check_space(self, size_bytes: int) -> None:
        """A full disk would be noticed at the commit, when everything is signed: it is asked before."""
        try:
            space = os.statvfs(self.path)
        except OSError as error:
            raise _gone(error) from None
        free = space.f_bavail * space.f_frsize
        if free < size_bytes:
            raise StoreFailed(f"the disk is full: {free} bytes are left, and the payments that wait may need {size_bytes}")

    def check_file(self) -> None:
        """An open file lives on when it is moved away, deleted or replaced, but what is written to it nobody finds again."""
        try:
            found = _identity(os.stat(self.path))
        except OSError as error:
            raise _gone(error) from None
        if found != self._file:
            raise StoreFailed("ledger.path is another file than the one that was opened: stop the signer before it is replaced")

    def _wait_for_lock(self) -> None:
        """SQLite's own waiting backs off to 100 ms between looks, longer than another worker's whole transaction."""
        _once_free(lambda: self.write.execute("BEGIN IMMEDIATE"), self._lock_wait_seconds)

    def one(self, sql: str, *parameters: object) -> Row | None:
        """At once, on the event loop's thread: readers of a write-ahead log wait for nobody."""
        with translated():
            row: Row | None = self.read.execute(sql, parameters).fetchone()
        return row

    async def beside(self, reading: Callable[[sqlite3.Connection], _T], *, is_long: bool = False) -> _T:
        """Reads in the side thread, or in that of what may take long."""
        thread, connection = (self._slow_thread, self._slow) if is_long else (self._side_thread, self._side)

        def checked() -> _T:
            self.check_file()
            return reading(connection)

        return await self._in(thread, checked)

    async def change(self, sql: str, *parameters: object) -> tuple[list[Row], int]:
        """One statement, committed: the rows it returns and how many it changed. It runs between two batches, on the writing
        connection: what that commits is not taken for another process's. It goes on to its end when the caller leaves."""

        def run(connection: sqlite3.Connection) -> tuple[list[Row], int]:
            cursor = connection.execute(sql, parameters)
            return cursor.fetchall(), cursor.rowcount

        return await self.transact(run)

    async def transact(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        """The same for several statements, all of them or none: what `work` raises undoes it."""
        return await to_its_end(self._transact_in_turn(work))

    async def _transact_in_turn(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        async with self.turn:
            return await self._in(self._commits, lambda: self._commit_work(work))

    def _commit_work(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        self.check_file()
        self._wait_for_lock()
        try:
            result = work(self.write)
            self.write.execute("COMMIT")
        except BaseException:
            if self.write.in_transaction:
                self.write.rollback()
            raise
        return result

    async def forget(self, statement: str, naming: str | None, *parameters: object) -> tuple[list[str], Forgotten]:
        """`change` for a step of forgetting. `naming` asks, with the same parameters, for one text of names before."""
        return await to_its_end(self._forget_in_turn(statement, naming, parameters))

    async def _forget_in_turn(self, statement: str, naming: str | None, parameters: tuple[object, ...]) -> tuple[list[str], Forgotten]:
        async with self.turn:
            return await self._in(self._commits, lambda: self._forget(statement, naming, parameters))

    def _forget(self, statement: str, naming: str | None, parameters: tuple[object, ...]) -> tuple[list[str], Forgotten]:
        """The statement is a transaction of its own: between several this thread would wait for the interpreter, which the event loop
        has, with the write lock in its hands. So names are asked for before it, and are those of the rows that go unless another
        process has written meanwhile: then nothing that is remembered holds anyhow."""
        self.check_file()
        names = self.write.execute(naming, parameters).fetchall()[0][0] if naming is not None else None
        count, began, began_cpu = 0, 0.0, 0.0

        def step() -> None:
            nonlocal count, began, began_cpu
            began, began_cpu = time.monotonic(), time.thread_time()
            count = self.write.execute(statement, parameters).rowcount

        _once_free(step, self._lock_wait_seconds)
        held, computed = time.monotonic() - began, time.thread_time() - began_cpu
        worked = max(computed, held - sys.getswitchinterval())  # less what it waited for the interpreter at the most
        return names.split(",") if names else [], Forgotten(count, worked, held, computed)

    async def change_together(self, statements: Sequence[tuple[str, Sequence[object]]]) -> None:
        """Several statements, committed together or not at all; else as `change`."""
        await to_its_end(self._change_together_in_turn(statements))

    async def _change_together_in_turn(self, statements: Sequence[tuple[str, Sequence[object]]]) -> None:
        async with self.turn:
            await self._in(self._commits, lambda: self._commit_together(statements))

    def _commit_together(self, statements: Sequence[tuple[str, Sequence[object]]]) -> None:
        self.check_file()
        self._wait_for_lock()
        try:
            for sql, parameters in statements:
                self.write.execute(sql, parameters)
            self.write.execute("COMMIT")
        except sqlite3.Error:
            if self.write.in_transaction:
                self.write.rollback()
            raise

    async def give_back(self, pages: int) -> None:
        """Cuts so many free pages off the file, between two batches."""
        await to_its_end(self._give_back_in_turn(pages))

    async def _give_back_in_turn(self, pages: int) -> None:
        # as a script, which the statement is run through to its end for: `execute` takes its first step, a page
        script = f"PRAGMA incremental_vacuum({pages})"
        async with self.turn:
            await self._in(self._commits, lambda: _once_free(lambda: self.write.executescript(script), self._lock_wait_seconds))

    async def _in(self, thread: ThreadPoolExecutor, work: Callable[[], _T]) -> _T:
        with translated():
            result = await asyncio.get_running_loop().run_in_executor(thread, work)
        self.answered_at = time.monotonic()
        return result


def _write_back(connection: sqlite3.Connection) -> int:
    """As much as readers let, while others write; how many pages the log has. Where another process is at it, that one does it."""
    _, pages, _ = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()[0]
    return int(pages)


def check_is_ledger(connection: sqlite3.Connection, *, may_be_new: bool = False) -> None:
    """Raises NoLedger for another file, StoreFailed for a ledger of a newer kind."""
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version == 0 and not may_be_new:
        raise NoLedger("the file at ledger.path is not a ledger")
    missing_steps(version, 0)


def check_head(path: Path) -> None:
    """Looks at the head of a ledger's file alone: a connection would leave files beside it that belong to whoever looked.

    Raises StoreFailed for what could not be opened as a ledger. An empty file is one that is about to become a ledger.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError as error:
        raise StoreFailed(f"the file cannot be read: {error.strerror}") from None
    if head and not head.startswith(_MAGIC):
        raise StoreFailed("the file is not a database (SQLITE_NOTADB)")
    missing_steps(int.from_bytes(head[_VERSION_AT], "big"), 0)


@contextmanager
def translated() -> Iterator[None]:
    """The one place where SQLite's errors become the ledger's."""
    try:
        yield
    except sqlite3.Error as error:
        raise StoreFailed(_reason(error)) from None


def _once_free(step: Callable[[], object], wait_seconds: float) -> None:
    """Takes a step, again and again while another process holds a lock; after so long raises what SQLite says."""
    deadline = time.monotonic() + wait_seconds
    while True:
        try:
            step()
        except sqlite3.OperationalError as error:
            if not _is_busy(error) or time.monotonic() > deadline:
                raise
            time.sleep(_LOCK_POLL_SECONDS)
        else:
            return


def _is_busy(error: sqlite3.OperationalError) -> bool:
    """Whether another process holds a lock."""
    return error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY


def _try_lock(descriptor: int) -> None:
    """Where files cannot be locked SQLite says that another process has the lock: so it is tried, at a byte that SQLite does not lock."""
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB, 1)
        fcntl.lockf(descriptor, fcntl.LOCK_UN, 1)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return  # somebody has a lock there, so there are locks
        raise StoreFailed(_no_locks(errno.errorcode.get(error.errno or 0, "no locks"))) from None


def _no_locks(name: str) -> str:
    return (
        f"the file system does not lock files or share memory as SQLite needs it ({name}), as NFS without locks and some network or "
        "FUSE mounts: keep the ledger on a local disk, or use PostgreSQL"
    )


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


def _gone(error: OSError) -> StoreFailed:
    return StoreFailed(f"ledger.path cannot be found any more: {error.strerror}")


_NO_LOCKS = frozenset(
    (
        sqlite3.SQLITE_NOLFS,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_IOERR_LOCK,
        sqlite3.SQLITE_IOERR_RDLOCK,
        sqlite3.SQLITE_IOERR_UNLOCK,
        sqlite3.SQLITE_IOERR_CHECKRESERVEDLOCK,
        sqlite3.SQLITE_IOERR_SHMLOCK,
        sqlite3.SQLITE_IOERR_SHMMAP,
        sqlite3.SQLITE_IOERR_SHMOPEN,
    )
)
_REASONS = {
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_BUSY: "the database is locked by another process",
    sqlite3.SQLITE_LOCKED: "the database is locked by another process",
    sqlite3.SQLITE_READONLY: "the database is read-only",
    sqlite3.SQLITE_IOERR: "the disk does not read or write",
    sqlite3.SQLITE_CORRUPT: "the database file is damaged",
    sqlite3.SQLITE_NOTADB: "ledger.path names a file that is not a database",
    sqlite3.SQLITE_CANTOPEN: "the database file cannot be opened",
}


def _reason(error: sqlite3.Error) -> str:
    """What is wrong, without the message's own words, which may name a path."""
    code = getattr(error, "sqlite_errorcode", None)
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    if code in _NO_LOCKS:
        return _no_locks(name)
    return f"{_REASONS.get((code or 0) & 0xFF, 'the database refused')} ({name})"
