"""What is shown of the chain, the price feed and the Ethereum endpoints."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from livepeer_remote_signer.adapters.metrics.by_sender import SenderGauges
from livepeer_remote_signer.adapters.metrics.registry import Metrics
from livepeer_remote_signer.core.protocol.amounts import WEI_PER_GWEI
from livepeer_remote_signer.core.rules.chain import ChainView
from livepeer_remote_signer.core.rules.limits import find_fault

if TYPE_CHECKING:
    from livepeer_remote_signer.adapters.chain.rpc import RpcChain
    from livepeer_remote_signer.adapters.price_feed import PriceFeed


def reading_age(rpc: RpcChain | None) -> Callable[[], float | None]:
    """Tells how old the chain's reading is, seconds; a chain that is not polled is always new."""
    return lambda: rpc.status().age_seconds if rpc is not None else 0.0


def add_chain_gauges(
    metrics: Metrics, gauges: SenderGauges, views: Mapping[bytes, Callable[[], ChainView]], age_seconds: Callable[[], float | None]
) -> None:
    """Gauges of a chain as each sender sees it, under our names and those of section 12."""
    view = next(iter(views.values()))

    def gwei(name: str) -> Callable[[bytes], float]:
        return lambda sender: getattr(views[sender](), name) / WEI_PER_GWEI

    for name in ("livepeer_gateway_deposit", "livepeer_broadcaster_deposit"):
        gauges.gauge(name, "Deposit of the sender in TicketBroker, gwei.", gwei("deposit_wei"))
    for name in ("livepeer_gateway_reserve", "livepeer_broadcaster_reserve"):
        gauges.gauge(name, "Reserve of the sender in TicketBroker, gwei.", gwei("reserve_wei"))

    def max_float(sender: bytes) -> float | None:
        now = views[sender]()
        return now.reserve_wei / now.transcoder_pool_size / WEI_PER_GWEI if now.transcoder_pool_size else None

    gauges.gauge("livepeer_gateway_max_float", "What one orchestrator may claim of the reserve in a round, gwei.", max_float)
    metrics.gauge("livepeer_signer_chain_age_seconds", "Age of the last good chain reading.", age_seconds)
    gauges.gauge(
        "livepeer_signer_chain_usable",
        "1 while the chain reading allows payments.",
        lambda sender: float(find_fault(views[sender]()) is None),
    )
    metrics.gauge("livepeer_signer_chain_l1_block", "L1 block of the chain reading.", lambda: view().l1_block)
    metrics.gauge("livepeer_signer_chain_round", "Last initialized round.", lambda: view().last_initialized_round)
    gauges.gauge(
        "livepeer_signer_withdraw_round",
        "Round in which the funds unlock; 0 while they are locked.",
        lambda sender: views[sender]().withdraw_round,
    )


def add_sender_gauges(metrics: Metrics, views: Mapping[str, Callable[[], ChainView]]) -> None:
    """Funds of several senders, by the names of their keys."""

    def gwei(amount: str) -> Callable[[], dict[tuple[str, ...], float]]:
        return lambda: {(name,): getattr(view(), amount) / WEI_PER_GWEI for name, view in views.items()}

    metrics.gauge("livepeer_signer_sender_deposit_gwei", "Deposit of each sender in TicketBroker, gwei.", gwei("deposit_wei"), ("key",))
    metrics.gauge("livepeer_signer_sender_reserve_gwei", "Reserve of each sender in TicketBroker, gwei.", gwei("reserve_wei"), ("key",))


def add_feed_gauges(metrics: Metrics, feed: PriceFeed) -> None:
    """Gauges of the price feed."""

    def price() -> float | None:
        now = feed.usd_per_eth()
        return float(now) if now is not None else None

    metrics.gauge("livepeer_signer_price_feed_age_seconds", "Age of the price feed's answer.", lambda: feed.status().age_seconds)
    metrics.gauge("livepeer_signer_eth_usd_price", "USD for one ETH, by the price feed.", price)


def add_endpoint_gauges(metrics: Metrics, rpc: RpcChain) -> None:
    """Gauges of the Ethereum endpoints that are polled."""
    metrics.gauge(
        "livepeer_signer_rpc_endpoint_usable",
        "1 while an Ethereum endpoint answers well, by its place in the configuration.",
        lambda: {(str(index),): float(e.is_healthy) for index, e in enumerate(rpc.status().endpoints)},
        ("endpoint",),
    )
