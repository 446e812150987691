"""The operator's ceilings as configured, with currencies, and what they are in wei at an exchange rate.

Source: sections 8 and 10 of the protocol. An amount is in wei, gwei, eth, or a currency that a price feed quotes. Without
a fresh rate an amount in a feed's currency cannot be known, and what it would limit is refused; the others go on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import NamedTuple

from livepeer_remote_signer.core.protocol.amounts import WEI_PER_ETH, WEI_UNITS
from livepeer_remote_signer.core.protocol.prices import CapabilityModel
from livepeer_remote_signer.core.rules.pricing import Ceiling, Ceilings, StaleRate


class Amount(NamedTuple):
    """A non-negative amount per `per_units` units of work, in a lower-case currency. 0: no ceiling."""

    value: Fraction
    currency: str = "wei"
    per_units: Fraction = Fraction(1)


NO_CEILING = Amount(Fraction(0))


class Rate(NamedTuple):
    """How much of a lower-case `currency` one ETH costs; positive, exact."""

    currency: str
    per_eth: Fraction


@dataclass(frozen=True, slots=True)
class CeilingAmounts:
    """All ceilings as configured."""

    global_amount: Amount = NO_CEILING
    per_capability: Mapping[CapabilityModel, Amount] = field(default_factory=dict)
    per_hour: Amount = NO_CEILING
    per_job: Amount = NO_CEILING

    @property
    def feed_currencies(self) -> frozenset[str]:
        """The currencies that need a price feed."""
        amounts = (self.global_amount, self.per_hour, self.per_job, *self.per_capability.values())
        return frozenset(a.currency for a in amounts if a.value and a.currency not in WEI_UNITS)


def resolve_amount(amount: Amount, rate: Rate | None) -> Ceiling:
    """Wei per unit, exact; StaleRate when there is no rate of its currency."""
    if not amount.value:
        return Fraction(0)
    per_unit = amount.value / amount.per_units
    if amount.currency in WEI_UNITS:
        return per_unit * WEI_UNITS[amount.currency]
    if rate is None or rate.currency != amount.currency:
        return StaleRate(amount.currency, "" if rate is None else rate.currency)
    return per_unit * WEI_PER_ETH / rate.per_eth


def resolve_ceilings(amounts: CeilingAmounts, rate: Rate | None) -> Ceilings:
    """The ceilings in wei at `rate`; None: no feed has a fresh answer."""
    return Ceilings(
        global_ceiling=resolve_amount(amounts.global_amount, rate) or None,
        per_capability={pair: resolve_amount(amount, rate) for pair, amount in amounts.per_capability.items()},
        per_hour=resolve_amount(amounts.per_hour, rate) or None,
        per_job=resolve_amount(amounts.per_job, rate) or None,
    )
