"""Connections to PostgreSQL: where the server is, whether it answers, and how long it is waited for.

The server's own clocks (`statement_timeout` and its like) do not run while it is frozen, cut off, or behind something that
has forgotten the connection, and a cancelled wait may go on waiting. So each step has a clock here: when it has run out, the
socket is shut down, and whoever waits on it finds the connection broken. A server that has not answered anybody meanwhile
is down: everybody is told so at once, and only the look of the housekeeping tries it again.
"""

from __future__ import annotations

import asyncio
import math
import os
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, TypeVar

import psycopg
from psycopg import AsyncConnection, conninfo

from livepeer_remote_signer.adapters.ledger import postgres_statements as statements
from livepeer_remote_signer.adapters.ledger.going_on import to_its_end
from livepeer_remote_signer.adapters.ledger.store import Conflict, ConnectionLost, Row, StoreFailed

_NOBODY_AT_FAULT = ("40001", "40P01", "23505")  # serialization failure, deadlock, unique violation
_SERVER_WAITS = 0.75
"""The server gives up on locks and statements a little before we give up on the server: then it says what it waited for."""

_STEPS_OF_A_TRANSACTION = 3
"""Its rows, what is written, the commit."""

_T = TypeVar("_T")
Work = Callable[[AsyncConnection[Row]], Awaitable[_T]]


class Server:
    """The server, or those of several that take writes, behind one connection string."""

    def __init__(self, url: str, timeout_seconds: float) -> None:
        """Raises ValueError for text that is no connection string, without repeating it."""
        try:
            self._targets = _targets(url, timeout_seconds)
        except psycopg.ProgrammingError:
            raise ValueError("this is no libpq connection string") from None
        known = [conninfo.conninfo_to_dict(target) for target in self._targets]
        self.name = f"{', '.join(str(place.get('host', 'its socket')) for place in known)}/{known[0].get('dbname', '')}"
        """Its hosts and the database: no user, no password."""
        self.timeout_seconds = timeout_seconds
        self.answered_at = -math.inf
        """When it last answered anybody, by the monotonic clock."""
        self.down: str | None = None
        """Why nobody need ask: it is let know by `check` alone whether that has changed."""
        self._late: set[asyncio.Task[AsyncConnection[Row]]] = set()

    def answered(self) -> None:
        """It is not down."""
        self.answered_at = time.monotonic()
        self.down = None

    def silent(self, since: float, reason: str) -> StoreFailed:
        """What follows when a step that began at `since` got no answer: only its connection is lost, or the server is down."""
        if self.answered_at > since:
            return ConnectionLost(reason)
        self.down = reason
        return StoreFailed(reason)

    async def connect(self) -> AsyncConnection[Row]:
        """The first connection that any of the servers gives, within the time of a step. Raises psycopg.Error, OSError, TimeoutError."""
        loop = asyncio.get_running_loop()
        attempts = [loop.create_task(AsyncConnection.connect(target, autocommit=True)) for target in self._targets]
        self._late.update(attempts)
        waiting, deadline, failures = set(attempts), loop.time() + self.timeout_seconds, list[BaseException]()
        found: AsyncConnection[Row] | None = None
        try:
            while waiting and found is None:
                done, waiting = await asyncio.wait(waiting, timeout=deadline - loop.time(), return_when=asyncio.FIRST_COMPLETED)
                if not done:
                    raise TimeoutError
                for attempt in done:
                    if (failure := attempt.exception()) is not None:
                        failures.append(failure)
                    elif found is None:
                        found = attempt.result()
                        attempts.remove(attempt)
                        self._late.discard(attempt)
        finally:
            for attempt in attempts:  # nobody waits for those: they end by their own time-out
                attempt.cancel()
                attempt.add_done_callback(self._drop)
        if found is None:
            raise failures[0]
        return found

    def _drop(self, attempt: asyncio.Task[AsyncConnection[Row]]) -> None:
        self._late.discard(attempt)
        if not attempt.cancelled() and attempt.exception() is None:
            attempt.result().pgconn.finish()

    async def close(self) -> None:
        """Waits a little for attempts that nobody waits for."""
        if self._late:
            await asyncio.wait(self._late, timeout=self.timeout_seconds)


