"""Adds what payments left to be added to the sums of a PostgreSQL ledger."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from psycopg import AsyncConnection

from livepeer_remote_signer.adapters.ledger import daily, tallies
from livepeer_remote_signer.adapters.ledger import postgres_statements as statements
from livepeer_remote_signer.adapters.ledger.postgres_link import Link, columns_of, fetch
from livepeer_remote_signer.adapters.ledger.store import Row, draw_rows, spend_rows
from livepeer_remote_signer.core.rules.sums import OpenSums
from livepeer_remote_signer.core.rules.tally import parse_tallies


class PostgresSums:
    """The lines of one process, on the connection of what may take long."""

    def __init__(self, link: Link, writer: str) -> None:
        self._link = link
        self._writer = writer
        self._open = OpenSums()
        self._turn = asyncio.Lock()

    async def fold(self) -> None:
        """In steps; nothing is written where nothing waits."""
        ((newest,),) = await self._link.fetch(tallies.NEWEST)
        left = newest is not None
        while left:
            async with self._turn:
                await self._link.use(lambda connection: self._fold_some(connection, newest))
            ((left,),) = await self._link.fetch(tallies.POSTGRES_LEFT, newest)

    async def _fold_some(self, connection: AsyncConnection[Row], newest: int) -> None:
        try:
            async with connection.transaction():
                if self._link.is_pooled:
                    await connection.execute(*self._link.settings(is_local=True))
                rows = await fetch(connection, tallies.POSTGRES_TAKE, newest, tallies.FOLDED_AT_ONCE)
                sums = self._open.add(tally for (raw,) in rows for tally in parse_tallies(raw))
                puts: Sequence[tuple[str, Sequence[Row]]] = (
                    (statements.PUT_SPEND, spend_rows(sums.spend, self._writer)),
                    (statements.PUT_DRAWS, draw_rows(sums.draws, self._writer)),
                    (daily.POSTGRES_PUT, daily.rows_of(sums.days, self._writer)),
                )
                for statement, lines in puts:
                    if lines:
                        await connection.execute(statement, columns_of(sorted(lines)))
            self._open.keep(sums)
        except BaseException:
            self._open.begin_parts()
            raise
