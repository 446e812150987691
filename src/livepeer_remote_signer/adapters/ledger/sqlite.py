"""The ledger in one SQLite file, shared by the worker processes of one host.

Write-ahead log with `synchronous=FULL`: a commit is on disk when it returns. Statements run on the event loop's thread,
where they touch memory; what blocks (waiting for another process's transaction, and the commit) runs in a helper thread
that executes nothing but the one call, so that no Python code competes with the event loop.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import TypeVar

from livepeer_remote_signer.adapters.ledger.store import (
    BYTES_A_PAYMENT,
    SCHEMA_VERSION,
    Conflict,
    NoLedger,
    Row,
    StoredPayment,
    StoreFailed,
    Wanted,
    Writes,
    add_switch,
    bytes_text,
    spend_rows,
    text_bytes,
    usage_expires_ms,
)
from livepeer_remote_signer.core.rules.budgets import Usage, encode_usage, parse_usage
from livepeer_remote_signer.core.rules.ledger import Books, Tip

LOCK_WAIT_SECONDS = 2.0
_LOCK_POLL_SECONDS = 0.0005
_SIDE_WAIT_SECONDS = 5.0
MAX_REMEMBERED = 32_768
"""Sessions, and nonces, whose newest rows are kept in memory: some 10 MB."""

_T = TypeVar("_T")

_SCHEMA = (
    """CREATE TABLE IF NOT EXISTS lrs_payments (
        id INTEGER PRIMARY KEY, state_id BLOB NOT NULL, seq INTEGER NOT NULL, digest BLOB NOT NULL, auth_id BLOB NOT NULL,
        idempotency_key BLOB, is_healed INTEGER NOT NULL, made_ms INTEGER NOT NULL, state BLOB NOT NULL, kept BLOB NOT NULL)""",
    "CREATE UNIQUE INDEX IF NOT EXISTS lrs_payments_place ON lrs_payments (state_id, seq)",
    "CREATE INDEX IF NOT EXISTS lrs_payments_healed ON lrs_payments (state_id, digest) WHERE is_healed = 1",
    "CREATE UNIQUE INDEX IF NOT EXISTS lrs_payments_key ON lrs_payments (idempotency_key) WHERE idempotency_key IS NOT NULL",
    """CREATE TABLE IF NOT EXISTS lrs_nonces (
        rand_hash BLOB PRIMARY KEY, last_nonce INTEGER NOT NULL, used_ms INTEGER NOT NULL) WITHOUT ROWID""",
    "CREATE TABLE IF NOT EXISTS lrs_usage (key TEXT PRIMARY KEY, amounts TEXT NOT NULL, expires_ms INTEGER) WITHOUT ROWID",
    """CREATE TABLE IF NOT EXISTS lrs_spend (
        minute INTEGER NOT NULL, writer TEXT NOT NULL, auth_id BLOB NOT NULL, orchestrator BLOB NOT NULL, payments INTEGER NOT NULL,
        tickets INTEGER NOT NULL, ev_wei TEXT NOT NULL, face_value_wei TEXT NOT NULL, fee_wei TEXT NOT NULL,
        PRIMARY KEY (minute, writer, auth_id, orchestrator)) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS lrs_outbox (
        id INTEGER PRIMARY KEY AUTOINCREMENT, made_ms INTEGER NOT NULL, sent INTEGER NOT NULL DEFAULT 0, payload BLOB NOT NULL)""",
    "CREATE INDEX IF NOT EXISTS lrs_outbox_pending ON lrs_outbox (id) WHERE sent = 0",
    "CREATE TABLE IF NOT EXISTS lrs_switches (name TEXT PRIMARY KEY, auth_id BLOB NOT NULL, set_ms INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS lrs_leases (name TEXT PRIMARY KEY, holder TEXT NOT NULL, until_ms INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS lrs_settings (name TEXT PRIMARY KEY, value TEXT NOT NULL, set_ms INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS lrs_meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
)

_TIP = "SELECT seq, made_ms FROM lrs_payments WHERE state_id = ? ORDER BY seq DESC LIMIT 1"
_ANSWER = "SELECT digest, auth_id, kept, state FROM lrs_payments WHERE "
_HEALED = "state_id = ? AND digest = ? AND is_healed = 1"


class SqliteStore:
    """Three connections: one writes, one reads on the event loop's thread, one reads in a thread of its own.

    What the writing connection has committed is remembered for as long as no other process commits: rows that a session's
    next payment needs are then not read again, which saves a seventh of what a payment costs here.
    """

    now_ms_sql = "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)"

    def __init__(self, path: Path, *, writer: str, lock_wait_seconds: float = LOCK_WAIT_SECONDS, may_create: bool = True) -> None:
        """Without `may_create` a ledger that is not there is not made: `open` raises NoLedger."""
        self._path = path
        self._may_create = may_create
        self._writer_name = writer
        self._lock_wait_seconds = lock_wait_seconds
        self._commits = ThreadPoolExecutor(1, "ledger-commit")
        self._side_thread = ThreadPoolExecutor(1, "ledger-side")
        self._turn = asyncio.Lock()
        """Held by who writes, from the beginning of a transaction to its end."""
        self._is_batch = False
        self._tips: dict[str, Tip] = {}
        self._nonces: dict[bytes, int] = {}
        self._data_version = -1
        self._file = (0, 0)

    async def open(self) -> None:
        """Makes the file, for its owner only, and its tables. Raises StoreFailed."""
        # SQLite does not wait for another worker that turns a new file to its log at the same moment
        await self._in(self._side_thread, lambda: _once_free(self._open, _SIDE_WAIT_SECONDS))

    def _open(self) -> None:
        try:
            descriptor = os.open(self._path, (os.O_CREAT if self._may_create else 0) | os.O_RDWR | os.O_CLOEXEC, 0o600)
            self._file = _identity(os.fstat(descriptor))
            os.close(descriptor)
        except OSError as error:
            if isinstance(error, FileNotFoundError) and not self._may_create:
                raise NoLedger("there is no ledger at ledger.path") from None
            raise StoreFailed(f"ledger.path cannot be opened for writing: {error.strerror}") from None
        with ExitStack() as opened:
            self._side = self._connect(_SIDE_WAIT_SECONDS, opened)
            self._check_version()
            self._side.execute("PRAGMA journal_mode = WAL")
            self._side.execute("BEGIN IMMEDIATE")
            for statement in _SCHEMA:
                self._side.execute(statement)
            self._side.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            self._side.execute("COMMIT")
            self._write = self._connect(0.0, opened)
            self._write.execute("PRAGMA cache_size = -32768")
            self._write.execute("PRAGMA cache_spill = OFF")
            self._read = self._connect(0.25, opened)
            opened.pop_all()  # from here on `close` closes them

    def _check_version(self) -> None:
        version = self._side.execute("PRAGMA user_version").fetchone()[0]
        if version == 0 and not self._may_create:
            raise NoLedger("the file at ledger.path is not a ledger")
        if version not in (0, SCHEMA_VERSION):
            raise StoreFailed(f"the ledger file has schema version {version}, this program writes {SCHEMA_VERSION}")

    def _connect(self, wait_seconds: float, opened: ExitStack) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=wait_seconds, isolation_level=None, check_same_thread=False, cached_statements=256)
        opened.callback(connection.close)
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA journal_size_limit = 67108864")
        return connection

    async def close(self) -> None:
        """Waits for what is in work."""
        await self._in(self._side_thread, self._side.close)
        await self._in(self._commits, self._write.close)
        self._read.close()
        self._commits.shutdown()
        self._side_thread.shutdown()

    async def begin(self, wanted: Wanted, size: int) -> Books:
        """The write lock, and the rows."""
        self._check_space(size)
        self._check_file()
        await self._turn.acquire()
        self._is_batch = True
        try:
            await self._begin()
            return self._load(wanted)
        except sqlite3.Error as error:
            await self.rollback()
            raise StoreFailed(_reason(error)) from None

    async def _begin(self) -> None:
        """Without a pause where nobody else writes."""
        try:
            self._write.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if not _is_busy(error):
                raise
            await asyncio.get_running_loop().run_in_executor(self._commits, self._wait_for_lock)

    def _check_space(self, size: int) -> None:
        """A full disk would be noticed at the commit, when everything is signed: it is asked before."""
        try:
            space = os.statvfs(self._path)
        except OSError as error:
            raise _gone(error) from None
        free = space.f_bavail * space.f_frsize
        if free < size * BYTES_A_PAYMENT:
            raise StoreFailed(f"the disk is full: {free} bytes are left, a batch of {size} payments may need {size * BYTES_A_PAYMENT}")

    def _check_file(self) -> None:
        """An open file lives on when it is moved away, deleted or replaced, but what is written to it nobody finds again."""
        try:
            found = _identity(os.stat(self._path))
        except OSError as error:
            raise _gone(error) from None
        if found != self._file:
            raise StoreFailed("ledger.path is another file than the one that was opened: stop the signer before it is replaced")

    def _wait_for_lock(self) -> None:
        """SQLite's own waiting backs off to 100 ms between looks, longer than another worker's whole transaction."""
        _once_free(lambda: self._write.execute("BEGIN IMMEDIATE"), self._lock_wait_seconds)

    def _load(self, wanted: Wanted) -> Books:
        execute = self._write.execute
        books = Books()
        version = execute("PRAGMA data_version").fetchone()[0]
        if version != self._data_version or max(len(self._tips), len(self._nonces)) > MAX_REMEMBERED:
            self._forget()
            self._data_version = version
        for name, auth_id in execute("SELECT name, auth_id FROM lrs_switches"):
            books.switches = add_switch(books.switches, name, auth_id)
        for state_id in wanted.state_ids:
            if (tip := self._tips.get(state_id)) is not None:
                books.tips[state_id] = tip
            elif (row := execute(_TIP, (text_bytes(state_id),)).fetchone()) is not None:
                books.tips[state_id] = Tip(*row)
        for rand_hash in wanted.rand_hashes:
            if (nonce := self._nonces.get(rand_hash)) is not None:
                books.nonces[rand_hash] = nonce
            elif (row := execute("SELECT last_nonce FROM lrs_nonces WHERE rand_hash = ?", (rand_hash,)).fetchone()) is not None:
                books.nonces[rand_hash] = row[0]
        for key in wanted.usage_keys:
            row = execute("SELECT amounts FROM lrs_usage WHERE key = ?", (key,)).fetchone()
            books.usage[key] = parse_usage(row[0]) if row is not None else Usage()
        for idempotency_key in wanted.idempotency_keys:
            if execute("SELECT 1 FROM lrs_payments WHERE idempotency_key = ?", (idempotency_key,)).fetchone() is not None:
                books.idempotency_keys.add(idempotency_key)
        for state_id, digest in wanted.healed:
            if execute(_ANSWER + _HEALED, (text_bytes(state_id), digest)).fetchone() is not None:
                books.healed.add((state_id, digest))
        return books

    async def commit(self, writes: Writes) -> None:
        """Rows in memory, then the log on disk."""
        try:
            self._put(writes)
            await asyncio.get_running_loop().run_in_executor(self._commits, self._write.execute, "COMMIT")
        except sqlite3.IntegrityError:
            await self.rollback()
            raise Conflict("a new session has the name of another one") from None
        except sqlite3.Error as error:
            await self.rollback()
            raise StoreFailed(_reason(error)) from None
        self._tips.update(writes.tips)
        self._nonces.update(writes.nonces)
        self._is_batch = False
        self._turn.release()

    def _put(self, writes: Writes) -> None:
        many = self._write.executemany
        many(
            """INSERT INTO lrs_payments (state_id, seq, digest, auth_id, idempotency_key, is_healed, made_ms, state, kept)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)""",
            writes.payments,
        )
        many(
            """INSERT INTO lrs_nonces (rand_hash, last_nonce, used_ms) VALUES (?, ?, ?)
            ON CONFLICT (rand_hash) DO UPDATE SET last_nonce = excluded.last_nonce, used_ms = excluded.used_ms""",
            [(rand_hash, nonce, writes.now_ms) for rand_hash, nonce in writes.nonces.items()],
        )
        if writes.usage:
            many(
                """INSERT INTO lrs_usage (key, amounts, expires_ms) VALUES (?, ?, ?)
                ON CONFLICT (key) DO UPDATE SET amounts = excluded.amounts, expires_ms = excluded.expires_ms""",
                [(key, encode_usage(usage), usage_expires_ms(key, writes.now_ms)) for key, usage in writes.usage.items()],
            )
        many(
            """INSERT INTO lrs_spend (minute, writer, auth_id, orchestrator, payments, tickets, ev_wei, face_value_wei, fee_wei)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
            ON CONFLICT (minute, writer, auth_id, orchestrator) DO UPDATE SET payments = excluded.payments, tickets = excluded.tickets,
            ev_wei = excluded.ev_wei, face_value_wei = excluded.face_value_wei, fee_wei = excluded.fee_wei""",
            spend_rows(writes, self._writer_name),
        )
        if writes.events:
            many("INSERT INTO lrs_outbox (made_ms, payload) VALUES (?, ?)", writes.events)

    async def rollback(self) -> None:
        """A transaction that the database has ended already needs none. What a failed one would have left is not known."""
        if not self._is_batch:
            return
        try:
            if self._write.in_transaction:
                await asyncio.get_running_loop().run_in_executor(self._commits, self._write.rollback)
        finally:
            self._forget()
            self._is_batch = False
            self._turn.release()

    def _forget(self) -> None:
        self._tips.clear()
        self._nonces.clear()

    async def tip(self, state_id: str) -> Tip | None:
        """Read at once: readers of a write-ahead log wait for nobody."""
        row = self._one(_TIP, text_bytes(state_id))
        return None if row is None else Tip(*row)

    async def payment(self, state_id: str, sequence_number: int, digest: bytes) -> StoredPayment | None:
        """In its own place, else where it was healed to."""
        name = text_bytes(state_id)
        row = self._one(_ANSWER + "state_id = ? AND seq = ? AND digest = ?", name, sequence_number, digest)
        if row is None:
            row = self._one(_ANSWER + _HEALED, name, digest)
        return _answer(row)

    async def payment_of(self, idempotency_key: bytes) -> StoredPayment | None:
        """The new session that was started under this key."""
        return _answer(self._one(_ANSWER + "idempotency_key = ?", idempotency_key))

    async def newest_state(self, state_id: str) -> bytes | None:
        """The state to go on from."""
        row = self._one("SELECT state FROM lrs_payments WHERE state_id = ? ORDER BY seq DESC LIMIT 1", text_bytes(state_id))
        return None if row is None else bytes(row[0])

    def _one(self, sql: str, *parameters: object) -> Row | None:
        try:
            row: Row | None = self._read.execute(sql, parameters).fetchone()
        except sqlite3.Error as error:
            raise StoreFailed(_reason(error)) from None
        return row

    async def query(self, sql: str, parameters: Sequence[object] = ()) -> list[Row]:
        """Reads in the side thread; a statement that changes rows and returns them runs as `execute` does."""
        if not sql.startswith("SELECT"):
            return (await self._change(sql, parameters))[0]
        return await self._in(self._side_thread, lambda: self._read_beside(sql, parameters))

    def _read_beside(self, sql: str, parameters: Sequence[object]) -> list[Row]:
        self._check_file()
        return self._side.execute(sql, parameters).fetchall()

    async def execute(self, sql: str, parameters: Sequence[object] = ()) -> int:
        """Between two batches, on the writing connection: what it commits is not taken for another process's."""
        return (await self._change(sql, parameters))[1]

    async def _change(self, sql: str, parameters: Sequence[object]) -> tuple[list[Row], int]:
        """Goes on to its end when the caller leaves: until then nobody else may write."""
        return await asyncio.shield(self._change_in_turn(sql, parameters))

    async def _change_in_turn(self, sql: str, parameters: Sequence[object]) -> tuple[list[Row], int]:
        async with self._turn:
            if sql.startswith("DELETE"):
                self._forget()
            return await self._in(self._commits, lambda: self._commit_one(sql, parameters))

    def _commit_one(self, sql: str, parameters: Sequence[object]) -> tuple[list[Row], int]:
        self._check_file()
        self._wait_for_lock()
        try:
            cursor = self._write.execute(sql, parameters)
            rows = cursor.fetchall()
            self._write.execute("COMMIT")
        except sqlite3.Error:
            if self._write.in_transaction:
                self._write.rollback()
            raise
        return rows, cursor.rowcount

    @staticmethod
    async def _in(thread: ThreadPoolExecutor, work: Callable[[], _T]) -> _T:
        try:
            return await asyncio.get_running_loop().run_in_executor(thread, work)
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


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


def _gone(error: OSError) -> StoreFailed:
    return StoreFailed(f"ledger.path cannot be found any more: {error.strerror}")


def _answer(row: Row | None) -> StoredPayment | None:
    return None if row is None else StoredPayment(bytes(row[0]), bytes_text(bytes(row[1])), bytes(row[2]), bytes(row[3]))


_REASONS = {
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_BUSY: "the database is locked by another process",
    sqlite3.SQLITE_LOCKED: "the database is locked by another process",
    sqlite3.SQLITE_READONLY: "the database is read-only",
    sqlite3.SQLITE_IOERR: "the disk does not read or write",
    sqlite3.SQLITE_CORRUPT: "the database file is damaged",
    sqlite3.SQLITE_NOTADB: "the file is not a database",
    sqlite3.SQLITE_CANTOPEN: "the database file cannot be opened",
}


def _reason(error: sqlite3.Error) -> str:
    """What is wrong, without the message's own words, which may name a path."""
    code = getattr(error, "sqlite_errorcode", None)
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    return f"{_REASONS.get((code or 0) & 0xFF, 'the database refused')} ({name})"
