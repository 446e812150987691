"""One reading of the chain: what is asked in a batch, and what a complete answer to it says. No I/O.

Source: section 10 of the protocol. A batch is the chain id, the latest header and every contract read; the reads are one
Multicall3 call, or plain calls where the chain has no Multicall3. The Controller is asked in every batch, so that a
reading only counts when it came from the contracts that the Controller names. `blockHashForRound` needs a round before
one is known: it is asked for the last known round and the next, and asked again when the round lies elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

from livepeer_remote_signer.adapters.chain.abi import (
    AnswerFault,
    Call,
    call_data,
    contract_id,
    decode_aggregate3,
    encode_aggregate3,
    read_address,
    read_bool,
    read_word,
    read_words,
)
from livepeer_remote_signer.adapters.chain.json_rpc import RpcError, RpcFault, RpcRequest, parse_data, parse_quantity
from livepeer_remote_signer.core.protocol import arbitrum_one
from livepeer_remote_signer.core.rules.chain import ChainView

MULTICALL3 = bytes.fromhex("cA11bde05977b3631167028862bE2a173976CA11")
MAX_L1_LAG = 3
"""L1 blocks by which answers differ that were made well, a moment apart."""

_FIGURES = re.compile(r"[0-9.]+")
_NAMES = ("TicketBroker", "RoundsManager", "BondingManager")
_SHARED_CALLS = 10
"""Calls before those on other senders."""


class Contracts(NamedTuple):
    """Where Livepeer's contracts stand, as the Controller says. BondingManager may be all zero where the chain has none."""

    ticket_broker: bytes
    rounds_manager: bytes
    bonding_manager: bytes


class ChainUnavailable(Exception):
    """A read was not answered, or not in one voice; the message names each endpoint's fault."""


class ContractReader(Protocol):
    """A live chain, for whoever reads contracts of it."""

    @property
    def contracts(self) -> Contracts | None:
        """Where Livepeer's contracts stand; None while that is not known."""

    async def read_contracts(self, calls: Sequence[Call]) -> list[bytes | None]:
        """What each call returned at the latest block, None where it reverted. Raises ChainUnavailable."""


class Known(NamedTuple):
    """What a batch is composed from, learned from earlier answers of the same endpoint. `contracts` None: not known yet."""

    contracts: Contracts | None
    has_multicall: bool
    round: int = 0


class Head(NamedTuple):
    """The latest block of the chain that was asked (on Arbitrum an L2 block)."""

    number: int
    hash: str
    timestamp: int


class Figures(NamedTuple):
    """What an endpoint reads in the contracts, as far as payments hang on it. Of each sender: deposit and reserve in wei, and the round
    in which they unlock."""

    is_paused: bool
    round: int
    round_hash: bytes
    deposits: tuple[int, ...]
    reserves: tuple[int, ...]
    unlocks: tuple[int, ...]


class Reading(NamedTuple):
    """A complete answer. `extra` holds what the calls added by others returned, None for one that failed; `others` is the view of
    each sender beside the first."""

    view: ChainView
    head: Head
    extra: list[bytes | None]
    others: tuple[ChainView, ...] = ()

    @property
    def figures(self) -> Figures:
        """To be held against another endpoint's."""
        views = (self.view, *self.others)
        return Figures(
            self.view.paused,
            self.view.last_initialized_round,
            self.view.last_initialized_round_block_hash,
            tuple(view.deposit_wei for view in views),
            tuple(view.reserve_wei for view in views),
            tuple(view.withdraw_round for view in views),
        )


class Word(NamedTuple):
    """What one believed endpoint's answers to a rider's calls were, at a block of that time."""

    endpoint: str
    answers: Sequence[bytes | None]
    head_timestamp: int


