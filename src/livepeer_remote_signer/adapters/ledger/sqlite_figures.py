"""The figures of a ledger in SQLite: sums that it adds up in the thread of what may take long, while Python code goes on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from livepeer_remote_signer.adapters.ledger import daily, sessions
from livepeer_remote_signer.adapters.ledger.sqlite_amounts import BILLION, joined, sums_of
from livepeer_remote_signer.adapters.ledger.sqlite_connections import SqliteConnections
from livepeer_remote_signer.adapters.ledger.sqlite_sums import SqliteSums
from livepeer_remote_signer.adapters.ledger.store import Minutes, Row, SpendName, spend_of_row
from livepeer_remote_signer.core.rules.budgets import Usage, parse_usage
from livepeer_remote_signer.core.rules.caller_usage import OpenSession
from livepeer_remote_signer.core.rules.ledger import SpendSum
from livepeer_remote_signer.core.rules.usage import UsageQuery, UsageRow

_SPEND_SUMS = ", ".join(("sum(payments), sum(tickets)", sums_of("ev_wei"), sums_of("face_value_wei"), sums_of("fee_wei")))
_SPEND_BY_MINUTE = f"SELECT minute, {_SPEND_SUMS} FROM lrs_spend WHERE minute BETWEEN ? AND ? GROUP BY minute"  # noqa: S608 - our own names
_SPEND_OF = f"""SELECT CAST({{by}} AS BLOB), minute / ?, {_SPEND_SUMS} FROM lrs_spend
    WHERE minute BETWEEN ? AND ? AND {{by}} IN ({{marks}}) GROUP BY 1, 2"""  # noqa: S608 - our own names
_LARGEST_SPEND = f"""WITH sums (name, high, low) AS (SELECT {{by}}, {sums_of("ev_wei")} FROM lrs_spend
    WHERE minute BETWEEN ? AND ? GROUP BY {{by}})
    SELECT name, count(*) OVER () FROM sums ORDER BY high + low / {BILLION} DESC, low % {BILLION} DESC, name LIMIT ?"""  # noqa: S608


_DRAWN_BY = f"""SELECT (SELECT count(*) FROM lrs_followed), {sums_of("paid_wei")} FROM lrs_redeemed
    WHERE payer = ? AND found_ms >= ? AND found_ms < ? AND verdict = 'ours' AND is_gone = 0"""  # noqa: S608 - our own names


class SqliteFigures:
    """What `sqlite.SqliteStore` reads to show it."""

    _file: SqliteConnections
    _sums: SqliteSums

    async def usage(self, after: str, limit: int) -> dict[str, Usage]:
        """In the thread of what may take long."""
        rows = await self._many_rows("SELECT key, amounts FROM lrs_usage WHERE key > ? ORDER BY key LIMIT ?", after, limit)
        return {key: parse_usage(amounts) for key, amounts in rows}

    async def spend_over_time(self, minutes: Minutes, bucket_minutes: int) -> list[tuple[int, SpendSum]]:
        """In the thread of what may take long, within SQLite: Python code goes on meanwhile."""
        await self._sums.fold()
        buckets: dict[int, SpendSum] = {}
        for minute, *sums in await self._many_rows(_SPEND_BY_MINUTE, *minutes):
            bucket = minute // bucket_minutes
            buckets[bucket] = buckets.get(bucket, SpendSum()).plus(_spend_sum(sums))
        return sorted(buckets.items())

    async def largest_spend(self, minutes: Minutes, by: SpendName, most: int) -> tuple[int, list[bytes]]:
        """In the thread of what may take long, within SQLite."""
        await self._sums.fold()
        rows = await self._many_rows(_LARGEST_SPEND.format(by=by), *minutes, most)
        return (rows[0][1] if rows else 0), [bytes(name) for name, _ in rows]

    async def spend_of(
        self, minutes: Minutes, by: SpendName, names: Sequence[bytes], bucket_minutes: int
    ) -> list[tuple[bytes, int, SpendSum]]:
        """In the thread of what may take long, within SQLite."""
        await self._sums.fold()
        rows = await self._many_rows(_SPEND_OF.format(by=by, marks=marks(names)), bucket_minutes, *minutes, *names)
        return [(bytes(name), bucket, _spend_sum(sums)) for name, bucket, *sums in rows]

    async def sessions_started(self, since_ms: int) -> int:
        """In the thread of what may take long."""
        count: int = (await self._many_rows("SELECT count(*) FROM lrs_payments WHERE seq = 0 AND made_ms >= ?", since_ms))[0][0]
        return count

    async def daily(self, query: UsageQuery) -> list[UsageRow]:
        """In the thread of what may take long, within SQLite."""
        await self._sums.fold()
        statement, values = daily.sqlite_query(query)
        return [daily.sqlite_row(row, query) for row in await self._many_rows(statement, *values)]

    async def drawn_by(self, payer: bytes, first_ms: int, after_ms: int) -> int | None:
        """In the thread of what may take long, by the index of when tickets were found."""
        ((is_followed, *halves),) = await self._many_rows(_DRAWN_BY, payer, first_ms, after_ms)
        return joined([half or 0 for half in halves])[0] if is_followed else None

    async def open_sessions(self, auth_id: bytes, since_ms: int, most: int) -> list[OpenSession]:
        """In the thread of what may take long, within SQLite."""
        return sessions.open_sessions_of(await self._many_rows(sessions.SQLITE_OPEN, auth_id, since_ms, most))

    async def usage_of(self, keys: Sequence[str]) -> dict[str, Usage]:
        """By their names."""
        rows = await self._many_rows(f"SELECT key, amounts FROM lrs_usage WHERE key IN ({marks(keys)})", *keys)  # noqa: S608 - only marks
        return {key: parse_usage(amounts) for key, amounts in rows}

    async def _many_rows(self, sql: str, *parameters: object) -> list[Row]:
        return await self._file.beside(lambda connection: connection.execute(sql, parameters).fetchall(), is_long=True)


def _spend_sum(row: Sequence[Any]) -> SpendSum:
    payments, tickets, *halves = row
    return spend_of_row((payments, tickets, *joined(halves)))


def marks(values: Sequence[object]) -> str:
    """As many question marks."""
    return ", ".join("?" * len(values))
