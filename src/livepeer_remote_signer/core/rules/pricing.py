"""The ceilings over prices.

Source: section 8 of the protocol. A price is an exact rational in wei per unit. The lowest ceiling wins and equality
passes; a refusal names the ceiling's source and both prices.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import NamedTuple

from livepeer_remote_signer.core.errors import BadMaxPrice, PriceExceeded, PriceFeedStale
from livepeer_remote_signer.core.protocol.amounts import float_string, parse_decimal, rat_string
from livepeer_remote_signer.core.protocol.prices import DEFAULT_MODEL, UNIT_OF_TYPE, CapabilityModel, MaxPrice
from livepeer_remote_signer.core.rules.billing import PIXELS_PER_SECOND

_GO_SPACE = "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
"""What Go's TrimSpace takes away: all that Python's strip does, but for U+001C to U+001F."""


@dataclass(frozen=True, slots=True)
class StaleRate:
    """A ceiling that cannot be turned into wei: its currency's feed has no fresh answer, or quotes the currency `quoted` instead."""

    currency: str
    quoted: str = ""


Ceiling = Fraction | StaleRate


class AbsoluteCeiling(NamedTuple):
    """What a `span` of work, an hour or a job, may cost in wei, whatever the capabilities say; `units` of a request are one span."""

    span: str
    units: int
    ceiling: Ceiling
    per_unit: Ceiling

    @property
    def key(self) -> str:
        """The configuration's key."""
        return f"prices.max_price_per_{self.span}"

    def refusal(self, price: Fraction) -> PriceExceeded:
        """For a price (wei per unit) above it: both prices for the whole span."""
        ceiling = known_ceiling(self.ceiling)
        whole = price * self.units
        return PriceExceeded(
            f"orchestrator price {float_string(whole, 3)} wei per {self.span} exceeds {self.key} ceiling"
            f" {float_string(ceiling, 3)} wei per {self.span}",
            hint=f"choose another orchestrator, or raise {self.key}",
            source=self.key,
            price=rat_string(whole),
            ceiling=rat_string(ceiling),
            unit=f"wei per {self.span}",
        )


_SPANS: Mapping[str, tuple[str, int]] = {
    "live": ("hour", 3600),
    "lv2v": ("hour", 3600 * PIXELS_PER_SECOND),
    "": ("hour", 3600 * PIXELS_PER_SECOND),
    "fixed": ("job", 1),
}
"""By job type what an absolute ceiling is for, and how many units that is."""


@dataclass(frozen=True, slots=True)
class Ceilings:
    """The operator's ceilings in wei per unit; `per_hour` and `per_job` in wei, over what all that costs. None: no such ceiling."""

    global_ceiling: Ceiling | None = None
    per_capability: Mapping[CapabilityModel, Ceiling] = field(default_factory=dict)
    per_hour: Ceiling | None = None
    per_job: Ceiling | None = None
    absolute: Mapping[str, AbsoluteCeiling] = field(init=False, compare=False)
    """By job type; a type without one is left out."""

    def __post_init__(self) -> None:
        ceilings = {"hour": self.per_hour, "job": self.per_job}
        object.__setattr__(self, "absolute", dict(_absolute_ceilings(ceilings)))

    def for_pairs(self, pairs: Iterable[CapabilityModel]) -> Ceiling | None:
        """The ceiling for the (capability, model) pairs of a request.

        The sum of what is configured for each pair, model first, else the capability's default; a pair without one adds
        nothing; when the sum is 0, the global ceiling.
        """
        if not self.per_capability:
            return self.global_ceiling
        total = Fraction(0)
        for capability, model in pairs:
            ceiling = self.per_capability.get((capability, model))
            if ceiling is None:
                ceiling = self.per_capability.get((capability, DEFAULT_MODEL))
            if isinstance(ceiling, StaleRate):
                return ceiling
            if ceiling is not None:
                total += ceiling
        return total or self.global_ceiling


