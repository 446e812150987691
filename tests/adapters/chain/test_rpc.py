"""The poller over real sockets against a chain in memory: what it serves, what it refuses, how it recovers."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest

from livepeer_remote_signer.adapters.chain.abi import Call, call_data
from livepeer_remote_signer.adapters.chain.endpoints import Pace
from livepeer_remote_signer.adapters.chain.json_rpc import RpcError, RpcFault
from livepeer_remote_signer.adapters.chain.reading import ChainQuestion, parse_reads
from livepeer_remote_signer.adapters.chain.rpc import ChainUnavailable, RpcChain
from livepeer_remote_signer.adapters.outbound import Outbound
from livepeer_remote_signer.adapters.price_feed import PriceFeed
from livepeer_remote_signer.core.rules.chain import ChainView
from tests.fake_chain import CHAIN_ID, CONTRACTS, CONTROLLER, FEED, FakeChain
from tests.outbound import proxying
from tests.rpc_node import RpcNode, answer_of

SENDER = bytes.fromhex("5e" * 20)
QUESTION = ChainQuestion(CHAIN_ID, CONTROLLER, SENDER)
PACE = Pace(poll=0.02, timeout=1.0, max_age=3.0, max_head_age=None)
SECRET = "s3cr3t-api-key"


async def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    """Waits for `condition`, and fails when it does not come."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - the condition is another task's plain value
            await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def polling(*nodes: RpcNode, question: ChainQuestion = QUESTION, pace: Pace = PACE, **kwargs: object) -> AsyncIterator[RpcChain]:
    chain = RpcChain([node.url for node in nodes], question, pace, **kwargs)  # type: ignore[arg-type]
    await chain.start()
    try:
        yield chain
    finally:
        await chain.stop()


def is_fresh(chain: RpcChain) -> Callable[[], bool]:
    return lambda: chain.view().stale is None


def stale_reason(chain: RpcChain) -> str:
    stale = chain.view().stale
    return stale.reason if stale else ""


async def test_a_reading_has_every_value_and_the_l1_block_of_the_header() -> None:
    fake = FakeChain(withdraw_round=9, paused=True)
    async with RpcNode(fake.answer) as node, polling(node) as chain:
        await until(is_fresh(chain))
        assert chain.view() == ChainView(700, 7, fake.round_hash(7), 10**18, 2 * 10**18, 9, True, 3)
        assert chain.contracts == CONTRACTS


@pytest.mark.parametrize(("field", "expected"), [("0x2bc", 700), (701, 701), (None, 698), ("0x0", 698), ("", 698), ("0x", 698)])
async def test_the_l1_block_is_hex_or_a_number_or_the_rounds_managers(field: object, expected: int) -> None:
    async with RpcNode(FakeChain(l1_block=field, block_num=698).answer) as node, polling(node) as chain:
        await until(is_fresh(chain))
        assert chain.view().l1_block == expected


async def test_without_multicall_plain_calls_in_the_same_batch_say_the_same() -> None:
    fake = FakeChain(has_multicall=False)
    async with RpcNode(fake.answer) as node, polling(node) as chain:
        await until(is_fresh(chain))
        assert chain.view() == ChainView(700, 7, fake.round_hash(7), 10**18, 2 * 10**18, 0, False, 3)
        assert len(node.batches[-1]) > 5


async def test_no_batch_has_more_than_three_requests_where_there_is_multicall() -> None:
    feed = PriceFeed(FEED, 5400, wall_clock=lambda: 1_800_000_000.0)
    async with RpcNode(FakeChain().answer) as node, polling(node, rider=feed) as chain:
        await until(is_fresh(chain))
        assert node.batches[0] == ["eth_chainId", "eth_getCode"]
        assert max(map(len, node.batches)) == 3


async def test_a_poll_is_one_request_also_when_the_round_moves_on() -> None:
    fake = FakeChain()
    async with RpcNode(fake.answer) as node, polling(node, pace=PACE._replace(poll=0.05)) as chain:
        await until(is_fresh(chain))
        requests, polls = len(node.batches), chain.status().polls
        fake.round += 1
        await until(lambda: chain.view().last_initialized_round == 8)
        await until(lambda: chain.status().polls >= polls + 6)
        assert len(node.batches) - requests in (
            chain.status().polls - polls,
            chain.status().polls - polls + 1,
            chain.status().polls - polls - 1,
        )
        assert node.batches[-1] == ["eth_chainId", "eth_getBlockByNumber", "eth_call"]
        assert chain.view().last_initialized_round_block_hash == fake.round_hash(8)


