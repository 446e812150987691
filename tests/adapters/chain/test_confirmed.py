"""Reads that callers cause: two endpoints' word, apart from the poll's quota."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import pytest

from livepeer_remote_signer.adapters.chain.endpoints import Endpoint
from livepeer_remote_signer.adapters.chain.reading import ChainUnavailable
from livepeer_remote_signer.adapters.chain.rpc import RpcChain
from livepeer_remote_signer.adapters.chain.transcoders import Transcoders
from tests.adapters.chain.test_rpc import PACE, is_fresh, polling, until
from tests.fake_chain import FakeChain
from tests.rpc_node import RpcNode

STRANGER = bytes.fromhex("77" * 20)
CALM = PACE._replace(poll=1000.0, max_age=3000.0, timeout=2.0)
"""Polls once: whatever is asked then is asked for a caller."""


@contextlib.asynccontextmanager
async def known(*chains: FakeChain) -> AsyncIterator[tuple[RpcChain, Transcoders, list[RpcNode]]]:
    """A chain whose endpoints were all believed once; what they were asked is forgotten."""
    async with contextlib.AsyncExitStack() as stack:
        nodes = [await stack.enter_async_context(RpcNode(chain.answer)) for chain in chains]
        chain = await stack.enter_async_context(polling(*nodes, pace=CALM))
        await until(is_fresh(chain))
        await until(lambda: all(e.is_healthy and e.l1_block for e in chain.status().endpoints))
        for node in nodes:
            node.batches.clear()
        yield chain, Transcoders(chain.for_callers), nodes


def asked(nodes: list[RpcNode]) -> list[int]:
    return [len(node.batches) for node in nodes]


@pytest.mark.parametrize("liar", [0, 1, 2])
async def test_one_endpoints_word_makes_nobody_a_transcoder(liar: int) -> None:
    chains = [FakeChain(transcoders={STRANGER} if place == liar else set()) for place in range(3)]
    async with known(*chains) as (_, transcoders, _nodes):
        assert await transcoders.is_transcoder(STRANGER, active=False) is False


async def test_two_that_contradict_each_other_leave_it_open() -> None:
    async with known(FakeChain(transcoders={STRANGER}), FakeChain()) as (_, transcoders, _nodes):
        with pytest.raises(ChainUnavailable, match="2 endpoints contradict each other"):
            await transcoders.is_transcoder(STRANGER, active=False)


async def test_of_three_the_one_that_the_poll_uses_is_not_asked() -> None:
    async with known(*(FakeChain(transcoders={STRANGER}) for _ in range(3))) as (chain, transcoders, nodes):
        assert chain.status().in_use == 0
        assert await transcoders.is_transcoder(STRANGER, active=True) is True
        assert asked(nodes) == [0, 1, 1]


async def test_one_that_is_left_is_enough() -> None:
    async with known(FakeChain(transcoders={STRANGER}), FakeChain()) as (_, transcoders, nodes):
        nodes[1].status = 500
        assert await transcoders.is_transcoder(STRANGER, active=False) is True
        nodes[0].is_hanging = True
        with pytest.raises(ChainUnavailable, match=r"no endpoint answered: .*HTTP status 500.*no answer within 0\.8 s"):
            await transcoders.is_transcoder(STRANGER, active=False)


async def test_too_many_requests_stop_these_reads_there_and_not_the_poll() -> None:
    async with known(FakeChain(transcoders={STRANGER})) as (chain, transcoders, nodes):
        nodes[0].status = 429
        for _ in range(5):
            with pytest.raises(ChainUnavailable):
                await transcoders.is_transcoder(STRANGER, active=False)
        assert asked(nodes) == [1]
        assert chain.status().endpoints[0].is_healthy
        nodes[0].heal()
        await chain.poll()
        assert chain.view().stale is None
        assert asked(nodes) == [2]


async def test_an_endpoint_that_is_not_believed_is_not_asked() -> None:
    lying = FakeChain(l1_block=900, transcoders={STRANGER})
    async with contextlib.AsyncExitStack() as stack:
        nodes = [await stack.enter_async_context(RpcNode(fake.answer)) for fake in (FakeChain(), FakeChain(), lying)]
        chain = await stack.enter_async_context(polling(*nodes, pace=CALM))
        await until(is_fresh(chain))
        await until(lambda: not chain.status().endpoints[2].is_healthy)
        await until(lambda: all(e.l1_block for e in chain.status().endpoints))
        nodes[2].batches.clear()
        assert await Transcoders(chain.for_callers).is_transcoder(STRANGER, active=False) is False
        assert nodes[2].batches == []


def test_an_endpoint_that_says_when_to_come_again_is_left_alone_until_then() -> None:
    one = Endpoint(None)  # type: ignore[arg-type]
    for asked_for, due_at in ((None, 105.0), (1.0, 105.0), (60.0, 160.0), (86_400.0, 400.0)):
        one.failures = 0
        one.note_failure("too many", 100.0, PACE._replace(poll=5.0, max_age=60.0), retry_after_seconds=asked_for)
        assert one.due_at == due_at


@pytest.mark.parametrize(("status", "header", "is_obeyed"), [(429, "120", True), (503, "120", True), (503, "", False), (500, "120", False)])
async def test_the_poll_obeys_retry_after(status: int, header: str, is_obeyed: bool) -> None:
    async with RpcNode(FakeChain().answer) as node, polling(node, pace=PACE._replace(poll=0.01)) as chain:
        node.status, node.retry_after = status, header
        await until(lambda: not chain.status().endpoints[0].is_healthy)
        assert ("to be asked again after 120 s" in chain.status().endpoints[0].fault) is is_obeyed
        polls, count = chain.status().polls, len(node.batches)
        await until(lambda: chain.status().polls >= polls + 30)
        assert (len(node.batches) <= count + 1) is is_obeyed
