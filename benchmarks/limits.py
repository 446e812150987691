"""What a payment may cost: the limits that `--gate` holds the figures against."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from benchmarks.measure import GO_P99_SIGNATURES, Measured

ONE_TICKET = "stateless, 1 ticket, c=16"
THREE_TICKETS = "stateless, 3 tickets, c=16"
SQLITE = "SQLite ledger, c=64"


class Limit(NamedTuple):
    """The most that `value` of the rows named may be.

    `noise` is how much more room than CPU it needs where slack is given, `by_the_clock` whether others' work counts in it.
    """

    what: str
    rows: tuple[str, ...]
    value: Callable[[Sequence[Measured]], float]
    limit: float
    noise: float = 1.0
    by_the_clock: bool = False

    def with_slack(self, slack: float) -> float:
        """The limit on a machine that needs so much room; 1: none."""
        return self.limit if slack == 1.0 else self.limit * slack * self.noise


LIMITS = (
    Limit("CPU a request, stateless, c=16, signatures", (ONE_TICKET,), lambda m: m[0].figures.cpu_signatures, 5.0),
    Limit("CPU a request, SQLite ledger, c=64, signatures", (SQLITE,), lambda m: m[0].figures.cpu_signatures, 8.3),
    Limit(
        "a further ticket of a call, signatures",
        (ONE_TICKET, THREE_TICKETS),
        lambda m: (m[1].figures.cpu_signatures - m[0].figures.cpu_signatures) / 2,
        1.5,
    ),
    Limit(
        "p99, stateless, c=16, of go-livepeer's",
        (ONE_TICKET,),
        lambda m: m[0].figures.p99_signatures / GO_P99_SIGNATURES,
        0.3,
        noise=2.0,
        by_the_clock=True,
    ),
    Limit("start to ready, seconds", (ONE_TICKET,), lambda m: m[0].ready_seconds, 1.0, by_the_clock=True),
    Limit("memory a worker, MB", (ONE_TICKET, SQLITE), lambda m: max(one.memory_mb for one in m), 120.0),
)
LIMITED_ROWS = frozenset(name for limit in LIMITS for name in limit.rows)
