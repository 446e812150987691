"""How long the funds last, worked out in a thread beside payments, for a twentieth of the time at most."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

from livepeer_remote_signer.adapters.ledger.running import LedgerStore
from livepeer_remote_signer.adapters.ledger.store import Minutes, StoreFailed
from livepeer_remote_signer.adapters.metrics.registry import Metrics
from livepeer_remote_signer.core.rules.chain import ChainView
from livepeer_remote_signer.core.rules.ledger import SpendSum
from livepeer_remote_signer.core.rules.runway import CASES, Burn, Runway, burn_of, draw_minute, plan_runway

LOOK_SECONDS = 1.0
MIN_REST_SECONDS = 5.0
RESTS = 20


async def read_burn(store: LedgerStore, clock_ns: Callable[[], int]) -> Burn:
    """What all processes that share the ledger signed within the last sixty whole minutes and the present one. Raises StoreFailed."""
    minute = draw_minute(clock_ns())
    signed = SpendSum()
    for _, part in await store.spend_over_time(Minutes(minute, minute + 60), 60):
        signed = signed.plus(part)
    lines = await store.draws_since(minute)
    mean = signed.face_value_wei // signed.tickets if signed.tickets else 0
    burn = burn_of(signed.ev_wei, [line.signed for line in lines], mean)
    return burn._replace(face_value_wei_per_hour=signed.face_value_wei)


class Runways:
    """A part of the application. `current` is the newest answer, None before the first one."""

    def __init__(
        self, burn: Callable[[], Awaitable[Burn]], view: Callable[[], ChainView], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._burn = burn
        self._view = view
        self._clock = clock
        self._asked: tuple[int, int] | None = None
        self._rests_until = 0.0
        self._task: asyncio.Task[None] | None = None
        self.current: Runway | None = None

    def latest(self) -> Runway | None:
        """The newest answer."""
        return self.current

    async def start(self) -> None:
        """Begins to look."""
        self._task = asyncio.create_task(self._keep_looking(), name="runway")

    async def stop(self) -> None:
        """Ends; what is being worked out is of no use any more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _keep_looking(self) -> None:
        while True:
            with suppress(StoreFailed):  # the look at the ledger tells of it, and the answer before stands
                await self.look()
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """Works it out where that is due. Raises StoreFailed."""
        view = self._view()
        if view.stale is not None and view.stale.age_seconds is None:
            return  # the chain was never read
        funds = (view.deposit_wei, view.reserve_wei)
        if funds == self._asked and self._clock() < self._rests_until:
            return
        burn = await self._burn()
        is_same = self.current is not None and funds == self._asked and burn.wei_per_hour == self.current.burn_wei_per_hour
        began = self._clock()
        if not is_same:
            self.current = await asyncio.to_thread(plan_runway, *funds, burn)
        ended = self._clock()
        rest = RESTS * (ended - began) if burn.kinds else 0.0
        self._asked, self._rests_until = funds, ended + max(MIN_REST_SECONDS, rest)


def add_runway_gauges(metrics: Metrics, runways: Runways) -> None:
    """How long deposit, and deposit and reserve, last, by case; and the deposit that lasts a week but for one time in 100."""

    def by_case(seconds: Callable[[Runway], tuple[float, ...]]) -> dict[tuple[str, ...], float] | None:
        now = runways.current
        return None if now is None else {(f"{case:g}",): value for case, value in zip(CASES, seconds(now), strict=True)}

    metrics.gauge(
        "livepeer_signer_runway_seconds",
        "How long the deposit lasts at the rate of the last hour: the median, and what it is shorter than in one case of 20 and of 100.",
        lambda: by_case(lambda runway: runway.deposit_seconds),
        ("quantile",),
    )
    metrics.gauge(
        "livepeer_signer_funds_runway_seconds",
        "The same for deposit and reserve together.",
        lambda: by_case(lambda runway: runway.funds_seconds),
        ("quantile",),
    )
    metrics.gauge(
        "livepeer_signer_safe_week_deposit_gwei",
        "The deposit that lasts a week at the rate of the last hour but for one case in 100.",
        lambda: None if runways.current is None else runways.current.safe_week_wei / 10**9,
    )
