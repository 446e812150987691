"""Adds what payments left to be added to the sums of a SQLite ledger, between two batches."""

from __future__ import annotations

import asyncio

from livepeer_remote_signer.adapters.ledger import daily, tallies
from livepeer_remote_signer.adapters.ledger.going_on import to_its_end
from livepeer_remote_signer.adapters.ledger.sqlite_connections import SqliteConnections, translated
from livepeer_remote_signer.adapters.ledger.store import draw_rows, spend_rows
from livepeer_remote_signer.core.rules.sums import OpenSums, Sums
from livepeer_remote_signer.core.rules.tally import parse_tallies

_PUT_SPEND = """INSERT INTO lrs_spend (minute, writer, auth_id, orchestrator, payments, tickets, ev_wei, face_value_wei, fee_wei)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (minute, writer, auth_id, orchestrator) DO UPDATE SET payments = excluded.payments, tickets = excluded.tickets,
    ev_wei = excluded.ev_wei, face_value_wei = excluded.face_value_wei, fee_wei = excluded.fee_wei"""
_PUT_DRAWS = """INSERT INTO lrs_draws (minute, writer, recipient, round, terms, tickets, winners, face_value_wei)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (minute, writer, recipient, round, terms) DO UPDATE SET
    tickets = excluded.tickets, winners = excluded.winners, face_value_wei = excluded.face_value_wei"""


class SqliteSums:
    """The lines of one process."""

    def __init__(self, file: SqliteConnections, writer: str) -> None:
        self._file = file
        self._writer = writer
        self._open = OpenSums()
        self._turn = asyncio.Lock()

    async def fold(self) -> None:
        """In steps; nothing is written where nothing waits."""
        ((newest,),) = await self._file.beside(lambda connection: connection.execute(tallies.NEWEST).fetchall())
        while newest is not None and await to_its_end(self._fold_some(newest)):
            pass

    async def _fold_some(self, newest: int) -> bool:
        """Whether there may be more of them. As a batch: its statements run on the event loop's thread, since another one would wait for
        the interpreter at every row, with the write lock in its hands."""
        async with self._turn, self._file.turn:
            self._file.check_file()
            await self._file.begin()
            try:
                with translated():
                    sums, count = self._add(newest)
                    await self._file.commit()
                self._open.keep(sums)
            except BaseException:
                self._open.begin_parts()
                await self._file.rollback()
                raise
        return count == tallies.FOLDED_AT_ONCE

    def _add(self, newest: int) -> tuple[Sums, int]:
        connection = self._file.write
        rows = connection.execute(tallies.SQLITE_OLDEST, (newest, tallies.FOLDED_AT_ONCE)).fetchall()
        sums = self._open.add(tally for _, raw in rows for tally in parse_tallies(raw))
        connection.executemany(_PUT_SPEND, spend_rows(sums.spend, self._writer))
        connection.executemany(_PUT_DRAWS, draw_rows(sums.draws, self._writer))
        connection.executemany(daily.SQLITE_PUT, daily.rows_of(sums.days, self._writer))
        if rows:
            connection.execute(tallies.SQLITE_FOLDED, (rows[-1][0],))
        return sums, len(rows)
