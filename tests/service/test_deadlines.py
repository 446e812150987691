"""The end of a request: it cuts off what takes too long, and nothing else."""

from __future__ import annotations

import asyncio

import pytest

from livepeer_remote_signer.service.deadlines import Deadlines

LONG = 60.0


async def outcome(deadlines: Deadlines, seconds: float, awaited: asyncio.Future[str]) -> str:
    deadline = deadlines.begin(seconds)
    try:
        return await awaited
    except asyncio.CancelledError:
        if not deadline.is_cause():
            raise
        return "over"
    finally:
        deadline.end()


def pending() -> asyncio.Future[str]:
    return asyncio.get_running_loop().create_future()


async def test_what_takes_too_long_is_cut_off_and_the_task_goes_on() -> None:
    async def work() -> tuple[str, int]:
        cut_off = await outcome(Deadlines(), 0.01, pending())
        await asyncio.sleep(0)  # which a cancellation that is not taken back would end
        task = asyncio.current_task()
        return cut_off, task.cancelling() if task else -1

    assert await asyncio.create_task(work()) == ("over", 0)


async def test_what_is_over_already_is_cut_off_at_once() -> None:
    assert await outcome(Deadlines(), -1.0, pending()) == "over"


async def test_requests_end_at_their_own_time_with_one_timer() -> None:
    deadlines, loop, ended = Deadlines(), asyncio.get_running_loop(), list[float]()
    began = loop.time()

    async def work(seconds: float) -> None:
        assert await outcome(deadlines, seconds, pending()) == "over"
        ended.append(loop.time() - began)

    await asyncio.gather(*(work(seconds) for seconds in (0.02, 0.02, 0.08, 0.14)))
    assert [at >= seconds - 0.002 for at, seconds in zip(ended, (0.02, 0.02, 0.08, 0.14), strict=True)] == [True] * 4
    assert ended == sorted(ended)


async def test_an_answer_in_time_is_not_touched_later() -> None:
    deadlines = Deadlines()
    first = pending()
    first.set_result("answered")

    async def work() -> str:
        answer = await outcome(deadlines, 0.01, first)
        assert await outcome(deadlines, 0.03, pending()) == "over", "the timer of the first serves the second"
        return answer

    assert await asyncio.create_task(work()) == "answered"


async def test_who_is_cancelled_by_somebody_else_stays_cancelled() -> None:
    deadlines = Deadlines()
    task = asyncio.create_task(outcome(deadlines, LONG, pending()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_who_is_cancelled_by_both_stays_cancelled() -> None:
    deadlines, reached = Deadlines(), asyncio.Event()

    async def work() -> str:
        deadline = deadlines.begin(0.0)
        try:
            reached.set()
            return await pending()
        except asyncio.CancelledError:
            task.cancel()  # somebody else gives up in the same moment
            if deadline.is_cause():
                return "over"
            raise
        finally:
            deadline.end()

    task = asyncio.create_task(work())
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_nothing_is_kept_of_those_that_were_answered() -> None:
    deadlines = Deadlines()

    async def work() -> None:
        deadlines.begin(LONG).end()

    for _ in range(100):
        await asyncio.create_task(work())
    assert len(deadlines._waiting) == 1


async def test_without_an_end_nothing_waits() -> None:
    deadlines = Deadlines()
    deadlines.begin(float("inf")).end()
    assert not deadlines._waiting
    assert deadlines._timer is None
