"""`/getOrchestratorInfo`'s questions to orchestrators. gRPC is imported with the first of them: most signers never ask."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from livepeer_remote_signer.adapters.orchestrators import OrchestratorClient

_ADAPTER = "livepeer_remote_signer.adapters.orchestrators"


class OrchestratorQueries:
    """Asks through a client that `open_client` makes, of the sender's signature, when it is needed first; it may import
    `adapters.orchestrators`."""

    def __init__(self, open_client: Callable[[bytes], OrchestratorClient], signature: Callable[[], Awaitable[bytes]]) -> None:
        self._open_client = open_client
        self._signature = signature
        self._client: OrchestratorClient | None = None

    async def fetch_info(self, url: str, capabilities: bytes) -> bytes:
        """The serialized OrchestratorInfo. Raises BadField, BadCapabilities, AddressRefused, OrchestratorUnreachable,
        KeyUnavailable, KeyThrottled."""
        if self._client is None:
            await asyncio.get_running_loop().run_in_executor(None, import_module, _ADAPTER)
            signature = await self._signature()
            if self._client is None:
                self._client = self._open_client(signature)
        return await self._client.fetch_orchestrator_info(url, capabilities)

    async def aclose(self) -> None:
        """Closes the connections."""
        if self._client is not None:
            await self._client.aclose()
            self._client = None
