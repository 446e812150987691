"""`make bench-growth`: what a payment costs beside much of everything, against the same payment beside nothing.

Rows are laid by SQL, as a signer would have left them, into a ledger that the signer itself has made. Each situation is
measured as the empty one is: one process on one core, 64 sessions that send their states back.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
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
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

from benchmarks.measure import Measured, Served, drive, free_port, serving
from livepeer_remote_signer.adapters.auth.api_keys import create_key
from livepeer_remote_signer.adapters.ledger.sqlite import SqliteStore
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

_NUMBERS = "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < ?1 - 1) "


class Situation(NamedTuple):
    """One row: what is laid into the ledger before the start, what is configured, and what goes on beside the payments."""

    name: str
    lay: Callable[[sqlite3.Connection], None] = lambda _: None
    config: dict[str, Any] = {}  # noqa: RUF012 - never changed
    beside: Callable[[Served], AbstractContextManager[list[float]]] = lambda _: nullcontext([])
    headers: str = ""


class Found(NamedTuple):
    """Its figures, and how long the console's answers took, seconds."""

    measured: Measured
    console: list[float]


def lay_payments(connection: sqlite3.Connection, count: int) -> None:
    """Payments of the last day by as many auth ids, half of them older than the retention; the statistics have a line for each."""
    now_ms = int(time.time() * 1000)
    connection.execute(
        _NUMBERS
        + """INSERT INTO lrs_payments (state_id, seq, digest, auth_id, is_healed, made_ms, state, kept)
        SELECT CAST(printf('%032x', i) AS BLOB), 0, randomblob(32), CAST('user-' || (i % ?3) AS BLOB), 0,
        ?2 - (i % 2) * ?4 - (?1 - i) * 1000 / ?1, randomblob(180), randomblob(400) FROM n""",
        (count, now_ms, AUTH_IDS, RETENTION_SECONDS * 2000),
    )
    connection.execute(
        _NUMBERS
        + """INSERT OR IGNORE INTO lrs_spend SELECT ?2 / 60000 - ?3 * 60 + i * ?3 * 60 / ?1, 'growth',
        CAST('user-' || (i * 7919 % ?4) AS BLOB), CAST(printf('%020d', i % 500) AS BLOB), 1, 3, 1000000000000 + i,
        '1000000000000000', '999' FROM n""",
        (count, now_ms, HOURS, AUTH_IDS),
    )


def lay_auth_ids(connection: sqlite3.Connection) -> None:
    """Spending of each auth id within its hour."""
    expires = int(time.time() * 1000) + 3_600_000
    connection.execute(
        _NUMBERS
        + """INSERT INTO lrs_usage (key, amounts, expires_ms) SELECT '["auth_id","hour","ev","user-' || i || '"]', ?3, ?2 FROM n""",
        (AUTH_IDS, expires, json.dumps([[int(time.time()) // 60, 10**12]])),
    )


def lay_switches(connection: sqlite3.Connection) -> None:
    """Suspended callers."""
    connection.execute(
        _NUMBERS
        + """INSERT INTO lrs_switches (name, auth_id, set_ms) SELECT '["auth_id", "gone-' || i || '"]',
        CAST('gone-' || i AS BLOB), i FROM n""",
        (SWITCHES,),
    )


def lay_events(connection: sqlite3.Connection, count: int) -> None:
    """Events that no sink has taken yet."""
    connection.execute(
        _NUMBERS + 'INSERT INTO lrs_outbox (made_ms, payload) SELECT ?2, CAST(printf(\'{"id":"%032x"}\', i) AS BLOB) FROM n',
        (count, int(time.time() * 1000)),
    )


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

    def everything(connection: sqlite3.Connection) -> None:
        lay_payments(connection, payments)
        lay_auth_ids(connection)
        lay_switches(connection)

    return [
        Situation("an empty ledger", config=budgets),
        Situation(f"{payments:,} payments, half to be forgotten", lambda c: lay_payments(c, payments), budgets),
        Situation(f"{AUTH_IDS:,} auth ids with budgets", lay_auth_ids, budgets),
        Situation(f"{SWITCHES:,} suspended callers", lay_switches, budgets),
        Situation(f"{KEYS:,} API keys", config=budgets | {"auth": {"api_keys_file": str(keys_file)}}, headers=f"x-api-key: {key}\r\n"),
        Situation(f"{events:,} events for a sink that is away", lambda c: lay_events(c, events), budgets | away),
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


def measure(folder: Path, situation: Situation, rounds: int, seconds: int) -> Found:
    """One row."""
    path = folder / "ledger.sqlite"
    asyncio.run(_make(path))
    with sqlite3.connect(path) as connection:
        situation.lay(connection)
    connection.close()
    token = secrets.token_urlsafe(32)
    (folder / "token").write_text(token)
    (folder / "token").chmod(0o600)
    admin_port = free_port()
    config = {
        "ledger": {"backend": "sqlite", "path": str(path), "retention_seconds": RETENTION_SECONDS},
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


async def _make(path: Path) -> None:
    store = SqliteStore(path, writer="growth")
    await store.open()
    await store.close()


def main() -> int:
    """Prints the rows; with --gate exits 1 when one costs more than it may beside the empty ledger."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description="Measures a payment beside much of everything.")
    parser.add_argument("--quick", action="store_true", help="the empty ledger and all of it, with 300,000 payments: a minute or so")
    parser.add_argument("--only", metavar="TEXT", help="rows whose name holds TEXT, beside the empty ledger")
    parser.add_argument("--payments", metavar="N", type=int, help="rows of payments (default 1,000,000; up to 5,000,000 were tried)")
    parser.add_argument("--gate", action="store_true", help="exit 1 when a row costs more than it may")
    parser.add_argument("--slack", metavar="FACTOR", type=float, default=1.0, help="what limits are multiplied by, for a noisy machine")
    arguments = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    payments = arguments.payments or (300_000 if arguments.quick else 1_000_000)
    print(f"{'':48} {'CPU sig':>8} {'p99 ms':>8} {'x CPU':>6} {'x p99':>6} {'console s':>9} {'MB':>5} {'ready s':>7}")
    is_over = False
    with tempfile.TemporaryDirectory() as name:
        rows = situations(Path(name), payments, EVENTS, min(10_000, hard // 2))
        chosen = [rows[0], rows[-1]] if arguments.quick else [row for row in rows if row is rows[0] or (arguments.only or "") in row.name]
        empty: Measured | None = None
        for situation in chosen:
            found = measure(Path(name), situation, 1 if arguments.quick else 3, 12 if situation.name == ALL_OF_IT else 4)
            empty = empty or found.measured
            is_over = _print(situation.name, found, empty, arguments.slack) or is_over
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
