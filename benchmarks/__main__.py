"""`make bench`: the table of figures, and the gate that keeps them.

python -m benchmarks [--quick] [--gate] [--only NAME]
"""

from __future__ import annotations

import argparse
import platform
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.measure import GO_P99_SIGNATURES, GO_SIGNATURES, Figures, drive, serving


class Scenario(NamedTuple):
    """One row: what is configured, how it is driven, and the most CPU a request may take, in signatures."""

    name: str
    config: dict[str, Any]
    plan: dict[str, Any]
    limit: float | None = None
    workers: int = 1


def scenarios(folder: Path) -> list[Scenario]:
    """Every measurement, the gated ones first."""
    ledger = {"ledger": {"backend": "sqlite", "path": str(folder / "ledger.sqlite")}}
    return [
        Scenario("stateless, 1 ticket, c=16", {}, {}, limit=5.0),
        Scenario("SQLite ledger, chained states, c=64", ledger, {"connections": 64, "chained": True}, limit=8.3),
        Scenario("stateless, 1 ticket, c=1", {}, {"connections": 1}),
        Scenario("stateless, 1 ticket, c=64", {}, {"connections": 64}),
        Scenario("stateless, 2 tickets, c=16", {}, {"tickets": 2}),
        Scenario("stateless, 3 tickets, c=16", {}, {"tickets": 3}),
        Scenario("stateless, 100 tickets, c=16", {}, {"tickets": 99}),
        Scenario("stateless, chained states, c=16", {}, {"chained": True}),
        Scenario("signature seal, c=16", {"state": {"seal": "signature"}}, {}),
        Scenario("open loop, 1000/s, c=64", {}, {"connections": 64, "rate": 1000}),
        Scenario("SQLite ledger, chained states, c=1", ledger, {"connections": 1, "chained": True}),
    ]


def main() -> int:
    """Prints the table; with --gate exits 1 when a figure is above its limit."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measures the served signer on this machine.")
    parser.add_argument("--quick", action="store_true", help="the gated rows only, one round each")
    parser.add_argument("--gate", action="store_true", help="exit 1 when a row is above its limit")
    parser.add_argument("--only", metavar="TEXT", help="rows whose name holds TEXT")
    arguments = parser.parse_args()
    print(f"{platform.machine()}, {_cpu_name()}, Python {platform.python_version()}, server on one core, load on another")
    heads = ("p50 ms", "p99 ms", "CPU us", "CPU sig", "p50 sig", "p99 sig")
    print(f"{'':38} {'req/s':>7} {' '.join(f'{head:>8}' for head in heads)} {'x Go/core':>9} {'p99/Go':>7}")
    failed = False
    first: Figures | None = None
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for scenario in scenarios(folder):
            if (arguments.quick and scenario.limit is None) or (arguments.only and arguments.only not in scenario.name):
                continue
            with serving(folder, scenario.config, scenario.workers) as served:
                figures = drive(served, 1 if arguments.quick else 3, **scenario.plan)
                memory, ready = max(served.rss_mb()), served.ready_seconds
            first = first or figures
            over = scenario.limit is not None and figures.cpu_signatures > scenario.limit
            failed = failed or over
            print(_row(scenario, figures) + (f"  above its limit of {scenario.limit}" if over else ""), flush=True)
            if figures is first:
                print(
                    f"{'start to ready':38} {ready:7.2f} s, resident memory {memory:.0f} MB, one signature {figures.signature * 1e6:.1f} us"
                )
    return int(failed and arguments.gate)


def _row(scenario: Scenario, f: Figures) -> str:
    measured = f"{f.requests_per_second:7.0f} {f.p50 * 1e3:8.2f} {f.p99 * 1e3:8.2f} {f.cpu_per_request * 1e6:8.0f}"
    signatures = f"{f.cpu_signatures:8.2f} {f.p50_signatures:8.0f} {f.p99_signatures:8.0f}"
    against_go = f"{GO_SIGNATURES / f.cpu_signatures:9.2f} {f.p99_signatures / GO_P99_SIGNATURES:7.2f}"
    return f"{scenario.name:38} {measured} {signatures} {against_go}"


def _cpu_name() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return "unknown processor"


if __name__ == "__main__":
    sys.exit(main())