class Link:
    """One connection, opened when it is needed and again when it broke. One user at a time.

    `is_vital`: that it gets no answer means that the server is down; else it is its own fault, as with a long question.
    """

    def __init__(self, server: Server, *, seconds: float | None = None, is_vital: bool = True) -> None:
        self._server = server
        self._seconds = seconds or server.timeout_seconds
        self._is_vital = is_vital
        self._connection: AsyncConnection[Row] | None = None
        self._lock = asyncio.Lock()
        self._is_cut = False
        self.is_pooled = False
        """Whether another session may stand behind each transaction: then settings hold for one, and nothing is prepared."""
        self.has_transaction_clock = False
        """Whether the server bounds a transaction as a whole, which older ones cannot."""

    @property
    def is_open(self) -> bool:
        """Whether there is a connection that is not known to be broken."""
        return self._connection is not None and not self._connection.closed

    async def run(self, work: Work[_T], *, is_probe: bool = False, goes_on: bool = False) -> _T:
        """Runs `work`, a step, in its time. Raises StoreFailed; ConnectionLost where it may be repeated on a new connection.

        A step that `goes_on` with a transaction is never run on another connection than the one that has it.
        """
        if goes_on and not self.is_open:
            raise ConnectionLost("the connection to PostgreSQL broke inside a transaction")
        connection = await self._get(is_probe)
        started = time.monotonic()
        clock = asyncio.get_running_loop().call_later(self._seconds, self._cut, connection)
        try:
            result = await work(connection)
        except (psycopg.Error, OSError) as error:
            raise await self._failed(error, started) from None
        except asyncio.CancelledError:
            self._cut(connection)
            await self.close()
            raise
        finally:
            clock.cancel()
        if self._is_cut:  # this process stood still: the answer had come, but was not read before the clock ran out
            await self.close()
        self._server.answered()
        return result

    async def _get(self, is_probe: bool) -> AsyncConnection[Row]:
        self._check_up(is_probe)
        if self._connection is not None and not self._connection.closed:
            return self._connection
        started = time.monotonic()
        try:
            connection = await self._server.connect()
        except TimeoutError:
            raise self._silent(started, _no_answer(self._server.timeout_seconds)) from None
        except (psycopg.Error, OSError) as error:
            raise self._silent(started, _unreachable(error)) from None
        self._connection, self._is_cut = connection, False
        await self.run(self._prepare, is_probe=True)
        return connection

    def _check_up(self, is_probe: bool) -> None:
        if self._server.down is not None and not is_probe:
            raise StoreFailed(self._server.down)

    async def _prepare(self, connection: AsyncConnection[Row]) -> None:
        """A pooler tells another process number than the server's own. Where there is none, the settings hold for the session."""
        ((number,),) = await fetch(connection, "SELECT pg_backend_pid()")
        self.is_pooled = number != connection.info.backend_pid
        self.has_transaction_clock = connection.info.server_version >= 170_000
        if self.is_pooled:
            connection.prepare_threshold = None
        else:
            await connection.execute(*self.settings(is_local=False))

    def settings(self, *, is_local: bool) -> tuple[str, Sequence[object]]:
        """The statement that bounds the server's waiting, for this session or for this transaction."""
        wait_ms, idle_ms = (str(int(seconds * 1000)) for seconds in (self._seconds * _SERVER_WAITS, self._seconds))
        values = (wait_ms, is_local, wait_ms, is_local, idle_ms, is_local, is_local)
        if not self.has_transaction_clock:
            return statements.BOUNDS, values
        return statements.BOUNDS_SINCE_17, (*values, str(int(self._seconds * _STEPS_OF_A_TRANSACTION * 1000)), is_local)

    def _cut(self, connection: AsyncConnection[Row]) -> None:
        """Whoever waits on the socket finds it at its end."""
        self._is_cut = True
        with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(connection.pgconn.socket)) as ours:
            ours.shutdown(socket.SHUT_RDWR)

    def _silent(self, since: float, reason: str) -> StoreFailed:
        return self._server.silent(since, reason) if self._is_vital else StoreFailed(reason)

    async def _failed(self, error: Exception, started: float) -> StoreFailed:
        if self._is_cut:
            await self.close()
            return self._silent(started, _no_answer(self._seconds))
        failure = translated(error)
        if not self.is_open and not isinstance(failure, ConnectionLost):  # the server has said why it ends the session
            failure = ConnectionLost(failure.reason)
        if isinstance(failure, ConnectionLost):
            await self.close()
        else:
            self._server.answered()
        return failure

    async def use(self, work: Work[_T], *, is_probe: bool = False) -> _T:
        """Runs `work` in its turn, once more on a fresh connection where the old one broke: what it does may be done twice.

        It goes on to its end when the caller leaves.
        """
        return await to_its_end(self._use(work, is_probe))

    async def _use(self, work: Work[_T], is_probe: bool) -> _T:
        self._check_up(is_probe)  # who tries whether it is up has the turn meanwhile
        try:
            async with asyncio.timeout(self._seconds):
                await self._lock.acquire()
        except TimeoutError:
            raise StoreFailed(f"PostgreSQL is too slow: others wait for their answers for more than {self._seconds:g} s") from None
        try:
            try:
                return await self.run(work, is_probe=is_probe)
            except ConnectionLost:
                return await self.run(work, is_probe=is_probe)
        finally:
            self._lock.release()

    async def fetch(self, statement: str, *parameters: object) -> list[Row]:
        """The rows of one committed statement."""
        return await self.use(lambda connection: fetch(connection, statement, *parameters))

    async def change(self, statement: str, *parameters: object) -> int:
        """How many rows one committed statement changed."""

        async def run(connection: AsyncConnection[Row]) -> int:
            if not self.is_pooled:
                return (await connection.execute(statement, parameters)).rowcount
            async with connection.transaction():
                await connection.execute(*self.settings(is_local=True))
                return (await connection.execute(statement, parameters)).rowcount

        return await self.use(run)

    async def close(self) -> None:
        """Closes without a word: the server rolls back what was open."""
        if self._connection is not None:
            connection, self._connection = self._connection, None
            await connection.close()


