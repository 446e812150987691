"""Two tenants with wallets of their own on one running signer, one key in a file and one outside, and a gateway that is moved
from the one to the other while both pay: Livepeer's broker takes each payment from its own deposit, to the wei."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from eth_utils.address import to_canonical_address, to_checksum_address

from livepeer_remote_signer.adapters.keys import SigningKey
from tests.api_keys import create_key
from tests.chain.evm import CHAIN_ID, ETH
from tests.chain.livepeer import LivepeerEvm
from tests.chain.orchestrator import SmallOrchestrator, Winner
from tests.chain.signer_process import SignerProcess, is_ready, running_signer
from tests.chain.test_service import orchestrator

pytestmark = pytest.mark.timeout(600)
PAY = "/generate-live-payment"
RED_SECRET = b"\x71" * 32
RED = SigningKey(RED_SECRET).address
ANSWER_SECONDS = 30
CALLS = 6
"""Of each gateway before and after the move."""

GAS, IN_A_BLOCK = 1_000_000, 20
CALLS_OF_A_SESSION = 30
"""Well below the tickets that one set of terms may have."""


class Gateway:
    """One session after another in a thread of its own, a call as soon as the last one is answered, at whichever signer `url` says."""

    def __init__(self, url: str, api_key: str, terms: SmallOrchestrator) -> None:
        self.url = url
        self.answers: list[str] = []
        """The code of each that was refused, "" for one that paid."""

        self.winners: dict[bytes, list[Winner]] = defaultdict(list)
        self.senders: list[bytes] = []
        self.sequences: list[int] = []
        self._headers = {"X-Api-Key": api_key}
        self._address, self._l1_block = terms.address, terms.l1_block
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._thread = ThreadPoolExecutor(1)
        self._paying: Future[None]

    def __enter__(self) -> Gateway:
        self._paying = self._thread.submit(self._run)
        self._paying.add_done_callback(self._tell)
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._paying.result(2 * ANSWER_SECONDS)

    def _tell(self, _: object) -> None:
        with self._changed:
            self._changed.notify_all()

    def wait_for_payments(self, count: int) -> None:
        """Until so many more were paid."""
        with self._changed:
            wanted = len(self.senders) + count
            assert self._changed.wait_for(lambda: self._paying.done() or len(self.senders) >= wanted, 60), self.answers
        if self._paying.done():
            self._paying.result()

    def _run(self) -> None:
        with httpx.Client(timeout=ANSWER_SECONDS, headers=self._headers, trust_env=False) as client:
            while not self._stopping.is_set():
                self._pay_session(client)

    def _pay_session(self, client: httpx.Client) -> None:
        """To its end, or until the signer says that another address pays now."""
        terms = SmallOrchestrator(self._address, self._l1_block)
        body = terms.request(type="", inPixels=2, manifestID="one name for all")
        for _ in range(CALLS_OF_A_SESSION):
            if self._stopping.is_set():
                return
            reply = client.post(self.url + PAY, json=body)
            said = reply.json()
            with self._changed:
                self.answers.append("" if reply.status_code == 200 else said["error"]["code"])
                if reply.status_code != 200:
                    assert (reply.status_code, self.answers[-1]) == (400, "sender_changed"), reply.text
                    return
                (sender,) = {to_canonical_address(ticket.ticket["sender"]) for ticket in terms.tickets(said["payment"])}
                self.winners[sender] += terms.winners(said["payment"])
                self.senders.append(sender)
                self.sequences.append(0 if "state" not in body else self.sequences[-1] + 1)
                self._changed.notify_all()
            body["state"] = said["state"]


@contextmanager
def signer_of(folder: Path, name: str, evm: LivepeerEvm, senders: list[dict[str, str]], keys: dict[str, Any]) -> Iterator[SignerProcess]:
    """A replica with a folder of its own on the one ledger of the test."""
    own = folder / name
    own.mkdir()
    sections = {
        "keys": keys,
        "senders": senders,
        "state": {"mac_key": "0x" + "3f" * 32},
        "auth": {"api_keys_file": str(folder / "api-keys.json")},
        "ledger": {"backend": "sqlite", "path": str(folder / "ledger.sqlite")},
    }
    with running_signer(own, [evm.url], evm.controller.address, CHAIN_ID, **sections) as running:
        running.wait(is_ready, 30)
        running.wait(lambda s: f"round {evm.rounds.functions.lastInitializedRound().call()}" in s.ready().text, 30)
        yield running


def url_of(signer: SignerProcess) -> str:
    return str(signer.client.base_url).rstrip("/")


def redeem_all(evm: LivepeerEvm, *gateways: Gateway) -> dict[bytes, int]:
    """What the broker paid for every winner of these gateways, by the sender that its ticket names."""
    winners = [(sender, winner) for gateway in gateways for sender, won in gateway.winners.items() for winner in won]
    sent = []
    evm.rpc("evm_setAutomine", False)  # with a block for each they would last beyond their round
    for _, winner in winners:
        ticket = {**winner.ticket}
        ticket["recipient"], ticket["sender"] = to_checksum_address(ticket["recipient"]), to_checksum_address(ticket["sender"])
        call = evm.broker.functions.redeemWinningTicket(tuple(ticket.values()), winner.sig, winner.rand)
        sent.append(call.transact({"from": evm.owner, "gas": GAS}))
    evm.rpc("evm_setAutomine", True)
    evm.mine(len(sent) // IN_A_BLOCK + 1)
    paid: dict[bytes, int] = defaultdict(int)
    for (sender, winner), transaction in zip(winners, sent, strict=True):
        assert evm.web3.eth.wait_for_transaction_receipt(transaction, poll_latency=0.01)["status"] == 1
        paid[sender] += winner.ticket["faceValue"]
    return paid


def test_each_tenant_pays_from_its_own_deposit_and_one_is_moved_under_traffic(evm: LivepeerEvm, tmp_path: Path) -> None:
    account = evm.web3.eth.accounts[3]
    blue = to_canonical_address(account)
    deposits = {RED: 2 * ETH, blue: ETH}
    for sender, deposit in deposits.items():
        evm.fund(sender, deposit=deposit, reserve=ETH)
    terms = orchestrator(evm)
    key_file = tmp_path / "red.key"
    key_file.write_text(RED_SECRET.hex())
    key_file.chmod(0o600)
    keys = {"red": {"private_key_file": str(key_file)}, "blue": {"eth_sign": {"url": evm.url, "address": account}}}
    api_keys = [create_key(tmp_path / "api-keys.json", name=name, auth_id=name, now=5)[0] for name in ("red-gateway", "blue-gateway")]
    before = [{"auth_id": "blue-gateway", "key": "blue"}, {"auth_id": "*", "key": "red"}]
    moved = [{"auth_id": "red-gateway", "key": "blue"}, *before]
    with signer_of(tmp_path, "first", evm, before, keys) as first:
        reds, blues = (Gateway(url_of(first), api_key, terms) for api_key in api_keys)
        with reds, blues:
            for gateway in (reds, blues):
                gateway.wait_for_payments(CALLS)
            with signer_of(tmp_path, "second", evm, moved, keys) as second:
                reds.url = blues.url = url_of(second)
                reds.wait_for_payments(CALLS)
                blues.wait_for_payments(CALLS)
                reds.__exit__()
                blues.__exit__()
                assert "Traceback" not in first.log + second.log
    assert reds.answers.count("sender_changed") == 1
    change = reds.answers.index("sender_changed")
    assert (set(reds.senders[:change]), set(reds.senders[change:])) == ({RED}, {blue})
    assert reds.sequences[change] == 0, "a new session"
    assert set(blues.answers) == {""}
    assert set(blues.senders) == {blue}
    paid = redeem_all(evm, reds, blues)
    assert min(paid[RED], paid[blue]) > 0
    assert {sender: evm.deposit_of(sender) for sender in deposits} == {sender: was - paid[sender] for sender, was in deposits.items()}
