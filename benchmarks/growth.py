"""`make bench-growth`: what a payment costs beside much of everything, against the same payment beside nothing.

Each situation is measured as the empty one is: one process on one core, 64 sessions that send their states back. CPU is that
process's: what asks orchestrators is another.
"""

from __future__ import annotations

import argparse
import os
import resource
import secrets
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.beside import Beside, SimulatedPool, connections_held, console_open, nothing, scrape
from benchmarks.laying import (
    AUTH_IDS,
    RETENTION_SECONDS,
    SWITCHES,
    Place,
    lay_auth_ids,
    lay_events,
    lay_payments,
    lay_switches,
    postgres_place,
    sqlite_place,
)
from benchmarks.measure import BUSY, MORE_TIMES, Measured, drive, free_port, how_busy, serving
from benchmarks.plot import Chart, write_plot
from benchmarks.scenarios import postgres
from livepeer_remote_signer.adapters.auth.api_keys import create_keys
from livepeer_remote_signer.core.rules.api_keys import SALT_BYTES, KeyRecord, encode_keys
from livepeer_remote_signer.core.rules.new_keys import NewKey

PAYMENTS = 10_000, 1_000_000, 5_000_000
QUICK_PAYMENTS = 300_000
MOST_OF_ALL = 1_000_000
"""Payments beside everything else."""

KEYS = 50_000
EVENTS = 800_000
"""With what is measured still below what may wait (`ledger.max_pending_events`)."""

CONNECTIONS = 10_000
ORCHESTRATORS, RUNNERS = 2_000, 100

MAX_RATIO = 1.5
"""What CPU a payment and p99 may be, times those beside an empty ledger."""

MAX_NEW_RATIO = 2.0
"""The same where each payment begins a session: its credentials are one more signature, its session and its ticket params rows."""

MAX_CONSOLE_SECONDS = 0.5
MAX_SCRAPE_SECONDS = 0.2
HEADS = ("CPU, sig", "p99, ms", "x CPU", "x p99", "console s", "scrape ms", "behind s", "MB", "ready s")


class Situation(NamedTuple):
    """One row: what is laid into the ledger before the start, what is configured, what goes on beside the payments, and how they
    are driven. `parts` starts what its configuration needs."""

    name: str
    lay: Callable[[Place], None] = lambda _: None
    config: dict[str, Any] = {}  # noqa: RUF012 - never changed
    parts: Callable[[], AbstractContextManager[dict[str, Any]]] = lambda: nullcontext({})
    beside: Beside = nothing
    plan: dict[str, Any] = {}  # noqa: RUF012 - the same
    max_ratio: float = MAX_RATIO


class Found(NamedTuple):
    """Its figures; how long the console's answer and a scrape took, and how far forgetting was behind at the end, in seconds."""

    measured: Measured
    console: float
    scrape: float
    behind: float
    notes: list[str]

    def ratios(self, empty: Measured) -> tuple[float, float]:
        """CPU a payment and p99, times those beside an empty ledger."""
        figures, base = self.measured.figures, empty.figures
        return figures.cpu_signatures / base.cpu_signatures, figures.p99_signatures / base.p99_signatures

    def is_over(self, empty: Measured, max_ratio: float, slack: float, busy: float) -> bool:
        """Whether it costs more than it may on a machine that is so busy: there fewer payments share the CPU of what goes on beside
        them, and times on the clock say nothing."""
        cpu, p99 = self.ratios(empty)
        if busy > BUSY:
            return cpu > max_ratio * slack * busy
        slow = self.console > MAX_CONSOLE_SECONDS * slack or self.scrape > MAX_SCRAPE_SECONDS * slack
        return slow or max(cpu, p99) > max_ratio * slack


