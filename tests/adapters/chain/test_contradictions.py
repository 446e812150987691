"""Endpoints that contradict one another, over real sockets: whom the view follows, what is logged, how it recovers."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from fractions import Fraction

import pytest

from livepeer_remote_signer.adapters.chain.endpoints import Pace
from livepeer_remote_signer.adapters.chain.reading import ChainQuestion
from livepeer_remote_signer.adapters.chain.rpc import RpcChain
from livepeer_remote_signer.adapters.price_feed import PriceFeed
from livepeer_remote_signer.core.protocol import arbitrum_one
from tests.adapters.chain.test_rpc import PACE, is_fresh, polling, until
from tests.fake_chain import CONTROLLER, FEED, FakeChain, LiveArbitrum
from tests.rpc_node import RpcNode

QUESTION = ChainQuestion(arbitrum_one.CHAIN_ID, CONTROLLER, bytes.fromhex("5e" * 20))
LIVE = PACE._replace(poll=0.05, timeout=2, max_age=4.0, max_head_age=300.0)


@contextlib.asynccontextmanager
async def arbitrum(
    *chains: FakeChain, feed: PriceFeed | None = None, hanging: int | None = None, pace: Pace = LIVE
) -> AsyncIterator[tuple[RpcChain, list[RpcNode]]]:
    async with contextlib.AsyncExitStack() as stack:
        nodes = [await stack.enter_async_context(RpcNode(chain.answer)) for chain in chains]
        if hanging is not None:
            nodes[hanging].is_hanging = True
        chain = await stack.enter_async_context(polling(*nodes, question=QUESTION, pace=pace, rider=feed))
        yield chain, nodes


async def holds(chain: RpcChain, nodes: list[RpcNode], in_use: int, l1_block: range) -> None:
    """The view stays good and true while every endpoint is asked some times more."""
    counts = [len(node.batches) for node in nodes]
    async with asyncio.timeout(20):
        while any(len(node.batches) < count + 2 for node, count in zip(nodes, counts, strict=True)):
            view = chain.view()
            assert view.stale is None
            assert view.l1_block in l1_block
            await asyncio.sleep(0.01)
    assert chain.status().in_use == in_use


@pytest.mark.parametrize(("liar", "lie"), [(0, 5), (1, -60), (2, 5_000_000)])
async def test_of_three_the_one_that_lies_is_not_believed_wherever_it_stands(liar: int, lie: int) -> None:
    chains = [LiveArbitrum(first_l1_block=9_000_000) for _ in range(3)]
    chains[liar].l1_lie = lie
    async with arbitrum(*chains) as (chain, nodes):
        await until(is_fresh(chain))
        await until(lambda: "as 2 of 3 endpoints have it" in chain.status().endpoints[liar].fault)
        await holds(chain, nodes, 1 if liar == 0 else 0, range(9_000_000, 9_000_004))
        chains[liar].l1_lie = 0
        await until(lambda: chain.status().endpoints[liar].is_healthy)
        await until(lambda: chain.status().in_use == 0)


@pytest.mark.parametrize("liar", [0, 2])
@pytest.mark.parametrize(
    ("lie", "said"),
    [
        ({"deposit": 0}, "its deposit is 0, and 2 of 3 endpoints have 1000000000000000000"),
        ({"deposit": 10**24}, "its deposit is 1000000000000000000000000, and 2 of 3"),
        ({"reserve": 0}, "its reserve is 0, and 2 of 3"),
        ({"withdraw_round": 8}, "its withdrawRound is 8, and 2 of 3 endpoints have 0"),
        ({"paused": True}, "its Controller.paused is True, and 2 of 3 endpoints have False"),
        ({"round": 8}, "its lastInitializedRound is 8, and 2 of 3 endpoints have 7"),
        ({"round_lie": b"x"}, "its blockHashForRound is "),
    ],
    ids=str,
)
async def test_of_three_one_that_lies_about_the_contracts_alone_is_not_believed_and_one_that_is_first_to_know_is_followed(
    liar: int, lie: dict[str, object], said: str
) -> None:
    chains = [LiveArbitrum(first_l1_block=9_000_000) for _ in range(3)]
    async with arbitrum(*chains) as (chain, nodes):
        await until(is_fresh(chain))
        honest = chain.view()
        vars(chains[liar]).update(lie)
        await until(lambda: said in chain.status().endpoints[liar].fault)
        await until(lambda: chain.status().in_use == (1 if liar == 0 else 0))
        await holds(chain, nodes, 1 if liar == 0 else 0, range(9_000_000, 9_000_004))
        assert replace(chain.view(), l1_block=honest.l1_block) == honest
        for other in chains:
            vars(other).update(lie)
        await until(lambda: chain.status().in_use == 0 and all(e.is_healthy for e in chain.status().endpoints))
        assert replace(chain.view(), l1_block=honest.l1_block) != honest


async def test_funds_that_move_are_no_contradiction_and_of_two_the_first_is_believed() -> None:
    chains = [LiveArbitrum(deposit=10**18 + more) for more in (0, 10**18, 5 * 10**17)]
    async with arbitrum(*chains) as (chain, nodes):
        await until(is_fresh(chain))
        await until(lambda: all(e.is_healthy and e.l1_block for e in chain.status().endpoints))
        assert chain.status().in_use == 0
    async with arbitrum(LiveArbitrum(deposit=0), LiveArbitrum()) as (chain, nodes):
        await until(is_fresh(chain))
        for node in nodes:
            count = len(node.batches)
            await until(lambda node=node, count=count: len(node.batches) > count + 2)  # type: ignore[misc]
        assert (chain.status().in_use, chain.view().deposit_wei) == (0, 0)


@pytest.mark.parametrize(("liar", "lie"), [(0, 5_000_000), (1, 5)])
async def test_of_two_that_were_one_the_one_that_leaves_the_clock_is_not_believed(liar: int, lie: int) -> None:
    chains = [LiveArbitrum(first_l1_block=9_000_000) for _ in range(2)]
    async with arbitrum(*chains) as (chain, nodes):
        await until(lambda: all(e.is_healthy and e.l1_block for e in chain.status().endpoints))
        chains[liar].l1_lie = lie
        await until(lambda: "nearer to the 9000000 that the clock expects" in chain.status().endpoints[liar].fault)
        await holds(chain, nodes, 1 - liar, range(9_000_000, 9_000_004))


async def test_one_alone_that_leaves_the_clock_makes_the_view_stale_with_the_reason_and_is_believed_again_when_it_returns() -> None:
    fake = LiveArbitrum(first_l1_block=9_000_000)
    async with arbitrum(fake, pace=LIVE._replace(max_age=1.0)) as (chain, _):
        await until(is_fresh(chain))
        fake.l1_lie = 60
        await until(lambda: chain.view().stale is not None)
        stale = chain.view().stale
        assert stale is not None
        assert "its L1 block 9000060 is more than 10 ahead of 9000000" in stale.reason
        fake.l1_lie = 0
        await until(is_fresh(chain))
        assert chain.view().l1_block < 9_000_010


async def test_a_header_that_contradicts_the_contracts_is_not_believed_on_any_chain() -> None:
    honest, lying = FakeChain(), FakeChain(l1_block=705, block_num=700)
    async with RpcNode(honest.answer) as first, RpcNode(lying.answer) as second, polling(first, second) as chain:
        await until(lambda: "it contradicts itself" in chain.status().endpoints[1].fault)
        await until(lambda: chain.status().in_use is not None)
        assert (chain.status().in_use, chain.view().l1_block) == (0, 700)


async def test_a_chain_that_jumps_is_followed_by_all_three_together() -> None:
    shared = FakeChain()
    async with RpcNode(shared.answer) as a, RpcNode(shared.answer) as b, RpcNode(shared.answer) as c, polling(a, b, c) as chain:
        for block in (1000, 5_001_000, 20):
            shared.l1_block = block
            await until(lambda block=block: chain.view().l1_block == block and chain.view().stale is None)  # type: ignore[misc]


async def test_at_the_beginning_nobody_is_believed_before_the_others_were_heard() -> None:
    lying = LiveArbitrum(first_l1_block=9_000_000, l1_lie=5_000_000)
    honest = [LiveArbitrum(first_l1_block=9_000_000) for _ in range(2)]
    async with arbitrum(lying, *honest, hanging=1, pace=LIVE._replace(max_age=30.0, timeout=10)) as (chain, nodes):
        nodes[2].is_hanging = True
        await until(lambda: chain.status().endpoints[0].l1_block >= 14_000_000)
        for _ in range(20):
            await asyncio.sleep(0)
            assert chain.view().stale is not None
        for node in nodes[1:]:
            node.heal()
        await until(is_fresh(chain))
        assert chain.view().l1_block < 9_000_010


async def test_at_the_beginning_two_that_agree_do_not_wait_for_a_third_that_hangs() -> None:
    chains = [LiveArbitrum() for _ in range(3)]
    async with arbitrum(*chains, hanging=2) as (chain, _):
        started = asyncio.get_running_loop().time()
        await until(is_fresh(chain))
        assert asyncio.get_running_loop().time() - started < LIVE.request_timeout


async def test_a_lie_that_goes_on_is_told_once_and_another_one_again(caplog: pytest.LogCaptureFixture) -> None:
    chains = [LiveArbitrum() for _ in range(3)]
    async with arbitrum(*chains) as (chain, _):
        await until(lambda: all(e.is_healthy and e.l1_block for e in chain.status().endpoints))
        for lie, told in ((60, 1), (61, 1), (5_000_000, 1), (-60, 2)):
            chains[2].l1_lie = lie
            seen = chain.status().endpoints[2].failures
            await until(lambda seen=seen: chain.status().endpoints[2].failures > seen + 1)  # type: ignore[misc]
            assert len([r for r in caplog.records if "rpc[2]" in r.message and "is not believed" in r.message]) == told


async def test_an_endpoint_that_lies_is_asked_no_more_often_and_makes_nobody_else_be_asked_more_often() -> None:
    chains = [LiveArbitrum() for _ in range(3)]
    chains[2].l1_lie = 60
    async with arbitrum(*chains) as (chain, nodes):
        await until(lambda: "endpoints have it" in chain.status().endpoints[2].fault)
        loop = asyncio.get_running_loop()
        before, polls, started = [len(node.batches) for node in nodes], chain.status().polls, loop.time()
        await until(lambda: chain.status().polls >= polls + 40, 60)
        asked = [len(node.batches) - count for node, count in zip(nodes, before, strict=True)]
        polls, seconds = chain.status().polls - polls, loop.time() - started
    assert asked[0] <= polls + 2, "the one in use is asked once a poll"
    assert asked[1] <= seconds / LIVE.standby + 2, "a standby is asked at its own pace"


async def test_the_price_of_a_lying_endpoint_is_not_taken_and_a_jump_that_two_confirm_is() -> None:
    chains = [LiveArbitrum() for _ in range(3)]
    feed = PriceFeed(FEED, 5400)
    chains[0].feed_lie = Fraction(1, 1_000_000)
    async with arbitrum(*chains, feed=feed) as (chain, nodes):
        await until(lambda: feed.rate() is not None)
        await holds(chain, nodes, 0, range(24_000_000, 24_000_004))
        rate = feed.rate()
        assert rate is not None
        assert rate.per_eth == 3000
        chains[1].usd = chains[2].usd = 30_000
        await until(lambda: feed.rate().per_eth == 30_000)  # type: ignore[union-attr]


async def test_the_clock_is_wrong_when_the_blocks_of_all_endpoints_are_of_the_future_and_right_again_with_them() -> None:
    chains = [LiveArbitrum() for _ in range(2)]
    async with arbitrum(*chains) as (chain, _):
        await until(lambda: chain.view().clock_agrees is True)
        for fake in chains:
            fake.seconds_lie = 3600
        await until(lambda: chain.view().clock_fault is not None)
        view = chain.view()
        assert (view.clock_agrees, view.stale) == (False, None)
        assert view.clock_fault is not None
        assert view.clock_fault.ahead_seconds == pytest.approx(-3600, abs=20)
        assert "behind the newest blocks of all RPC endpoints, the limit is 30 s" in view.clock_fault.reason
        for fake in chains:
            fake.seconds_lie = 0
        await until(lambda: chain.view().clock_agrees is True)
        assert chain.view().clock_fault is None


async def test_the_clock_is_wrong_when_heads_move_an_hour_behind_it() -> None:
    chains = [LiveArbitrum(seconds_lie=-3600) for _ in range(2)]
    async with arbitrum(*chains) as (chain, _):
        await until(lambda: chain.view().stale is None and chain.view().clock_fault is not None)
        fault = chain.view().clock_fault
        assert fault is not None
        assert "ahead of the newest blocks" in fault.reason


async def test_a_head_that_stands_still_is_no_fault_of_the_clock() -> None:
    fake = LiveArbitrum(seconds_lie=-3600)
    async with arbitrum(fake) as (chain, nodes):
        fake.number, fake.timestamp, fake.is_standing = 5, 1_700_000_000, True
        await until(lambda: "its head stands at block" in chain.status().endpoints[0].fault and len(nodes[0].batches) > 8)
        view = chain.view()
        assert (view.clock_fault, view.stale is None) == (None, False)


async def test_one_endpoint_that_dates_its_blocks_ahead_is_not_believed_while_another_agrees_with_the_clock() -> None:
    chains = [LiveArbitrum(seconds_lie=3600), LiveArbitrum()]
    async with arbitrum(*chains) as (chain, _):
        await until(lambda: "ahead of this host's clock, which agrees with rpc[1]" in chain.status().endpoints[0].fault)
        await until(lambda: chain.status().in_use == 1)
        assert chain.view().clock_fault is None


async def test_a_clock_that_jumps_stops_payments_before_the_next_reading() -> None:
    clock = Wall()
    fake = LiveArbitrum()
    async with RpcNode(fake.answer) as node:
        chain = RpcChain([node.url], QUESTION, LIVE, wall_clock=clock)
        await chain.poll()
        assert (chain.view().clock_agrees, chain.view().clock_fault) == (True, None)
        clock.ahead = 3600
        fault = chain.view().clock_fault
        assert fault is not None
        assert "has jumped by 3600 s" in fault.reason
        clock.ahead = 0
        assert (chain.view().clock_agrees, chain.view().clock_fault) == (True, None)
        await chain.stop()


class Wall:
    """The time of day, that a test sets wrong."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead
