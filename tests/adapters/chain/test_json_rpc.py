"""What goes out to an endpoint, to the letter, and what is made of endpoints that do not take it so."""

from __future__ import annotations

import asyncio
import gzip
import json
from typing import Any

import pytest

from livepeer_remote_signer.adapters.chain.abi import call_data
from livepeer_remote_signer.adapters.chain.json_rpc import JsonRpc, RpcFault, RpcRequest, open_client
from livepeer_remote_signer.adapters.chain.reading import MULTICALL3
from livepeer_remote_signer.adapters.outbound import Outbound
from tests.adapters.chain.test_rpc import PACE, is_fresh, polling, until
from tests.fake_chain import CONTROLLER, FakeChain
from tests.rpc_node import RpcNode

CHAIN_ID = RpcRequest("eth_chainId", [])
HEADER = RpcRequest("eth_getBlockByNumber", ["latest", False])
Answers = list[dict[str, Any]]


async def ask(node: RpcNode, *requests: RpcRequest, times: int = 1) -> tuple[JsonRpc, list[Any]]:
    async with open_client(Outbound()) as client:
        rpc = JsonRpc(client, node.url, 0)
        for _ in range(times):
            results = await rpc.batch(requests, 5)
        return rpc, results


async def test_a_poll_asks_for_the_latest_header_without_its_transactions_and_reads_at_the_latest_block() -> None:
    async with RpcNode(FakeChain().answer) as node, polling(node, pace=PACE._replace(poll=0.05)) as chain:
        await until(is_fresh(chain))
        introduction, first, poll = (json.loads(body) for body in (node.bodies[0], node.bodies[1], node.bodies[-1]))
    assert introduction == [
        {"jsonrpc": "2.0", "id": 0, "method": "eth_chainId", "params": []},
        {"jsonrpc": "2.0", "id": 1, "method": "eth_getCode", "params": ["0x" + MULTICALL3.hex(), "latest"]},
    ]
    assert poll[:2] == [
        {"jsonrpc": "2.0", "id": 0, "method": "eth_chainId", "params": []},
        {"jsonrpc": "2.0", "id": 1, "method": "eth_getBlockByNumber", "params": ["latest", False]},
    ]
    for batch in (first, poll):
        call, block = batch[2]["params"]
        assert (len(batch), batch[2]["method"], block) == (3, "eth_call", "latest")
        assert call["to"] == "0x" + MULTICALL3.hex()
        assert call.keys() == {"to", "data"}
        assert call["data"].startswith("0x" + call_data("aggregate3((address,bool,bytes)[])").hex())


async def test_without_multicall_each_read_is_a_call_of_its_own_at_the_latest_block() -> None:
    async with RpcNode(FakeChain(has_multicall=False).answer) as node, polling(node, pace=PACE._replace(poll=0.05)) as chain:
        await until(is_fresh(chain))
        calls = json.loads(node.bodies[-1])[2:]
    assert {"to": "0x" + CONTROLLER.hex(), "data": "0x" + call_data("paused()").hex()} in [call["params"][0] for call in calls]
    assert {call["params"][1] for call in calls} == {"latest"}


async def test_an_answer_is_asked_for_as_it_is_and_never_inflated() -> None:
    bomb = gzip.compress(b" " * 50_000_000)
    async with RpcNode(FakeChain().answer) as node:
        node.encoding, node.raw = "gzip", bomb
        with pytest.raises(RpcFault, match="a compressed answer, which was not asked for"):
            await ask(node, CHAIN_ID)
        assert "accept-encoding: identity" in node.heads[0].split("\r\n")
        node.encoding = "identity"
        with pytest.raises(RpcFault, match="not JSON"):
            await ask(node, CHAIN_ID)


def _one_error(_: object, __: Answers) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": None, "error": {"code": -32600, "message": "no batches"}}


def _errors_beyond(limit: int, code: int) -> Any:
    def alter(_: object, answers: Answers) -> Answers:
        return [a if i < limit else {"id": a["id"], "error": {"code": code, "message": "too long"}} for i, a in enumerate(answers)]

    return alter


NO_BATCHES: dict[str, dict[str, Any]] = {
    "an HTTP status": {"batch_limit": 0},
    "a limit of its length": {"batch_limit": 1},
    "one error for all": {"alter_batch": _one_error},
    "one error in a list": {"alter_batch": lambda r, a: [_one_error(r, a)]},
    "an error for each": {"alter_batch": _errors_beyond(0, -32000)},
    "an error for the surplus": {"alter_batch": _errors_beyond(1, -32005)},
    "only the first answer": {"alter_batch": lambda _, answers: answers[:1]},
    "the first answer alone": {"alter_batch": lambda _, answers: answers[0]},
    "the same id for all": {"alter_batch": lambda _, answers: [{**a, "id": 0} for a in answers]},
    "answers that are none": {"alter_batch": lambda _, answers: [1 for _ in answers]},
    "no ids": {"alter_batch": lambda _, answers: [{"jsonrpc": "2.0", "result": a["result"]} for a in answers]},
}


