"""Which endpoint is asked, and whether its answer is believed. Decisions only: `now` is an argument, in monotonic seconds.

Endpoints stand in order of preference. One that failed is left alone for a while that doubles with every failure. One
whose L1 block is more than 3 behind what another one lately said is not trusted, nor is one whose head stands still.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from livepeer_remote_signer.adapters.chain.json_rpc import JsonRpc
from livepeer_remote_signer.adapters.chain.reading import Head, Known, Reading

MAX_L1_LAG = 3
L1_BLOCK_SECONDS = 12


class Pace(NamedTuple):
    """How often endpoints are asked, all in seconds. `max_head_age` None: a head may stand still."""

    poll: float
    timeout: float
    max_age: float
    max_head_age: float | None

    @property
    def request_timeout(self) -> float:
        """For one batch: short enough that another endpoint can still be asked before the last reading is too old."""
        return min(self.timeout, self.max_age / 3)

    @property
    def standby(self) -> float:
        """Between two looks at an endpoint that is not in use: a lag must show well within the age limit."""
        return max(self.poll, self.max_age / 4)

    def back_off(self, failures: int) -> float:
        """Until a failed endpoint is asked again."""
        return min(self.poll * (1 << min(failures - 1, 16)), max(self.poll, min(30.0, self.max_age / 6)))


@dataclass(slots=True)
class Endpoint:
    """One endpoint and what is remembered of it."""

    rpc: JsonRpc
    known: Known | None = None
    failures: int = 0
    total_failures: int = 0
    fault: str = ""
    due_at: float = 0.0
    head: Head | None = None
    head_since: float = 0.0
    l1_block: int = 0
    l1_block_at: float = 0.0
    is_being_asked: bool = False

    @property
    def is_healthy(self) -> bool:
        """Whether its last answer was believed; an endpoint not asked yet is given the chance."""
        return self.failures == 0

    def note_failure(self, fault: str, now: float, pace: Pace) -> None:
        """It failed at `now`: leave it alone for a while, and get to know it anew then."""
        self.failures += 1
        self.total_failures += 1
        self.fault = fault
        self.due_at = now + pace.back_off(self.failures)
        self.known = None

    def note_success(self, now: float, pace: Pace) -> None:
        """It answered and was believed."""
        self.failures = 0
        self.fault = ""
        self.due_at = now + pace.standby

    def note_reading(self, reading: Reading, asked_at: float, wall_seconds: float) -> None:
        """What it says of the heads. A head that is new to us counts from its own timestamp when that is longer ago."""
        if self.head is None or (self.head.number, self.head.hash) != (reading.head.number, reading.head.hash):
            self.head_since = asked_at
            if self.head is None:
                self.head_since -= max(0.0, wall_seconds - reading.head.timestamp)
            self.head = reading.head
        self.l1_block, self.l1_block_at = reading.view.l1_block, asked_at


def find_distrust(endpoint: Endpoint, others: Iterable[Endpoint], now: float, pace: Pace) -> str | None:
    """Why an endpoint that answered well is not believed all the same; None when it is."""
    if pace.max_head_age is not None and endpoint.head is not None and now - endpoint.head_since > pace.max_head_age:
        return (
            f"its head stands at block {endpoint.head.number} for {now - endpoint.head_since:.0f} s, "
            f"the limit is {pace.max_head_age:g} s (chain.rpc.max_head_age_seconds)"
        )
    for other in others:
        is_comparable = now - other.l1_block_at <= pace.max_age and other.l1_block_at - endpoint.l1_block_at <= L1_BLOCK_SECONDS
        if other is not endpoint and is_comparable and endpoint.l1_block + MAX_L1_LAG < other.l1_block:
            return f"its L1 block {endpoint.l1_block} is more than {MAX_L1_LAG} behind {other.l1_block} of {other.rpc.name}"
    return None


def pick_preferred(endpoints: Iterable[Endpoint]) -> Endpoint | None:
    """The first healthy endpoint, None when there is none."""
    return next((e for e in endpoints if e.is_healthy), None)


def pick_due(endpoints: Iterable[Endpoint], in_use: Endpoint | None, now: float) -> list[Endpoint]:
    """Those not in use whose pause is over."""
    return [e for e in endpoints if e is not in_use and now >= e.due_at]
