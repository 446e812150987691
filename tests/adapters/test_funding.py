"""What becomes of a transaction is told as far as it is known, and garbage from an endpoint is a FundingError."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from livepeer_remote_signer.adapters.funding import FundingChain, FundingError, GasTooExpensive, NotKnown, Prepared
from livepeer_remote_signer.adapters.transaction_keys import LocalTransactionKey
from tests.fake_chain import CHAIN_ID, CONTROLLER, FakeChain
from tests.rpc_node import RpcNode

SECRET = bytes([7]) * 32
SENDER = bytes([9]) * 20
FEES = {"maxFeePerGas": 10, "maxPriorityFeePerGas": 1}
PREPARED = Prepared({"to": "0x" + "00" * 20, "value": 1, "gas": 21000, "nonce": 0, "chainId": CHAIN_ID, **FEES}, 21000, 5, 210000)
SIGNED = LocalTransactionKey(bytes(20), SECRET).sign_transaction(PREPARED.transaction)
HASH = SIGNED.hash


class Endpoint:
    """FakeChain's contracts, and the methods that a change needs; `results` stand over both."""

    def __init__(self) -> None:
        self._chain = FakeChain()
        self.results: dict[str, Any] = {}

    async def answer(self, requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
        known: dict[str, Any] = {
            "eth_estimateGas": "0x5208",
            "eth_getLogs": [],
            "eth_getBlockByNumber": {"number": "0x1", "timestamp": "0x2", "baseFeePerGas": "0x3"},
            "eth_maxPriorityFeePerGas": "0x1",
            "eth_getTransactionCount": "0x0",
            "eth_sendRawTransaction": HASH,
        } | self.results
        (request,) = requests
        if request["method"] in known:
            return [{"jsonrpc": "2.0", "id": request["id"], "result": known[request["method"]]}]
        return await self._chain.answer(requests)


async def opened(node: RpcNode) -> FundingChain:
    return await asyncio.to_thread(FundingChain.open, [node.url], CHAIN_ID, CONTROLLER, 3)


def _error(message: str, code: int = -32000) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": 0, "error": {"code": code, "message": message}}).encode()


def _log(block: int) -> dict[str, Any]:
    """A winning ticket of as many wei as its block has a number."""
    word = "0x" + "00" * 32
    return {
        "address": "0x" + "0b" * 20,
        "topics": [word] * 3,
        "data": "0x" + block.to_bytes(32, "big").hex(),
        "blockNumber": hex(block),
        "blockHash": word,
        "transactionHash": word,
        "transactionIndex": "0x0",
        "logIndex": "0x0",
        "removed": False,
    }


def _set(**faults: Any) -> Callable[[RpcNode], None]:
    return lambda node: [setattr(node, name, value) for name, value in faults.items()] and None


@pytest.mark.parametrize(
    ("fault", "doubt"),
    [
        (_set(is_hanging=True), "the connection failed: it did not answer in time"),
        (_set(status=502), "HTTP status 502"),
        (_set(status=429), "HTTP status 429"),
        (_set(cuts_answer=True), "the connection failed"),
        (_set(raw=b"[]"), "an answer that is not"),
        (_set(raw=b"<html>"), ""),
        (_set(raw=_error("already known")), "already known"),
        (_set(raw=_error("nonce too low")), "nonce too low"),
        (_set(raw=_error("too many requests", -32005)), "too many requests"),
        (_set(raw=_error("something new")), "something new"),
    ],
)
async def test_a_transaction_that_was_not_clearly_taken_may_have_arrived(fault: Callable[[RpcNode], None], doubt: str) -> None:
    async with RpcNode(Endpoint().answer) as node:
        chain = await opened(node)
        fault(node)
        said = await asyncio.to_thread(chain.send, SIGNED)
        assert said
        assert doubt in said


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("insufficient funds for gas * price + value", -32000),
        ("intrinsic gas too low", -32000),
        ("transaction underpriced", -32000),
        ("max fee per gas less than block base fee", -32000),
        ("the method does not exist", -32601),
    ],
)
async def test_a_transaction_that_the_endpoint_clearly_refuses_is_a_failure_unless_it_is_there(message: str, code: int) -> None:
    endpoint = Endpoint()
    async with RpcNode(endpoint.answer) as node:
        chain = await opened(node)
        endpoint.results.update({"eth_getTransactionReceipt": None, "eth_getTransactionByHash": None})
        node.alter = lambda requests, answers: (
            [json.loads(_error(message, code))] if requests[0]["method"] == "eth_sendRawTransaction" else answers
        )
        with pytest.raises(FundingError, match=rf"{re.escape(message)} \(transaction {HASH}\): it was not taken"):
            await asyncio.to_thread(chain.send, SIGNED)
        endpoint.results["eth_getTransactionReceipt"] = {"status": "0x1", "blockNumber": "0x7"}
        assert message in await asyncio.to_thread(chain.send, SIGNED)


