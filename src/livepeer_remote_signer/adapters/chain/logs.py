"""TicketBroker's events of one sender or several, read in steps as small as an endpoint asks for, and apart from the poll.

Some endpoints answer `eth_getLogs` for ten blocks at a time, others for a hundred thousand. What one refuses is halved, and
what it takes is found by halves and kept for an hour. With each step goes the header of its last block, so that an endpoint
which does not have that block yet is not taken for one that has no events of it. Several senders are one filter: an array of
topics, of which an event has one.
Source: section 10 of the protocol; the events of TicketBroker.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from livepeer_remote_signer.adapters.chain.abi import WORD
from livepeer_remote_signer.adapters.chain.endpoints import Endpoint
from livepeer_remote_signer.adapters.chain.json_rpc import (
    AnswerTooLong,
    BatchRefused,
    RpcError,
    RpcFault,
    RpcRequest,
    parse_data,
    parse_quantity,
)
from livepeer_remote_signer.adapters.chain.reading import Contracts
from livepeer_remote_signer.adapters.chain.spare import SpareEndpoints
from livepeer_remote_signer.core.protocol.eip191 import keccak256
from livepeer_remote_signer.core.rules.redeemed import Checkpoint, RedeemedTicket

REDEEMED = keccak256(b"WinningTicketRedeemed(address,address,uint256,uint256,uint256,uint256,bytes)")
TRANSFER = keccak256(b"WinningTicketTransfer(address,address,uint256)")
FIRST_STEP, MAX_STEP = 500, 10_000
TIMEOUT_SECONDS = 10.0
PAUSE_SECONDS = 30.0
STEP_KEPT_SECONDS = 3600.0
MAX_AUX_BYTES = 4096


class Redemption(NamedTuple):
    """One redeemed ticket and where it stands on the chain. `paid_wei` is what the recipient was paid: less than the face value
    where deposit and reserve did not cover it."""

    ticket: RedeemedTicket
    block: int
    block_hash: str
    transaction: str
    log_index: int
    paid_wei: int


class Step(NamedTuple):
    """What a look-up found, up to its last block."""

    end: Checkpoint
    redemptions: Sequence[Redemption]


class _Size:
    """How many blocks an endpoint takes at once."""

    def __init__(self) -> None:
        self.blocks = FIRST_STEP
        self._ceiling = MAX_STEP
        self._found_at = 0.0

    def refused(self, now: float) -> None:
        self._ceiling = max(1, self.blocks - 1)
        self.blocks = max(1, self.blocks // 2)
        self._found_at = now

    def taken(self, blocks: int, now: float) -> None:
        if now - self._found_at > STEP_KEPT_SECONDS:
            self._ceiling = MAX_STEP
        if blocks >= self.blocks:
            self.blocks = min(self._ceiling, 2 * self.blocks, max(self.blocks + 1, (self.blocks + self._ceiling + 1) // 2))


class LogReads:
    """Events over the endpoints of a live chain."""

    def __init__(self, spare: SpareEndpoints, contracts: Callable[[], Contracts | None], clock: Callable[[], float]) -> None:
        self._spare = spare
        self._contracts = contracts
        self._clock = clock
        self._sizes = {endpoint.place: _Size() for endpoint in spare.endpoints}

    @property
    def count(self) -> int:
        """How many endpoints are configured."""
        return len(self._spare.endpoints)

    def order(self) -> list[Endpoint]:
        """Who may be asked, in which order."""
        return self._spare.order()

    async def blocks(self, endpoint: Endpoint, numbers: Sequence[int | None]) -> list[Checkpoint | None]:
        """The blocks of these numbers, None: the newest one. Those that the endpoint does not have are None. Raises RpcFault."""
        return [_block(answer) for answer in await self._ask(endpoint, [_block_request(number) for number in numbers])]

    async def step(self, endpoint: Endpoint, senders: Sequence[bytes], first: int, last: int) -> Step | None:
        """The next events of these senders from a block on, as far as the endpoint goes at once; None: it refused, and takes less the
        next time.

        Raises RpcFault.
        """
        size = self._sizes[endpoint.place]
        end = min(last, first + size.blocks - 1)
        try:
            block_answer, answer = await self._ask(endpoint, [_block_request(end), self._request(senders, first, end)])
        except (BatchRefused, AnswerTooLong):
            block_answer, answer = None, RpcError(None)
        except RpcFault:
            size.blocks = max(1, size.blocks // 2)  # it may have been too much for its time
            raise
        if isinstance(answer, RpcError):
            if end == first:
                raise RpcFault(f"eth_getLogs: {answer} for one block")
            size.blocks = end - first + 1
            size.refused(self._clock())
            return None
        block = _block(block_answer)
        if block is None or block.number != end:
            raise RpcFault("it does not have the blocks that it names itself")
        size.taken(end - first + 1, self._clock())
        return Step(block, parse_redemptions(answer, self._broker(), senders, first, end))

    async def confirms(self, redemption: Redemption, but: Endpoint) -> bool | None:
        """Whether another endpoint has the same event in the same block; None: no other one answered.

        Also one that is not believed on the L1 block is asked: it cannot know an event that is not there.
        """
        said: bool | None = None
        senders = (redemption.ticket.sender,)
        for endpoint in self._spare.endpoints:
            if endpoint is but or self._spare.is_paused(endpoint):
                continue
            try:
                (answer,) = await self._ask(endpoint, [self._request(senders, redemption.block, redemption.block)])
                if isinstance(answer, RpcError):
                    continue
                found = parse_redemptions(answer, self._broker(), senders, redemption.block, redemption.block)
            except RpcFault:
                continue
            if redemption in found:
                return True
            said = False
        return said

    def _broker(self) -> bytes:
        contracts = self._contracts()
        if contracts is None:
            raise RpcFault("the contracts are not known")
        return contracts.ticket_broker

    def _request(self, senders: Sequence[bytes], first: int, last: int) -> RpcRequest:
        asked = ["0x" + _topic(sender).hex() for sender in senders]
        topics = [["0x" + REDEEMED.hex(), "0x" + TRANSFER.hex()], asked if len(asked) > 1 else asked[0]]
        query = {"fromBlock": hex(first), "toBlock": hex(last), "address": "0x" + self._broker().hex(), "topics": topics}
        return RpcRequest("eth_getLogs", [query])

    async def _ask(self, endpoint: Endpoint, requests: Sequence[RpcRequest]) -> list[Any]:
        return await self._spare.ask(endpoint, requests, TIMEOUT_SECONDS)


def parse_redemptions(answer: Any, broker: bytes, senders: Sequence[bytes], first: int, last: int) -> list[Redemption]:
    """The redeemed tickets of an answer to `eth_getLogs`, in their order. Raises RpcFault for whatever was not asked for."""
    if not isinstance(answer, list):
        raise RpcFault("eth_getLogs: not a list")
    found: list[Redemption] = []
    paid: dict[tuple[str, bytes, bytes], int] = {}
    asked = {_topic(sender): sender for sender in senders}
    logs = [_Log(entry) for entry in answer if not (isinstance(entry, dict) and entry.get("removed") is True)]
    for log in sorted(logs, key=lambda log: (log.block, log.index)):
        is_asked = log.address == broker and first <= log.block <= last and len(log.topics) == 3 and log.topics[1] in asked
        if not is_asked or log.topics[0] not in (REDEEMED, TRANSFER) or any(log.topics[2][:12]):
            raise RpcFault("eth_getLogs: an event that was not asked for")
        sender, recipient = asked[log.topics[1]], log.topics[2][12:]
        if log.topics[0] == TRANSFER:  # the contract writes it just before the ticket that is paid by it
            (paid[log.transaction, sender, recipient],) = _words(log.data, 1)
            continue
        face_value, win_prob, nonce, rand, offset, length = _words(log.data, 6)
        aux_data = log.data[6 * WORD : 6 * WORD + length]
        if offset != 5 * WORD or length > MAX_AUX_BYTES or len(aux_data) != length:
            raise RpcFault("eth_getLogs: an event of another form")
        ticket = RedeemedTicket(sender, recipient, face_value, win_prob, nonce, rand, aux_data)
        paid_wei = paid.pop((log.transaction, sender, recipient), 0)
        found.append(Redemption(ticket, log.block, log.block_hash, log.transaction, log.index, paid_wei))
    return found


class _Log:
    """One event, its fields parsed. Raises RpcFault."""

    def __init__(self, entry: Any) -> None:
        if not isinstance(entry, dict) or not isinstance(entry.get("topics"), list):
            raise RpcFault("eth_getLogs: an entry that is no event")
        self.address = parse_data(entry.get("address"), "an event's address")
        self.topics = [_word(topic, "an event's topic") for topic in entry["topics"]]
        self.data = parse_data(entry.get("data"), "an event's data")
        self.block = parse_quantity(entry.get("blockNumber"), "an event's block")
        self.block_hash = "0x" + _word(entry.get("blockHash"), "an event's block hash").hex()
        self.transaction = "0x" + _word(entry.get("transactionHash"), "an event's transaction").hex()
        self.index = parse_quantity(entry.get("logIndex"), "an event's index")


def _word(value: Any, what: str) -> bytes:
    data = parse_data(value, what)
    if len(data) != WORD:
        raise RpcFault(f"{what} has {len(data)} bytes, not {WORD}")
    return data


def _words(data: bytes, count: int) -> tuple[int, ...]:
    if len(data) < count * WORD:
        raise RpcFault("eth_getLogs: an event of another form")
    return tuple(int.from_bytes(data[i * WORD : (i + 1) * WORD], "big") for i in range(count))


def _topic(address: bytes) -> bytes:
    return address.rjust(WORD, b"\0")


def _block_request(number: int | None) -> RpcRequest:
    return RpcRequest("eth_getBlockByNumber", ["latest" if number is None else hex(number), False])


def _block(answer: Any) -> Checkpoint | None:
    if answer is None:
        return None
    if not isinstance(answer, dict):
        raise RpcFault(f"eth_getBlockByNumber: {answer if isinstance(answer, RpcError) else 'no block'}")
    return Checkpoint(
        parse_quantity(answer.get("number"), "the block's number"), "0x" + _word(answer.get("hash"), "the block's hash").hex()
    )