@dataclass(frozen=True, slots=True)
class ChainQuestion:
    """What to read: a chain, the sender's funds as the Controller's contracts have them (`controller` None: only the extra
    calls are read), those of other senders of the same signer, and calls added by others."""

    chain_id: int
    controller: bytes | None
    sender: bytes
    extra: tuple[Call, ...] = ()
    other_senders: tuple[bytes, ...] = ()

    def introduction(self) -> list[RpcRequest]:
        """The first batch to an endpoint: is this the chain, has it Multicall3.

        Where the contracts are is read with the next one: some providers take no more than three requests in a batch.
        """
        return [RpcRequest("eth_chainId", []), RpcRequest("eth_getCode", [_hex(MULTICALL3), "latest"])]

    def parse_introduction(self, answers: Sequence[Any]) -> Known:
        """Raises RpcFault."""
        self._check_chain_id(answers[0])
        return Known(None, len(parse_data(answers[1], "eth_getCode")) > 0)

    def requests(self, known: Known) -> list[RpcRequest]:
        """The batch of one poll."""
        reads = read_requests(self._calls(known), known.has_multicall)
        return [RpcRequest("eth_chainId", []), RpcRequest("eth_getBlockByNumber", ["latest", False]), *reads]

    def parse(self, known: Known, answers: Sequence[Any]) -> Reading | Known:
        """The reading; or what to ask with instead, when round or contracts are not the known ones. Raises RpcFault or AnswerFault."""
        self._check_chain_id(answers[0])
        header = answers[1]
        if not isinstance(header, dict):
            raise RpcFault(f"eth_getBlockByNumber: {header if isinstance(header, RpcError) else 'no block'}")
        head = Head(
            parse_quantity(header.get("number"), "the block's number"),
            "0x" + parse_data(header.get("hash"), "the block's hash").hex(),
            parse_quantity(header.get("timestamp"), "the block's timestamp"),
        )
        results = parse_reads(answers[2:], len(self._calls(known)), known.has_multicall)
        extra = results[len(results) - len(self.extra) :]
        if self.controller is None:
            return Reading(ChainView(0, 0, bytes(32), 0, 0), head, extra)
        contracts = self._contracts(results[:3])
        if contracts != known.contracts:
            return known._replace(contracts=contracts)
        round_ = read_word(results[5], "RoundsManager.lastInitializedRound")
        if round_ not in (known.round, known.round + 1):
            return known._replace(round=round_)
        view = _view(header, results, known, round_)
        return Reading(
            view, head, extra, tuple(_with_funds(view, funds) for funds in results[_SHARED_CALLS : len(results) - len(self.extra)])
        )

    def _resolving(self) -> list[Call]:
        assert self.controller is not None  # noqa: S101 - every caller has asked
        return [Call(self.controller, call_data("getContract(bytes32)", contract_id(name))) for name in _NAMES]

    def _calls(self, known: Known) -> list[Call]:
        if self.controller is None:
            return list(self.extra)
        if known.contracts is None:
            return [*self._resolving(), *self.extra]
        broker, rounds, bonding = known.contracts
        return [
            *self._resolving(),
            Call(self.controller, call_data("paused()")),
            Call(broker, call_data("getSenderInfo(address)", self.sender)),
            Call(rounds, call_data("lastInitializedRound()")),
            Call(rounds, call_data("blockHashForRound(uint256)", known.round)),
            Call(rounds, call_data("blockHashForRound(uint256)", known.round + 1)),
            Call(rounds, call_data("blockNum()")),
            Call(bonding, call_data("getTranscoderPoolSize()")),
            *(Call(broker, call_data("getSenderInfo(address)", sender)) for sender in self.other_senders),
            *self.extra,
        ]

    def _check_chain_id(self, answer: Any) -> None:
        chain_id = parse_quantity(answer, "eth_chainId")
        if chain_id != self.chain_id:
            raise RpcFault(f"it serves chain {chain_id}, not {self.chain_id} (chain.rpc.chain_id)")

    def _contracts(self, results: Sequence[bytes | None]) -> Contracts:
        """The contracts' addresses; AnswerFault when section 10's Controller names others than section 10 does."""
        asked = [(name, data, f"Controller.getContract({name})") for name, data in zip(_NAMES, results, strict=True)]
        found = {name: read_address(data, what, may_be_zero=name == "BondingManager") for name, data, what in asked}
        if self.controller == arbitrum_one.CONTROLLER:
            for name, address in found.items():
                if address != (known := arbitrum_one.CONTRACTS[name]):
                    raise AnswerFault(f"the Controller names {name} at {_hex(address)}, Livepeer's is {_hex(known)}")
        return Contracts(*found.values())


def without_figures(fault: str) -> str:
    """What a fault says but for its numbers: one that only counts on is not logged again."""
    return _FIGURES.sub("", fault)


def read_requests(calls: Sequence[Call], has_multicall: bool) -> list[RpcRequest]:
    """Contract reads as one Multicall3 call, or one call each."""
    return [_eth_call(Call(MULTICALL3, encode_aggregate3(calls)))] if has_multicall and calls else list(map(_eth_call, calls))


def parse_reads(answers: Sequence[Any], count: int, has_multicall: bool) -> list[bytes | None]:
    """What each read returned, None where it reverted. Raises RpcFault or AnswerFault."""
    if has_multicall and count:
        return decode_aggregate3(parse_data(answers[0], "Multicall3.aggregate3"), count)
    return [None if isinstance(a, RpcError) else parse_data(a, "eth_call") for a in answers]


def _with_funds(view: ChainView, sender_info: bytes | None) -> ChainView:
    """The view of a sender."""
    deposit, withdraw_round, reserve, _claimed = read_words(sender_info, 4, "TicketBroker.getSenderInfo")
    return replace(view, deposit_wei=deposit, reserve_wei=reserve, withdraw_round=withdraw_round)


def _view(header: Mapping[str, Any], results: Sequence[bytes | None], known: Known, round_: int) -> ChainView:
    round_hash = read_word(results[6 + round_ - known.round], "RoundsManager.blockHashForRound")
    has_bonding = known.contracts is not None and any(known.contracts.bonding_manager)
    view = ChainView(
        l1_block=_l1_block(header.get("l1BlockNumber"), results[8]),
        last_initialized_round=round_,
        last_initialized_round_block_hash=round_hash.to_bytes(32, "big"),
        deposit_wei=0,
        reserve_wei=0,
        paused=read_bool(results[3], "Controller.paused"),
        transcoder_pool_size=read_word(results[9], "BondingManager.getTranscoderPoolSize") if has_bonding else 0,
    )
    return _with_funds(view, results[4])


def _l1_block(header_field: Any, block_num: bytes | None) -> int:
    """The header's own field, else RoundsManager's count; never the header's number, which on Arbitrum counts L2 blocks.

    Raises AnswerFault where both are there and the answer contradicts itself.
    """
    number = 0 if header_field in (None, "", "0x") else parse_quantity(header_field, "l1BlockNumber")
    if number == 0:
        number = read_word(block_num, "RoundsManager.blockNum")
    elif block_num is not None and abs(number - (counted := read_word(block_num, "RoundsManager.blockNum"))) > MAX_L1_LAG:
        raise AnswerFault(
            f"it contradicts itself: its header's L1 block is {number}, RoundsManager.blockNum of the same answer is {counted}; "
            f"they may differ by {MAX_L1_LAG}"
        )
    if number == 0:
        raise AnswerFault("neither l1BlockNumber nor RoundsManager.blockNum names an L1 block")
    return number


def _eth_call(call: Call) -> RpcRequest:
    return RpcRequest("eth_call", [{"to": _hex(call.target), "data": _hex(call.data)}, "latest"])


def _hex(value: bytes) -> str:
    return "0x" + value.hex()
