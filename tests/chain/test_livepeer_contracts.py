"""The running signer on Livepeer's own contracts: what it reads is theirs, and what it signs they pay."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from web3.exceptions import ContractLogicError
from web3.logs import DISCARD

from livepeer_remote_signer.cli import main
from tests.chain.evm import CHAIN_ID, ETH, Evm, Tools, running_anvil
from tests.chain.livepeer import LivepeerEvm
from tests.chain.orchestrator import SmallOrchestrator
from tests.chain.signer_process import SignerProcess, is_ready, running_signer
from tests.chain.test_service import SENDER, check_pause_unlock_and_withdrawal, error_code, orchestrator, pay, redeem
from tests.simulators import Chain, Clock, Network, Offer, Orchestrator

ROUTES = ("/generate-live-payment", "/signTicket")


@pytest.fixture(scope="module")
def livepeer(tools: Tools) -> Iterator[LivepeerEvm]:
    with running_anvil(tools) as anvil:
        yield LivepeerEvm(anvil, tools)


@pytest.fixture
def evm(livepeer: LivepeerEvm) -> Iterator[LivepeerEvm]:
    """The contracts, without any sender's funds."""
    with livepeer.restored() as evm:
        yield evm


@pytest.fixture
def signer(evm: LivepeerEvm, tmp_path: Path) -> Iterator[SignerProcess]:
    evm.fund(SENDER, deposit=ETH, reserve=ETH)
    with running_signer(tmp_path, [evm.url], evm.controller.address, CHAIN_ID) as running:
        running.wait(is_ready, 30)
        yield running


def wait_for_round(signer: SignerProcess, evm: Evm) -> None:
    signer.wait(lambda s: f"round {evm.rounds.functions.lastInitializedRound().call()}" in s.ready().text, 30)


def paid_for(evm: Evm, receipt: Any) -> int:
    """What a redemption moved to the recipient, wei."""
    (event,) = evm.broker.events.WinningTicketTransfer().process_receipt(receipt, DISCARD)
    amount: int = event["args"]["amount"]
    return amount


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("names_round", [True, False])
def test_livepeers_broker_pays_winners_of_both_routes_once(evm: LivepeerEvm, signer: SignerProcess, route: str, names_round: bool) -> None:
    evm.join(evm.web3.eth.accounts[7])
    wait_for_round(signer, evm)
    named = {"round": evm.rounds.functions.lastInitializedRound().call(), "round_hash": evm.round_hash} if names_round else {}
    orch = orchestrator(evm, **named)
    winners = pay(signer, orch, route)
    assert [paid_for(evm, redeem(evm, winner)) for winner in winners] == [orch.face_value] * len(winners)
    assert evm.deposit_of(SENDER) == ETH - len(winners) * orch.face_value
    with pytest.raises(ContractLogicError, match="ticket is used"):
        redeem(evm, winners[0])


def test_livepeers_broker_takes_no_changed_and_no_old_ticket(evm: LivepeerEvm, signer: SignerProcess) -> None:
    evm.join(evm.web3.eth.accounts[7])
    wait_for_round(signer, evm)
    winner = pay(signer, orchestrator(evm), ROUTES[0])[0]
    for changed in ({"senderNonce": winner.ticket["senderNonce"] + 1000}, {"faceValue": winner.ticket["faceValue"] * 2}):
        with pytest.raises(ContractLogicError, match="invalid signature"):
            redeem(evm, winner._replace(ticket={**winner.ticket, **changed}))
    evm.next_round()
    redeem(evm, winner)
    wait_for_round(signer, evm)
    late = pay(signer, orchestrator(evm), ROUTES[1])[0]
    for _ in range(2):
        evm.next_round()
    with pytest.raises(ContractLogicError, match="ticket is expired"):
        redeem(evm, late)


def test_who_is_no_transcoder_is_not_paid(evm: LivepeerEvm, signer: SignerProcess) -> None:
    evm.join(evm.web3.eth.accounts[6])
    wait_for_round(signer, evm)
    stranger = SmallOrchestrator(b"\x77" * 20, evm.web3.eth.block_number)
    assert error_code(signer, stranger) == "403 recipient_refused"


def test_pause_unlock_and_withdrawal_are_seen(evm: LivepeerEvm, signer: SignerProcess) -> None:
    evm.join(evm.web3.eth.accounts[7])
    wait_for_round(signer, evm)
    check_pause_unlock_and_withdrawal(evm, signer)


def test_the_funding_commands_move_real_funds(evm: LivepeerEvm, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evm.give(SENDER, 2 * ETH)
    with running_signer(tmp_path, [evm.url], evm.controller.address, CHAIN_ID):
        config = str(tmp_path / "config.yaml")
        assert main(["fund", "--config", config, "--deposit", "0.25eth", "--reserve", "0.3eth", "--yes"]) == 0
        assert evm.deposit_of(SENDER) == ETH // 4
        assert main(["unlock", "--config", config, "--yes"]) == 0
        assert main(["cancel-unlock", "--config", config, "--yes"]) == 0
        capsys.readouterr()
        assert main(["funds", "--config", config]) == 0
        said = capsys.readouterr().out
        assert "0.25" in said
        assert "0.3" in said
        assert main(["unlock", "--config", config, "--yes"]) == 0
        for _ in range(3):
            evm.next_round()
        assert main(["withdraw", "--config", config, "--yes"]) == 0
        assert evm.deposit_of(SENDER) == 0


async def test_the_pool_and_its_service_registry_are_discovered(evm: LivepeerEvm, tmp_path: Path) -> None:
    evm.fund(SENDER, deposit=ETH, reserve=ETH)
    async with Network() as network:
        expected = []
        for account in evm.web3.eth.accounts[5:7]:
            node = Orchestrator(Clock(), Chain(), Offer(1000))
            await network.host_orchestrator(node)
            await asyncio.to_thread(evm.join, account)
            evm.send(evm.registry.functions.setServiceURI(node.url), sender=account)
            expected.append(node.url)
        discovery = {"enabled": True, "on_chain": "service_registry", "allow_private_addresses": True}
        with running_signer(tmp_path, [evm.url], evm.controller.address, CHAIN_ID, discovery=discovery) as signer:

            def listed() -> list[str]:
                reply = signer.client.get("/discover-orchestrators")
                return [entry["address"] for entry in reply.json()] if reply.status_code == 200 else []

            async with asyncio.timeout(30):
                while sorted(await asyncio.to_thread(listed)) != sorted(expected):  # noqa: ASYNC110 - asked as a client would
                    await asyncio.sleep(0.1)