async def fetch(connection: AsyncConnection[Row], statement: str, *parameters: object) -> list[Row]:
    """The rows of one statement."""
    cursor = await connection.execute(statement, parameters)
    return await cursor.fetchall()


def columns_of(rows: Sequence[Sequence[Any]]) -> tuple[list[Any], ...]:
    """Rows as one list a column: `unnest` makes rows of them again, and one statement serves any number."""
    return tuple(list(column) for column in zip(*rows, strict=True))


def _targets(url: str, timeout_seconds: float) -> list[str]:
    """The connection strings to try at once. What the operator has set stands; a dead host is noticed by the kernel as well.

    Of several hosts the one that takes writes is wanted, whichever answers first: one that hangs must not stand before the
    others. Raises psycopg.ProgrammingError.
    """
    values = conninfo.conninfo_to_dict(url)
    defaults: dict[str, Any] = {
        "connect_timeout": max(2, math.ceil(timeout_seconds)),
        "tcp_user_timeout": int(timeout_seconds * 1000),
        "keepalives_idle": 5,
        "keepalives_interval": 2,
        "keepalives_count": 2,
        "target_session_attrs": "read-write",
    }
    # a database without an encoding of its own (SQL_ASCII) would hand out every text as bytes
    wanted = {**defaults, **values, "client_encoding": "UTF8"}
    hosts, ports = str(values.get("host", "")).split(","), str(values.get("port", "")).split(",")
    if len(hosts) == 1 or "hostaddr" in values or wanted["target_session_attrs"] not in ("read-write", "primary"):
        return [conninfo.make_conninfo("", **wanted)]
    if len(ports) == 1:
        ports *= len(hosts)
    return [conninfo.make_conninfo("", **{**wanted, "host": host, "port": port}) for host, port in zip(hosts, ports, strict=False)]


_REASONS = {
    "25P03": "this signer stood still inside a transaction",
    "25P04": "this signer stood still inside a transaction",
    "42501": "permission is missing",
    "53100": "its disk is full",
    "55P03": "rows stay locked by another process",
    "57014": "a statement took too long",
}


def translated(error: Exception) -> StoreFailed:
    """What an error means for a batch, without its own words, which may name a host, a user or a value."""
    state = getattr(error, "sqlstate", None)
    if state in _NOBODY_AT_FAULT:
        return Conflict(f"other processes were faster, again and again (SQLSTATE {state})")
    if state == "25006":  # what was the primary is one no more, and says so to whoever still writes to it
        return ConnectionLost("PostgreSQL is read-only: is another server the primary now? (SQLSTATE 25006)")
    if isinstance(error, OSError) or (
        isinstance(error, psycopg.OperationalError) and (state is None or state[:2] in ("08", "57")) and state != "57014"
    ):
        return ConnectionLost(f"the connection to PostgreSQL broke ({state or type(error).__name__})")
    if state is None and isinstance(error, psycopg.InterfaceError):
        return ConnectionLost("the connection to PostgreSQL broke")
    return StoreFailed(f"PostgreSQL refused: {_REASONS.get(state or '', 'see its log')} (SQLSTATE {state})")


def _unreachable(error: Exception) -> str:
    state = getattr(error, "sqlstate", None)
    return f"PostgreSQL cannot be reached, takes no writes, or refuses the login ({state or type(error).__name__})"


def _no_answer(seconds: float) -> str:
    return f"PostgreSQL did not answer within {seconds:g} s"
