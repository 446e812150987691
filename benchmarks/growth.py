"""`make bench-growth`: what a payment costs beside much of everything, against the same payment beside nothing.

Rows are laid by SQL, as a signer would have left them, into a ledger that the signer itself has made. Each situation is
measured as the empty one is: one process on one core, 64 sessions that send their states back.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import re
import resource
import secrets
import socket
import sqlite3
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

from benchmarks.measure import Figures, Measured, Served, drive, free_port, serving
from benchmarks.plot import write_plot
from benchmarks.scenarios import postgres
from livepeer_remote_signer.adapters.auth.api_keys import create_key
from livepeer_remote_signer.adapters.ledger.sqlite import SqliteStore
from livepeer_remote_signer.adapters.ledger.store import Store
from livepeer_remote_signer.core.rules.api_keys import SALT_BYTES, KeyRecord, encode_keys

AUTH_IDS = 100_000
SWITCHES = 100_000
KEYS = 50_000
EVENTS = 800_000
"""With what is measured still below what may wait (`ledger.max_pending_events`)."""

MAX_RATIO = 1.5
"""What CPU a payment and p99 may be, times those beside an empty ledger."""

MAX_CONSOLE_SECONDS = 0.5
POLL_SECONDS = 3.0
"""As often as the console's page asks."""

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


async def _make(store: Store) -> None:
    await store.open()
    await store.close()


class Situation(NamedTuple):
    """One row: what is laid into the ledger before the start, what is configured, and what goes on beside the payments."""

    name: str
    lay: Callable[[Place], None] = lambda _: None
    config: dict[str, Any] = {}  # noqa: RUF012 - never changed
    beside: Callable[[Served], AbstractContextManager[list[float]]] = lambda _: nullcontext([])
    headers: str = ""


class Found(NamedTuple):
    """Its figures, and how long the console's answers took, seconds."""

    measured: Measured
    console: list[float]


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


