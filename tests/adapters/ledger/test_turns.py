"""One call at a time for each session, in order of arrival, and never for long."""

from __future__ import annotations

import asyncio

import pytest

from livepeer_remote_signer.adapters.ledger.turns import MAX_WAITING, Turns
from livepeer_remote_signer.core.errors import SessionBusy


async def test_calls_of_one_session_follow_each_other_in_order() -> None:
    turns, order, inside = Turns(5), [], 0

    async def call(n: int) -> None:
        nonlocal inside
        async with turns.take("s"):
            inside += 1
            assert inside == 1
            order.append(n)
            await asyncio.sleep(0.001)
            inside -= 1

    await asyncio.gather(*(call(n) for n in range(MAX_WAITING)))
    assert order == list(range(MAX_WAITING))
    assert turns._waiting == {}


async def test_other_sessions_and_nameless_calls_do_not_wait() -> None:
    turns = Turns(5)
    async with turns.take("s"), turns.take("t"), turns.take(b"s"), turns.take(""), turns.take(""), turns.take(b""):
        assert set(turns._waiting) == {"s", "t", b"s"}
    assert turns._waiting == {}


async def test_who_waits_too_long_is_told_that_the_session_is_busy() -> None:
    turns = Turns(0.02)
    async with turns.take("s"):
        with pytest.raises(SessionBusy, match=r"0\.02 s"):
            async with turns.take("s"):
                pytest.fail("two calls at once")
    async with turns.take("s"):
        assert turns._waiting == {"s": turns._waiting["s"]}
    assert turns._waiting == {}


async def test_a_crowd_is_turned_away_at_once() -> None:
    turns = Turns(5)

    async def call() -> str:
        try:
            async with turns.take("s"):
                await asyncio.sleep(0.01)
        except SessionBusy:
            return "busy"
        return "served"

    results = await asyncio.gather(*(call() for _ in range(MAX_WAITING + 4)))
    assert results.count("served") == MAX_WAITING + 1
    assert turns._waiting == {}


async def test_a_turn_is_not_lost_with_a_caller_that_leaves() -> None:
    turns, served = Turns(5), []

    async def call(n: int) -> None:
        async with turns.take("s"):
            served.append(n)

    async with turns.take("s"):
        tasks = [asyncio.create_task(call(n)) for n in range(4)]
        await asyncio.sleep(0)
        tasks[1].cancel()
    tasks[0].cancel()  # it has been given the turn and has not run yet
    await asyncio.wait(tasks)
    assert served == [2, 3]
    assert turns._waiting == {}


async def test_a_call_that_fails_leaves_its_turn() -> None:
    turns = Turns(5)
    with pytest.raises(RuntimeError):
        async with turns.take("s"):
            raise RuntimeError
    async with turns.take("s"):
        pass
    assert turns._waiting == {}
