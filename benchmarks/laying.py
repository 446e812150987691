"""Rows by the hundred thousand, laid by SQL as a signer would have left them, into a ledger that the signer itself has made."""

from __future__ import annotations

import asyncio
import json
import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

from livepeer_remote_signer.adapters.ledger.sqlite import SqliteStore
from livepeer_remote_signer.adapters.ledger.store import Store

AUTH_IDS = 100_000
SWITCHES = 100_000
RETENTION_SECONDS = 3600
HOURS = 24


class Place(NamedTuple):
    """A ledger's database, and how rows by the hundred thousand are made in it."""

    execute: Callable[[str], object]
    numbers: str
    """A FROM clause that gives `i` from 0 up to, and without, {count}."""

    bytes: str
    """So many bytes that are others for each `i` and each `part`."""

    text: str
    """Bytes of a text."""

    def lay(self, table: str, columns: str, values: str, count: int) -> None:
        """So many rows. In `values` BYTES<n> stands for n bytes, TEXT<x> for the bytes of a text."""
        values = _BYTES.sub(lambda match: self.bytes.format(count=match[1]), values)
        values = _TEXT.sub(lambda match: self.text.format(text=match[1]), values)
        numbers = self.numbers.format(count=count)
        self.execute(f"INSERT INTO {table} ({columns}) SELECT {values} FROM {numbers} ON CONFLICT DO NOTHING")


_BYTES, _TEXT = re.compile(r"BYTES<(\d+)>"), re.compile(r"TEXT<([^<>]*)>")


@contextmanager
def sqlite_place(path: Path) -> Iterator[Place]:
    """A file with the ledger's tables."""
    asyncio.run(_make(SqliteStore(path, writer="growth")))
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA synchronous = OFF")
        numbers = "(WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {count} - 1) SELECT i FROM n) AS n WHERE true"
        yield Place(connection.execute, numbers, "randomblob({count})", "CAST({text} AS BLOB)")


@contextmanager
def postgres_place(url: str) -> Iterator[Place]:
    """The ledger's tables in place of those before."""
    import psycopg

    from livepeer_remote_signer.adapters.ledger.postgres import PostgresStore

    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP SCHEMA IF EXISTS public CASCADE")
        connection.execute("CREATE SCHEMA public")
    asyncio.run(_make(PostgresStore(url, writer="growth", timeout_seconds=10)))
    with psycopg.connect(url) as connection:
        numbers = "generate_series(0::bigint, {count} - 1) AS n(i)"
        some = "substring(decode(repeat(md5(i::text), {count} / 16 + 1), 'hex') FROM 1 FOR {count})"
        yield Place(lambda statement: connection.execute(statement), numbers, some, "convert_to({text}, 'UTF8')")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")
        connection.execute("CHECKPOINT")


async def _make(store: Store) -> None:
    await store.open()
    await store.close()


def lay_payments(place: Place, count: int) -> None:
    """Payments of the last day by as many auth ids, half of them older than the retention; the statistics have a line for each."""
    now_ms = int(time.time() * 1000)
    made = f"{now_ms} - (i % 2) * {RETENTION_SECONDS * 2000} - ({count} - i) * 1000 / {count}"
    place.lay(
        "lrs_payments",
        "state_id, seq, digest, auth_id, is_healed, made_ms, state, kept",
        f"TEXT<'0000000000' || i>, 0, BYTES<32>, TEXT<'user-' || (i % {AUTH_IDS})>, 0, {made}, BYTES<180>, BYTES<400>",
        count,
    )
    place.lay(
        "lrs_spend",
        "minute, writer, auth_id, orchestrator, payments, tickets, ev_wei, face_value_wei, fee_wei",
        f"{now_ms // 60_000 - HOURS * 60} + i * {HOURS * 60} / {count}, 'growth', TEXT<'user-' || (i * 7919 % {AUTH_IDS})>,"
        " TEXT<'orchestrator-' || (i % 500)>, 1, 3, '1000000000000', '1000000000000000', '999'",
        count,
    )


def lay_auth_ids(place: Place, count: int = AUTH_IDS) -> None:
    """Spending of each auth id within its hour."""
    now = int(time.time())
    name = """'["auth_id","hour","ev","user-' || i || '"]'"""
    amounts = json.dumps([[now // 60, 10**12]])
    place.lay("lrs_usage", "key, amounts, expires_ms", f"{name}, '{amounts}', {(now + 3600) * 1000}", count)


def lay_switches(place: Place, count: int = SWITCHES) -> None:
    """Suspended callers."""
    name = """'["auth_id", "gone-' || i || '"]'"""
    place.lay("lrs_switches", "name, auth_id, set_ms", f"{name}, TEXT<'gone-' || i>, i", count)


def lay_events(place: Place, count: int) -> None:
    """Events that no sink has taken yet."""
    payload = """TEXT<'{"id":"' || i || '"}'>"""
    place.lay("lrs_outbox", "made_ms, payload", f"{int(time.time() * 1000)}, {payload}", count)