def lay_auth_ids(place: Place) -> None:
    """Spending of each auth id within its hour."""
    now = int(time.time())
    name = """'["auth_id","hour","ev","user-' || i || '"]'"""
    amounts = json.dumps([[now // 60, 10**12]])
    place.lay("lrs_usage", "key, amounts, expires_ms", f"{name}, '{amounts}', {(now + 3600) * 1000}", AUTH_IDS)


def lay_switches(place: Place) -> None:
    """Suspended callers."""
    name = """'["auth_id", "gone-' || i || '"]'"""
    place.lay("lrs_switches", "name, auth_id, set_ms", f"{name}, TEXT<'gone-' || i>, i", SWITCHES)


def lay_events(place: Place, count: int) -> None:
    """Events that no sink has taken yet."""
    payload = """TEXT<'{"id":"' || i || '"}'>"""
    place.lay("lrs_outbox", "made_ms, payload", f"{int(time.time() * 1000)}, {payload}", count)


@contextmanager
def console_open(served: Served) -> Iterator[list[float]]:
    """A tab of the console on the view of a day: it asks as the page does. Yields how long each answer took."""
    took: list[float] = []
    stop = threading.Event()
    cookie = _log_in(served)

    def ask() -> dict[str, Any]:
        begin = time.perf_counter()
        connection = http.client.HTTPConnection("127.0.0.1", served.admin_port, timeout=60)
        connection.request("GET", f"/console/data?hours={HOURS}", headers={"cookie": cookie})
        reply = connection.getresponse()
        body: dict[str, Any] = json.loads(reply.read())
        took.append(time.perf_counter() - begin)
        return body

    def poll() -> None:
        while not stop.wait(POLL_SECONDS):
            ask()

    while ask()["spend"] is None:  # the first sums are being made
        time.sleep(0.2)
    polling = threading.Thread(target=poll)
    polling.start()
    try:
        yield took
    finally:
        stop.set()
        polling.join()


def _log_in(served: Served) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", served.admin_port, timeout=60)
    form = {"content-type": "application/x-www-form-urlencoded", "origin": f"http://127.0.0.1:{served.admin_port}"}
    connection.request("POST", "/console/login", urlencode({"token": served.admin_token}), form)
    reply = connection.getresponse()
    reply.read()
    return (reply.getheader("set-cookie") or "").partition(";")[0]


def connections_held(count: int) -> Callable[[Served], AbstractContextManager[list[float]]]:
    """Connections that have asked once and are kept open."""

    @contextmanager
    def hold(served: Served) -> Iterator[list[float]]:
        held = []
        try:
            for _ in range(count):
                held.append(one := socket.create_connection(("127.0.0.1", served.port), timeout=60))
                one.sendall(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
                one.recv(4096)
            yield []
        finally:
            for one in held:
                one.close()

    return hold


def situations(folder: Path, payments: int, events: int, connections: int) -> list[Situation]:
    """The empty ledger first: the others are held against it."""
    key, keys_file = _lay_keys(folder)
    budgets = {"budgets": [{"scope": "auth_id", "match": "*", "window": "hour", "measure": "ev", "limit_wei": "1000eth"}]}
    away = {"events": {"sinks": [{"type": "http", "url": f"http://127.0.0.1:{free_port()}/"}]}}

    def everything(place: Place) -> None:
        lay_payments(place, payments)
        lay_auth_ids(place)
        lay_switches(place)

    return [
        Situation("an empty ledger", config=budgets),
        Situation(f"{payments:,} payments, half to be forgotten", lambda place: lay_payments(place, payments), budgets),
        Situation(f"{AUTH_IDS:,} auth ids with budgets", lay_auth_ids, budgets),
        Situation(f"{SWITCHES:,} suspended callers", lay_switches, budgets),
        Situation(f"{KEYS:,} API keys", config=budgets | {"auth": {"api_keys_file": str(keys_file)}}, headers=f"x-api-key: {key}\r\n"),
        Situation(f"{events:,} events for a sink that is away", lambda place: lay_events(place, events), budgets | away),
        Situation(f"{connections:,} kept connections", config=budgets, beside=connections_held(connections)),
        Situation(ALL_OF_IT, everything, budgets, console_open),
    ]


ALL_OF_IT = "payments, auth ids, switches, console open"


def _lay_keys(folder: Path) -> tuple[str, Path]:
    now, path = int(time.time()), folder / "api-keys.json"
    salt, nobodys = bytes(SALT_BYTES), bytes(32)
    path.write_text(encode_keys(KeyRecord(f"{index:016x}", "", f"user-{index}", salt, nobodys, now) for index in range(KEYS)))
    path.chmod(0o600)
    return create_key(path, name="benchmark", auth_id="user-0", now=now)[0], path


def measure(folder: Path, situation: Situation, rounds: int, seconds: int, backend: dict[str, Any]) -> Found:
    """One row. `backend` is that of PostgreSQL, or empty."""
    path = folder / "ledger.sqlite"
    ledger: dict[str, Any] = backend.get("ledger") or {"backend": "sqlite", "path": str(path)}
    with postgres_place(ledger["url"]) if backend else sqlite_place(path) as place:
        situation.lay(place)
    token = secrets.token_urlsafe(32)
    (folder / "token").write_text(token)
    (folder / "token").chmod(0o600)
    admin_port = free_port()
    config = {
        "ledger": {**ledger, "retention_seconds": RETENTION_SECONDS},
        "admin": {"listen": f"127.0.0.1:{admin_port}", "token_file": str(folder / "token")},
        **situation.config,
    }
    try:
        with serving(folder, config) as bare:
            served = bare._replace(admin_port=admin_port, admin_token=token)
            with situation.beside(served) as took:
                took.clear()
                figures = drive(served, rounds, connections=64, chained=True, seconds=seconds, headers=situation.headers)
            return Found(Measured(figures, max(served.rss_mb()), served.ready_seconds), took)
    finally:
        for file in folder.glob("ledger.sqlite*"):
            file.unlink()


def main() -> int:
    """Prints the rows; with --gate exits 1 when one costs more than it may beside the empty ledger."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description="Measures a payment beside much of everything.")
    parser.add_argument("--quick", action="store_true", help="the empty ledger and all of it, with 300,000 payments: a minute or so")
    parser.add_argument("--only", metavar="TEXT", help="rows whose name holds TEXT, beside the empty ledger")
    parser.add_argument("--payments", metavar="N", type=int, help="rows of payments (default 1,000,000; up to 5,000,000 were tried)")
    parser.add_argument("--postgres", action="store_true", help="on a PostgreSQL of its own, which shares the cores, instead of SQLite")
    parser.add_argument("--plot", metavar="FILE", type=Path, help="draws the rows as an SVG")
    parser.add_argument("--gate", action="store_true", help="exit 1 when a row costs more than it may")
    parser.add_argument("--slack", metavar="FACTOR", type=float, default=1.0, help="what limits are multiplied by, for a noisy machine")
    arguments = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    payments = arguments.payments or (300_000 if arguments.quick else 1_000_000)
    print(f"{'':48} {'CPU sig':>8} {'p99 ms':>8} {'x CPU':>6} {'x p99':>6} {'console s':>9} {'MB':>5} {'ready s':>7}")
    is_over, found = False, dict[str, Figures]()
    server: AbstractContextManager[dict[str, Any]] = postgres() if arguments.postgres else nullcontext({})
    with tempfile.TemporaryDirectory() as name, server as backend:
        rows = situations(Path(name), payments, EVENTS, min(10_000, hard // 2))
        chosen = [rows[0], rows[-1]] if arguments.quick else [row for row in rows if row is rows[0] or (arguments.only or "") in row.name]
        empty: Measured | None = None
        for situation in chosen:
            row = measure(Path(name), situation, 1 if arguments.quick else 3, 12 if situation.name == ALL_OF_IT else 4, backend)
            empty = empty or row.measured
            found[situation.name] = row.measured.figures
            is_over = _print(situation.name, row, empty, arguments.slack) or is_over
    if arguments.plot is not None:
        write_plot(arguments.plot, found)
    return int(is_over and arguments.gate)


def _print(name: str, found: Found, empty: Measured, slack: float) -> bool:
    """One row. Returns whether it costs more than it may."""
    figures = found.measured.figures
    cpu = figures.cpu_signatures / empty.figures.cpu_signatures
    p99 = figures.p99_signatures / empty.figures.p99_signatures
    console = statistics.median(found.console) if found.console else 0.0
    is_over = max(cpu, p99) > MAX_RATIO * slack or console > MAX_CONSOLE_SECONDS * slack
    figures_text = f"{figures.cpu_signatures:8.2f} {figures.p99 * 1e3:8.2f} {cpu:6.2f} {p99:6.2f} {console:9.3f}"
    print(
        f"{name:48} {figures_text} {found.measured.memory_mb:5.0f} {found.measured.ready_seconds:7.2f}{'  ABOVE' if is_over else ''}",
        flush=True,
    )
    return is_over


if __name__ == "__main__":
    sys.exit(main())
