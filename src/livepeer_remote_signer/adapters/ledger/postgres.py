"""The ledger in PostgreSQL, shared by replicas on several hosts.

One transaction a batch. It locks what it changes in one order for all replicas (budgets, sessions, nonces, each sorted), so
that they queue instead of deadlocking; rows that are not there yet cannot be locked, so writing them tells whether
somebody else was faster, and the batch is judged again. Three connections: batches, reads, everything else. A connection
that broke is opened again by whoever needs it next.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import psycopg
from psycopg import AsyncConnection, AsyncCursor, conninfo, sql

from livepeer_remote_signer.adapters.ledger import postgres_schema as statements
from livepeer_remote_signer.adapters.ledger.store import (
    SCHEMA_VERSION,
    Conflict,
    ConnectionLost,
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
from livepeer_remote_signer.core.rules.budgets import encode_usage, parse_usage
from livepeer_remote_signer.core.rules.ledger import Books, Tip

CONNECT_TIMEOUT_SECONDS = 3
_NOBODY_AT_FAULT = ("40001", "40P01", "23505")  # serialization failure, deadlock, unique violation

_T = TypeVar("_T")


class PostgresStore:
    """`url` is any libpq connection string: it holds a password and is never shown."""

    now_ms_sql = "(extract(epoch FROM clock_timestamp()) * 1000)::bigint"

    def __init__(self, url: str, *, writer: str) -> None:
        """Raises ValueError for text that is no connection string, without repeating it."""
        try:
            conninfo.conninfo_to_dict(url)
        except psycopg.ProgrammingError:
            raise ValueError("this is no libpq connection string") from None
        self._writer_name = writer
        self._batches = _Link(url)
        self._reads = _Link(url)
        self._side = _Link(url)
        self._known_tips: frozenset[str] = frozenset()
        self._known_nonces: frozenset[bytes] = frozenset()
        self._asked: dict[str, asyncio.Future[Tip | None]] = {}
        self._answering: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Makes the tables, one process at a time."""

        async def make(connection: AsyncConnection[Row]) -> None:
            await connection.execute("SELECT pg_advisory_lock(%s)", (statements.SETUP_LOCK,))
            try:
                await connection.execute(sql.SQL(statements.SCHEMA))
                await connection.execute(
                    "INSERT INTO lrs_meta VALUES ('schema_version', %s) ON CONFLICT DO NOTHING", (str(SCHEMA_VERSION),)
                )
                cursor = await connection.execute("SELECT value FROM lrs_meta WHERE name = 'schema_version'")
                row = await cursor.fetchone()
            finally:
                await connection.execute("SELECT pg_advisory_unlock(%s)", (statements.SETUP_LOCK,))
            if row is None or row[0] != str(SCHEMA_VERSION):
                raise StoreFailed(f"the ledger has schema version {row and row[0]}, this program writes {SCHEMA_VERSION}")

        await self._side.use(make)

    async def close(self) -> None:
        """Closes the connections."""
        if self._answering is not None:
            await self._answering
        for link in (self._batches, self._reads, self._side):
            await link.close()

    async def begin(self, wanted: Wanted, size: int) -> Books:
        """The locks and the rows, in one round trip."""
        books = Books()
        try:
            connection = await self._batches.get()
            async with connection.pipeline():
                await connection.execute("BEGIN")
                usage = tips = nonces = keys = healed = None
                if wanted.usage_keys:
                    await connection.execute(statements.MAKE_USAGE, (list(wanted.usage_keys),))
                    usage = await connection.execute(statements.LOAD_USAGE, (list(wanted.usage_keys),))
                if wanted.state_ids:
                    tips = await connection.execute(statements.LOAD_TIPS, ([text_bytes(i) for i in wanted.state_ids],))
                if wanted.rand_hashes:
                    nonces = await connection.execute(statements.LOAD_NONCES, (list(wanted.rand_hashes),))
                if wanted.idempotency_keys:
                    keys = await connection.execute(statements.LOAD_KEYS, (list(wanted.idempotency_keys),))
                if wanted.healed:  # after the sessions are locked: nobody can heal them any more
                    columns = _columns([(text_bytes(state_id), digest) for state_id, digest in wanted.healed])
                    healed = await connection.execute(statements.LOAD_HEALED, columns)
                # last: whoever waited for a lock obeys a switch that was set meanwhile
                switches = await connection.execute(statements.LOAD_SWITCHES)
            for name, auth_id in await switches.fetchall():
                books.switches = add_switch(books.switches, name, auth_id)
            books.usage = {key: parse_usage(amounts) for key, amounts in await _rows(usage)}
            books.tips = {bytes_text(state_id): Tip(seq, made) for state_id, seq, made in await _rows(tips)}
            books.nonces = dict(await _rows(nonces))
            books.idempotency_keys = {key for (key,) in await _rows(keys)}
            books.healed = {(bytes_text(state_id), digest) for state_id, digest in await _rows(healed)}
        except (psycopg.Error, OSError) as error:
            raise await self._failed(error) from None
        if len(books.usage) < len(wanted.usage_keys):
            await self.rollback()
            raise Conflict("spending was forgotten while it was looked up")
        self._known_tips, self._known_nonces = frozenset(books.tips), frozenset(books.nonces)
        return books

    async def commit(self, writes: Writes) -> None:
        """Writes what was there, then what was not; the latter tells whether another replica was faster."""
        try:
            connection = await self._batches.get()
            async with connection.pipeline():
                guarded = await self._put(connection, writes)
            if any(cursor.rowcount != expected for cursor, expected in guarded):
                await self.rollback()
                raise Conflict("another process was faster with a session or a nonce, again and again")
            ended = await connection.execute("COMMIT")
            if ended.statusmessage != "COMMIT":
                raise StoreFailed("PostgreSQL rolled the transaction back")
        except (psycopg.Error, OSError) as error:
            raise await self._failed(error) from None

    async def _put(self, connection: AsyncConnection[Row], writes: Writes) -> list[tuple[AsyncCursor[Row], int]]:
        """Queues the statements. Returns those that must change as many rows as are named beside them."""
        execute = connection.execute
        guarded: list[tuple[AsyncCursor[Row], int]] = []
        tips = sorted((text_bytes(state_id), tip.sequence_number, tip.updated_ms, state_id) for state_id, tip in writes.tips.items())
        nonces = sorted((rand_hash, nonce, writes.now_ms) for rand_hash, nonce in writes.nonces.items())
        if usage := sorted(writes.usage.items()):
            rows = [(key, encode_usage(used), usage_expires_ms(key, writes.now_ms)) for key, used in usage]
            guarded.append((await execute(statements.MOVE_USAGE, _columns(rows)), len(rows)))
        if moved := [t[:3] for t in tips if t[3] in self._known_tips]:
            guarded.append((await execute(statements.MOVE_TIPS, _columns(moved)), len(moved)))
        if new := [t[:3] for t in tips if t[3] not in self._known_tips]:
            guarded.append((await execute(statements.NEW_TIPS, _columns(new)), len(new)))
        if raised := [n for n in nonces if n[0] in self._known_nonces]:
            guarded.append((await execute(statements.MOVE_NONCES, _columns(raised)), len(raised)))
        if first := [n for n in nonces if n[0] not in self._known_nonces]:
            guarded.append((await execute(statements.NEW_NONCES, _columns(first)), len(first)))
        payments = sorted(writes.payments, key=lambda row: row.idempotency_key or b"")
        guarded.append((await execute(statements.NEW_PAYMENTS, _columns(payments)), len(payments)))
        await execute(statements.PUT_SPEND, _columns(sorted(spend_rows(writes, self._writer_name))))
        if writes.events:
            await execute(statements.NEW_EVENTS, _columns(writes.events))
        return guarded

    async def rollback(self) -> None:
        """Where it cannot be said, closing the connection says it as well."""
        if self._batches.is_open:
            try:
                await (await self._batches.get()).execute("ROLLBACK")
            except (psycopg.Error, OSError):
                await self._batches.close()

    async def _failed(self, error: Exception) -> StoreFailed:
        """Ends the transaction, and tells what may be done about the error."""
        failure = _translated(error)
        if isinstance(failure, ConnectionLost):
            await self._batches.close()
        else:
            await self.rollback()
        return failure

    async def tip(self, state_id: str) -> Tip | None:
        """Calls that come together are asked together."""
        asked = self._asked.get(state_id)
        if asked is None:
            asked = self._asked[state_id] = asyncio.get_running_loop().create_future()
            if self._answering is None or self._answering.done():
                self._answering = asyncio.create_task(self._answer_tips(), name="ledger-reads")
        return await asyncio.shield(asked)

    async def _answer_tips(self) -> None:
        while self._asked:
            await asyncio.sleep(0)
            asked, self._asked = self._asked, {}
            names = [text_bytes(state_id) for state_id in asked]
            try:
                rows = await self._reads.use(lambda c, names=names: _fetch(c, statements.READ_TIPS, (names,)))  # type: ignore[misc]
            except StoreFailed as error:
                for waiting in asked.values():
                    waiting.set_exception(error)
                    waiting.exception()  # nobody may be left who asks
                continue
            tips = {bytes_text(state_id): Tip(seq, made) for state_id, seq, made in rows}
            for state_id, waiting in asked.items():
                waiting.set_result(tips.get(state_id))

    async def payment(self, state_id: str, sequence_number: int, digest: bytes) -> StoredPayment | None:
        """In its own place, else where it was healed to."""
        name = text_bytes(state_id)
        found = await self._answer("state_id = %s AND seq = %s AND digest = %s", name, sequence_number, digest)
        return found or await self._answer("state_id = %s AND digest = %s AND is_healed = 1", name, digest)

    async def payment_of(self, idempotency_key: bytes) -> StoredPayment | None:
        """The new session that was started under this key."""
        return await self._answer("idempotency_key = %s", idempotency_key)

    async def _answer(self, condition: str, *parameters: object) -> StoredPayment | None:
        rows = await self._reads.use(lambda c: _fetch(c, statements.ANSWER + condition, parameters))
        return StoredPayment(rows[0][0], bytes_text(rows[0][1]), rows[0][2], rows[0][3]) if rows else None

    async def newest_state(self, state_id: str) -> bytes | None:
        """The state to go on from."""
        rows = await self._reads.use(lambda c: _fetch(c, statements.NEWEST_STATE, (text_bytes(state_id),)))
        return rows[0][0] if rows else None

    async def query(self, sql: str, parameters: Sequence[object] = ()) -> list[Row]:
        """On the side connection."""
        return await self._side.use(lambda c: _fetch(c, sql.replace("?", "%s"), parameters))

    async def execute(self, sql: str, parameters: Sequence[object] = ()) -> int:
        """On the side connection."""

        async def change(connection: AsyncConnection[Row]) -> int:
            return (await connection.execute(sql.replace("?", "%s"), parameters)).rowcount

        return await self._side.use(change)


