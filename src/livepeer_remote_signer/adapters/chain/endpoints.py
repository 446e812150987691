"""Which endpoint is asked, and what is remembered of it. Decisions only: `now` is an argument, in monotonic seconds.

Endpoints stand in order of preference. One that failed, or is not believed (`trust`), is left alone for a while that
doubles with every failure. One whose head stands still is not believed either.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from livepeer_remote_signer.adapters.chain.json_rpc import MAX_RETRY_AFTER_SECONDS, JsonRpc
from livepeer_remote_signer.adapters.chain.reading import Known, Reading
from livepeer_remote_signer.adapters.chain.trust import Claim, do_agree

NEW_HEAD_SECONDS = 60.0
"""A head that was not there when the endpoint was asked before tells the time, if that was not longer ago."""


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
    place: int = 0
    known: Known | None = None
    failures: int = 0
    total_failures: int = 0
    fault: str = ""
    is_distrusted: bool = False
    due_at: float = 0.0
    reading: Reading | None = None
    asked_at: float = 0.0
    answered_at: float = 0.0
    head_since: float = 0.0
    is_head_new: bool = False
    clock_ahead: float = 0.0
    steady: Claim | None = None
    asking: asyncio.Task[bool] | None = None

    @property
    def is_healthy(self) -> bool:
        """Whether its last answer was believed; an endpoint not asked yet is given the chance."""
        return self.failures == 0

    @property
    def l1_block(self) -> int:
        """What it last said; 0 before it said anything."""
        return 0 if self.reading is None else self.reading.view.l1_block

    def note_failure(
        self, fault: str, now: float, pace: Pace, *, is_distrusted: bool = False, retry_after_seconds: float | None = None
    ) -> None:
        """It failed at `now`, or was not believed: leave it alone for a while (as long as it says), and get to know it anew then."""
        self.failures += 1
        self.total_failures += 1
        self.fault = fault
        self.is_distrusted = is_distrusted or self.is_distrusted
        asked_for = min(retry_after_seconds or 0.0, MAX_RETRY_AFTER_SECONDS)
        self.due_at = now + max(pace.back_off(self.failures), asked_for)
        self.known = None

    def note_success(self, now: float, pace: Pace) -> None:
        """It answered and was believed."""
        self.failures = 0
        self.fault = ""
        self.is_distrusted = False
        self.due_at = now + pace.standby

    def note_reading(self, reading: Reading, asked_at: float, answered_at: float, clock_ahead: float, *, is_paced: bool) -> None:
        """What it says of the heads. The first head counts from its own timestamp when that is longer ago."""
        before = self.reading
        self.is_head_new = False
        if before is None or (before.head.number, before.head.hash) != (reading.head.number, reading.head.hash):
            self.head_since = asked_at if before is not None else asked_at - max(0.0, clock_ahead)
            self.is_head_new = before is not None and asked_at - self.asked_at <= NEW_HEAD_SECONDS
        self.reading, self.asked_at, self.answered_at, self.clock_ahead = reading, asked_at, answered_at, clock_ahead
        if self.steady is None or not do_agree(self.steady, self.claim(), is_paced=is_paced):
            self.steady = self.claim()

    def claim(self) -> Claim:
        """Its last word, to be held against the others'."""
        steady_since = None if self.steady is None else self.steady.at
        figures = None if self.reading is None else self.reading.figures
        return Claim(self.place, self.rpc.name, self.l1_block, self.asked_at, self.clock_ahead, self.is_distrusted, steady_since, figures)


def find_standing_head(endpoint: Endpoint, now: float, pace: Pace) -> str | None:
    """Why an endpoint whose head stands still is not believed; None when it moves."""
    if pace.max_head_age is None or endpoint.reading is None or now - endpoint.head_since <= pace.max_head_age:
        return None
    return (
        f"its head stands at block {endpoint.reading.head.number} for {now - endpoint.head_since:.0f} s, "
        f"the limit is {pace.max_head_age:g} s (chain.rpc.max_head_age_seconds)"
    )


def pick_preferred(endpoints: Iterable[Endpoint]) -> Endpoint | None:
    """The first healthy endpoint, None when there is none."""
    return next((e for e in endpoints if e.is_healthy), None)


def pick_due(endpoints: Iterable[Endpoint], in_use: Endpoint | None, now: float) -> list[Endpoint]:
    """Those not in use whose pause is over."""
    return [e for e in endpoints if e is not in_use and now >= e.due_at]