async def test_a_transaction_that_was_taken_leaves_no_doubt() -> None:
    async with RpcNode(Endpoint().answer) as node:
        chain = await opened(node)
        assert await asyncio.to_thread(chain.send, SIGNED) == ""


@pytest.mark.parametrize(
    ("missing", "fees", "price"),
    [
        ((), {"maxFeePerGas": 2 * 3 + 1, "maxPriorityFeePerGas": 1}, 4),
        (("eth_maxPriorityFeePerGas",), {"maxFeePerGas": 2 * 3 + 6, "maxPriorityFeePerGas": 6}, 9),
        (("eth_maxPriorityFeePerGas", "eth_feeHistory"), {"gasPrice": 11}, 11),
    ],
)
async def test_the_price_of_gas_is_found_by_whatever_the_endpoint_has(missing: tuple[str, ...], fees: dict[str, int], price: int) -> None:
    endpoint = Endpoint()
    async with RpcNode(endpoint.answer) as node:
        chain = await opened(node)
        endpoint.results.update({"eth_feeHistory": {"oldestBlock": "0x1", "reward": [["0x5"], ["0x6"]]}, "eth_gasPrice": "0xb"})
        node.alter = lambda requests, answers: (
            [json.loads(_error("the method does not exist", -32601))] if requests[0]["method"] in missing else answers
        )
        prepared = await asyncio.to_thread(chain.prepare, SENDER, "unlock")
    assert prepared.gas_price_wei == price
    assert {name: prepared.transaction[name] for name in fees} == fees
    assert ("gasPrice" in prepared.transaction) is ("gasPrice" in fees)


@pytest.mark.parametrize(("most", "fees"), [(100, (7, 1)), (5, (5, 1)), (4, (4, 1)), (3, None)])
async def test_gas_costs_no_more_than_is_allowed(most: int, fees: tuple[int, int] | None) -> None:
    async with RpcNode(Endpoint().answer) as node:
        chain = await opened(node)
        if fees is None:
            with pytest.raises(GasTooExpensive, match=r"gas costs 0 gwei now, --max-gas-price is 0 gwei"):
                await asyncio.to_thread(chain.prepare, SENDER, "unlock", max_gas_price_wei=most)
            return
        prepared = await asyncio.to_thread(chain.prepare, SENDER, "unlock", max_gas_price_wei=most)
    assert (prepared.transaction["maxFeePerGas"], prepared.transaction["maxPriorityFeePerGas"]) == fees
    assert prepared.max_cost_wei == prepared.transaction["gas"] * fees[0]


