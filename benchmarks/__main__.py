"""`make bench`: the table of figures, and the gate that keeps them."""

from __future__ import annotations

import argparse
import platform
import sys
import tempfile
from pathlib import Path

from benchmarks.measure import GO_P99_SIGNATURES, GO_SIGNATURES, Figures, drive, serving
from benchmarks.plot import write_plot
from benchmarks.scenarios import Scenario, scenarios

MARGINAL = ("stateless, 1 ticket, c=16", "stateless, 3 tickets, c=16")
HEADS = ("p50 ms", "p99 ms", "CPU us", "CPU sig", "p50 sig", "p99 sig")


def main() -> int:
    """Prints the table; with --gate exits 1 when a figure is above its limit."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measures the served signer on this machine.")
    parser.add_argument("--quick", action="store_true", help="the gated rows only, one round each")
    parser.add_argument("--gate", action="store_true", help="exit 1 when a row is above its limit")
    parser.add_argument("--only", metavar="TEXT", help="rows whose name holds TEXT")
    parser.add_argument("--plot", metavar="FILE", type=Path, help="write the CPU a request of each row as SVG")
    arguments = parser.parse_args()
    print(f"{platform.machine()}, {_cpu_name()}, Python {platform.python_version()}, server on one core, load on another")
    print(f"{'':36} {'req/s':>7} {' '.join(f'{head:>8}' for head in HEADS)} {'x Go/core':>9} {'p99/Go':>7} {'MB':>5} {'ready s':>7}")
    found: dict[str, Figures] = {}
    failed = False
    with tempfile.TemporaryDirectory() as name:
        for scenario in scenarios(Path(name)):
            if (arguments.quick and scenario.limit is None) or (arguments.only and arguments.only not in scenario.name):
                continue
            with scenario.parts as config, serving(Path(name), config, scenario.workers) as served:
                figures = drive(served, 1 if arguments.quick else 3, **scenario.plan)
                memory, ready = max(served.rss_mb()), served.ready_seconds
            found[scenario.name] = figures
            over = scenario.limit is not None and figures.cpu_signatures > scenario.limit
            failed = failed or over
            verdict = f"  above its limit of {scenario.limit}" if over else ""
            print(f"{_row(scenario, figures)} {memory:5.0f} {ready:7.2f}{verdict}", flush=True)
    if all(name in found for name in MARGINAL):
        one, three = (found[name].cpu_signatures for name in MARGINAL)
        print(f"a further ticket of a call takes {(three - one) / 2:.2f} signatures")
    if found:
        print(f"one signature takes {min(f.signature for f in found.values()) * 1e6:.1f} us")
    if arguments.plot is not None:
        write_plot(arguments.plot, found)
    return int(failed and arguments.gate)


def _row(scenario: Scenario, f: Figures) -> str:
    measured = f"{f.requests_per_second:7.0f} {f.p50 * 1e3:8.2f} {f.p99 * 1e3:8.2f} {f.cpu_per_request * 1e6:8.0f}"
    signatures = f"{f.cpu_signatures:8.2f} {f.p50_signatures:8.0f} {f.p99_signatures:8.0f}"
    against_go = f"{GO_SIGNATURES / f.cpu_signatures:9.2f} {f.p99_signatures / GO_P99_SIGNATURES:7.2f}"
    return f"{scenario.name:36} {measured} {signatures} {against_go}"


def _cpu_name() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return "unknown processor"


if __name__ == "__main__":
    sys.exit(main())
