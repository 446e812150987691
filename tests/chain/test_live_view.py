"""The live view against a real EVM: what it reads, and every fault of the endpoint in between."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from livepeer_remote_signer.adapters.chain.reading import ChainQuestion
from livepeer_remote_signer.adapters.chain.rpc import RpcChain
from livepeer_remote_signer.core.rules.chain import ChainView
from tests.adapters.chain.test_rpc import PACE, is_fresh, polling, until
from tests.chain.evm import CHAIN_ID, ETH, Anvil, Evm, Tools, running_anvil
from tests.chain.proxy import Arbitrum, arbitrum_node
from tests.rpc_node import RpcNode

SENDER = bytes.fromhex("5e" * 20)
LIVE = PACE._replace(poll=0.05, max_age=4.0, timeout=1.0)


def question(evm: Evm) -> ChainQuestion:
    return ChainQuestion(CHAIN_ID, bytes.fromhex(evm.controller.address[2:]), SENDER)


def expected(evm: Evm, **changes: Any) -> ChainView:
    values = {
        "l1_block": evm.web3.eth.block_number,
        "last_initialized_round": evm.rounds.functions.lastInitializedRound().call(),
        "last_initialized_round_block_hash": evm.round_hash,
        "deposit_wei": ETH,
        "reserve_wei": 2 * ETH,
        "transcoder_pool_size": 1,
    }
    return ChainView(**{**values, **changes})


def prepare(evm: Evm) -> None:
    evm.fund(SENDER, deposit=ETH, reserve=2 * ETH)
    evm.join(evm.web3.eth.accounts[5])


async def test_the_view_is_what_the_contracts_say_in_one_request_a_poll(evm: Evm) -> None:
    prepare(evm)
    async with arbitrum_node(evm.url) as (node, _), polling(node, question=question(evm), pace=LIVE) as chain:
        await until(is_fresh(chain))
        assert chain.view() == expected(evm)
        requests, polls = len(node.batches), chain.status().polls
        await until(lambda: chain.status().polls == polls + 20)
        assert abs(len(node.batches) - requests - 20) <= 1
        assert all(batch == ["eth_chainId", "eth_getBlockByNumber", "eth_call"] for batch in node.batches[requests:])


async def test_rounds_funds_unlock_pool_and_pause_are_followed(evm: Evm) -> None:
    prepare(evm)
    async with arbitrum_node(evm.url) as (node, _), polling(node, question=question(evm), pace=LIVE) as chain:
        await until(is_fresh(chain))
        round_ = await asyncio.to_thread(evm.next_round)
        evm.give(SENDER, ETH)
        evm.rpc("anvil_impersonateAccount", "0x" + SENDER.hex())
        await asyncio.to_thread(evm.send, evm.broker.functions.unlock(), sender=evm.web3.to_checksum_address(SENDER))
        await asyncio.to_thread(evm.join, evm.web3.eth.accounts[6])
        await asyncio.to_thread(evm.send, evm.controller.functions.pause())
        view = expected(evm, withdraw_round=round_ + 2, paused=True, transcoder_pool_size=2)
        await until(lambda: chain.view() == view)
        assert view.last_initialized_round == round_


async def test_without_multicall_and_without_the_l1_field_the_view_is_the_same(tools: Tools) -> None:
    with running_anvil(tools) as plain:
        evm = Evm(plain, tools, with_multicall=False)
        prepare(evm)
        async with polling(*[_Url(evm.url)], question=question(evm), pace=LIVE) as chain:  # type: ignore[list-item]
            await until(is_fresh(chain))
            assert chain.view() == expected(evm)


class _Url:
    def __init__(self, url: str) -> None:
        self.url = url


async def test_a_header_without_the_l1_field_never_yields_the_l2_number(evm: Evm) -> None:
    prepare(evm)
    async with arbitrum_node(evm.url) as (node, arbitrum), polling(node, question=question(evm), pace=LIVE) as chain:
        await until(is_fresh(chain))
        arbitrum.has_l1_block = False
        evm.mine(3)
        await until(lambda: chain.view().l1_block == evm.web3.eth.block_number)


async def test_a_reorganised_chain_is_followed_to_its_new_round_hash(evm: Evm) -> None:
    prepare(evm)
    async with arbitrum_node(evm.url) as (node, _), polling(node, question=question(evm), pace=LIVE) as chain:
        before = evm.rpc("evm_snapshot")
        await asyncio.to_thread(evm.next_round)
        await until(lambda: chain.view() == expected(evm))
        old = chain.view()
        evm.rpc("evm_revert", before)
        evm.mine(1)
        evm.rpc("evm_increaseTime", 77)
        await asyncio.to_thread(evm.next_round)
        await until(lambda: chain.view() == expected(evm))
        assert chain.view().last_initialized_round == old.last_initialized_round
        assert chain.view().last_initialized_round_block_hash != old.last_initialized_round_block_hash


Fault = Callable[[RpcNode, Arbitrum], object]
FAULTS: dict[str, tuple[Fault, str]] = {
    "time-out": (lambda node, _: setattr(node, "is_hanging", True), "no answer within"),
    "429": (lambda node, _: setattr(node, "status", 429), "too many requests"),
    "wrong chain id": (lambda node, _: setattr(node, "alter", _other_chain), "serves chain 1, not 31337"),
    "garbage": (lambda node, _: setattr(node, "raw", b"\x00garbage"), "not JSON"),
    "half an answer": (lambda node, _: setattr(node, "cuts_answer", True), "the connection failed"),
}


def _other_chain(requests: list[dict[str, Any]], answers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**a, "result": "0x1"} if r["method"] == "eth_chainId" else a for r, a in zip(requests, answers, strict=True)]


async def fails_closed_and_recovers(chain: RpcChain, reason: str, heal: Callable[[], object]) -> None:
    """Fresh up to the limit, then stale with the reason, then fresh again."""
    failures = chain.status().endpoints[0].failures
    await until(lambda: chain.status().endpoints[0].failures > failures)
    assert chain.view().stale is None
    await until(lambda: chain.view().stale is not None)
    stale = chain.view().stale
    assert stale is not None
    assert reason in stale.reason
    heal()
    await until(is_fresh(chain))


@pytest.mark.parametrize(("fault", "reason"), FAULTS.values(), ids=FAULTS.keys())
async def test_a_fault_is_served_through_up_to_the_limit_then_refused_then_recovered_from(evm: Evm, fault: Fault, reason: str) -> None:
    prepare(evm)
    async with arbitrum_node(evm.url) as (node, arbitrum), polling(node, question=question(evm), pace=LIVE) as chain:
        await until(is_fresh(chain))
        fault(node, arbitrum)
        await fails_closed_and_recovers(chain, reason, node.heal)


async def test_a_suspended_node_fails_closed_and_recovers(evm: Evm, anvil: Anvil) -> None:
    prepare(evm)
    async with polling(_Url(evm.url), question=question(evm), pace=LIVE) as chain:  # type: ignore[arg-type]
        await until(is_fresh(chain))
        anvil.suspend()
        try:
            await fails_closed_and_recovers(chain, "no answer within", anvil.resume)
        finally:
            anvil.resume()


async def test_a_lagging_endpoint_is_left_for_another_and_taken_back(evm: Evm) -> None:
    prepare(evm)
    async with (
        arbitrum_node(evm.url) as (first, behind),
        arbitrum_node(evm.url) as (second, _),
        polling(first, second, question=question(evm), pace=LIVE) as chain,
    ):
        await until(is_fresh(chain))
        behind.l1_ahead = -4
        await until(lambda: chain.status().in_use == 1)
        assert chain.view().l1_block == evm.web3.eth.block_number
        behind.l1_ahead = 0
        await until(lambda: chain.status().in_use == 0)
        assert chain.view().stale is None


@pytest.mark.parametrize("lie", [5, 5_000_000])
async def test_the_last_of_three_endpoints_does_not_lie_for_all(evm: Evm, lie: int) -> None:
    prepare(evm)
    async with (
        arbitrum_node(evm.url) as (first, _),
        arbitrum_node(evm.url) as (second, _),
        arbitrum_node(evm.url) as (third, lying),
        polling(first, second, third, question=question(evm), pace=LIVE) as chain,
    ):
        await until(is_fresh(chain))
        await until(lambda: all(e.is_healthy and e.l1_block for e in chain.status().endpoints))
        lying.l1_ahead = lie
        await until(lambda: "it contradicts itself" in chain.status().endpoints[2].fault)
        evm.mine(3)
        await until(lambda: chain.view() == expected(evm))
        assert chain.status().in_use == 0
