"""The digests in the SQLite ledger. A minute is closed between two batches; everything else is read in the thread of what may take long."""

from __future__ import annotations

import sqlite3

from livepeer_remote_signer.adapters.ledger import digest_rows as rows
from livepeer_remote_signer.adapters.ledger.digest_store import ChainedPayment, ClosedLine
from livepeer_remote_signer.adapters.ledger.sqlite_connections import SqliteConnections
from livepeer_remote_signer.adapters.ledger.store import Row
from livepeer_remote_signer.core.rules.digests import Closing, close_minute


class SqliteDigests:
    """The digests' rows of one file."""

    def __init__(self, file: SqliteConnections) -> None:
        self._file = file

    async def oldest_open(self) -> int | None:
        """By the index of open lines."""
        ((minute,),) = await self._fetch(rows.OLDEST_OPEN)
        return int(minute) if minute is not None else None

    async def close(self, minute: int, now_ms: int) -> None:
        """In one transaction."""

        def close(connection: sqlite3.Connection) -> None:
            lines = [rows.line_of(row) for row in connection.execute(rows.SQLITE.open_lines, (minute,)).fetchall()]
            if not lines:  # another process was faster
                return
            newest = connection.execute(rows.NEWEST_CLOSING).fetchone()
            closing = close_minute(rows.closing_of(newest) if newest is not None else None, lines, now_ms)
            connection.execute(rows.SQLITE.close, (closing.number, minute))
            connection.execute(rows.SQLITE.new_closing, closing)

        await self._file.transact(close)

    async def closings(self, after: int, limit: int) -> list[Closing]:
        """By number."""
        return [rows.closing_of(row) for row in await self._fetch(rows.SQLITE.closings, after, limit)]

    async def lines(self, after: tuple[int, bytes], limit: int) -> list[ClosedLine]:
        """By the table's key."""
        return [ClosedLine(rows.line_of(row[:4]), row[4]) for row in await self._fetch(rows.SQLITE.lines, *after, limit)]

    async def payments(self, after: tuple[int, int], limit: int) -> list[ChainedPayment]:
        """By the index of their times."""
        return [rows.payment_of(row) for row in await self._fetch(rows.SQLITE.payments, *after, limit)]

    async def _fetch(self, statement: str, *values: object) -> list[Row]:
        return await self._file.beside(lambda connection: connection.execute(statement, values).fetchall(), is_long=True)
