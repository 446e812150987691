"""Which orchestrators are listed, and how they are dialled. Every key with its type, default and meaning."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import (
    BeforeValidator,
    Field,
    model_validator,
)

from livepeer_remote_signer.config.urls import HttpUrl
from livepeer_remote_signer.config.values import Address, Network, Seconds, Section
from livepeer_remote_signer.core.errors import BadField
from livepeer_remote_signer.core.rules.addresses import parse_orchestrator_url

ARBITRUM_ONE_AI_SERVICE_REGISTRY = "0x04C0b249740175999E5BF5c9ac1dA92431EF34C5"


class DiscoveryConfig(Section):
    """The list of orchestrators behind GET /discover-orchestrators. The first configured source wins: webhook, static list,
    pool. With none of them, on a live chain, it is the pool with ServiceRegistry's URLs."""

    enabled: bool = False
    webhook_url: Annotated[HttpUrl | None, BeforeValidator(lambda url: url or None)] = None
    static: tuple[str, ...] = ()
    on_chain: Literal["none", "service_registry", "ai_service_registry"] = "none"
    ai_service_registry: Address = bytes.fromhex(ARBITRUM_ONE_AI_SERVICE_REGISTRY[2:])
    refresh_seconds: Seconds = 1500
    keep_seconds: Seconds = 1500
    timeout_seconds: Seconds = 3
    max_concurrency: int = Field(64, ge=1)
    follow_nodes: int = Field(0, ge=0, le=64)
    allow_private_addresses: bool = False

    @model_validator(mode="after")
    def _urls(self) -> DiscoveryConfig:
        for url in self.static:
            try:
                parse_orchestrator_url(url)
            except BadField as error:
                raise ValueError(f"static: {url[:200]!r}: {error.message}") from None
        return self


class OrchestratorsConfig(Section):
    """How POST /getOrchestratorInfo dials orchestrators."""

    tls: Literal["tofu", "system", "pin-strict"] = "tofu"
    timeout_seconds: Seconds = 3
    allow_private_addresses: bool = False
    allowed_networks: tuple[Network, ...] = ()
