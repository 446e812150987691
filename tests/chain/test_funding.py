"""The funding commands on a real EVM, run as a person runs them."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from eth_keys.datatypes import PrivateKey
from eth_utils.address import to_canonical_address, to_checksum_address

from livepeer_remote_signer.adapters.funding import FundingChain, FundingError, secret_parts
from livepeer_remote_signer.commands.funding import NOT_KNOWN
from tests.chain.evm import CHAIN_ID, ETH, Evm
from tests.chain.orchestrator import SmallOrchestrator
from tests.chain.signer_process import SECRET, is_ready, running_signer
from tests.chain.test_service import pay, redeem
from tests.rpc_node import RpcNode

pytestmark = pytest.mark.timeout(600)
"""Each command is a process that imports web3: a dozen of them take minutes on a machine that others load."""

SENDER = PrivateKey(SECRET).public_key.to_canonical_address()
NAME = to_checksum_address(SENDER)


class Cli:
    """`livepeer-remote-signer COMMAND --config ...` in a process of its own."""

    def __init__(self, folder: Path, urls: list[str], controller: str, chain_id: int = CHAIN_ID) -> None:
        key = folder / "cli-key"
        key.write_text(SECRET.hex())
        key.chmod(0o600)
        rpc = {"urls": urls, "controller": controller, "chain_id": chain_id}
        self._config = folder / "cli.yaml"
        self._config.write_text(yaml.safe_dump({"key": {"private_key_file": str(key)}, "chain": {"source": "rpc", "rpc": rpc}}))

    def edit(self, change: Callable[[dict[str, Any]], dict[str, Any]], **sections: Any) -> None:
        """Another configuration."""
        self._config.write_text(yaml.safe_dump(change(yaml.safe_load(self._config.read_text())) | sections))

    def run(self, command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", "livepeer_remote_signer", command, "--config", str(self._config), *arguments]
        environment = {**os.environ, "XDG_STATE_HOME": str(self._config.parent / "state")}
        return subprocess.run(line, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60, check=False, env=environment)

    def ok(self, command: str, *arguments: str) -> str:
        done = self.run(command, *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def fails(self, command: str, *arguments: str) -> str:
        done = self.run(command, *arguments)
        assert done.returncode == 1, done.stdout + done.stderr
        return done.stderr

    def funds(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.ok("funds", "--json"))
        return found


@pytest.fixture
def cli(evm: Evm, tmp_path: Path) -> Cli:
    evm.give(SENDER, 10 * ETH)
    return Cli(tmp_path, [evm.url], evm.controller.address)


def test_funds_go_in_unlock_and_come_out_again(evm: Evm, cli: Cli) -> None:
    said = cli.ok("fund", "--deposit", "0.25eth", "--reserve", "300000000gwei", "--yes")
    for part in (
        "deposit: 0 ETH + 0.25 ETH = 0.25 ETH",
        "reserve: 0 ETH + 0.3 ETH = 0.3 ETH",
        "gas: about",
        "sent 0x",
        "done in",
    ):
        assert part in said
    assert "reserve: " not in cli.ok("fund", "--deposit", "1000", "--yes")
    funds = cli.funds()
    assert (funds["deposit_wei"], funds["reserve_wei"]) == (str(ETH // 4 + 1000), str(3 * ETH // 10))
    round_ = evm.rounds.functions.currentRound().call()
    assert f"from round {round_ + 2} on" in cli.ok("unlock", "--yes")
    assert f"until round {round_ + 2}, the chain is in round {round_}" in cli.fails("withdraw", "--yes")
    assert "an unlock is in progress already" in cli.fails("unlock", "--yes")
    cli.ok("cancel-unlock", "--yes")
    assert "no unlock to cancel" in cli.fails("cancel-unlock", "--yes")
    assert "run unlock first, and withdraw 2 rounds later" in cli.fails("withdraw", "--yes")
    cli.ok("unlock", "--yes")
    evm.next_round()
    evm.next_round()
    before = evm.web3.eth.get_balance(NAME)
    assert "deposit 0.250000000000001 ETH and reserve 0.3 ETH go to the wallet" in cli.ok("withdraw", "--yes")
    assert evm.web3.eth.get_balance(NAME) > before + ETH // 2
    assert "neither deposit nor reserve" in cli.fails("withdraw", "--yes")


def test_paying_in_during_an_unlock_says_that_it_ends_it(cli: Cli) -> None:
    cli.ok("fund", "--deposit", "1eth", "--yes")
    cli.ok("unlock", "--yes")
    assert "the unlock in progress is cancelled" in cli.ok("fund", "--reserve", "1eth", "--yes")
    assert cli.funds()["withdraw_round"] == 0


def test_nothing_is_sent_unless_confirmed(evm: Evm, cli: Cli) -> None:
    before = evm.web3.eth.block_number
    assert "add --yes" in cli.fails("fund", "--deposit", "1eth")
    assert evm.web3.eth.block_number == before


def test_a_receipt_is_waited_for_with_progress_and_its_absence_is_not_called_a_failure(evm: Evm, cli: Cli) -> None:
    evm.rpc("evm_setAutomine", False)
    try:
        done = cli.run("fund", "--deposit", "1eth", "--yes", "--timeout", "2")
        assert done.returncode == NOT_KNOWN
        assert "waiting for the receipt: 0 s" in done.stdout
        assert "no receipt within 2 s" in done.stderr
        assert "is known to the endpoint and may still be mined" in done.stderr
        again = cli.run("fund", "--deposit", "1eth", "--yes", "--timeout", "1")
        assert again.returncode == NOT_KNOWN
        assert evm.rpc("txpool_status")["pending"] == "0x1"
        evm.mine(1)
    finally:
        evm.rpc("evm_setAutomine", True)
    assert cli.funds()["deposit_wei"] == str(ETH)
    assert "nothing more is sent" in cli.ok("fund", "--deposit", "1eth", "--yes")
    assert cli.funds()["deposit_wei"] == str(ETH)
    cli.ok("fund", "--deposit", "1eth", "--yes")
    assert cli.funds()["deposit_wei"] == str(2 * ETH)


@pytest.mark.parametrize("method", ["eth_maxPriorityFeePerGas", "eth_feeHistory"])
async def test_a_lost_answer_after_sending_is_looked_up_on_a_real_node(evm: Evm, tmp_path: Path, method: str) -> None:
    evm.give(SENDER, 10 * ETH)
    missing = {"eth_maxPriorityFeePerGas", method}

    async def answer(requests: list[dict[str, Any]]) -> Any:
        (request,) = requests
        if request["method"] in missing:
            return [{"jsonrpc": "2.0", "id": request["id"], "error": {"code": -32601, "message": "no such method"}}]
        async with httpx.AsyncClient(timeout=60, trust_env=False) as client:
            answers = (await client.post(evm.url, json=requests)).json()
        node.cuts_answer = request["method"] == "eth_sendRawTransaction"
        return answers

    async with RpcNode(answer) as node:
        said = await asyncio.to_thread(Cli(tmp_path, [node.url], evm.controller.address).ok, "fund", "--deposit", "1eth", "--yes")
    assert "may have arrived, although eth_sendRawTransaction: the connection failed" in said
    assert "done in block" in said
    assert evm.deposit_of(SENDER) == ETH


def test_nothing_is_sent_while_gas_costs_more_than_allowed(evm: Evm, cli: Cli) -> None:
    before = evm.web3.eth.block_number
    assert "--max-gas-price is 0.000001 gwei: wait, or raise it" in cli.fails(
        "fund", "--deposit", "1eth", "--yes", "--max-gas-price", "1000"
    )
    assert evm.web3.eth.block_number == before
    cli.ok("fund", "--deposit", "1eth", "--yes", "--max-gas-price", "100gwei")
    assert evm.deposit_of(SENDER) == ETH


def test_what_cannot_work_is_refused_before_sending(evm: Evm, cli: Cli) -> None:
    assert "the wallet holds 10 ETH, and 11 ETH are to be paid in" in cli.fails("fund", "--deposit", "11eth", "--yes")
    evm.give(SENDER, ETH + 1000)
    assert "are missing" in cli.fails("fund", "--deposit", "1eth", "--yes")
    evm.send(evm.controller.functions.pause())
    assert "paused" in cli.fails("fund", "--deposit", "1gwei", "--yes")
    assert "PAUSED" in cli.ok("funds")
    assert cli.run("fund", "--deposit", "1usd").returncode == 2


def test_burn_runway_claimable_and_largest_ticket_follow_what_happened(evm: Evm, cli: Cli, tmp_path: Path) -> None:
    cli.ok("fund", "--deposit", "1eth", "--reserve", "3eth", "--yes")
    for account in evm.web3.eth.accounts[5:8]:
        evm.join(account)
    assert "no end in sight" in cli.ok("funds")
    orch = SmallOrchestrator(to_canonical_address(evm.web3.eth.accounts[7]), evm.web3.eth.block_number)
    (tmp_path / "signer").mkdir()
    with running_signer(tmp_path / "signer", [evm.url], evm.controller.address, CHAIN_ID) as signer:
        signer.wait(is_ready, 30)
        winners = pay(signer, orch, "/generate-live-payment")
    for winner in winners:
        redeem(evm, winner)
    burnt = len(winners) * orch.face_value
    funds = cli.funds()
    assert (funds["burn_wei"], funds["burn_tickets"]) == (str(burnt), len(winners))
    assert funds["runway_hours"] == pytest.approx((ETH - burnt) / burnt, rel=0.01)
    assert (funds["claimable_wei"], funds["pool_size"]) == (str(ETH), 3)
    assert funds["largest_face_value_wei"] == str(ETH - burnt)
    evm.rpc("evm_increaseTime", 4000)
    evm.mine(1)
    assert cli.funds()["burn_wei"] == "0"


def test_an_endpoint_that_fails_is_passed_over_and_no_key_is_ever_printed(evm: Evm, tmp_path: Path) -> None:
    dead = "http://127.0.0.1:1/v2/l3ak?apikey=l3ak"
    assert "read through rpc[1] (127.0.0.1)" in Cli(tmp_path, [dead, evm.url], evm.controller.address).ok("funds")
    for urls, chain_id, why in (
        ([dead], CHAIN_ID, "the connection failed"),
        ([evm.url + "/?k=l3ak"], 42161, "it serves chain 31337, not 42161"),
        ([evm.url + "/l3ak"], CHAIN_ID, "HTTP status 404"),
    ):
        done = Cli(tmp_path, urls, evm.controller.address, chain_id).run("funds")
        assert done.returncode == 1
        assert why in done.stderr
        assert "l3ak" not in done.stdout + done.stderr


def test_a_controller_that_is_none_is_named_as_the_fault(evm: Evm, tmp_path: Path) -> None:
    assert "Controller" in Cli(tmp_path, [evm.url], evm.feed.address).fails("funds")
    with pytest.raises(FundingError, match="an answer that is not the contract's"):
        FundingChain.open([evm.url], CHAIN_ID, bytes(19) + b"\x01")


async def test_an_endpoints_own_words_are_shown_without_the_key(evm: Evm) -> None:
    async def refuse(_: object) -> Any:
        return [{"jsonrpc": "2.0", "id": 0, "error": {"code": -32000, "message": "key s3cretkey is over its limit"}}]

    async with RpcNode(refuse, path="/v2/s3cretkey") as node:
        with pytest.raises(FundingError, match=r"key \*\*\* is over its limit") as caught:
            await asyncio.to_thread(FundingChain.open, [node.url], CHAIN_ID, bytes(20))
        assert "s3cretkey" not in str(caught.value)


def test_every_part_of_a_url_that_may_be_a_key_is_taken_for_one() -> None:
    parts = secret_parts("https://user:passw0rd@host.example/v2/abcdef?token=t0ken%21&plain1#frag1")
    assert {"user", "passw0rd", "abcdef", "t0ken!", "plain1", "frag1"} <= set(parts)
    assert "host.example" not in parts
