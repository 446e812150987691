"""Composition of what asks orchestrators: `POST /getOrchestratorInfo` and discovery. Part of `app`.

Discovery asks in a process of its own, so that it costs the paying process neither gRPC nor time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from livepeer_remote_signer.adapters.metrics import Metrics
from livepeer_remote_signer.adapters.orchestrator_queries import OrchestratorQueries
from livepeer_remote_signer.config.loading import ConfigError
from livepeer_remote_signer.config.models import Config
from livepeer_remote_signer.config.orchestrators import OrchestratorsConfig
from livepeer_remote_signer.core.rules.addresses import AddressPolicy
from livepeer_remote_signer.core.rules.recipients import RecipientRules
from livepeer_remote_signer.service.signing import InfoSignature
from livepeer_remote_signer.wiring.advising import open_advisor
from livepeer_remote_signer.wiring.chain import ChainParts

if TYPE_CHECKING:
    from livepeer_remote_signer.adapters.discovery import Discovery
    from livepeer_remote_signer.adapters.discovery.snapshot import FetchUrls
    from livepeer_remote_signer.adapters.orchestrators import OrchestratorClient


class OrchestratorParts(NamedTuple):
    """What asks orchestrators on behalf of a caller, and what keeps the list of them where discovery is enabled."""

    queries: Sequence[OrchestratorQueries]
    """Of each sender, in their order."""

    discovery: Discovery | None


def open_orchestrators(
    config: Config, infos: Sequence[InfoSignature], chain: ChainParts, metrics: Metrics, clock_ns: Callable[[], int]
) -> OrchestratorParts:
    """Nobody is asked yet. Discovery asks as the first sender. Raises ConfigError for an on-chain pool without a chain."""
    queries = [open_queries(config, info.address, info) for info in infos]
    discovery = None
    if config.discovery.enabled:
        from livepeer_remote_signer.adapters.discovery.gauges import add_discovery_gauges

        discovery = open_discovery(config, infos[0].address, infos[0], chain, clock_ns)
        add_discovery_gauges(metrics, discovery)
    return OrchestratorParts(queries, discovery)


def open_queries(config: Config, sender: bytes, info: InfoSignature) -> OrchestratorQueries:
    """Asks orchestrators as `sender`; `info` is the signature over its address."""
    return OrchestratorQueries(partial(_open_client, config.orchestrators, sender), info.get)


def _open_client(config: OrchestratorsConfig, sender: bytes, signature: bytes) -> OrchestratorClient:
    from livepeer_remote_signer.adapters.orchestrators import OrchestratorClient

    return OrchestratorClient(
        sender=sender,
        signature=signature,
        addresses=AddressPolicy(config.allow_private_addresses, config.allowed_networks),
        tls=config.tls,
        timeout_seconds=config.timeout_seconds,
    )


def open_discovery(config: Config, sender: bytes, info: InfoSignature, chain: ChainParts, clock_ns: Callable[[], int]) -> Discovery:
    """The first source that is configured wins: webhook, static list, on-chain pool. Raises ConfigError for a pool without a chain."""
    from livepeer_remote_signer.adapters.discovery import AskingCrew, Discovery, DiscoveryPace, Job
    from livepeer_remote_signer.adapters.discovery.listing import ListingRules

    asking, orchestrators = config.discovery, config.orchestrators
    fetch_urls: FetchUrls | None = None
    if not asking.webhook_url and not asking.static and (chain.rpc is not None or asking.on_chain != "none"):
        fetch_urls = _open_pool(config, chain)
    job = Job(
        sender=sender,
        signature=b"",  # the crew asks for it
        urls=asking.static,
        webhook_url=asking.webhook_url or None,
        timeout_seconds=asking.timeout_seconds,
        max_concurrency=asking.max_concurrency,
        allow_private=asking.allow_private_addresses,
        networks=tuple(str(network) for network in orchestrators.allowed_networks),
        tls=orchestrators.tls,
        follow_nodes=asking.follow_nodes,
        proxy=config.outbound.proxy,
        ca_file=None if config.outbound.ca_file is None else str(config.outbound.ca_file.absolute()),
    )
    recipients = RecipientRules(frozenset(config.recipients.allow), frozenset(config.recipients.deny))
    advisor = open_advisor(config, chain.source, config.headroom_seconds.generate_live_payment)
    are_identified = config.auth.api_keys_file is not None or config.auth.jwt is not None
    is_everybodys = len(config.keys) < 2  # one list is for all callers, and one sender's funds are not another's
    means = advisor.with_funds if are_identified and is_everybodys else advisor.without_funds
    rules = ListingRules(chain.ceilings.current, recipients, chain.feed.usd_per_eth if chain.feed is not None else None, means)
    return Discovery(
        AskingCrew(signature=info.get),
        job,
        DiscoveryPace(asking.refresh_seconds, asking.keep_seconds),
        rules=rules.now,
        clock_ns=clock_ns,
        fetch_urls=fetch_urls,
    )


def _open_pool(config: Config, chain: ChainParts) -> FetchUrls:
    if chain.rpc is None:
        raise ConfigError("discovery.on_chain needs chain.source: rpc")
    from livepeer_remote_signer.adapters.discovery.pool import OnChainPool

    registry = config.discovery.ai_service_registry if config.discovery.on_chain == "ai_service_registry" else None
    return OnChainPool(chain.rpc, config.chain.rpc.controller, registry).urls
