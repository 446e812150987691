"""The digests in the PostgreSQL ledger, on the connection of what may take long."""

from __future__ import annotations

from typing import Any

from psycopg import AsyncConnection

from livepeer_remote_signer.adapters.ledger import digest_rows as rows
from livepeer_remote_signer.adapters.ledger.digest_store import ChainedPayment, ClosedLine
from livepeer_remote_signer.adapters.ledger.postgres_link import Link, fetch
from livepeer_remote_signer.adapters.ledger.store import Row
from livepeer_remote_signer.core.rules.digests import Closing, close_minute


class PostgresDigests:
    """The digests' rows of one database."""

    def __init__(self, link: Link) -> None:
        self._link = link

    async def oldest_open(self) -> int | None:
        """By the index of open lines."""
        ((minute,),) = await self._link.fetch(rows.OLDEST_OPEN)
        return int(minute) if minute is not None else None

    async def close(self, minute: int, now_ms: int) -> None:
        """Lines are locked before they are read: a payment that would add to one waits, and then begins another."""

        async def close(connection: AsyncConnection[Row]) -> None:
            async with connection.transaction():
                if self._link.is_pooled:
                    await connection.execute(*self._link.settings(is_local=True))
                found = await fetch(connection, rows.POSTGRES.open_lines + " ORDER BY tag FOR UPDATE", minute)
                if not found:  # another process was faster
                    return
                newest = await fetch(connection, rows.NEWEST_CLOSING)
                closing = close_minute(rows.closing_of(newest[0]) if newest else None, [rows.line_of(row) for row in found], now_ms)
                values: tuple[Any, ...] = (closing.number, minute)
                await connection.execute(rows.POSTGRES.close, values)
                await connection.execute(rows.POSTGRES.new_closing, closing)

        await self._link.use(close)

    async def closings(self, after: int, limit: int) -> list[Closing]:
        """By number."""
        return [rows.closing_of(row) for row in await self._link.fetch(rows.POSTGRES.closings, after, limit)]

    async def lines(self, after: tuple[int, bytes], limit: int) -> list[ClosedLine]:
        """By the table's key."""
        return [ClosedLine(rows.line_of(row[:4]), row[4]) for row in await self._link.fetch(rows.POSTGRES.lines, *after, limit)]

    async def payments(self, after: tuple[int, int], limit: int) -> list[ChainedPayment]:
        """By the index of their times."""
        return [rows.payment_of(row) for row in await self._link.fetch(rows.POSTGRES.payments, *after, limit)]
