"""Costly answers: asked for as often as one likes, worked out a tenth of the time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from livepeer_remote_signer.adapters.overview.resting import RESTS, Resting


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110 - whatever it takes
            await asyncio.sleep(0)


class Work:
    """Answers with how often it was asked, when it may; it takes two seconds of its own clock."""

    def __init__(self) -> None:
        self.now = 100.0
        self.asked = 0
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.fault: Exception | None = None

    async def __call__(self, key: str) -> str:
        self.asked += 1
        mine = self.asked
        await self.may_answer.wait()
        self.now += 2
        if self.fault is not None:
            raise self.fault
        return f"{key}{mine}"


def resting(work: Work, wait: float = 20) -> Resting[str, str]:
    return Resting(work, max_wait_seconds=wait, clock=lambda: work.now)


async def test_it_rests_nine_times_as_long_as_it_worked() -> None:
    work = Work()
    answers = resting(work)
    assert [await answers.get("a") for _ in range(3)] == ["a1"] * 3
    work.now += 2 * RESTS - 0.01
    assert await answers.get("a") == "a1"
    work.now += 0.02
    assert await answers.get("a") == "a2"
    assert await answers.get("b") == "b3", "each key has its own"


async def test_everybody_who_asks_at_one_time_gets_one_answer() -> None:
    work = Work()
    work.may_answer.clear()
    answers = resting(work)
    asking = [asyncio.create_task(answers.get("a")) for _ in range(5)]
    await until(lambda: work.asked == 1)
    work.may_answer.set()
    assert await asyncio.gather(*asking) == ["a1"] * 5


async def test_nobody_waits_long_the_last_answer_is_given_meanwhile() -> None:
    work = Work()
    answers = resting(work, 0.01)
    work.may_answer.clear()
    assert await answers.get("a") is None, "there is none yet"
    work.may_answer.set()
    await until(lambda: work.now == 102)
    assert await answers.get("a") == "a1"
    work.may_answer.clear()
    work.now += 100
    assert [await answers.get("a") for _ in range(3)] == ["a1"] * 3
    assert work.asked == 2, "one at a time"
    work.may_answer.set()
    await until(lambda: work.now == 204)
    assert await answers.get("a") == "a2"


async def test_who_leaves_does_not_end_the_work() -> None:
    work = Work()
    work.may_answer.clear()
    answers = resting(work)
    leaving = asyncio.create_task(answers.get("a"))
    await until(lambda: work.asked == 1)
    leaving.cancel()
    staying = asyncio.create_task(answers.get("a"))
    await asyncio.wait({leaving})
    work.may_answer.set()
    assert await staying == "a1"


async def test_a_fault_is_told_and_does_not_last() -> None:
    work = Work()
    answers = resting(work)
    assert await answers.get("a") == "a1"
    work.now, work.fault = work.now + 100, ValueError("no")
    for _ in range(2):
        with pytest.raises(ValueError, match="no"):
            await answers.get("a")
    work.fault = None
    assert await answers.get("a") == "a4"