async def test_a_round_far_ahead_and_moved_contracts_are_followed() -> None:
    fake = FakeChain()
    async with RpcNode(fake.answer) as node, polling(node) as chain:
        await until(is_fresh(chain))
        fake.round = 4012
        fake.contracts = CONTRACTS._replace(ticket_broker=bytes.fromhex("77" * 20))
        await until(lambda: chain.view().last_initialized_round == 4012)
        assert chain.view().last_initialized_round_block_hash == fake.round_hash(4012)
        await until(lambda: chain.contracts == fake.contracts)
        assert chain.view().stale is None


async def test_a_reading_too_old_is_stale_with_reason_and_recovers_by_itself() -> None:
    async with RpcNode(FakeChain().answer) as node, polling(node) as chain:
        await until(is_fresh(chain))
        node.is_hanging = True
        await until(lambda: chain.view().stale is not None)
        stale = chain.view().stale
        assert stale is not None
        assert stale.age_seconds is not None
        assert stale.age_seconds > stale.limit_seconds == PACE.max_age
        assert "no answer within" in stale.reason
        node.heal()
        await until(is_fresh(chain))
        assert chain.status().endpoints[0].failures > 0


async def test_age_counts_from_the_moment_the_request_was_sent() -> None:
    async with RpcNode(FakeChain().answer) as node:
        now = 100.0

        def answer_late(_: object, answers: object) -> object:
            nonlocal now
            now += 0.3
            return answers

        chain = RpcChain([node.url], QUESTION, PACE, clock=lambda: now)
        node.alter = answer_late
        await chain.poll()
        age = chain.status().age_seconds
        assert age == pytest.approx(0.3)
        await chain.stop()


async def test_before_the_first_reading_the_view_is_stale_without_an_age() -> None:
    async with RpcNode(FakeChain().answer) as node:
        chain = RpcChain([node.url], QUESTION, PACE)
        stale = chain.view().stale
        assert stale is not None
        assert (stale.reason, stale.age_seconds) == ("no reading yet", None)
        assert chain.contracts is None
        assert chain.status().polls == 0
        await chain.stop()


Fault = Callable[[RpcNode, FakeChain], None]


def _refuse_calls(_: object, answers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"id": a["id"], "error": {"code": -32000, "message": SECRET}} for a in answers]


def _set(**values: object) -> Fault:
    def apply(node: RpcNode, _: FakeChain) -> None:
        for name, value in values.items():
            setattr(node, name, value)

    return apply


def _change(**values: object) -> Fault:
    def apply(_: RpcNode, chain: FakeChain) -> None:
        for name, value in values.items():
            setattr(chain, name, value)

    return apply


FAULTS: dict[str, tuple[Fault, str]] = {
    "time-out": (_set(is_hanging=True), "no answer within"),
    "429": (_set(status=429), "too many requests (429)"),
    "server error": (_set(status=502), "HTTP status 502"),
    "redirect": (_set(status=302), "HTTP status 302"),
    "wrong chain id": (_change(chain_id=1), "serves chain 1, not 31337"),
    "garbage": (_set(raw=b"<html>hello</html>"), "not JSON"),
    "nested garbage": (_set(raw=b"[" * 100_000), "not the 3 answers"),
    "other JSON": (_set(raw=b'{"a": 1}'), "not the 3 answers"),
    "error for the batch": (_set(raw=b'{"error": {"code": -32005, "message": "s3cr3t-api-key"}}'), "error -32005 for the whole batch"),
    "half an answer": (_set(cuts_answer=True), "the connection failed"),
    "half a batch": (_set(alter=lambda _, answers: answers[:-1]), "not the 3 answers"),
    "doubled answer": (_set(alter=lambda _, answers: [answers[0], answers[0], answers[2]]), "other calls"),
    "calls refused": (_set(alter=_refuse_calls), "error -32000"),
    "a compressed answer": (_set(encoding="gzip"), "a compressed answer"),
    "no header": (
        _set(alter=lambda rs, answers: answer_of(rs, answers, "eth_getBlockByNumber").update(result=None) or answers),
        "no block",
    ),
    "short call data": (
        _set(alter=lambda rs, answers: answer_of(rs, answers, "eth_call").update(result="0x00") or answers),
        "no list of results",
    ),
    "garbled L1 block": (_change(l1_block="12", block_num=12), "l1BlockNumber is not a number"),
    "no L1 block": (_change(l1_block=None, block_num=0), "names an L1 block"),
    "contracts gone": (_change(contracts=CONTRACTS._replace(rounds_manager=bytes(20))), "names no contract"),
    "a read that reverts": (_change(reverting={"getSenderInfo(address)"}), "getSenderInfo reverted"),
    "a huge answer": (_set(raw=b" " * 3_000_000), "more than 2097152 bytes"),
}


