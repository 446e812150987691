"""What was drawn against what was expected, and what may be lost next: worked out in a thread beside payments, for a twentieth of
the time at most, and shown by metrics and console."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple

from livepeer_remote_signer.adapters.drawn.follower import FollowedStatus
from livepeer_remote_signer.adapters.ledger.redeemed import RedeemedStore
from livepeer_remote_signer.adapters.looking import Looking
from livepeer_remote_signer.adapters.metrics.by_sender import SenderGauges
from livepeer_remote_signer.adapters.metrics.registry import GaugeValue
from livepeer_remote_signer.core.protocol.amounts import WEI_PER_GWEI
from livepeer_remote_signer.core.rules.chain import ChainView
from livepeer_remote_signer.core.rules.luck import (
    Drawn,
    DrawnLine,
    Loss,
    Luck,
    Outstanding,
    describe_loss,
    describe_luck,
    describe_outstanding,
    lines_by_sender,
    losses_ahead,
    outstanding,
    weigh,
)
from livepeer_remote_signer.core.rules.runway import Burn

MOST_RECIPIENTS = 10
MIN_REST_SECONDS = 15.0
RESTS = 20
_CELLS = 1023


class DrawnFigures(NamedTuple):
    """`luck`: all together first, then the recipients with the most expected value; empty where nothing was signed."""

    luck: list[Luck]
    outstanding: Outstanding
    ahead: list[Loss]

    @property
    def chances(self) -> dict[tuple[str, ...], float]:
        """How likely fair tickets draw so much or more: of all, and of those with the least chance among all and the recipients."""
        if not self.luck:
            return {("all",): 1.0, ("least",): 1.0}
        return {("all",): self.luck[0].chance, ("least",): min(one.chance for one in self.luck)}


class DrawnWatch(Looking):
    """For each of the senders. `current` are the newest answers, empty before the first one."""

    name = "drawn-figures"

    def __init__(
        self,
        *,
        senders: Sequence[bytes],
        store: RedeemedStore,
        burns: Callable[[], Awaitable[Mapping[bytes, Burn]]],
        view: Callable[[], ChainView],
        status: Callable[[bytes], FollowedStatus],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(clock)
        self._senders = senders
        self._store = store
        self._burns = burns
        self._view = view
        self._status = status
        self.current: dict[bytes, DrawnFigures] = {}

    def rest_seconds(self, took_seconds: float) -> float:
        """A twentieth of the time at most."""
        return max(MIN_REST_SECONDS, RESTS * took_seconds)

    async def look(self) -> None:
        """Works it out. Raises LedgerUnavailable."""
        view = self._view()
        round_ = view.last_initialized_round if view.stale is None else None
        burns = await self._burns()
        for sender, lines in lines_by_sender(await self._store.draws_since(0), self._senders).items():
            drawn = await self._store.drawn_since(sender, 0)
            self.current[sender] = await asyncio.to_thread(_work_out, lines, drawn, burns[sender], round_)

    def describe(self, sender: bytes) -> dict[str, Any]:
        """For the console; amounts in wei. `draws` None: not worked out yet."""
        status, now = self._status(sender), self.current.get(sender)
        return {
            "redeemed": dict(status.counts),
            "behind_blocks": status.behind_blocks,
            "fault": status.fault,
            "draws": None if now is None else [describe_luck(one) for one in now.luck],
            "outstanding": None if now is None else describe_outstanding(now.outstanding),
            "ahead": None if now is None else [describe_loss(loss) for loss in now.ahead],
        }


def _work_out(lines: Sequence[DrawnLine], drawn: Sequence[Drawn], burn: Burn, round_: int | None) -> DrawnFigures:
    return DrawnFigures(
        weigh(lines, drawn, MOST_RECIPIENTS, max_cells=_CELLS),
        outstanding(lines, drawn, round_, max_cells=_CELLS),
        losses_ahead(lines, drawn, burn, round_, max_cells=_CELLS),
    )


def add_figure_gauges(gauges: SenderGauges, watch: DrawnWatch) -> None:
    """What was drawn, how likely that is, and what may be lost next; left out before the first answer."""

    def known(read: Callable[[DrawnFigures], GaugeValue]) -> Callable[[bytes], GaugeValue]:
        def read_known(sender: bytes) -> GaugeValue:
            now = watch.current.get(sender)
            return None if now is None else read(now)

        return read_known

    def of_all(amount: Callable[[Luck], int]) -> Callable[[bytes], GaugeValue]:
        return known(lambda now: amount(now.luck[0]) / WEI_PER_GWEI if now.luck else 0.0)

    def losses(now: DrawnFigures) -> dict[tuple[str, ...], float]:
        cases = [(str(loss.hours), case, wei) for loss in now.ahead for case, wei in (("worst", loss.worst_wei), ("0.01", loss.safe_wei))]
        return {(hours, case): wei / WEI_PER_GWEI for hours, case, wei in cases}

    gauges.gauge(
        "livepeer_signer_drawn_chance",
        "How likely fair tickets of the newest four rounds draw as much as was redeemed, or more: of all, and the least among all and the "
        "recipients with the most expected value.",
        known(lambda now: now.chances),
        ("of",),
    )
    gauges.gauge(
        "livepeer_signer_drawn_gwei",
        "Face value of the redeemed tickets of the newest four rounds.",
        of_all(lambda one: one.drawn_wei),
    )
    gauges.gauge(
        "livepeer_signer_drawn_expected_gwei",
        "What the tickets of these rounds take on average.",
        of_all(lambda one: one.expected_wei),
    )
    gauges.gauge(
        "livepeer_signer_loss_ahead_gwei",
        "What outstanding winners, and those that are signed meanwhile, take in the next hours: if each ticket wins (worst), and but for "
        "one case in 100.",
        known(losses),
        ("hours", "case"),
    )
