"""How long the funds last, worked out in a thread beside payments, for a twentieth of the time at most."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import NamedTuple

from livepeer_remote_signer.adapters.ledger.running import LedgerStore
from livepeer_remote_signer.adapters.ledger.store import Minutes
from livepeer_remote_signer.adapters.looking import Looking
from livepeer_remote_signer.adapters.metrics.by_sender import SenderGauges
from livepeer_remote_signer.core.protocol.amounts import WEI_PER_GWEI
from livepeer_remote_signer.core.rules.chain import ChainView
from livepeer_remote_signer.core.rules.ledger import SpendSum
from livepeer_remote_signer.core.rules.luck import DrawnLine, lines_by_sender, lines_of
from livepeer_remote_signer.core.rules.runway import CASES, Burn, Runway, burn_of, burns_of, draw_minute, plan_runway

LOOK_SECONDS = 1.0
MIN_REST_SECONDS = 5.0
RESTS = 20


class OneOfSeveral(NamedTuple):
    """A sender beside others, and whether it is the first, to which all belongs that was signed before there were others."""

    sender: bytes
    is_first: bool


async def read_burn(store: LedgerStore, clock_ns: Callable[[], int], one: OneOfSeveral | None = None) -> Burn:
    """What all processes that share the ledger signed within the last sixty whole minutes and the present one; or what one of
    several senders did. Raises LedgerUnavailable."""
    burn, lines = await _read_signed(store, clock_ns)
    if one is None:
        return burn
    own = [line.signed for line in lines_of(lines, one.sender, is_first=one.is_first)]
    return burns_of(burn, [line.signed for line in lines], {one.sender: own})[one.sender]


async def read_burns(store: LedgerStore, clock_ns: Callable[[], int], senders: Sequence[bytes]) -> Mapping[bytes, Burn]:
    """The same for each sender; one alone has all. Raises LedgerUnavailable."""
    burn, lines = await _read_signed(store, clock_ns)
    if len(senders) == 1:
        return {senders[0]: burn}
    parts = {sender: [line.signed for line in own] for sender, own in lines_by_sender(lines, senders).items()}
    return burns_of(burn, [line.signed for line in lines], parts)


async def _read_signed(store: LedgerStore, clock_ns: Callable[[], int]) -> tuple[Burn, list[DrawnLine]]:
    minute = draw_minute(clock_ns())
    signed = SpendSum()
    for _, part in await store.spend_over_time(Minutes(minute, minute + 60), 60):
        signed = signed.plus(part)
    lines = await store.draws_since(minute)
    mean = signed.face_value_wei // signed.tickets if signed.tickets else 0
    burn = burn_of(signed.ev_wei, [line.signed for line in lines], mean)
    return burn._replace(face_value_wei_per_hour=signed.face_value_wei), lines


class Runways(Looking):
    """For each sender of `views`. `current` are the newest answers, empty before the first one."""

    name = "runway"

    def __init__(
        self,
        burns: Callable[[], Awaitable[Mapping[bytes, Burn]]],
        views: Mapping[bytes, Callable[[], ChainView]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(clock)
        self._burns = burns
        self._views = views
        self._asked: dict[bytes, tuple[int, int]] = {}
        self._rests_until = 0.0
        self.current: dict[bytes, Runway] = {}

    def latest(self, sender: bytes) -> Runway | None:
        """The newest answer."""
        return self.current.get(sender)

    def rest_seconds(self, took_seconds: float) -> float:
        """Funds that have changed are looked at within a second; the rest after a look stands in `look`."""
        return LOOK_SECONDS

    async def look(self) -> None:
        """Works it out where that is due. Raises LedgerUnavailable."""
        views = {sender: view() for sender, view in self._views.items()}
        if any(view.stale is not None and view.stale.age_seconds is None for view in views.values()):
            return  # the chain was never read
        funds = {sender: (view.deposit_wei, view.reserve_wei) for sender, view in views.items()}
        if funds == self._asked and self._clock() < self._rests_until:
            return
        burns = await self._burns()
        began = self._clock()
        for sender, asked in funds.items():
            now, burn = self.current.get(sender), burns[sender]
            if now is None or asked != self._asked.get(sender) or burn.wei_per_hour != now.burn_wei_per_hour:
                self.current[sender] = await asyncio.to_thread(plan_runway, *asked, burn)
        ended = self._clock()
        rest = RESTS * (ended - began) if any(burn.kinds for burn in burns.values()) else 0.0
        self._asked, self._rests_until = funds, ended + max(MIN_REST_SECONDS, rest)


def add_runway_gauges(gauges: SenderGauges, runways: Runways) -> None:
    """How long deposit, and deposit and reserve, last, by case; and the deposit that lasts a week but for one time in 100."""

    def by_case(seconds: Callable[[Runway], tuple[float, ...]]) -> Callable[[bytes], dict[tuple[str, ...], float] | None]:
        def read(sender: bytes) -> dict[tuple[str, ...], float] | None:
            now = runways.latest(sender)
            return None if now is None else {(f"{case:g}",): value for case, value in zip(CASES, seconds(now), strict=True)}

        return read

    def safe_week(sender: bytes) -> float | None:
        now = runways.latest(sender)
        return None if now is None else now.safe_week_wei / WEI_PER_GWEI

    gauges.gauge(
        "livepeer_signer_runway_seconds",
        "How long the deposit lasts at the rate of the last hour: the median, and what it is shorter than in one case of 20 and of 100.",
        by_case(lambda runway: runway.deposit_seconds),
        ("quantile",),
    )
    gauges.gauge(
        "livepeer_signer_funds_runway_seconds",
        "The same for deposit and reserve together.",
        by_case(lambda runway: runway.funds_seconds),
        ("quantile",),
    )
    gauges.gauge(
        "livepeer_signer_safe_week_deposit_gwei",
        "The deposit that lasts a week at the rate of the last hour but for one case in 100.",
        safe_week,
    )
