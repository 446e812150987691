"""The running signer on a real EVM: its tickets pay, and it stops and recovers with its chain."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from eth_keys.datatypes import PrivateKey
from eth_utils.address import to_canonical_address, to_checksum_address
from web3.exceptions import ContractLogicError

from tests.chain.evm import CHAIN_ID, ETH, Anvil, Evm
from tests.chain.orchestrator import SmallOrchestrator, Winner
from tests.chain.signer_process import SECRET, SignerProcess, is_ready, running_signer

SENDER = PrivateKey(SECRET).public_key.to_canonical_address()
CURVE_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
LEAK = "/?key=l3ak-th1s-key"


@pytest.fixture
def signer(evm: Evm, tmp_path: Path) -> Iterator[SignerProcess]:
    evm.fund(SENDER, deposit=ETH, reserve=ETH)
    with running_signer(tmp_path, [evm.url + LEAK], evm.controller.address, CHAIN_ID) as running:
        running.wait(is_ready, 30)
        yield running
        assert "l3ak" not in running.log + running.ready().text


def orchestrator(evm: Evm, **more: Any) -> SmallOrchestrator:
    account = evm.web3.eth.accounts[7]
    if not evm.bonding.functions.isActiveTranscoder(account).call():
        evm.join(account)
    return SmallOrchestrator(to_canonical_address(account), evm.web3.eth.block_number, **more)


def redeem(evm: Evm, winner: Winner) -> Any:
    ticket = {**winner.ticket}
    ticket["recipient"], ticket["sender"] = to_checksum_address(ticket["recipient"]), to_checksum_address(ticket["sender"])
    return evm.send(evm.broker.functions.redeemWinningTicket(tuple(ticket.values()), winner.sig, winner.rand))


def fees(evm: Evm, orch: SmallOrchestrator) -> int:
    earned: int = evm.bonding.functions.pendingFees(to_checksum_address(orch.address), 0).call()
    return earned


def pay(signer: SignerProcess, orch: SmallOrchestrator, route: str) -> list[Winner]:
    """Winning tickets over HTTP; eight tickets a call, of which every other one wins."""
    for _ in range(10):
        body = orch.sign_ticket_request() if route == "/signTicket" else orch.request()
        reply = signer.post(route, body)
        assert reply.status_code == 200, reply.text
        if winners := orch.winners(reply.json()["payment"]):
            return winners
    raise AssertionError("no ticket of 80 won")


@pytest.mark.parametrize("route", ["/generate-live-payment", "/signTicket"])
@pytest.mark.parametrize("names_round", [True, False])
def test_a_winning_ticket_made_over_http_pays_its_face_value(evm: Evm, signer: SignerProcess, route: str, names_round: bool) -> None:
    named = {"round": evm.rounds.functions.lastInitializedRound().call(), "round_hash": evm.round_hash} if names_round else {}
    orch = orchestrator(evm, **named)
    winners = pay(signer, orch, route)
    for winner in winners:
        redeem(evm, winner)
    assert fees(evm, orch) == len(winners) * orch.face_value
    assert evm.deposit_of(SENDER) == ETH - len(winners) * orch.face_value


def test_replayed_tampered_misplaced_and_losing_tickets_revert(evm: Evm, signer: SignerProcess) -> None:
    orch = orchestrator(evm)
    reply = signer.post("/generate-live-payment", orch.request()).json()
    winners = orch.winners(reply["payment"]) or pay(signer, orch, "/generate-live-payment")
    winner = winners[0]
    with pytest.raises(ContractLogicError, match="invalid signature"):
        redeem(evm, winner._replace(ticket={**winner.ticket, "senderNonce": winner.ticket["senderNonce"] + 1000}))
    with pytest.raises(ContractLogicError, match="invalid signature"):
        redeem(evm, winner._replace(ticket={**winner.ticket, "faceValue": winner.ticket["faceValue"] * 2}))
    with pytest.raises(ContractLogicError, match="does not match its hash"):
        redeem(evm, winner._replace(rand=winner.rand ^ 1))
    high_s = (CURVE_ORDER - int.from_bytes(winner.sig[32:64], "big")).to_bytes(32, "big")
    with pytest.raises(ContractLogicError, match="not the lower one"):
        redeem(evm, winner._replace(sig=winner.sig[:32] + high_s + bytes([55 - winner.sig[64]])))
    losers = [t for t in orch.tickets(reply["payment"]) if t not in orch.winners(reply["payment"])]
    for loser in losers[:1]:
        with pytest.raises(ContractLogicError, match="did not win"):
            redeem(evm, loser)
    redeem(evm, winner)
    with pytest.raises(ContractLogicError, match="ticket is used"):
        redeem(evm, winner)
    assert fees(evm, orch) == orch.face_value


def test_a_ticket_pays_in_the_next_round_and_reverts_after_that(evm: Evm, signer: SignerProcess) -> None:
    orch = orchestrator(evm)
    first = pay(signer, orch, "/generate-live-payment")[0]
    evm.next_round()
    redeem(evm, first)
    second = SmallOrchestrator(orch.address, evm.web3.eth.block_number)
    signer.wait(lambda s: f"round {evm.rounds.functions.lastInitializedRound().call()}" in s.ready().text, 30)
    late = pay(signer, second, "/generate-live-payment")[0]
    evm.next_round()
    evm.next_round()
    with pytest.raises(ContractLogicError, match="ticket is expired"):
        redeem(evm, late)


def test_params_of_a_passed_l1_block_ask_for_a_refresh(evm: Evm, signer: SignerProcess) -> None:
    orch = orchestrator(evm)
    assert signer.post("/generate-live-payment", orch.request()).status_code == 200
    evm.mine(40)
    signer.wait(lambda s: f"L1 block {evm.web3.eth.block_number}" in s.ready().text, 30)
    reply = signer.post("/generate-live-payment", orch.request())
    assert (reply.status_code, reply.json()["error"]["code"]) == (480, "refresh_session")


def test_a_suspended_node_ends_readiness_and_payments_and_both_recover(evm: Evm, anvil: Anvil, signer: SignerProcess) -> None:
    orch = orchestrator(evm)
    signer.wait(lambda s: s.post("/generate-live-payment", orch.request()).status_code == 200, 30)
    anvil.suspend()
    try:
        time.sleep(3)
        assert signer.post("/generate-live-payment", orch.request()).status_code == 200, "within the limit it goes on"
        signer.wait(lambda s: not is_ready(s), 30)
        checks = signer.ready().text
        assert "the limit is 8 s" in checks
        assert "no answer within" in checks
        for route, body in (("/generate-live-payment", orch.request()), ("/signTicket", orch.sign_ticket_request())):
            reply = signer.post(route, body)
            assert (reply.status_code, reply.json()["error"]["code"]) == (503, "chain_stale")
            assert int(reply.headers["retry-after"]) > 0
        time.sleep(3)
    finally:
        anvil.resume()
    resumed = time.monotonic()
    signer.wait(is_ready, 30)
    signer.wait(lambda s: s.post("/generate-live-payment", orch.request()).status_code == 200, 30)
    assert time.monotonic() - resumed < 40


def error_code(signer: SignerProcess, orch: SmallOrchestrator) -> str:
    reply = signer.post("/generate-live-payment", orch.request())
    return "" if reply.status_code == 200 else f"{reply.status_code} {reply.json()['error']['code']}"


def check_pause_unlock_and_withdrawal(evm: Evm, signer: SignerProcess) -> None:
    """That each ends payments, and that what can be taken back lets them go on."""
    orch = orchestrator(evm)
    signer.wait(lambda s: error_code(s, orch) == "", 30)
    evm.send(evm.controller.functions.pause())
    signer.wait(lambda s: error_code(s, orch) == "503 protocol_paused", 30)
    evm.send(evm.controller.functions.unpause())
    signer.wait(lambda s: error_code(s, orch) == "", 30)
    sender = to_checksum_address(SENDER)
    evm.give(SENDER, ETH)
    evm.rpc("anvil_impersonateAccount", sender)
    evm.send(evm.broker.functions.unlock(), sender=sender)
    evm.next_round()
    late = orchestrator(evm)
    signer.wait(lambda s: error_code(s, late) == "503 deposit_unlocking", 30)
    assert not is_ready(signer)
    evm.next_round()
    evm.send(evm.broker.functions.withdraw(), sender=sender)
    late = orchestrator(evm)
    signer.wait(lambda s: error_code(s, late) == "503 no_deposit", 30)


def test_a_paused_protocol_an_unlock_and_an_empty_deposit_refuse(evm: Evm, signer: SignerProcess) -> None:
    check_pause_unlock_and_withdrawal(evm, signer)


def test_ceilings_in_usd_follow_the_feed_and_refuse_when_it_is_stale(evm: Evm, tmp_path: Path) -> None:
    evm.fund(SENDER, deposit=ETH, reserve=ETH)
    orch = orchestrator(evm)
    dollars = orch.price_per_second * 3000 / ETH
    evm.send(evm.feed.functions.set(3000 * 10**8, int(time.time())))
    prices = {
        "max_price_per_unit": f"{dollars:.10f}USD",
        "currency_feed": {"address": evm.feed.address, "max_age_seconds": 3600},
    }
    with running_signer(tmp_path, [evm.url], evm.controller.address, CHAIN_ID, prices=prices) as signer:
        signer.wait(is_ready, 30)
        assert error_code(signer, orch) == ""
        evm.send(evm.feed.functions.set(3001 * 10**8, int(time.time())))
        signer.wait(lambda s: error_code(s, orch) == "481 price_exceeded", 30)
        evm.send(evm.feed.functions.set(3000 * 10**8, int(time.time()) - 4000))
        signer.wait(lambda s: error_code(s, orch) == "503 price_feed_stale", 30)
        assert "the limit is 3600 s" in signer.ready().text
        evm.send(evm.feed.functions.set(2999 * 10**8, int(time.time())))
        signer.wait(lambda s: error_code(s, orch) == "", 30)