@pytest.mark.parametrize(("fault", "reason"), FAULTS.values(), ids=FAULTS.keys())
async def test_every_fault_is_served_through_then_refused_then_recovered_from(
    fault: Fault, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    fake = FakeChain()
    caplog.set_level(logging.DEBUG)
    async with RpcNode(fake.answer, path=f"/v2/{SECRET}?token={SECRET}") as node, polling(node) as chain:
        await until(is_fresh(chain))
        before = replace(fake)
        fault(node, fake)
        failed = chain.status().endpoints[0].failures
        await until(lambda: chain.status().endpoints[0].failures > failed and reason in chain.status().endpoints[0].fault)
        assert chain.view().stale is None
        await until(lambda: chain.view().stale is not None)
        assert chain.status().endpoints[0].fault in stale_reason(chain)
        assert SECRET not in repr(chain.status()) + repr(chain)
        node.heal()
        fake.__dict__.update(before.__dict__)
        await until(is_fresh(chain))
    assert SECRET not in caplog.text


async def test_the_second_endpoint_takes_over_and_the_first_is_taken_back() -> None:
    fake = FakeChain()
    async with RpcNode(fake.answer) as first, RpcNode(fake.answer) as second, polling(first, second) as chain:
        await until(is_fresh(chain))
        first.is_hanging = True
        await until(lambda: chain.status().in_use == 1)
        assert chain.view().stale is None
        first.heal()
        await until(lambda: chain.status().in_use == 0)
        assert chain.view().stale is None


async def test_a_hanging_first_endpoint_never_makes_the_view_stale_while_another_answers() -> None:
    fake = FakeChain()
    async with RpcNode(fake.answer) as first, RpcNode(fake.answer) as second, polling(first, second) as chain:
        await until(is_fresh(chain))
        first.is_hanging = True
        end = asyncio.get_running_loop().time() + 2 * PACE.max_age
        while asyncio.get_running_loop().time() < end:
            assert chain.view().stale is None
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(("lag", "expected"), [(3, 0), (4, 1)])
async def test_an_endpoint_more_than_three_l1_blocks_behind_another_is_not_trusted(lag: int, expected: int) -> None:
    behind, ahead = FakeChain(l1_block=1000 - lag), FakeChain(l1_block=1000)
    async with RpcNode(behind.answer) as first, RpcNode(ahead.answer) as second, polling(first, second) as chain:
        await until(lambda: len(second.batches) > 3 and len(first.batches) > 3)
        await until(lambda: chain.status().in_use == expected)
        if expected:
            await until(lambda: "is more than 3 behind 1000 of rpc[1]" in chain.status().endpoints[0].fault)
            behind.l1_block = 1001
            await until(lambda: chain.status().in_use == 0)


async def test_a_lagging_endpoint_is_not_trusted_although_the_other_one_just_failed() -> None:
    behind, ahead = FakeChain(l1_block=990), FakeChain(l1_block=1000)
    async with RpcNode(behind.answer) as first, RpcNode(ahead.answer) as second, polling(first, second) as chain:
        await until(lambda: chain.status().in_use == 1)
        second.status = 503
        await until(lambda: chain.view().stale is not None)
        assert chain.view().l1_block == 1000


async def test_a_head_that_stands_still_has_its_own_limit() -> None:
    fake = FakeChain(timestamp=2_000_000_000)
    pace = PACE._replace(max_head_age=0.3)
    async with RpcNode(fake.answer) as node, polling(node, pace=pace) as chain:
        await until(is_fresh(chain))
        await until(lambda: chain.view().stale is not None)
        assert "head stands still for" in stale_reason(chain)
        assert "the limit is 0.3 s" in stale_reason(chain)
        fake.number += 1
        await until(is_fresh(chain))


async def test_a_head_already_old_at_the_first_look_is_not_taken_for_new() -> None:
    fake = FakeChain(timestamp=1_000_000)
    async with RpcNode(fake.answer) as node, polling(node, pace=PACE._replace(max_head_age=300.0)) as chain:
        await until(lambda: "its head stands" in chain.status().endpoints[0].fault)
        assert chain.view().stale is not None


async def test_a_reorganised_round_hash_replaces_the_old_one() -> None:
    fake = FakeChain()
    async with RpcNode(fake.answer) as node, polling(node) as chain:
        await until(is_fresh(chain))
        fake.number -= 2
        fake.l1_block = 698
        fake.round_hash = lambda _: b"\x99" * 32  # type: ignore[method-assign]
        await until(lambda: chain.view().last_initialized_round_block_hash == b"\x99" * 32)
        assert chain.view().l1_block == 698


async def test_a_price_feed_rides_in_the_same_request() -> None:
    fake = FakeChain(timestamp=1_800_000_000)
    feed = PriceFeed(FEED, 5400, wall_clock=lambda: 1_800_000_000.0)
    async with RpcNode(fake.answer) as node, polling(node, rider=feed) as chain:
        await until(is_fresh(chain))
        rate = feed.rate()
        assert rate is not None
        assert (rate.currency, rate.per_eth) == ("usd", 3000)
        assert node.batches[-1] == ["eth_chainId", "eth_getBlockByNumber", "eth_call"]
        fake.feed = (5, 0, 1_799_999_000, 1_799_999_000, 5)
        await until(lambda: feed.rate() is None)
        assert chain.view().stale is None


async def test_without_a_controller_only_the_feed_is_read() -> None:
    fake = FakeChain(timestamp=1_800_000_000)
    feed = PriceFeed(FEED, 5400, wall_clock=lambda: 1_800_000_000.0)
    async with RpcNode(fake.answer) as node, polling(node, question=replace(QUESTION, controller=None), rider=feed):
        await until(lambda: feed.rate() is not None)


async def test_one_read_that_reverts_costs_only_itself() -> None:
    fake = FakeChain(timestamp=1_800_000_000, reverting={"latestRoundData()"})
    feed = PriceFeed(FEED, 5400, wall_clock=lambda: 1_800_000_000.0)
    async with RpcNode(fake.answer) as node, polling(node, rider=feed) as chain:
        await until(is_fresh(chain))
        assert feed.status().fault == "latestRoundData reverted"
        assert chain.view().deposit_wei == 10**18


async def test_polling_goes_on_after_a_fault_of_ours_and_the_log_has_it_without_its_text(caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        calls = ()
        times = 0

        def accept(self, _: object) -> None:
            self.times += 1
            if self.times < 4:
                raise ValueError(SECRET)

    rider = Broken()
    async with RpcNode(FakeChain().answer) as node, polling(node, rider=rider):
        await until(lambda: rider.times >= 6)
    assert "polling goes on after a fault of ours (ValueError in accept, line" in caplog.text
    assert SECRET not in caplog.text


async def test_reads_for_others_go_in_one_batch_and_say_when_nobody_answers() -> None:
    fake = FakeChain()
    async with RpcNode(fake.answer) as node, polling(node) as chain:
        await until(is_fresh(chain))
        answers = await chain.read_contracts(
            [Call(CONTRACTS.bonding_manager, call_data("getTranscoderPoolSize()")), Call(CONTROLLER, call_data("paused()"))]
        )
        assert answers == [(3).to_bytes(32, "big"), bytes(32)]
        node.status = 500
        with pytest.raises(ChainUnavailable, match="no endpoint answered"):
            await chain.read_contracts([Call(CONTROLLER, call_data("paused()"))])


@pytest.mark.parametrize("has_multicall", [True, False])
async def test_the_funds_of_several_senders_come_with_one_reading(has_multicall: bool) -> None:
    tenant, pauper = bytes([0xAA]) * 20, bytes([0xBB]) * 20
    fake = FakeChain(has_multicall=has_multicall, funds_of={tenant: (5, 0, 7), pauper: (0, 12, 0)})
    feed = PriceFeed(FEED, 86_400)
    question = replace(QUESTION, other_senders=(tenant, pauper))
    async with RpcNode(fake.answer) as node, polling(node, question=question, rider=feed) as chain:
        sources = [chain.of_sender(sender) for sender in (SENDER, tenant, pauper)]
        assert [source.view().stale is None for source in sources] == [False] * 3
        await until(is_fresh(chain))
        first, second, third = (source.view() for source in sources)
        assert first == chain.view()
        assert second == replace(first, deposit_wei=5, reserve_wei=7)
        assert third == replace(first, deposit_wei=0, reserve_wei=0, withdraw_round=12)
        assert feed.status().rate is not None, "what others added is still told apart"
        node.is_hanging = True
        await until(lambda: chain.view().stale is not None)
        assert [source.view().stale is None for source in sources] == [False] * 3
        with pytest.raises(ValueError, match="not in tuple"):
            chain.of_sender(bytes(20))


async def test_endpoints_are_asked_the_way_out_that_is_configured() -> None:
    async with RpcNode(FakeChain().answer) as node, proxying() as proxy:
        async with polling(node, outbound=Outbound(proxy=f"http://{proxy.address}")) as chain:
            await until(is_fresh(chain))
        assert proxy.targets


async def test_between_two_polls_the_endpoint_is_left_alone() -> None:
    async with RpcNode(FakeChain().answer) as node, polling(node, pace=PACE._replace(poll=60.0, max_age=600.0)) as chain:
        await until(is_fresh(chain))
        asked = len(node.batches)
        for _ in range(20):
            await asyncio.sleep(0.005)
        assert (chain.status().polls, len(node.batches)) == (1, asked)


async def test_without_multicall_a_read_that_reverts_costs_only_itself() -> None:
    assert parse_reads([RpcError(3), "0x01"], 2, False) == [None, b"\1"]
    with pytest.raises(RpcFault, match="eth_call is not hex data"):
        parse_reads(["0x01", "0x1"], 2, False)
