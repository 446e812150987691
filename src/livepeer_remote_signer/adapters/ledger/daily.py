"""What was paid by day: the lines of `lrs_daily` in both databases, and the statements on them.

Each process has lines of its own, written whole in the transaction of the payments that they count: no two wait for each
other, and each payment is counted once. A page of sums is found by its names, from the one after the page before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from livepeer_remote_signer.adapters.ledger.sqlite_amounts import joined, sums_of
from livepeer_remote_signer.adapters.ledger.store import Row, bytes_text, part_name, text_bytes
from livepeer_remote_signer.core.rules.usage import MINUTES_PER_DAY, DayKey, UsageQuery, UsageRow, UsageSum

_COLUMNS = "auth_id, day, orchestrator, writer, payments, sessions, tickets, ev_wei, fee_wei, billed_ns, fee_usd, priced"
_NEWER = ", ".join(f"{column} = excluded.{column}" for column in _COLUMNS.split(", ")[4:])
_PUT = f"ON CONFLICT (auth_id, day, orchestrator, writer) DO UPDATE SET {_NEWER}"

SQLITE_PUT = f"INSERT INTO lrs_daily ({_COLUMNS}) VALUES ({', '.join('?' * 12)}) {_PUT}"  # noqa: S608 - our own names
POSTGRES_PUT = f"""INSERT INTO lrs_daily ({_COLUMNS}) SELECT * FROM unnest(%s::bytea[], %s::bigint[], %s::bytea[], %s::text[], %s::bigint[],
    %s::bigint[], %s::bigint[], %s::text[], %s::text[], %s::text[], %s::text[], %s::bigint[]) {_PUT}"""  # noqa: S608 - our own names

SQLITE_FORGET = """DELETE FROM lrs_daily WHERE (auth_id, day, orchestrator, writer) IN
    (SELECT auth_id, day, orchestrator, writer FROM lrs_daily WHERE day < ? / 86400000 ORDER BY day LIMIT ?)"""
POSTGRES_FORGET = """WITH old AS (DELETE FROM lrs_daily WHERE ctid = ANY(ARRAY(SELECT ctid FROM lrs_daily
    WHERE day < %(before)s / 86400000 ORDER BY day LIMIT %(limit)s FOR UPDATE SKIP LOCKED)) RETURNING 1)"""

_COUNTS = "coalesce(sum(payments), 0), coalesce(sum(sessions), 0), coalesce(sum(tickets), 0), coalesce(sum(priced), 0)"
_AMOUNTS = ("ev_wei", "fee_wei", "billed_ns", "fee_usd")
_SQLITE_SUMS = f"{_COUNTS}, {', '.join(map(sums_of, _AMOUNTS))}"
_POSTGRES_SUMS = f"{_COUNTS}, {', '.join(f'sum({column}::numeric)' for column in _AMOUNTS)}"


def rows_of(days: Mapping[DayKey, UsageSum], writer: str) -> list[Row]:
    """Lines as both databases take them."""
    return [
        (
            text_bytes(key.auth_id),
            key.minute // MINUTES_PER_DAY,
            key.orchestrator,
            part_name(writer, key.part),
            line.payments,
            line.sessions,
            line.tickets,
            str(line.ev_wei),
            str(line.fee_wei),
            str(line.billed_ns),
            str(line.fee_usd),
            line.priced,
        )
        for key, line in days.items()
    ]


def sqlite_query(query: UsageQuery) -> tuple[str, list[Any]]:
    """The statement for a page, and its values."""
    return _query(query, "?", _SQLITE_SUMS)


def postgres_query(query: UsageQuery) -> tuple[str, list[Any]]:
    """The statement for a page, and its values."""
    return _query(query, "%s", _POSTGRES_SUMS)


def _query(query: UsageQuery, mark: str, sums: str) -> tuple[str, list[Any]]:
    where, values = [f"day BETWEEN {mark} AND {mark}"], [query.first_day, query.last_day]  # type: tuple[list[str], list[Any]]
    if query.auth_id is not None:
        where.append(f"auth_id = {mark}")
        values.append(text_bytes(query.auth_id))
    if query.orchestrator is not None:
        where.append(f"orchestrator = {mark}")
        values.append(query.orchestrator)
    names = ", ".join(query.group)
    if query.after is not None:
        where.append(f"({names}) > ({', '.join([mark] * len(query.after))})")
        values += [text_bytes(name) if isinstance(name, str) else name for name in query.after]
    if not names:
        return f"SELECT {sums} FROM lrs_daily WHERE {' AND '.join(where)}", values  # noqa: S608 - our own names
    statement = f"SELECT {names}, {sums} FROM lrs_daily WHERE {' AND '.join(where)} GROUP BY {names} ORDER BY {names} LIMIT {mark}"  # noqa: S608
    return statement, [*values, query.limit]


def sqlite_row(row: Row, query: UsageQuery) -> UsageRow:
    """A row of what `sqlite_query` asks."""
    count = len(query.group)
    return _row(row[:count], row[count : count + 4], joined([half or 0 for half in row[count + 4 :]]), query)


def postgres_row(row: Row, query: UsageQuery) -> UsageRow:
    """A row of what `postgres_query` asks."""
    count = len(query.group)
    return _row(row[:count], row[count : count + 4], [int(amount or 0) for amount in row[count + 4 :]], query)


def _row(names: Row, counts: Row, amounts: Sequence[int], query: UsageQuery) -> UsageRow:
    named = dict(zip(query.group, names, strict=True))
    payments, sessions, tickets, priced = map(int, counts)
    ev_wei, fee_wei, billed_ns, fee_usd = amounts
    return UsageRow(
        named.get("day"),
        bytes_text(bytes(named["auth_id"])) if "auth_id" in named else None,
        bytes(named["orchestrator"]) if "orchestrator" in named else None,
        UsageSum(payments, sessions, tickets, ev_wei, fee_wei, billed_ns, fee_usd, priced),
    )