@pytest.mark.parametrize("fault", NO_BATCHES.values(), ids=NO_BATCHES.keys())
async def test_an_endpoint_that_does_not_answer_batches_is_asked_call_by_call_and_that_is_found_out_once(
    fault: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    async with RpcNode(FakeChain().answer) as node:
        vars(node).update(fault)
        rpc, results = await ask(node, CHAIN_ID, HEADER, times=3)
        assert results[0] == hex(31337)
        assert results[1]["number"] == hex(5_000_000)
        single = [["eth_chainId"], ["eth_getBlockByNumber"]]
        assert node.batches[0] == ["eth_chainId", "eth_getBlockByNumber"]
        assert sorted(node.batches[1:]) == sorted(single * 3)
        assert not rpc.takes_batches
    (record,) = [r for r in caplog.records if "does not answer batches" in r.message]
    assert "let it take batches of 2 calls" in record.message


async def test_ids_that_come_back_as_text_are_the_ids_that_were_sent() -> None:
    async with RpcNode(FakeChain().answer) as node:
        node.alter = lambda _, answers: [{**a, "id": str(a["id"])} for a in reversed(answers)]
        rpc, results = await ask(node, CHAIN_ID, HEADER)
        assert results[0] == hex(31337)
        assert rpc.takes_batches


@pytest.mark.parametrize("status", [401, 403, 429, 500, 503])
async def test_a_status_that_says_nothing_of_batches_is_no_reason_to_ask_more_often(status: int) -> None:
    async with RpcNode(FakeChain().answer) as node:
        node.status = status
        with pytest.raises(RpcFault):
            await ask(node, CHAIN_ID, HEADER)
        assert len(node.batches) == 1


async def test_an_endpoint_that_is_merely_broken_is_not_asked_ever_more_often() -> None:
    async with RpcNode(FakeChain().answer) as node, open_client(Outbound()) as client:
        node.alter = lambda _, answers: {"neither": "nor"}
        rpc = JsonRpc(client, node.url, 0)
        for _ in range(16):
            with pytest.raises(RpcFault, match="not the 2 answers"):
                await rpc.batch([CHAIN_ID, HEADER], 5)
        assert rpc.takes_batches
        assert sum(len(batch) == 2 for batch in node.batches) == 16
        assert sum(len(batch) == 1 for batch in node.batches) == 2 * 5  # after the 1st, 2nd, 4th, 8th and 16th
        node.alter = None
        assert (await rpc.batch([CHAIN_ID, HEADER], 5))[0] == hex(31337)


async def test_a_read_that_reverts_is_no_fault_of_the_batch() -> None:
    fake = FakeChain(has_multicall=False, reverting={"getTranscoderPoolSize()"})
    request = RpcRequest(
        "eth_call", [{"to": "0x" + fake.contracts.bonding_manager.hex(), "data": "0x" + call_data("getTranscoderPoolSize()").hex()}]
    )
    async with RpcNode(fake.answer) as node:
        rpc, results = await ask(node, CHAIN_ID, request)
        assert (results[0], str(results[1]), rpc.takes_batches) == (hex(31337), "error 3", True)
        assert len(node.batches) == 1


async def test_an_endpoint_without_batches_serves_a_whole_view() -> None:
    fake = FakeChain()
    async with RpcNode(fake.answer) as node:
        node.batch_limit = 1
        async with polling(node) as chain:
            await until(is_fresh(chain))
            assert chain.view().last_initialized_round_block_hash == fake.round_hash(7)
            before = len(node.batches)
            await until(lambda: len(node.batches) >= before + 6)
            assert all(len(batch) == 1 for batch in node.batches[before:])


async def test_calls_made_one_by_one_end_within_the_time_of_the_whole() -> None:
    async with RpcNode(FakeChain().answer) as node, open_client(Outbound()) as client:
        node.batch_limit = 1
        rpc = JsonRpc(client, node.url, 0)
        await rpc.batch([CHAIN_ID, HEADER], 5)
        node.is_hanging = True
        started = asyncio.get_running_loop().time()
        with pytest.raises(RpcFault, match=r"no answer within 0\.1 s"):
            await rpc.batch([CHAIN_ID] * 12, 0.1)
        assert asyncio.get_running_loop().time() - started < 10


async def test_a_batch_that_was_refused_keeps_its_reason_when_the_calls_alone_take_too_long() -> None:
    async with RpcNode(FakeChain().answer) as node:
        node.batch_limit, node.hangs_alone = 1, True
        async with open_client(Outbound()) as client:
            rpc = JsonRpc(client, node.url, 0)
            with pytest.raises(RpcFault, match="HTTP status 413"):
                await rpc.batch([CHAIN_ID, HEADER], 2)


async def test_a_call_that_was_made_alone_may_be_answered_in_a_list_of_one() -> None:
    async with RpcNode(FakeChain().answer) as node:
        node.batch_limit, node.alter = 0, lambda _, answers: [answers]  # a list that the node does not take apart
        assert (await ask(node, CHAIN_ID))[1] == [hex(31337)]
