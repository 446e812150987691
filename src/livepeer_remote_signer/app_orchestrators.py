"""Composition of what asks orchestrators: `POST /getOrchestratorInfo` and discovery. Part of `app`.

gRPC is imported when the first orchestrator is asked, not before: most signers never do.
"""

from __future__ import annotations

import asyncio
from importlib import import_module
from typing import TYPE_CHECKING

from livepeer_remote_signer.config import Config
from livepeer_remote_signer.core.addresses import AddressPolicy
from livepeer_remote_signer.core.eip191 import orchestrator_info_message
from livepeer_remote_signer.service import MessageSigner

if TYPE_CHECKING:
    from livepeer_remote_signer.adapters.orchestrators import OrchestratorClient

_ADAPTER = "livepeer_remote_signer.adapters.orchestrators"


class OrchestratorParts:
    """Asks orchestrators on behalf of `/getOrchestratorInfo`; opened with the first one."""

    def __init__(self, config: Config, signer: MessageSigner) -> None:
        self._config = config
        self._signer = signer
        self._client: OrchestratorClient | None = None

    async def fetch_info(self, url: str, capabilities: bytes) -> bytes:
        """The serialized OrchestratorInfo. Raises BadField, BadCapabilities, AddressRefused, OrchestratorUnreachable."""
        if self._client is None:
            await asyncio.get_running_loop().run_in_executor(None, import_module, _ADAPTER)
            if self._client is None:
                self._client = self._open()
        return await self._client.fetch_orchestrator_info(url, capabilities)

    def _open(self) -> OrchestratorClient:
        from livepeer_remote_signer.adapters.orchestrators import OrchestratorClient

        config = self._config.orchestrators
        return OrchestratorClient(
            sender=self._signer.address,
            signature=self._signer.sign_personal(orchestrator_info_message(self._signer.address)),
            addresses=AddressPolicy(config.allow_private_addresses, config.allowed_networks),
            tls=config.tls,
            timeout_seconds=config.timeout_seconds,
        )

    async def start(self) -> None:
        """Nothing runs until an orchestrator is asked for."""

    async def stop(self) -> None:
        """Closes the connections."""
        if self._client is not None:
            await self._client.aclose()
            self._client = None