@pytest.mark.parametrize("limit", [1, 2, 10, 1000, None])
async def test_events_are_found_however_few_blocks_the_endpoint_takes_at_a_time(limit: int | None) -> None:
    asked: list[int] = []

    async def answer(requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
        (request,) = requests
        if request["method"] == "eth_getBlockByNumber":
            number = 100 if request["params"][0] == "latest" else int(request["params"][0], 16)
            return [{"id": request["id"], "jsonrpc": "2.0", "result": {"number": hex(number), "timestamp": hex(number * 60)}}]
        if request["method"] != "eth_getLogs":
            return await FakeChain().answer(requests)
        first, last = (int(request["params"][0][key], 16) for key in ("fromBlock", "toBlock"))
        asked.append(last - first + 1)
        if limit is not None and last - first + 1 > limit:
            return [{"id": request["id"], "jsonrpc": "2.0", "error": {"code": -32005, "message": f"at most {limit} blocks"}}]
        logs = [_log(block) for block in range(first, last + 1) if block % 7 == 0]
        return [{"id": request["id"], "jsonrpc": "2.0", "result": logs}]

    async with RpcNode(answer) as node:
        chain = await opened(node)
        burn = await asyncio.to_thread(chain.read_burn, SENDER)
    blocks = [block for block in range(40, 101) if block % 7 == 0]
    assert (burn.redeemed_wei, burn.tickets) == (sum(blocks), len(blocks))
    taken = [size for size in asked if limit is None or size <= limit]
    assert sum(taken) == 61
    assert len(asked) - len(taken) <= 6, "a size that was refused is not asked for again"


async def test_an_endpoint_that_refuses_even_one_block_or_wants_too_many_requests_is_a_funding_error() -> None:
    async with RpcNode(Endpoint().answer) as node:
        chain = await opened(node)
        node.raw = _error("no logs here")
        with pytest.raises(FundingError, match="no logs here"):
            await asyncio.to_thread(chain._redeemed, SENDER, 1, 64)
        with pytest.raises(FundingError, match=r"takes \d+ blocks at a time, more than 4096 requests are needed"):
            await asyncio.to_thread(chain._redeemed, SENDER, 1, 1_000_000)
        node.raw, node.status = None, 429
        count = len(node.batches)
        with pytest.raises(FundingError, match="429"):
            await asyncio.to_thread(chain._redeemed, SENDER, 1, 64)
        assert len(node.batches) == count + 1


async def test_compressed_answers_are_not_asked_for() -> None:
    async with RpcNode(Endpoint().answer) as node:
        await opened(node)
        assert {line for head in node.heads for line in head.split("\r\n") if line.startswith("accept-encoding")} == {
            "accept-encoding: identity"
        }


async def test_a_change_is_prepared_from_good_answers() -> None:
    async with RpcNode(Endpoint().answer) as node:
        chain = await opened(node)
        prepared = await asyncio.to_thread(chain.prepare, SENDER, "unlock")
    assert (prepared.gas, prepared.gas_price_wei, prepared.transaction["nonce"]) == (21000, 4, 0)


@pytest.mark.parametrize("garbage", [None, [], {}, "zz", "0x-1", True])
@pytest.mark.parametrize("method", ["eth_estimateGas", "eth_getBlockByNumber", "eth_maxPriorityFeePerGas", "eth_getTransactionCount"])
async def test_garbage_while_a_change_is_prepared_is_a_funding_error(method: str, garbage: Any) -> None:
    endpoint = Endpoint()
    async with RpcNode(endpoint.answer) as node:
        chain = await opened(node)
        endpoint.results[method] = garbage
        if (method, garbage) == ("eth_getBlockByNumber", {}):
            endpoint.results["eth_gasPrice"] = garbage
        with pytest.raises(FundingError):
            await asyncio.to_thread(chain.prepare, SENDER, "unlock")


@pytest.mark.parametrize("raw", [b"[]", b'"x"', b"null", b"1", b"{}", b"\xff\xfe", b""])
async def test_an_answer_of_any_form_is_a_funding_error(raw: bytes) -> None:
    async with RpcNode(Endpoint().answer) as node:
        chain = await opened(node)
        node.raw = raw
        with pytest.raises(FundingError):
            await asyncio.to_thread(chain.read_funds, SENDER)
        with pytest.raises(FundingError):
            await asyncio.to_thread(chain.read_burn, SENDER)
        with pytest.raises(FundingError, match="no RPC endpoint can be used"):
            await opened(node)


@pytest.mark.parametrize("receipt", [{}, [], "x", {"status": None, "blockNumber": None}])
async def test_a_receipt_that_is_none_is_waited_on(receipt: Any) -> None:
    endpoint = Endpoint()
    async with RpcNode(endpoint.answer) as node:
        chain = await opened(node)
        endpoint.results["eth_getTransactionReceipt"] = receipt
        with pytest.raises(NotKnown, match="may have arrived and may still be mined"):
            await asyncio.to_thread(chain.wait, HASH, 0.05, lambda _: None)