class _Link:
    """One connection, opened when it is needed and again when it broke. One user at a time."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: AsyncConnection[Row] | None = None
        self._lock = asyncio.Lock()

    @property
    def is_open(self) -> bool:
        """Whether there is a connection that is not known to be broken."""
        return self._connection is not None and not self._connection.closed

    async def get(self) -> AsyncConnection[Row]:
        """The open connection. Raises StoreFailed."""
        if self._connection is not None and not self._connection.closed:
            return self._connection
        try:
            connection = await AsyncConnection.connect(_with_timeout(self._url), autocommit=True)
            await connection.execute(sql.SQL(statements.SESSION_SETTINGS))
        except (psycopg.Error, OSError) as error:
            raise _unreachable(error) from None
        self._connection = connection
        return connection

    async def use(self, work: Callable[[AsyncConnection[Row]], Awaitable[_T]]) -> _T:
        """Runs `work`, once more on a fresh connection where the old one broke: what it does may be done twice."""
        async with self._lock:
            for attempt in (1, 2):
                connection = await self.get()
                try:
                    return await work(connection)
                except (psycopg.Error, OSError) as error:
                    failure = _translated(error)
                    if isinstance(failure, ConnectionLost):
                        await self.close()
                    if not isinstance(failure, ConnectionLost) or attempt == 2:
                        raise failure from None
        raise AssertionError("unreachable: the loop returns or raises")

    async def close(self) -> None:
        """Closes without a word: the server rolls back what was open."""
        if self._connection is not None:
            connection, self._connection = self._connection, None
            await connection.close()


def _with_timeout(url: str) -> str:
    """A dead host must not hold up a start or a batch for the kernel's two minutes."""
    if "connect_timeout" in conninfo.conninfo_to_dict(url):
        return url
    return conninfo.make_conninfo(url, connect_timeout=CONNECT_TIMEOUT_SECONDS)


