"""Composition of what asks orchestrators: `POST /getOrchestratorInfo` and discovery. Part of `app`.

gRPC is imported when the first orchestrator is asked, not before: most signers never do. Discovery asks in a process of
its own, so that it costs the paying process neither gRPC nor time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

from livepeer_remote_signer.api.rest import ReadyCheck
from livepeer_remote_signer.config.loading import ConfigError
from livepeer_remote_signer.config.models import Config
from livepeer_remote_signer.core.errors import Overloaded
from livepeer_remote_signer.core.protocol.eip191 import orchestrator_info_message
from livepeer_remote_signer.core.rules.addresses import AddressPolicy
from livepeer_remote_signer.core.rules.discovery import ListRules
from livepeer_remote_signer.core.rules.recipients import RecipientRules
from livepeer_remote_signer.service.signing import MessageSigner
from livepeer_remote_signer.wiring.chain import ChainParts

if TYPE_CHECKING:
    from livepeer_remote_signer.adapters.discovery import Discovery
    from livepeer_remote_signer.adapters.discovery.snapshot import FetchUrls
    from livepeer_remote_signer.adapters.orchestrators import OrchestratorClient

MAX_ASKING = 64
"""How many orchestrators `/getOrchestratorInfo` asks at one time: a slow one holds its place for seconds."""

_ADAPTER = "livepeer_remote_signer.adapters.orchestrators"

ATTEMPTS_BEFORE_READY = 3
"""So often a source is tried before readiness waits no longer: some six seconds, in which the chain is read for the first time."""


class OrchestratorParts:
    """Asks orchestrators: on behalf of `/getOrchestratorInfo`, opened with the first one, and for discovery if enabled."""

    def __init__(self, config: Config, signer: MessageSigner, chain: ChainParts, clock_ns: Callable[[], int]) -> None:
        self._config = config
        self._sender = signer.address
        self._signature = signer.sign_personal(orchestrator_info_message(signer.address))
        self._client: OrchestratorClient | None = None
        self._asking = 0
        self.discovery = self._open_discovery(chain, clock_ns) if config.discovery.enabled else None

    async def fetch_info(self, url: str, capabilities: bytes) -> bytes:
        """The serialized OrchestratorInfo. Raises BadField, BadCapabilities, AddressRefused, OrchestratorUnreachable, Overloaded."""
        if self._client is None:
            await asyncio.get_running_loop().run_in_executor(None, import_module, _ADAPTER)
            if self._client is None:
                self._client = self._open_client()
        if self._asking >= MAX_ASKING:
            raise Overloaded(f"{self._asking} orchestrators are being asked, the most at one time", retry_after_seconds=1, limit=MAX_ASKING)
        self._asking += 1
        try:
            return await self._client.fetch_orchestrator_info(url, capabilities)
        finally:
            self._asking -= 1

    def _open_client(self) -> OrchestratorClient:
        from livepeer_remote_signer.adapters.orchestrators import OrchestratorClient

        config = self._config.orchestrators
        return OrchestratorClient(
            sender=self._sender,
            signature=self._signature,
            addresses=AddressPolicy(config.allow_private_addresses, config.allowed_networks),
            tls=config.tls,
            timeout_seconds=config.timeout_seconds,
        )

    def _open_discovery(self, chain: ChainParts, clock_ns: Callable[[], int]) -> Discovery:
        """The first source that is configured wins: webhook, static list, on-chain pool. Raises ConfigError for a pool without a chain."""
        from livepeer_remote_signer.adapters.discovery import AskingCrew, Discovery, DiscoveryPace, Job

        config, orchestrators = self._config.discovery, self._config.orchestrators
        fetch_urls: FetchUrls | None = None
        if not config.webhook_url and not config.static and (chain.rpc is not None or config.on_chain != "none"):
            fetch_urls = self._open_pool(chain)
        job = Job(
            sender=self._sender,
            signature=self._signature,
            urls=config.static,
            webhook_url=config.webhook_url or None,
            timeout_seconds=config.timeout_seconds,
            max_concurrency=config.max_concurrency,
            allow_private=config.allow_private_addresses,
            networks=tuple(str(network) for network in orchestrators.allowed_networks),
            tls=orchestrators.tls,
            follow_nodes=config.follow_nodes,
        )
        recipients = RecipientRules(frozenset(self._config.recipients.allow), frozenset(self._config.recipients.deny))
        return Discovery(
            AskingCrew(),
            job,
            DiscoveryPace(config.refresh_seconds, config.keep_seconds),
            rules=lambda: ListRules(chain.ceilings.current(), recipients, chain.feed.usd_per_eth() if chain.feed is not None else None),
            clock_ns=clock_ns,
            fetch_urls=fetch_urls,
        )

    def _open_pool(self, chain: ChainParts) -> FetchUrls:
        if chain.rpc is None:
            raise ConfigError("discovery.on_chain needs chain.source: rpc")
        from livepeer_remote_signer.adapters.discovery.pool import OnChainPool

        registry = self._config.discovery.ai_service_registry if self._config.discovery.on_chain == "ai_service_registry" else None
        return OnChainPool(chain.rpc, self._config.chain.rpc.controller, registry).urls

    def ready_checks(self) -> Sequence[ReadyCheck]:
        """Whether discovery has asked everybody once, or has tried to for long enough: payments can be signed without it."""
        if self.discovery is None:
            return ()
        status = self.discovery.status()
        if not status.refreshes:
            reason = f"nobody could be asked yet: {status.fault}" if status.fault else "orchestrators are being asked for the first time"
            return (ReadyCheck("discovery", status.attempts >= ATTEMPTS_BEFORE_READY, reason),)
        said = f"{status.entries} orchestrators are listed, {status.known} known" + (f"; {status.fault}" if status.fault else "")
        if status.is_stale:
            said += f"; the list is stale: nobody has answered for {status.age_seconds:.0f} s, the most is {status.kept_seconds:.0f} s"
        return (ReadyCheck("discovery", True, said),)

    def describe(self) -> dict[str, Any] | None:
        """Discovery as the console shows it; None where it is off."""
        if self.discovery is None:
            return None
        status = self.discovery.status()
        return status._asdict() | {"reasons": [absence._asdict() for absence in status.reasons]}

    async def start(self) -> None:
        """Begins discovery, if enabled."""
        if self.discovery is not None:
            await self.discovery.start()

    async def stop(self) -> None:
        """Ends discovery and closes the connections."""
        if self.discovery is not None:
            await self.discovery.stop()
        if self._client is not None:
            await self._client.aclose()
            self._client = None
