"""Discovery of the on-chain pool: BondingManager's members, at the URLs that ServiceRegistry has of them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest
from eth_utils.crypto import keccak

from tests.chain.evm import CHAIN_ID, ETH, Evm
from tests.chain.signer_process import SECRET, running_signer
from tests.signing import PlainKey
from tests.simulators import Chain, Clock, Network, Offer, Orchestrator


@pytest.mark.parametrize("source", ["service_registry", "ai_service_registry"])
async def test_the_pools_orchestrators_are_listed_in_its_order(evm: Evm, tmp_path: Path, source: str) -> None:
    registry = evm._deploy("ServiceRegistry")
    if source == "service_registry":
        evm.send(evm.controller.functions.setContractInfo(keccak(text="ServiceRegistry"), registry.address, bytes(20)))
    evm.fund(PlainKey(SECRET).address, deposit=ETH, reserve=ETH)
    async with Network() as network:
        expected = []
        for account in evm.web3.eth.accounts[5:8]:
            node = Orchestrator(Clock(), Chain(), Offer(1000))
            await network.host_orchestrator(node)
            evm.send(registry.functions.setServiceURI(node.url + "/"), sender=account)
            expected.append(node.url)
        silent = evm.web3.eth.accounts[4]
        for account in (silent, *evm.web3.eth.accounts[5:8]):
            if not evm.bonding.functions.isActiveTranscoder(account).call():
                evm.join(account)
        discovery = {"enabled": True, "on_chain": source, "ai_service_registry": registry.address, "allow_private_addresses": True}
        with running_signer(tmp_path, [evm.url], evm.controller.address, CHAIN_ID, discovery=discovery) as signer:
            async with httpx.AsyncClient(base_url=signer.client.base_url, trust_env=False) as client, asyncio.timeout(30):
                while (reply := await client.get("/discover-orchestrators")).status_code == 503:  # noqa: ASYNC110 - asked as a client would
                    await asyncio.sleep(0.1)
                while len(reply.json()) < len(expected):
                    await asyncio.sleep(0.1)
                    reply = await client.get("/discover-orchestrators")
    assert [line["address"] for line in reply.json()] == expected
