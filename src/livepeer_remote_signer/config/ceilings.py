"""The price ceilings and the feed behind them, as the sections together mean them."""

from __future__ import annotations

from pathlib import Path

from livepeer_remote_signer.config.loading import ConfigError
from livepeer_remote_signer.config.models import Config
from livepeer_remote_signer.config.prices import CapabilityPrice, CurrencyFeed, PricesConfig
from livepeer_remote_signer.core.protocol import arbitrum_one
from livepeer_remote_signer.core.protocol.prices import CAPABILITY_NUMBERS
from livepeer_remote_signer.core.rules.ceilings import Amount, CeilingAmounts


def ceiling_amounts(prices: PricesConfig) -> CeilingAmounts:
    """The configured ceilings as plain values. Raises ConfigError."""
    assert not isinstance(prices.max_price_per_capability, Path)  # noqa: S101 - the loader has read the file
    return CeilingAmounts(
        Amount(*prices.max_price_per_unit, prices.pixels_per_unit),
        {
            (CAPABILITY_NUMBERS[entry.pipeline], entry.model_id): _capability_amount(entry, prices)
            for entry in prices.max_price_per_capability
        },
        per_hour=Amount(*prices.max_price_per_hour),
        per_job=Amount(*prices.max_price_per_job),
    )


def _capability_amount(entry: CapabilityPrice, prices: PricesConfig) -> Amount:
    """The currency stands in the amount or beside it; in both places it must be the same."""
    value, currency = entry.price_per_unit
    beside = entry.currency.strip().lower()
    if currency == "wei":
        currency = beside
    elif beside not in ("wei", currency):
        raise ConfigError(
            f"prices.max_price_per_capability, {entry.pipeline}/{entry.model_id}: price_per_unit is in {currency.upper()}, "
            f"currency says {beside.upper()}"
        )
    return Amount(value, currency, entry.pixels_per_unit or prices.pixels_per_unit)


def currency_feed(config: Config, amounts: CeilingAmounts) -> CurrencyFeed | None:
    """The feed to read; on Arbitrum One ceilings in USD have section 10's feed without naming it. Raises ConfigError."""
    feed, currencies = config.prices.currency_feed, amounts.feed_currencies
    named = ", ".join(sorted(c.upper() for c in currencies))
    if feed is not None and feed.address == CurrencyFeed().address and currencies - {"usd"}:
        raise ConfigError(f"prices are given in {named}, but prices.currency_feed quotes USD: give them in USD, or name another feed")
    if len(currencies) > 1:
        raise ConfigError(f"prices are given in {named}: a feed quotes one currency, so give all of them in that one")
    if feed is not None or not currencies:
        return feed
    is_arbitrum_one = config.chain.source == "rpc" and config.chain.rpc.chain_id == arbitrum_one.CHAIN_ID
    if is_arbitrum_one and currencies == {"usd"}:
        return CurrencyFeed()
    raise ConfigError(f"prices are given in {named}: prices.currency_feed.address must name the Chainlink feed that quotes it in ETH")
