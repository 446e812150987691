"""What holds where a key is left out and its default follows from other keys. The wiring asks here, and so does `check-config`, so that
what is printed is what is in force."""

from __future__ import annotations

from typing import Literal

from livepeer_remote_signer.config.ceilings import ceiling_amounts, currency_feed
from livepeer_remote_signer.config.events import KafkaSink
from livepeer_remote_signer.config.models import Config
from livepeer_remote_signer.core.protocol import arbitrum_one

ARBITRUM_ONE_MAX_HEAD_AGE_SECONDS = 300.0
"""Arbitrum One makes several blocks a second. A private chain may make none for hours: there the head may stand still."""


def required_recipients(config: Config) -> Literal["any", "registered", "active"]:
    """Who may be paid: registered transcoders where the chain is live and nothing else is said."""
    return config.recipients.require or ("registered" if config.chain.source == "rpc" else "any")


def max_head_age_seconds(config: Config) -> float | None:
    """How long the chain's head may stand still; None: for ever."""
    rpc = config.chain.rpc
    if rpc.max_head_age_seconds is None and rpc.chain_id == arbitrum_one.CHAIN_ID:
        return ARBITRUM_ONE_MAX_HEAD_AGE_SECONDS
    return rpc.max_head_age_seconds


def is_tls(sink: KafkaSink) -> bool:
    """Whether brokers are spoken to over TLS: where there are credentials, unless it is said."""
    return sink.username is not None if sink.tls is None else sink.tls


def in_force(config: Config, connections: int) -> Config:
    """The configuration with these defaults written out; `connections` are what the open files of a process allow. Raises ConfigError."""
    prices, discovery = config.prices, config.discovery
    if not isinstance(prices.max_price_per_capability, tuple):
        raise TypeError("a configuration's price file is read when it is loaded")
    capabilities = tuple(
        entry.model_copy(update={"pixels_per_unit": entry.pixels_per_unit or prices.pixels_per_unit})
        for entry in prices.max_price_per_capability
    )
    has_pool = config.chain.source == "rpc" and not discovery.webhook_url and not discovery.static and discovery.on_chain == "none"
    sinks = tuple(sink.model_copy(update={"tls": is_tls(sink)}) if isinstance(sink, KafkaSink) else sink for sink in config.events.sinks)
    return config.model_copy(
        update={
            "limits": config.limits.model_copy(update={"max_connections": config.limits.max_connections or connections}),
            "recipients": config.recipients.model_copy(update={"require": required_recipients(config)}),
            "chain": config.chain.model_copy(
                update={"rpc": config.chain.rpc.model_copy(update={"max_head_age_seconds": max_head_age_seconds(config)})}
            ),
            "prices": prices.model_copy(
                update={"currency_feed": currency_feed(config, ceiling_amounts(prices)), "max_price_per_capability": capabilities}
            ),
            "discovery": discovery.model_copy(update={"on_chain": "service_registry"}) if has_pool else discovery,
            "events": config.events.model_copy(update={"sinks": sinks}),
        }
    )
