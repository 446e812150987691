"""The price ceilings as they stand now: configured amounts at the feed's rate, resolved once for each rate."""

from __future__ import annotations

from typing import Protocol

from livepeer_remote_signer.core.rules.ceilings import CeilingAmounts, Rate, resolve_ceilings
from livepeer_remote_signer.core.rules.pricing import Ceilings


class RateSource(Protocol):
    """The rate of a price feed, from memory; None while it has no fresh answer."""

    def rate(self) -> Rate | None: ...


class LiveCeilings:
    """A CeilingSource. Amounts can be replaced while the signer runs."""

    def __init__(self, amounts: CeilingAmounts, feed: RateSource | None = None) -> None:
        self._amounts = amounts
        self._feed = feed
        self._rate: Rate | None = None
        self._resolved = resolve_ceilings(amounts, None)

    @property
    def amounts(self) -> CeilingAmounts:
        """What is configured now."""
        return self._amounts

    def replace(self, amounts: CeilingAmounts) -> None:
        """Takes other amounts from now on."""
        self._amounts = amounts
        self._resolved = resolve_ceilings(amounts, self._rate)

    def current(self) -> Ceilings:
        """The ceilings in wei per unit; a memory read unless the rate has changed."""
        if self._feed is not None:
            rate = self._feed.rate()
            if rate is not self._rate:
                self._rate = rate
                self._resolved = resolve_ceilings(self._amounts, rate)
        return self._resolved
