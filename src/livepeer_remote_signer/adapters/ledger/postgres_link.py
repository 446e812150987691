"""A connection to PostgreSQL that opens when it is needed and again when it broke, and what the server's errors mean."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import psycopg
from psycopg import AsyncConnection, conninfo, sql

from livepeer_remote_signer.adapters.ledger import postgres_statements as statements
from livepeer_remote_signer.adapters.ledger.store import Conflict, ConnectionLost, Row, StoreFailed

CONNECT_TIMEOUT_SECONDS = 3
_NOBODY_AT_FAULT = ("40001", "40P01", "23505")  # serialization failure, deadlock, unique violation

_T = TypeVar("_T")


class Link:
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
                    failure = translated(error)
                    if isinstance(failure, ConnectionLost):
                        await self.close()
                    if not isinstance(failure, ConnectionLost) or attempt == 2:
                        raise failure from None
        raise AssertionError("unreachable: the loop returns or raises")

    async def fetch(self, statement: str, *parameters: object) -> list[Row]:
        """The rows of one committed statement."""
        return await self.use(lambda connection: fetch(connection, statement, *parameters))

    async def change(self, statement: str, *parameters: object) -> int:
        """How many rows one committed statement changed."""

        async def run(connection: AsyncConnection[Row]) -> int:
            return (await connection.execute(statement, parameters)).rowcount

        return await self.use(run)

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


async def fetch(connection: AsyncConnection[Row], statement: str, *parameters: object) -> list[Row]:
    """The rows of one statement."""
    cursor = await connection.execute(statement, parameters)
    return await cursor.fetchall()


_REASONS = {
    "25006": "it is read-only",
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
