"""A chain in memory that answers as a node with Livepeer's contracts would: for tests that need no EVM."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from eth_abi.abi import decode, encode
from eth_utils.crypto import keccak

from livepeer_remote_signer.adapters.chain.reading import MULTICALL3, Contracts
from livepeer_remote_signer.core.protocol import arbitrum_one

CONTROLLER = bytes.fromhex("c0" * 20)
CONTRACTS = Contracts(bytes.fromhex("0b" * 20), bytes.fromhex("0a" * 20), bytes.fromhex("0d" * 20))
FEED = bytes.fromhex("fe" * 20)
CHAIN_ID = 31337
_WHO = {keccak(text.encode())[:4]: text for text in ("isRegisteredTranscoder(address)", "isActiveTranscoder(address)")}


@dataclass
class FakeChain:
    """State that tests change at will."""

    chain_id: int = CHAIN_ID
    number: int = 5_000_000
    l1_block: Any = 700
    """The header's field."""
    block_num: int | None = None
    """RoundsManager's count: the header's where it is not given."""
    timestamp: int = 1_800_000_000
    round: int = 7
    round_lie: bytes = b""
    """Makes another hash of every round."""

    deposit: int = 10**18
    transcoders: set[bytes] = field(default_factory=set)
    """Who is registered and active."""

    funds_of: dict[bytes, tuple[int, int, int]] = field(default_factory=dict)
    """Deposit, withdraw round and reserve of senders whose funds are others."""

    transcoder_questions: int = 0
    """How often somebody asked who is."""

    reserve: int = 2 * 10**18
    withdraw_round: int = 0
    paused: bool = False
    pool_size: int = 3
    contracts: Contracts = CONTRACTS
    has_multicall: bool = True
    feed: tuple[int, int, int, int, int] = (5, 3000_00000000, 1_799_999_000, 1_799_999_000, 5)
    description: str = "ETH / USD"
    reverting: set[str] = field(default_factory=set)

    def round_hash(self, round_: int) -> bytes:
        return keccak(round_.to_bytes(32, "big") + self.round_lie) if round_ <= self.round else bytes(32)

    async def answer(self, requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{"jsonrpc": "2.0", "id": r["id"], **self._answer(r["method"], r["params"])} for r in requests]

    def _answer(self, method: str, params: list[Any]) -> dict[str, Any]:
        if method == "eth_chainId":
            return {"result": hex(self.chain_id)}
        if method == "eth_getCode":
            return {"result": "0x60" if self.has_multicall else "0x"}
        if method == "eth_getBlockByNumber":
            block = {
                "number": hex(self.number),
                "hash": "0x" + keccak(self.number.to_bytes(32, "big")).hex(),
                "timestamp": hex(self.timestamp),
            }
            return {"result": block if self.l1_block is None else {**block, "l1BlockNumber": self.l1_block}}
        assert method == "eth_call", method
        result = self._call(bytes.fromhex(params[0]["to"][2:]), bytes.fromhex(params[0]["data"][2:]))
        return {"error": {"code": 3, "message": "execution reverted"}} if result is None else {"result": "0x" + result.hex()}

    def _call(self, target: bytes, data: bytes) -> bytes | None:
        if target == MULTICALL3:
            (calls,) = decode(["(address,bool,bytes)[]"], data[4:])
            results = [self._call(bytes.fromhex(to[2:]), call) for to, _may_fail, call in calls]
            if any(result is None and not may_fail for result, (_to, may_fail, _call) in zip(results, calls, strict=True)):
                return None  # as the contract: one call that must not fail takes all others with it
            return encode(["(bool,bytes)[]"], [[(r is not None, r or b"") for r in results]])
        return self._contract_call(target, data)

    def _block_num(self) -> int:
        if self.block_num is not None:
            return self.block_num
        return int(self.l1_block, 16) if isinstance(self.l1_block, str) else self.l1_block

    def _contract_call(self, target: bytes, data: bytes) -> bytes | None:
        answers: dict[tuple[bytes, str], tuple[list[str], list[Any]]] = {
            (CONTROLLER, "paused()"): (["bool"], [self.paused]),
            (self.contracts.ticket_broker, "getSenderInfo(address)"): (
                ["uint256"] * 4,
                [*self.funds_of.get(data[16:36], (self.deposit, self.withdraw_round, self.reserve)), 0],
            ),
            (self.contracts.rounds_manager, "lastInitializedRound()"): (["uint256"], [self.round]),
            (self.contracts.rounds_manager, "blockNum()"): (["uint256"], [self._block_num()]),
            (self.contracts.rounds_manager, "currentRound()"): (["uint256"], [self.round]),
            (self.contracts.rounds_manager, "currentRoundInitialized()"): (["bool"], [True]),
            (self.contracts.rounds_manager, "currentRoundStartBlock()"): (["uint256"], [self._block_num()]),
            (self.contracts.rounds_manager, "roundLength()"): (["uint256"], [5760]),
            (self.contracts.ticket_broker, "unlockPeriod()"): (["uint256"], [2]),
            (self.contracts.bonding_manager, "getTranscoderPoolSize()"): (["uint256"], [self.pool_size]),
            (FEED, "latestRoundData()"): (["uint80", "int256", "uint256", "uint256", "uint80"], list(self.feed)),
            (FEED, "decimals()"): (["uint8"], [8]),
            (FEED, "description()"): (["string"], [self.description]),
        }
        argument = data[4:36]
        for name, address in zip(("TicketBroker", "RoundsManager", "BondingManager"), self.contracts, strict=True):
            if argument == keccak(name.encode()):
                answers[CONTROLLER, "getContract(bytes32)"] = (["address"], [address])
        if data[:4] in _WHO:
            self.transcoder_questions += 1
        for question in _WHO.values():
            answers[self.contracts.bonding_manager, question] = (["bool"], [argument[12:] in self.transcoders])
        answers[self.contracts.rounds_manager, "blockHashForRound(uint256)"] = (
            ["bytes32"],
            [self.round_hash(int.from_bytes(argument, "big"))],
        )
        for (address, signature), (types, values) in answers.items():
            if address == target and keccak(signature.encode())[:4] == data[:4]:
                return None if signature in self.reverting else encode(types, values)
        return b""


@dataclass
class LiveArbitrum(FakeChain):
    """Arbitrum One as it runs: heads come with the time of day, an L1 block every 12 s. What a lying endpoint says differs."""

    chain_id: int = arbitrum_one.CHAIN_ID
    first_l1_block: int = 24_000_000
    l1_lie: int = 0
    """Added to the L1 block, in the header and in RoundsManager alike."""

    seconds_lie: float = 0.0
    """Added to the block times."""

    feed_lie: Fraction = Fraction(1)
    """The feed's answer is so many times the honest one."""

    usd: int = 3000
    is_standing: bool = False
    started: float = field(default_factory=time.time)

    async def answer(self, requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
        now = time.time()
        if not self.is_standing:
            self.number = int(now * 20)
            self.timestamp = int(now + self.seconds_lie)
        self.l1_block = self.first_l1_block + int(now - self.started) // 12 + self.l1_lie
        self.feed = (5, int(self.usd * 10**8 * self.feed_lie), int(now) - 10, int(now) - 10, 5)
        return await super().answer(requests)
