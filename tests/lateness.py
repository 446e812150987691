"""By how much this machine wakes somebody late: what it does to a test it does to the signers that the test judges."""

from __future__ import annotations

import asyncio
import time
from math import inf

STEP_SECONDS = 0.05


class Lateness:
    """Watches for as long as `watch` runs. Times are unix seconds."""

    def __init__(self) -> None:
        self._noted: list[tuple[float, float]] = []

    async def watch(self) -> None:
        """Sleeps in short steps, and notes how much longer they took."""
        while True:
            slept = time.monotonic()
            await asyncio.sleep(STEP_SECONDS)
            self._noted.append((time.time(), time.monotonic() - slept - STEP_SECONDS))

    def most(self, since: float = 0.0, until: float = inf) -> float:
        """The longest of that time."""
        return max((late for at, late in self._noted if since <= at <= until), default=0.0)
