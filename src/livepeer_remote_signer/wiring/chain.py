"""Composition of the chain: configuration -> chain view, price feed and ceilings. Part of `app`, and of the funding commands."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from livepeer_remote_signer.adapters.ceilings import LiveCeilings
from livepeer_remote_signer.adapters.chain.static import StaticChain
from livepeer_remote_signer.api.rest import ReadyCheck
from livepeer_remote_signer.config.loading import ConfigError
from livepeer_remote_signer.config.models import Config
from livepeer_remote_signer.config.prices import CapabilityPrice, CurrencyFeed, PricesConfig
from livepeer_remote_signer.core.protocol import arbitrum_one
from livepeer_remote_signer.core.protocol.amounts import float_string
from livepeer_remote_signer.core.protocol.prices import CAPABILITY_NUMBERS
from livepeer_remote_signer.core.rules.ceilings import Amount, CeilingAmounts
from livepeer_remote_signer.core.rules.chain import ChainView
from livepeer_remote_signer.core.rules.limits import find_chain_fault, find_clock_fault, find_funds_fault
from livepeer_remote_signer.service.seams import ChainSource

if TYPE_CHECKING:
    from livepeer_remote_signer.adapters.chain.rpc import RpcChain
    from livepeer_remote_signer.adapters.price_feed import FeedStatus, PriceFeed

ARBITRUM_ONE_MAX_HEAD_AGE_SECONDS = 300.0
"""Arbitrum One makes several blocks a second. A private chain may make none for hours: there the head may stand still."""


class ChainParts(NamedTuple):
    """What payments read of the chain; `rpc` and `feed` are None where nothing is polled."""

    source: ChainSource
    ceilings: LiveCeilings
    rpc: RpcChain | None = None
    feed: PriceFeed | None = None

    async def start(self) -> None:
        """Begins to poll, if there is anything to poll."""
        if self.rpc is not None:
            await self.rpc.start()

    async def stop(self) -> None:
        """Ends polling."""
        if self.rpc is not None:
            await self.rpc.stop()

    def ready_checks(self) -> Sequence[ReadyCheck]:
        """Whether the chain lets the signer pay, and why not."""
        view = self.source.view()
        checks = [_chain_check(view)]
        if self.rpc is not None:
            checks.append(_clock_check(view))
        if self.feed is not None:
            checks.append(_feed_check(self.feed.status(), self.ceilings.amounts))
        return checks


def open_chain(config: Config, sender: bytes) -> ChainParts:
    """The chain source, price feed and ceilings that are configured; nothing is polled yet. Raises ConfigError."""
    amounts = ceiling_amounts(config.prices)
    feed_config = _feed_config(config, amounts)
    is_live = config.chain.source == "rpc"
    if not is_live and feed_config is None:
        return ChainParts(_static_chain(config), LiveCeilings(amounts))
    from livepeer_remote_signer.adapters.chain.endpoints import Pace  # nothing below is imported by a signer without RPC
    from livepeer_remote_signer.adapters.chain.reading import ChainQuestion
    from livepeer_remote_signer.adapters.chain.rpc import RpcChain
    from livepeer_remote_signer.adapters.price_feed import PriceFeed

    rpc_config = config.chain.rpc
    if not rpc_config.urls:
        raise ConfigError("prices.currency_feed is read over chain.rpc.urls (or ETH_RPC_URL), which is empty")
    feed = None
    if feed_config is not None:
        feed = PriceFeed(feed_config.address, feed_config.max_age_seconds, max_jump_factor=feed_config.max_jump_factor)
    max_head_age = rpc_config.max_head_age_seconds
    if max_head_age is None and rpc_config.chain_id == arbitrum_one.CHAIN_ID:
        max_head_age = ARBITRUM_ONE_MAX_HEAD_AGE_SECONDS
    rpc = RpcChain(
        [url.get_secret_value() for url in rpc_config.urls],
        ChainQuestion(rpc_config.chain_id, rpc_config.controller if is_live else None, sender),
        Pace(rpc_config.poll_seconds, rpc_config.timeout_seconds, rpc_config.max_age_seconds, max_head_age),
        rider=feed,
    )
    return ChainParts(rpc if is_live else _static_chain(config), LiveCeilings(amounts, feed), rpc, feed)


def ceiling_amounts(prices: PricesConfig) -> CeilingAmounts:
    """The configured ceilings as plain values. Raises ConfigError."""
    assert not isinstance(prices.max_price_per_capability, Path)  # noqa: S101 - the loader has read the file
    return CeilingAmounts(
        Amount(*prices.max_price_per_unit, prices.pixels_per_unit),
        {
            (CAPABILITY_NUMBERS[entry.pipeline], entry.model_id): _capability_amount(entry, prices)
            for entry in prices.max_price_per_capability
        },
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


def _feed_config(config: Config, amounts: CeilingAmounts) -> CurrencyFeed | None:
    """The feed to read; on Arbitrum One ceilings in USD have section 10's feed without naming it. Raises ConfigError."""
    if config.prices.currency_feed is not None or not amounts.feed_currencies:
        return config.prices.currency_feed
    is_arbitrum_one = config.chain.source == "rpc" and config.chain.rpc.chain_id == arbitrum_one.CHAIN_ID
    if is_arbitrum_one and amounts.feed_currencies == {"usd"}:
        return CurrencyFeed()
    named = ", ".join(sorted(c.upper() for c in amounts.feed_currencies))
    raise ConfigError(f"prices are given in {named}: prices.currency_feed.address must name the Chainlink feed that quotes it in ETH")


def _static_chain(config: Config) -> StaticChain:
    static = config.chain.static
    return StaticChain(
        ChainView(
            l1_block=static.l1_block,
            last_initialized_round=static.last_initialized_round,
            last_initialized_round_block_hash=static.last_initialized_round_block_hash,
            deposit_wei=static.deposit_wei,
            reserve_wei=static.reserve_wei,
            withdraw_round=static.withdraw_round,
        )
    )


def _feed_check(feed: FeedStatus, amounts: CeilingAmounts) -> ReadyCheck:
    """A stale feed stops everything only when the global ceiling needs it; else what it limits is refused, and the rest goes on."""
    needs = CeilingAmounts(amounts.global_amount).feed_currencies
    if feed.rate is None:
        return ReadyCheck("price_feed", not needs, f"ceilings in the feed's currency refuse: {feed.fault}")
    quoted = feed.rate.currency
    said = f"1 ETH is {float_string(feed.rate.per_eth, 2)} {quoted.upper()}"
    others = amounts.feed_currencies - {quoted}
    if others:
        named = ", ".join(sorted(currency.upper() for currency in others))
        said += f"; ceilings in {named} refuse: prices.currency_feed must name a feed of that currency, this one quotes {quoted.upper()}"
    return ReadyCheck("price_feed", needs <= {quoted}, said)


def _chain_check(view: ChainView) -> ReadyCheck:
    """Whether the chain's reading allows payments, and why not."""
    fault = find_chain_fault(view) or find_funds_fault(view)
    return ReadyCheck(
        "chain", fault is None, f"L1 block {view.l1_block}, round {view.last_initialized_round}" if fault is None else fault.message
    )


def _clock_check(view: ChainView) -> ReadyCheck:
    """Whether this host's clock allows payments, and why not."""
    fault = find_clock_fault(view)
    if fault is not None:
        return ReadyCheck("clock", False, fault.message)
    return ReadyCheck(
        "clock", True, "agrees with the chain's block times" if view.clock_agrees else "not compared with the chain's block times yet"
    )