def situations(folder: Path, sizes: Sequence[int], connections: int) -> list[Situation]:
    """The empty ledger first: the others are held against it."""
    key, keys_file = _lay_keys(folder)
    budgets = {"budgets": [{"scope": "auth_id", "match": "*", "window": "hour", "measure": "ev", "limit_wei": "1000eth"}]}
    away = {"events": {"sinks": [{"type": "http", "url": f"http://127.0.0.1:{free_port()}/"}]}}
    with_keys = budgets | {"auth": {"api_keys_file": str(keys_file)}}
    pool = SimulatedPool(ORCHESTRATORS, RUNNERS)

    def payments(count: int) -> Situation:
        return Situation(f"{count:,} payments, half to be forgotten", lambda place: lay_payments(place, count), budgets)

    def everything(place: Place) -> None:
        lay_payments(place, min(max(sizes), MOST_OF_ALL))
        lay_auth_ids(place)
        lay_switches(place)

    return [
        Situation("an empty ledger", config=budgets),
        *map(payments, sizes),
        Situation(f"{AUTH_IDS:,} auth ids with budgets", lay_auth_ids, budgets),
        Situation(f"{SWITCHES:,} suspended callers", lay_switches, budgets),
        Situation(f"{KEYS:,} API keys", config=with_keys, plan={"headers": f"x-api-key: {key}\r\n"}),
        Situation(f"{EVENTS:,} events for a sink that is away", lambda place: lay_events(place, EVENTS), budgets | away),
        Situation(f"{connections:,} kept connections", config=budgets, beside=connections_held(connections)),
        Situation("each payment a new session", config=budgets, plan={"new_sessions": True, "chained": False}, max_ratio=MAX_NEW_RATIO),
        Situation(f"{ORCHESTRATORS:,} orchestrators being asked", config=budgets, parts=pool.running, beside=pool.asked),
        Situation(ALL_OF_IT, everything, budgets, beside=console_open, plan={"seconds": 12}),
    ]


ALL_OF_IT = "payments, auth ids, switches, console open"


def _lay_keys(folder: Path) -> tuple[str, Path]:
    now, path = int(time.time()), folder / "api-keys.json"
    salt, nobodys = bytes(SALT_BYTES), bytes(32)
    path.write_text(encode_keys(KeyRecord(f"{index:016x}", "", f"user-{index}", salt, nobodys, now) for index in range(KEYS)))
    path.chmod(0o600)
    ((key, _),) = create_keys(path, [NewKey("benchmark", "user-0")], now)
    return key, path


def measure(folder: Path, situation: Situation, rounds: int, backend: dict[str, Any]) -> Found:
    """One row. `backend` is that of PostgreSQL, or empty."""
    path = folder / "ledger.sqlite"
    ledger: dict[str, Any] = backend.get("ledger") or {"backend": "sqlite", "path": str(path)}
    with postgres_place(ledger["url"]) if backend else sqlite_place(path) as place:
        situation.lay(place)
    os.sync()  # gigabytes that are still to be written would be what the first payments wait for
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
        with situation.parts() as more, serving(folder, config | more) as bare:
            served = bare._replace(admin_port=admin_port, admin_token=token)
            with situation.beside(served) as seen:
                figures = drive(served, rounds, is_alone=True, **({"connections": 64, "chained": True} | situation.plan))
            measured = Measured(figures, max(served.rss_mb()), served.ready_seconds)
            notes = [f"{figures.requests_per_second * 60:,.0f} payments a minute", *seen.notes]
            return Found(measured, statistics.median(seen.console or [0.0]), *scrape(served), notes)
    finally:
        for file in folder.glob("ledger.sqlite*"):
            file.unlink()


