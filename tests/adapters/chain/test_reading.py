"""Whatever an endpoint sends parses or is a named fault, and addresses are cross-checked where they are known."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livepeer_remote_signer.adapters.chain.abi import AnswerFault, decode_aggregate3, read_text
from livepeer_remote_signer.adapters.chain.json_rpc import RpcError, RpcFault, parse_quantity
from livepeer_remote_signer.adapters.chain.reading import (
    ChainQuestion,
    Contracts,
    Known,
    Reading,
)
from livepeer_remote_signer.core.protocol import arbitrum_one
from tests.fake_chain import CHAIN_ID, CONTRACTS, CONTROLLER, FakeChain

QUESTION = ChainQuestion(CHAIN_ID, CONTROLLER, bytes(20))
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.binary(max_size=200).map(lambda b: "0x" + b.hex()),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["number", "hash", "timestamp", "l1BlockNumber"]), inner),
    max_leaves=8,
)


async def answers_of(chain: FakeChain, known: Known) -> list[Any]:
    requests = [{"id": i, "method": r.method, "params": r.params} for i, r in enumerate(QUESTION.requests(known))]
    return [a.get("result", RpcError(3)) for a in await chain.answer(requests)]


@given(st.lists(JSON_VALUES, min_size=3, max_size=3), st.booleans())
def test_any_answer_parses_or_is_a_fault(answers: list[Any], has_right_chain: bool) -> None:
    if has_right_chain:
        answers[0] = hex(CHAIN_ID)
    with pytest.raises((RpcFault, AnswerFault)):
        QUESTION.parse(Known(CONTRACTS, True), answers)


@given(st.binary(max_size=2000), st.integers(0, 12))
def test_any_bytes_are_a_list_of_results_or_a_fault(data: bytes, count: int) -> None:
    try:
        results = decode_aggregate3(data, count)
    except AnswerFault:
        return
    assert len(results) == count


@given(st.binary(max_size=400))
def test_any_bytes_are_text_or_a_fault(data: bytes) -> None:
    try:
        assert isinstance(read_text(data, "description"), str)
    except AnswerFault:
        return


async def test_the_round_is_asked_for_anew_when_it_lies_elsewhere() -> None:
    chain = FakeChain(round=40)
    known = QUESTION.parse(Known(CONTRACTS, True), await answers_of(chain, Known(CONTRACTS, True)))
    assert known == Known(CONTRACTS, True, 40)
    reading = QUESTION.parse(known, await answers_of(chain, known))
    assert isinstance(reading, Reading)
    assert reading.view.last_initialized_round_block_hash == chain.round_hash(40)


async def test_a_reading_from_contracts_that_the_controller_no_longer_names_does_not_count() -> None:
    moved = CONTRACTS._replace(ticket_broker=bytes.fromhex("77" * 20))
    known = Known(CONTRACTS, False, 7)
    assert QUESTION.parse(known, await answers_of(FakeChain(contracts=moved), known)) == known._replace(contracts=moved)


UNKNOWN = Known(None, False)


def places(*addresses: bytes) -> list[Any]:
    """The answers of a poll before the contracts are known."""
    header = {"number": "0x1", "hash": "0x" + "ab" * 32, "timestamp": "0x1"}
    return [hex(CHAIN_ID), header, *("0x" + address.rjust(32, b"\0").hex() for address in addresses)]


def test_an_introduction_says_whether_there_is_multicall_and_leaves_the_contracts_to_the_next_batch() -> None:
    assert QUESTION.parse_introduction([hex(CHAIN_ID), "0x"]) == UNKNOWN
    assert QUESTION.parse_introduction([hex(CHAIN_ID), "0x60"]) == Known(None, True)
    with pytest.raises(RpcFault, match="it serves chain 1"):
        QUESTION.parse_introduction(["0x1", "0x60"])


def test_the_known_controller_must_name_the_known_contracts() -> None:
    question = ChainQuestion(CHAIN_ID, arbitrum_one.CONTROLLER, bytes(20))
    expected = Contracts(*arbitrum_one.CONTRACTS.values())
    assert question.parse(UNKNOWN, places(*expected)) == Known(expected, False)
    with pytest.raises(AnswerFault, match="the Controller names RoundsManager at 0x9999"):
        question.parse(UNKNOWN, places(*expected._replace(rounds_manager=b"\x99" * 20)))


def test_another_controller_may_name_any_contracts_but_must_name_what_pays() -> None:
    assert QUESTION.parse(UNKNOWN, places(*CONTRACTS)) == Known(CONTRACTS, False)
    with pytest.raises(AnswerFault, match=r"RoundsManager.* names no contract"):
        QUESTION.parse(UNKNOWN, places(CONTRACTS.ticket_broker, bytes(20), CONTRACTS.bonding_manager))


async def test_a_chain_without_bonding_manager_has_an_empty_pool() -> None:
    chain = FakeChain(contracts=CONTRACTS._replace(bonding_manager=bytes(20)))
    known = Known(chain.contracts, True, 7)
    reading = QUESTION.parse(known, await answers_of(chain, known))
    assert isinstance(reading, Reading)
    assert reading.view.transcoder_pool_size == 0


@pytest.mark.parametrize("value", [True, -1, 1.0, "1", "0x", "0xg", "0x" + "1" * 65, None, [], 1 << 256])
def test_what_is_no_quantity_is_a_fault(value: object) -> None:
    with pytest.raises(RpcFault):
        parse_quantity(value, "it")


@pytest.mark.parametrize(("header", "counted", "is_believed"), [(700, 703, True), (703, 700, True), (704, 700, False), (700, 704, False)])
async def test_the_headers_l1_block_is_held_against_the_rounds_managers(header: int, counted: int, is_believed: bool) -> None:
    chain, known = FakeChain(l1_block=hex(header), block_num=counted), Known(CONTRACTS, True, 7)
    answers = await answers_of(chain, known)
    if is_believed:
        reading = QUESTION.parse(known, answers)
        assert isinstance(reading, Reading)
        assert reading.view.l1_block == header
        return
    with pytest.raises(
        AnswerFault, match=rf"contradicts itself: its header's L1 block is {header}, RoundsManager\.blockNum .* is {counted}"
    ):
        QUESTION.parse(known, answers)


async def test_a_header_alone_is_believed_where_the_rounds_manager_does_not_answer() -> None:
    known = Known(CONTRACTS, True, 7)
    reading = QUESTION.parse(known, await answers_of(FakeChain(reverting={"blockNum()"}), known))
    assert isinstance(reading, Reading)
    assert reading.view.l1_block == 700