async def _fetch(connection: AsyncConnection[Row], statement: str, parameters: Sequence[object]) -> list[Row]:
    cursor = await connection.execute(statement, parameters)
    return await cursor.fetchall()


async def _rows(cursor: AsyncCursor[Row] | None) -> list[Row]:
    return [] if cursor is None else await cursor.fetchall()


def _columns(rows: Sequence[Sequence[Any]]) -> tuple[list[Any], ...]:
    """Rows as one list a column: `unnest` makes rows of them again, and one statement serves any number."""
    return tuple(list(column) for column in zip(*rows, strict=True))


_REASONS = {
    "25006": "it is read-only",
    "42501": "permission is missing",
    "53100": "its disk is full",
    "55P03": "rows stay locked by another process",
    "57014": "a statement took too long",
}


def _translated(error: Exception) -> StoreFailed:
    """What an error means for a batch, without its own words, which may name a host, a user or a value."""
    state = getattr(error, "sqlstate", None)
    if state in _NOBODY_AT_FAULT:
        return Conflict(f"other processes were faster, again and again (SQLSTATE {state})")
    if isinstance(error, OSError) or (
        isinstance(error, psycopg.OperationalError) and (state is None or state[:2] in ("08", "57")) and state != "57014"
    ):
        return ConnectionLost(f"the connection to PostgreSQL broke ({state or type(error).__name__})")
    if state is None and isinstance(error, psycopg.InterfaceError):
        return ConnectionLost("the connection to PostgreSQL broke")
    return StoreFailed(f"PostgreSQL refused: {_REASONS.get(state or '', 'see its log')} (SQLSTATE {state})")


def _unreachable(error: Exception) -> StoreFailed:
    state = getattr(error, "sqlstate", None)
    return StoreFailed(f"PostgreSQL cannot be reached, or refuses the login ({state or type(error).__name__})")