def main() -> int:
    """Prints the rows as a table in Markdown; with --gate exits 1 when one costs more than it may beside the empty ledger."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description="Measures a payment beside much of everything.")
    parser.add_argument("--quick", action="store_true", help="the empty ledger and all of it, with 300,000 payments: a minute or so")
    parser.add_argument("--only", metavar="TEXT", help="rows whose name holds TEXT, beside the empty ledger")
    parser.add_argument("--payments", metavar="N", type=int, nargs="+", help="rows of payments (default 10,000, 1,000,000 and 5,000,000)")
    parser.add_argument("--postgres", action="store_true", help="on a PostgreSQL of its own, which shares the cores, instead of SQLite")
    parser.add_argument("--plot", metavar="FILE", type=Path, help="draws the rows as an SVG")
    parser.add_argument("--gate", action="store_true", help="exit 1 when a row costs more than it may")
    parser.add_argument("--slack", metavar="FACTOR", type=float, default=1.0, help="what limits are multiplied by, for a noisy machine")
    arguments = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    sizes = arguments.payments or ([QUICK_PAYMENTS] if arguments.quick else PAYMENTS)
    print(_cells("beside", HEADS), _cells("---", ["---:"] * len(HEADS)), sep="\n", flush=True)
    over, found, empty = list[Situation](), dict[str, Found](), None
    server: AbstractContextManager[dict[str, Any]] = postgres() if arguments.postgres else nullcontext({})
    with tempfile.TemporaryDirectory() as name, server as backend:
        rows = situations(Path(name), sizes, min(CONNECTIONS, hard // 2))
        chosen = [rows[0], rows[-1]] if arguments.quick else [row for row in rows if row is rows[0] or (arguments.only or "") in row.name]
        for _ in range(1 + (MORE_TIMES if arguments.gate else 0)):
            over, empty = list[Situation](), None
            for situation in chosen:
                busy = how_busy()
                row = found[situation.name] = measure(Path(name), situation, 1 if arguments.quick else 3, backend)
                empty = empty or row.measured
                busy = max(busy, how_busy()) if arguments.gate else 1.0
                if row.is_over(empty, situation.max_ratio, arguments.slack, busy):
                    over.append(situation)
                print(_line(situation.name, row, empty) + (" ABOVE" if situation in over else ""), flush=True)
            if not over:
                break
            chosen = [rows[0], *(row for row in over if row is not rows[0])]  # again: the machine may have been busy
    print()
    for about, row in found.items():
        print(f"{about}: {'; '.join(row.notes)}")
    if arguments.plot is not None and empty is not None:
        write_plot(arguments.plot, _charts("PostgreSQL" if arguments.postgres else "SQLite", found, empty))
    return int(bool(over) and arguments.gate)


def _cells(name: str, values: Iterable[str]) -> str:
    """A line of a table in Markdown."""
    return f"| {name:44} | {' | '.join(f'{value:>9}' for value in values)} |"


def _line(name: str, row: Found, empty: Measured) -> str:
    figures, (cpu, p99) = row.measured.figures, row.ratios(empty)
    costs = f"{figures.cpu_signatures:.2f}", f"{figures.p99 * 1e3:.1f}", f"{cpu:.2f}", f"{p99:.2f}"
    beside = f"{row.console:.3f}" if row.console else "", f"{row.scrape * 1e3:.1f}", f"{row.behind:.0f}"
    return _cells(name, (*costs, *beside, f"{row.measured.memory_mb:.0f}", f"{row.measured.ready_seconds:.2f}"))


def _charts(ledger: str, found: dict[str, Found], empty: Measured) -> list[Chart]:
    """In all of them less is better."""
    ratios = {name: row.ratios(empty) for name, row in found.items()}
    memory = {name: row.measured.memory_mb for name, row in found.items()}
    scrapes = {name: row.scrape * 1e3 for name, row in found.items()}
    ready = {name: row.measured.ready_seconds for name, row in found.items()}
    cpu, p99 = ({name: ratio[which] for name, ratio in ratios.items()} for which in (0, 1))
    first = next(iter(found))
    return [
        Chart(f"CPU a payment, {ledger}, times that beside an empty ledger", cpu, ".2f", MAX_RATIO, "limit", 4.0),
        Chart("p99, times that beside an empty ledger", p99, ".2f", MAX_RATIO, "limit", 4.0),
        Chart("memory, MB", memory, ".0f", memory[first], "beside an empty ledger", 400.0),
        Chart("a scrape of /metrics, ms", scrapes, ".1f", scrapes[first], "beside an empty ledger", 200.0),
        Chart("start to ready, s", ready, ".2f", ready[first], "beside an empty ledger", 20.0),
    ]


if __name__ == "__main__":
    sys.exit(main())
