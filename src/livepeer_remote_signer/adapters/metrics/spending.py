"""How fast money is spent, and the task that looks at the numbers while the application runs."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from functools import partial

from livepeer_remote_signer.adapters.metrics.registry import Metrics
from livepeer_remote_signer.core.protocol.amounts import WEI_PER_GWEI
from livepeer_remote_signer.core.rules.runway import Burn, burn_of

RATE_WINDOW_SECONDS = 3600.0
SAMPLE_SECONDS = 60.0
SETTLE_SECONDS = 0.25


class SpendRate:
    """How fast money is spent, from samples of a counter over the last hour."""

    def __init__(self, spent_gwei: Callable[[], float], clock: Callable[[], float] = time.monotonic) -> None:
        self._spent_gwei = spent_gwei
        self._clock = clock
        self._samples: deque[tuple[float, float]] = deque()
        self.sample()

    def sample(self) -> None:
        """To be called about once a minute."""
        now = self._clock()
        self._samples.append((now, self._spent_gwei()))
        while len(self._samples) > 1 and now - self._samples[1][0] >= RATE_WINDOW_SECONDS:
            self._samples.popleft()

    def wei_per_second(self) -> float:
        """The mean since the oldest sample, at most an hour; 0 while nothing was spent."""
        began, before = self._samples[0]
        elapsed = self._clock() - began
        return max(0.0, self._spent_gwei() - before) * WEI_PER_GWEI / elapsed if elapsed > 0 else 0.0

    async def burn(self, mean_face_value_gwei: Callable[[], float]) -> Burn:
        """What runways are worked out from where there is no ledger: this process's spend, at its mean face value."""
        return burn_of(round(3600 * self.wei_per_second()), (), round(mean_face_value_gwei() * WEI_PER_GWEI))


async def burns(rates: Mapping[bytes, SpendRate], mean_face_value_gwei: Callable[[bytes], float]) -> Mapping[bytes, Burn]:
    """The same for each sender."""
    return {sender: await rate.burn(partial(mean_face_value_gwei, sender)) for sender, rate in rates.items()}


class Sampler:
    """Counts what waits for it, so that whichever worker is scraped sees all; once a minute the spend is noted."""

    def __init__(self, metrics: Metrics, rates: Collection[SpendRate]) -> None:
        self._metrics = metrics
        self._rates = rates
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begins to look."""
        self._task = asyncio.create_task(self._sample(), name="metrics-sampler")

    async def stop(self) -> None:
        """Notes the last numbers: a worker's count after it is gone."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        self._metrics.settle()

    async def _sample(self) -> None:
        sampled = time.monotonic()
        while True:
            await asyncio.sleep(SETTLE_SECONDS)
            self._metrics.keep_shared()
            self._metrics.settle()
            if time.monotonic() - sampled >= SAMPLE_SECONDS:
                sampled = time.monotonic()
                for rate in self._rates:
                    rate.sample()
