"""Who may be paid on a live chain: the transcoders that BondingManager knows."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from eth_utils.address import to_canonical_address

from livepeer_remote_signer.adapters.recipients import LOOKUP_SECONDS
from tests.chain.evm import CHAIN_ID, ETH, Evm
from tests.chain.orchestrator import SmallOrchestrator
from tests.chain.signer_process import SECRET, SignerProcess, is_ready, running_signer
from tests.signing import PlainKey


@pytest.fixture
def signer(evm: Evm, tmp_path: Path) -> Iterator[SignerProcess]:
    evm.fund(PlainKey(SECRET).address, deposit=ETH, reserve=ETH)
    with running_signer(tmp_path, [evm.url], evm.controller.address, CHAIN_ID) as running:
        running.wait(is_ready, 30)
        yield running


def test_only_a_registered_transcoder_is_paid(evm: Evm, signer: SignerProcess) -> None:
    member, stranger = evm.web3.eth.accounts[7], evm.web3.eth.accounts[8]
    if not evm.bonding.functions.isActiveTranscoder(member).call():
        evm.join(member)
    for account, status in ((stranger, 403), (member, 200)):
        orchestrator = SmallOrchestrator(to_canonical_address(account), evm.web3.eth.block_number)
        started = time.monotonic()
        reply = signer.post("/generate-live-payment", orchestrator.request())
        assert reply.status_code == status, reply.text
        assert time.monotonic() - started < LOOKUP_SECONDS + 10
        if status == 403:
            assert reply.json()["error"]["code"] == "recipient_refused"
            assert "registered" in reply.json()["error"]["message"]
