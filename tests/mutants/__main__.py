"""`python -m tests.mutants`: a sample of mutants by seed, and which of them nobody notices."""

from __future__ import annotations

import argparse
import os
import random
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import yaml

from tests.mutants.mutations import Mutant, find_mutants
from tests.mutants.running import SOURCE, MutantRun, Outcome

JUDGED = Path(__file__).with_name("survivors.yaml")
SUBJECTS = {
    "rules": ["core/rules/*.py"],
    "protocol": ["core/protocol/*.py", "core/recent.py"],
    "service": ["service/*.py"],
    "ledger": ["adapters/ledger/*.py"],
    "events": ["adapters/events/*.py"],
    "who asks": ["adapters/auth/*.py", "adapters/keys/*.py"],
    "who is paid": ["adapters/recipients.py", "adapters/ceilings.py", "adapters/runtime_prices.py", "adapters/price_feed.py"],
    "chain": ["adapters/chain/*.py"],
    "orchestrators": ["adapters/orchestrators/*.py", "adapters/discovery/*.py"],
    "http": ["api/*.py"],
    "composition": ["config/*.py", "wiring/*.py", "app.py"],
    "figures and logs": ["adapters/logs/*.py", "adapters/metrics/*.py", "adapters/overview/*.py", "adapters/readiness.py"],
}
_INTEGRATION = "catching_up console_page console_sizes headroom later_versions lying_endpoints namespaces orchestrator_info promises replay"
TESTS = [
    *("tests/core", "tests/config", "tests/adapters", "tests/api", "tests/service", "tests/wiring", "tests/commands"),
    *(f"tests/integration/test_{name}.py" for name in (*_INTEGRATION.split(), "senders", "sessions_with_a_ledger", "usage")),
]
"""Those that run the code in their own process, where the change is."""

FAST = "not (chain or policy or discovery or clients or operate or attack or chaos or package or environments or image)"


def judged() -> dict[str, str]:
    """Survivors that make no difference, by name, with the reason."""
    return {entry["mutant"]: entry["why"] for entry in yaml.safe_load(JUDGED.read_text()) or []}


def sample(subjects: list[str], count: int, seed: int) -> list[Mutant]:
    """So many mutants, as many of one subject as of another where there are enough."""
    chooser = random.Random(seed)
    pools = []
    for subject in subjects:
        files = sorted({path for pattern in SUBJECTS[subject] for path in SOURCE.glob(pattern)})
        pool = [mutant for path in files for mutant in find_mutants(str(path.relative_to(SOURCE)), path.read_text())]
        chooser.shuffle(pool)
        pools.append(pool)
    chosen: list[Mutant] = []
    while len(chosen) < count and any(pools):
        for pool in pools:
            if pool and len(chosen) < count:
                chosen.append(pool.pop())
    return sorted(chosen, key=lambda mutant: mutant[:6])


def named(names: list[str]) -> list[Mutant]:
    """The mutants of these names, as a survivor's line and `survivors.yaml` spell them."""
    paths = sorted({name.partition(" ")[0] for name in names})
    found = {mutant.name: mutant for path in paths for mutant in find_mutants(path, (SOURCE / path).read_text())}
    return [found[name] for name in names]


def gone() -> list[str]:
    """Judged mutants of which the source knows no more: their rows may go."""
    known = list(judged())
    paths = sorted({name.partition(" ")[0] for name in known if (SOURCE / name.partition(" ")[0]).is_file()})
    there = {mutant.name for path in paths for mutant in find_mutants(path, (SOURCE / path).read_text())}
    return [name for name in known if name not in there]


def main() -> int:
    """1 when a survivor is not judged."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--subject", action="append", choices=SUBJECTS)
    parser.add_argument("--only", action="append", metavar="MUTANT", help="by its name, instead of a sample")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes at a time; as many as there are cores")
    parser.add_argument("--seconds", type=float, default=12.0, help="of tests for each mutant, the quickest first")
    parser.add_argument("--tests", action="append", metavar="PATH", help="instead of all fast ones that run in one process")
    arguments = parser.parse_args()
    mutants = named(arguments.only) if arguments.only else sample(arguments.subject or list(SUBJECTS), arguments.count, arguments.seed)
    known, began, unjudged = judged(), time.monotonic(), []

    def tell(outcome: Outcome) -> None:
        if outcome.verdict in ("survived", "untouched") and outcome.mutant.name not in known:
            unjudged.append(outcome)
            print(f"{outcome.verdict} ({outcome.tests} tests), line {outcome.mutant.line}: {outcome.mutant.name}", flush=True)

        if len(run.outcomes) % 100 == 0:
            print(f"{len(run.outcomes)} of {len(mutants)} after {time.monotonic() - began:.0f} s", flush=True)

    run = MutantRun(mutants, tell, jobs=arguments.jobs, most_seconds=arguments.seconds)
    pytest.main(
        ["-q", "-s", "-p", "no:cacheprovider", "-p", "no:xdist", "--hypothesis-seed=0", "-m", FAST, *(arguments.tests or TESTS)],
        plugins=[run],
    )
    counts = Counter(outcome.verdict for outcome in run.outcomes)
    made = len(run.outcomes) - counts["unmade"]
    took = time.monotonic() - began
    for name in gone():
        print(f"judged, and no longer there: {name}")
    print(f"seed {arguments.seed}: {made} mutants in {took:.0f} s: {dict(counts)}; {len(unjudged)} survivors are not judged")
    return 1 if unjudged or len(run.outcomes) < len(mutants) else 0


if __name__ == "__main__":
    sys.exit(main())
