"""The chain: read over RPC, or fixed values. Every key with its type, default and meaning."""

from __future__ import annotations

from typing import Literal

from pydantic import (
    Field,
    model_validator,
)

from livepeer_remote_signer.config.secret_files import LoadedFile
from livepeer_remote_signer.config.urls import SecretHttpUrl
from livepeer_remote_signer.config.values import Address, Hash, Seconds, Section, Wei, check_one_form
from livepeer_remote_signer.core.protocol import arbitrum_one


class StaticChain(Section):
    """A chain view from configuration: development, tests, offchain."""

    l1_block: int = Field(0, ge=0)
    last_initialized_round: int = Field(0, ge=0)
    last_initialized_round_block_hash: Hash = bytes(32)
    deposit_wei: Wei = 0
    reserve_wei: Wei = 0
    withdraw_round: int = Field(0, ge=0)


class RpcChain(Section):
    """Live reads: endpoints in order of preference, never printed with their keys. The head may stand still for at most
    max_head_age_seconds; where it is not set for 300 s on Arbitrum One, and without limit elsewhere."""

    urls: tuple[SecretHttpUrl, ...] = Field((), description="JSON-RPC endpoints in order of preference")
    urls_file: LoadedFile = None
    controller: Address = arbitrum_one.CONTROLLER
    chain_id: int = Field(arbitrum_one.CHAIN_ID, gt=0)
    poll_seconds: Seconds = 5
    max_age_seconds: Seconds = 60
    max_head_age_seconds: Seconds | None = None
    timeout_seconds: Seconds = 4

    @model_validator(mode="after")
    def _one_form(self) -> RpcChain:
        check_one_form(self, "urls")
        for name in ("max_age_seconds", "max_head_age_seconds"):
            limit = getattr(self, name)
            if limit is not None and limit < self.poll_seconds:
                raise ValueError(
                    f"{name} {limit:g} is below poll_seconds {self.poll_seconds:g}: payments would stop before every poll; "
                    "raise the former or lower the latter"
                )
        return self


class ChainConfig(Section):
    """Where round, L1 block and funds come from."""

    source: Literal["static", "rpc"]
    static: StaticChain = StaticChain()
    rpc: RpcChain = RpcChain()

    @model_validator(mode="after")
    def _urls(self) -> ChainConfig:
        if self.source == "rpc" and not self.rpc.urls and self.rpc.urls_file is None:
            raise ValueError("chain.source rpc needs chain.rpc.urls or chain.rpc.urls_file (or ETH_RPC_URL)")
        return self
