"""Price ceilings, and the feed that converts their currencies. Every key with its type, default and meaning."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Annotated

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    model_validator,
)

from livepeer_remote_signer.config.values import Address, Amount, Decimal, PriceAmount, Seconds, Section
from livepeer_remote_signer.core.protocol.prices import CAPABILITY_NUMBERS, DEFAULT_MODEL, pipeline_name

ARBITRUM_ONE_ETH_USD_FEED = "0x639Fe6ab55C921f74e7fac1ee960C0B6293ba612"


def _pipeline(text: str) -> str:
    name = pipeline_name(text)
    if name is None:
        raise ValueError(f"unknown pipeline {text[:64]!r}: one of {', '.join(CAPABILITY_NUMBERS)}")
    return name


class CapabilityPrice(Section):
    """One entry of go-livepeer's maxPricePerCapability file."""

    pipeline: Annotated[str, AfterValidator(_pipeline)]
    model_id: Annotated[str, BeforeValidator(lambda name: name or DEFAULT_MODEL)] = DEFAULT_MODEL
    price_per_unit: Amount
    pixels_per_unit: Decimal | None = None
    currency: Annotated[str, BeforeValidator(lambda name: "wei" if name is None or not str(name).strip() else name)] = "wei"

    @model_validator(mode="after")
    def _positive(self) -> CapabilityPrice:
        if self.pixels_per_unit is not None and self.pixels_per_unit <= 0:
            raise ValueError("pixels_per_unit must be positive")
        return self


class CurrencyFeed(Section):
    """A Chainlink ETH/currency feed, read over chain.rpc."""

    address: Address = bytes.fromhex(ARBITRUM_ONE_ETH_USD_FEED[2:])
    max_age_seconds: Seconds = 5400
    max_jump_factor: Decimal = Field(
        Fraction(2), description="a larger jump between two readings needs a second endpoint's word, or three readings"
    )

    @model_validator(mode="after")
    def _a_factor(self) -> CurrencyFeed:
        if self.max_jump_factor <= 1:
            raise ValueError("max_jump_factor must be above 1")
        return self


class PricesConfig(Section):
    """Price ceilings. 0: no such ceiling."""

    max_price_per_unit: Amount = PriceAmount(Fraction(0), "wei")
    pixels_per_unit: Decimal = Fraction(1)
    max_price_per_capability: Annotated[
        Annotated[tuple[CapabilityPrice, ...], Tag("[list]")] | Annotated[Path, Tag("[path]")],
        Discriminator(lambda given: "[path]" if isinstance(given, str | Path) else "[list]"),
    ] = ()
    max_price_per_hour: Amount = PriceAmount(Fraction(0), "wei")
    max_price_per_job: Amount = PriceAmount(Fraction(0), "wei")
    currency_feed: CurrencyFeed | None = None
    runtime_file: Path | None = Field(None, description="where ceilings changed at runtime are kept")

    @model_validator(mode="after")
    def _positive(self) -> PricesConfig:
        if self.pixels_per_unit <= 0:
            raise ValueError("pixels_per_unit must be positive")
        if not isinstance(self.max_price_per_capability, Path):
            check_each_once(self.max_price_per_capability)
        return self


def check_each_once(prices: Sequence[CapabilityPrice]) -> None:
    """Raises ValueError where two entries are for one pipeline and model: which of them is meant cannot be told."""
    places: dict[tuple[str, str], int] = {}
    for index, price in enumerate(prices):
        first = places.setdefault((price.pipeline, price.model_id), index)
        if first != index:
            raise ValueError(f"entries {first} and {index} are both for {price.pipeline} and the model {price.model_id!r}: keep one")