def _absolute_ceilings(ceilings: Mapping[str, Ceiling | None]) -> Iterator[tuple[str, AbsoluteCeiling]]:
    for job_type, (span, units) in _SPANS.items():
        ceiling = ceilings[span]
        if ceiling is not None:
            yield job_type, AbsoluteCeiling(span, units, ceiling, ceiling if isinstance(ceiling, StaleRate) else ceiling / units)


def known_ceiling(ceiling: Ceiling) -> Fraction:
    """The ceiling in wei. Raises PriceFeedStale when it cannot be known."""
    if not isinstance(ceiling, StaleRate):
        return ceiling
    if ceiling.quoted:
        raise PriceFeedStale(
            f"the price ceiling is configured in {ceiling.currency.upper()}, but the price feed quotes {ceiling.quoted.upper()} for ETH",
            hint=f"name a feed of ETH in {ceiling.currency.upper()} under prices.currency_feed, or set the ceiling in another currency",
            currency=ceiling.currency,
            quoted=ceiling.quoted,
        )
    raise PriceFeedStale(
        f"the price ceiling is configured in {ceiling.currency.upper()} and its price feed has no fresh answer",
        hint="check the price feed under prices.currency_feed, or configure the ceiling in wei",
        currency=ceiling.currency,
    )


def check_price(
    price: Fraction, *, configured: Ceiling | None, absolute: AbsoluteCeiling | None, asked: Fraction | None, initial: Fraction
) -> None:
    """Step 12. Raises PriceExceeded naming the lowest ceiling where the price is above it, PriceFeedStale when one cannot be known.

    `configured` is the operator's for the request's capabilities, `asked` the request's own, `initial` the session's first price.
    """
    ceilings = [(initial, "initial session price")]
    if asked is not None:
        ceilings.append((asked, "request maxPrice"))
    if absolute is not None:
        ceilings.append((known_ceiling(absolute.per_unit), absolute.key))
    if configured is not None:
        ceilings.append((known_ceiling(configured), "configured maximum price"))
    price_n, price_d = price.as_integer_ratio()
    for ceiling, _ in ceilings:  # whole numbers: comparing Fractions costs every payment three times as much
        if price_n * ceiling.denominator > ceiling.numerator * price_d:
            lowest, source = min(reversed(ceilings), key=lambda named: named[0])
            raise absolute.refusal(price) if absolute is not None and source == absolute.key else price_exceeded(price, lowest, source)


def price_exceeded(price: Fraction, ceiling: Fraction, source: str) -> PriceExceeded:
    """The refusal that names the source and both prices."""
    return PriceExceeded(
        f"orchestrator price {float_string(price, 3)} exceeds {source} ceiling {float_string(ceiling, 3)}",
        hint="choose another orchestrator, or raise the ceiling",
        source=source,
        price=rat_string(price),
        ceiling=rat_string(ceiling),
    )


def parse_max_price(max_price: MaxPrice, job_type: str) -> Fraction:
    """The ceiling in wei per unit; BadMaxPrice when it does not fit the job type or is not a positive bounded decimal."""
    unit = UNIT_OF_TYPE.get(job_type)
    if unit is None:
        raise BadMaxPrice("maxPrice requires payment type live, lv2v, or fixed")
    if max_price.currency.strip(_GO_SPACE).lower() != "wei":
        raise BadMaxPrice("maxPrice.currency must be wei", currency=max_price.currency[:32])
    if max_price.unit.strip(_GO_SPACE).lower() != unit:
        raise BadMaxPrice(f"maxPrice.unit must be {unit} for payment type {job_type}", unit=max_price.unit[:32])
    try:
        value = parse_decimal(max_price.price)
    except ValueError as error:
        raise BadMaxPrice(f"maxPrice.price must be a positive decimal: {error}") from None
    if value <= 0:
        raise BadMaxPrice("maxPrice.price must be a positive decimal")
    return value
