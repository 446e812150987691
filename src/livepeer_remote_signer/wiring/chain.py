"""Composition of the chain: configuration -> chain view, price feed and ceilings. Part of `app`, and of the funding commands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from livepeer_remote_signer.adapters.ceilings import LiveCeilings
from livepeer_remote_signer.adapters.chain.static import StaticChain
from livepeer_remote_signer.adapters.outbound import Outbound
from livepeer_remote_signer.config.ceilings import ceiling_amounts, currency_feed
from livepeer_remote_signer.config.in_force import max_head_age_seconds
from livepeer_remote_signer.config.loading import ConfigError
from livepeer_remote_signer.config.models import Config
from livepeer_remote_signer.core.rules.chain import ChainView
from livepeer_remote_signer.service.seams import ChainSource

if TYPE_CHECKING:
    from livepeer_remote_signer.adapters.chain.rpc import RpcChain
    from livepeer_remote_signer.adapters.price_feed import PriceFeed


class ChainParts(NamedTuple):
    """What payments read of the chain; `rpc` and `feed` are None where nothing is polled."""

    source: ChainSource
    ceilings: LiveCeilings
    rpc: RpcChain | None = None
    feed: PriceFeed | None = None


def open_chain(config: Config, sender: bytes, outbound: Outbound, others: Sequence[bytes] = ()) -> ChainParts:
    """The chain source, price feed and ceilings that are configured, with the funds of a sender and of `others`; nothing is polled yet.
    Raises ConfigError."""
    amounts = ceiling_amounts(config.prices)
    feed_config = currency_feed(config, amounts)
    is_live = config.chain.source == "rpc"
    if not is_live and feed_config is None:
        return ChainParts(_open_static_chain(config), LiveCeilings(amounts))
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
    rpc = RpcChain(
        [url.get_secret_value() for url in rpc_config.urls],
        ChainQuestion(rpc_config.chain_id, rpc_config.controller if is_live else None, sender, other_senders=tuple(others)),
        Pace(rpc_config.poll_seconds, rpc_config.timeout_seconds, rpc_config.max_age_seconds, max_head_age_seconds(config)),
        rider=feed,
        outbound=outbound,
    )
    return ChainParts(rpc if is_live else _open_static_chain(config), LiveCeilings(amounts, feed), rpc, feed)


def open_sender_chain(chain: ChainParts, sender: bytes) -> ChainSource:
    """The chain with the funds of this sender; a static one has the same for all."""
    return chain.rpc.of_sender(sender) if chain.rpc is not None and chain.rpc is chain.source else chain.source


def _open_static_chain(config: Config) -> StaticChain:
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
