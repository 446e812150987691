"""A signer on Livepeer's contracts whose clock the test turns, orchestrators with lucky tickets, and endpoints that allow ten blocks."""

from __future__ import annotations

import asyncio
import base64
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
from eth_keys.datatypes import PrivateKey
from eth_utils.address import to_canonical_address, to_checksum_address
from eth_utils.crypto import keccak

from livepeer_remote_signer.proto import net_pb2
from tests.chain.livepeer import LivepeerEvm
from tests.chain.orchestrator import CERTAIN, SmallOrchestrator, Winner, minimal
from tests.plans import SECRET
from tests.rpc_node import RpcNode

SENDER = PrivateKey(SECRET).public_key.to_canonical_address()
FACE_VALUE = 3 * 10**13
ODDS = 10
INTERVAL_SECONDS = 3
MOST_BLOCKS = 10
NS = 10**9


class Clock:
    """The signer's clock: the host's, and what the test adds."""

    def __init__(self) -> None:
        self.ahead_ns = 0

    def __call__(self) -> int:
        return time.time_ns() + self.ahead_ns


class LuckyOrchestrator(SmallOrchestrator):
    """One ticket in ten wins; three seconds cost a ticket. Terms are made anew when it is told so."""

    def __init__(self, evm: LivepeerEvm, account: str, clock: Clock) -> None:
        super().__init__(to_canonical_address(account), evm.web3.eth.block_number, face_value=FACE_VALUE)
        self._evm = evm
        self._clock = clock
        self.rands: dict[bytes, int] = {}
        self.price_per_second = FACE_VALUE // ODDS // INTERVAL_SECONDS
        self.renew()

    def renew(self) -> None:
        self.rand = int.from_bytes(os.urandom(32), "big")
        self.rands[keccak(self.rand.to_bytes(32, "big"))] = self.rand
        self.l1_block = self._evm.web3.eth.block_number

    def info(self) -> net_pb2.OrchestratorInfo:
        info = super().info()
        info.ticket_params.win_prob = minimal(CERTAIN // ODDS)
        info.auth_token.expiration = self._clock() // NS + 1800
        return info


class Session:
    """A client that pays an orchestrator again and again."""

    def __init__(self, orchestrator: LuckyOrchestrator, auth_key: str = "") -> None:
        self.orchestrator = orchestrator
        self.headers = {"X-Api-Key": auth_key} if auth_key else {}
        self.state: Any = None
        self.manifest_id = os.urandom(4).hex()
        self.tickets = 0
        self.winners: list[Winner] = []

    async def pay(self, client: httpx.AsyncClient) -> None:
        info = base64.b64encode(self.orchestrator.info().SerializeToString()).decode()
        body = {"orchestrator": info, "type": "live", "ManifestID": self.manifest_id, "state": self.state}
        reply = await client.post("/generate-live-payment", json=body, headers=self.headers)
        assert reply.status_code == 200, reply.text
        answer = reply.json()
        self.state = answer["state"]
        self.tickets += len(self.orchestrator.tickets(answer["payment"]))
        self.winners += self.orchestrator.winners(answer["payment"])


class Redeemer:
    """Redeems some tickets in each block, as several orchestrators do at once."""

    def __init__(self, evm: LivepeerEvm) -> None:
        self._evm = evm

    def redeem(self, winners: list[Winner], per_block: int) -> int:
        """How many blocks it took."""
        evm, blocks = self._evm, 0
        for at in range(0, len(winners), per_block):
            evm.rpc("evm_setAutomine", False)
            sent = [self._send(winner) for winner in winners[at : at + per_block]]
            evm.mine(1)
            evm.rpc("evm_setAutomine", True)
            blocks += 1
            for transaction in sent:
                receipt = evm.web3.eth.wait_for_transaction_receipt(transaction, poll_latency=0.01)
                assert receipt["status"] == 1
        return blocks

    def _send(self, winner: Winner) -> Any:
        ticket = {**winner.ticket}
        ticket["recipient"], ticket["sender"] = to_checksum_address(ticket["recipient"]), to_checksum_address(ticket["sender"])
        call = self._evm.broker.functions.redeemWinningTicket(tuple(ticket.values()), winner.sig, winner.rand)
        return call.transact({"from": self._evm.owner, "gas": 1_000_000})


def sign_elsewhere(evm: LivepeerEvm, recipient: str, like: Winner | None = None, secret: bytes = SECRET) -> Winner:
    """A winning ticket of a sender's key that the signer has not seen; with `like` on another ticket's params, with another nonce."""
    key = PrivateKey(secret)
    sender = key.public_key.to_canonical_address()
    round_ = evm.rounds.functions.lastInitializedRound().call()
    aux = like.ticket["auxData"] if like is not None else round_.to_bytes(32, "big") + evm.round_hash
    for nonce in range(200, 600):
        rand = like.rand if like is not None else int.from_bytes(os.urandom(32), "big")
        ticket = {
            "recipient": like.ticket["recipient"] if like is not None else recipient,
            "sender": "0x" + sender.hex(),
            "faceValue": FACE_VALUE,
            "winProb": CERTAIN // ODDS,
            "senderNonce": nonce,
            "recipientRandHash": keccak(rand.to_bytes(32, "big")),
            "auxData": aux,
        }
        numbers = [ticket[name].to_bytes(32, "big") for name in ("faceValue", "winProb", "senderNonce")]
        packed = bytes.fromhex(ticket["recipient"][2:]) + sender + b"".join(numbers) + ticket["recipientRandHash"] + aux
        digest = keccak(b"\x19Ethereum Signed Message:\n32" + keccak(packed))
        sig = key.sign_msg_hash(digest).to_bytes()
        sig = sig[:64] + bytes([sig[64] + 27])
        if int.from_bytes(keccak(sig + rand.to_bytes(32, "big")), "big") < ticket["winProb"]:
            return Winner(ticket, sig, rand)
    raise AssertionError("no ticket of 400 won")


@contextmanager
def endpoints(url: str, count: int) -> Iterator[list[RpcNode]]:
    """Endpoints in front of a chain, each of which answers for ten blocks of events at most. They run in a thread of their own."""
    nodes: list[RpcNode] = []
    loop = asyncio.new_event_loop()
    ready, done = threading.Event(), asyncio.Event()

    async def serve() -> None:
        async with httpx.AsyncClient(timeout=60) as client:

            async def answer(requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
                answers: list[dict[str, Any]] = (await client.post(url, json=requests)).json()
                return [_refused(request, answer) for request, answer in zip(requests, answers, strict=True)]

            nodes.extend([await RpcNode(answer).__aenter__() for _ in range(count)])
            ready.set()
            await done.wait()
            for node in nodes:
                await node.__aexit__(None, None, None)

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    assert ready.wait(30)
    try:
        yield nodes
    finally:
        loop.call_soon_threadsafe(done.set)
        thread.join()
        loop.close()


def _refused(request: dict[str, Any], answer: dict[str, Any]) -> dict[str, Any]:
    if request["method"] == "eth_getLogs":
        query = request["params"][0]
        if int(query["toBlock"], 16) - int(query["fromBlock"], 16) >= MOST_BLOCKS:
            return {"jsonrpc": "2.0", "id": request["id"], "error": {"code": -32600, "message": "10 blocks at most"}}
    return answer


async def until(state: Callable[[], Any], wanted: Any = True, seconds: float = 60) -> None:
    """Waits until what is read from somebody else's database is as wanted."""
    give_up = time.monotonic() + seconds
    while (found := state()) != wanted:
        assert time.monotonic() < give_up, f"{found} is not {wanted}"
        await asyncio.sleep(0.05)
