"""Who else is asked before an endpoint's word counts: poll by poll, by a clock that stands."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import pytest

from livepeer_remote_signer.adapters.chain.endpoints import Pace
from livepeer_remote_signer.adapters.chain.rpc import RpcChain
from tests.adapters.chain.test_contradictions import QUESTION as ARBITRUM
from tests.adapters.chain.test_rpc import QUESTION, until
from tests.fake_chain import FakeChain, LiveArbitrum
from tests.rpc_node import RpcNode

SLOW = Pace(poll=1.0, timeout=10, max_age=60.0, max_head_age=None)


class Stepped:
    """A chain that is polled by hand, and its nodes."""

    def __init__(self, chain: RpcChain, nodes: list[RpcNode]) -> None:
        self.chain = chain
        self.nodes = nodes
        self.now = 1000.0

    async def asked(self, *, after: float = 0.0, around: bool = False) -> list[bool]:
        """Which nodes are asked in a poll, or in a look around, so many seconds later."""
        self.now += after
        before = [len(node.batches) for node in self.nodes]
        await (self.chain.look_around() if around else self.chain.poll())
        async with asyncio.timeout(20):
            while pending := [e.asking for e in self.chain._endpoints if e.asking is not None and not e.asking.done()]:
                await asyncio.wait(pending)
        return [len(node.batches) > count for node, count in zip(self.nodes, before, strict=True)]

    @property
    def failures(self) -> list[int]:
        """Of each endpoint, since the beginning."""
        return [endpoint.failures for endpoint in self.chain.status().endpoints]


@contextlib.asynccontextmanager
async def stepped(*chains: FakeChain) -> AsyncIterator[Stepped]:
    question = ARBITRUM if isinstance(chains[0], LiveArbitrum) else QUESTION
    async with contextlib.AsyncExitStack() as stack:
        nodes = [await stack.enter_async_context(RpcNode(chain.answer)) for chain in chains]
        chain = RpcChain([node.url for node in nodes], question, SLOW, clock=lambda: one.now, wall_clock=time.time)
        one = Stepped(chain, nodes)
        try:
            yield one
        finally:
            await chain.stop()


def jump(chain: FakeChain, blocks: int) -> None:
    if isinstance(chain, LiveArbitrum):
        chain.l1_lie += blocks
    else:
        chain.l1_block += blocks


@pytest.mark.parametrize("kind", [FakeChain, LiveArbitrum])
async def test_at_the_beginning_all_are_asked_and_later_only_who_is_old_and_contradicted(kind: type[FakeChain]) -> None:
    shared = kind()
    async with stepped(shared, shared, shared) as one:
        assert await one.asked() == [True, True, True]
        assert await one.asked(after=5) == [True, False, False], "nobody contradicts"
        jump(shared, 300)
        before = one.chain.view().l1_block
        assert await one.asked(after=5) == [True, True, True]
        assert one.chain.view().l1_block >= before + 300
        assert one.failures == [0, 0, 0], "the chain jumped for all of them"


@pytest.mark.parametrize("kind", [FakeChain, LiveArbitrum])
async def test_a_word_of_the_last_second_need_not_be_said_again(kind: type[FakeChain]) -> None:
    lying, honest = kind(), kind()
    async with stepped(lying, honest, honest) as one:
        await one.asked()
        jump(lying, -60)
        assert await one.asked(after=1) == [True, True, False], "the second is asked in place of the first"
        assert one.failures == [1, 0, 0]
        assert await one.asked() == [False, True, False]
        assert one.failures == [1, 0, 0], "who is left alone fails no more often"


@pytest.mark.parametrize(("kind", "again"), [(FakeChain, True), (LiveArbitrum, False)])
async def test_the_word_of_one_that_is_not_believed_makes_nobody_be_asked_where_the_clock_can_tell(
    kind: type[FakeChain], again: bool
) -> None:
    lying, honest = kind(), kind()
    async with stepped(lying, honest, honest) as one:
        await one.asked()
        jump(lying, -60)
        await one.asked(after=1)
        assert await one.asked(after=20, around=True) == [True, again, True]
        assert one.failures == [2, 0, 0]


async def test_an_endpoint_that_has_failed_is_not_asked_for_its_word() -> None:
    shared = FakeChain()
    async with stepped(shared, shared, shared) as one:
        one.nodes[0].status = 500
        await one.asked()
        assert len(one.nodes[0].batches) == 1
        assert one.chain.view().stale is None


async def test_of_two_the_second_is_heard_before_the_first_is_believed() -> None:
    shared = FakeChain()
    async with stepped(shared, shared) as one:
        one.nodes[1].is_hanging = True
        polling = asyncio.create_task(one.chain.poll())
        await until(lambda: one.chain.status().endpoints[0].l1_block > 0 and bool(one.nodes[1].batches))
        for _ in range(20):
            await asyncio.sleep(0)
            assert one.chain.view().stale is not None
        one.nodes[1].heal()
        await polling
        assert one.chain.view().stale is None


async def test_two_that_contradict_each_other_do_not_wait_for_ever() -> None:
    async with stepped(FakeChain(), FakeChain(l1_block=5_000)) as one:
        assert await one.asked() == [True, True]
        assert one.chain.status().in_use is not None


async def test_what_two_have_said_lifts_the_line_for_one_alone() -> None:
    shared = LiveArbitrum()
    async with stepped(shared, shared) as one:
        await one.asked()
        before = one.chain.view().l1_block
        jump(shared, 8)
        await one.asked(after=5)
        one.nodes[1].status = 500
        jump(shared, 12)  # five of them are due in a minute, and ten may be ahead
        assert await one.asked(after=61) == [True, True]
        assert one.chain.view().l1_block >= before + 20
        assert one.chain.view().stale is None


async def test_a_clock_that_jumps_is_no_longer_known_to_agree_on_a_chain_where_it_stops_nothing() -> None:
    wall = [1_700_000_000.0]
    shared = FakeChain(timestamp=int(wall[0]))
    async with stepped(shared) as one:
        one.chain._host_clock._wall = lambda: wall[0]
        await one.asked()
        assert one.chain.view().clock_agrees is True
        wall[0] += 3600
        view = one.chain.view()
        assert (view.clock_agrees, view.clock_fault, view.stale) == (None, None, None)
