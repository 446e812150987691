"""What becomes of a transaction is told as far as it is known, and garbage from an endpoint is a FundingError."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from livepeer_remote_signer.adapters.funding import FundingChain, FundingError, Prepared
from tests.fake_chain import CHAIN_ID, CONTROLLER, FakeChain
from tests.rpc_node import RpcNode

SECRET = bytes([7]) * 32
SENDER = bytes([9]) * 20
FEES = {"maxFeePerGas": 10, "maxPriorityFeePerGas": 1}
PREPARED = Prepared({"to": "0x" + "00" * 20, "value": 1, "gas": 21000, "nonce": 0, "chainId": CHAIN_ID, **FEES}, 21000, 5, 210000)
HASH = FundingChain.sign(PREPARED, SECRET).hash


class Endpoint:
    """FakeChain's contracts, and the methods that a change needs; `results` stand over both."""

    def __init__(self) -> None:
        self._chain = FakeChain()
        self.results: dict[str, Any] = {}

    async def answer(self, requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
        known: dict[str, Any] = {
            "eth_estimateGas": "0x5208",
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
    return await asyncio.to_thread(FundingChain.open, [node.url], CHAIN_ID, CONTROLLER, 0.5)


def _set(**faults: Any) -> Callable[[RpcNode], None]:
    return lambda node: [setattr(node, name, value) for name, value in faults.items()] and None


@pytest.mark.parametrize(
    "fault",
    [_set(is_hanging=True), _set(status=502), _set(cuts_answer=True), _set(raw=b"[]"), _set(raw=b"<html>")],
    ids=["late", "502", "dropped", "no answer's form", "no JSON"],
)
async def test_a_transaction_without_an_answer_may_have_arrived_and_is_named(fault: Callable[[RpcNode], None]) -> None:
    async with RpcNode(Endpoint().answer) as node:
        chain = await opened(node)
        fault(node)
        with pytest.raises(FundingError, match=f"transaction {HASH} may have arrived all the same"):
            await asyncio.to_thread(chain.send, chain.sign(PREPARED, SECRET))


async def test_a_transaction_that_the_endpoint_refuses_is_named_too() -> None:
    async with RpcNode(Endpoint().answer) as node:
        chain = await opened(node)
        node.raw = b'{"jsonrpc": "2.0", "id": 0, "error": {"code": -32000, "message": "already known"}}'
        with pytest.raises(FundingError, match=rf"already known \(transaction {HASH}\)"):
            await asyncio.to_thread(chain.send, chain.sign(PREPARED, SECRET))


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
        with pytest.raises(FundingError, match="may still be mined"):
            await asyncio.to_thread(chain.wait, HASH, 0.05, lambda _: None)
