"""Threads for libraries that wait: no more than there may be, and nobody is kept waiting for what nobody wants any more."""

from __future__ import annotations

import asyncio
import threading

import pytest

from livepeer_remote_signer.adapters.keys.threads import KeyThreads
from livepeer_remote_signer.core.errors import KeyUnavailable


async def test_work_is_done_in_no_more_threads_than_there_may_be() -> None:
    threads = KeyThreads("test", 3)
    together, names = threading.Barrier(3, timeout=60), set()

    def work() -> int:
        names.add(threading.get_ident())
        return together.wait()

    done = await asyncio.gather(*(threads.run(work) for _ in range(9)))
    assert sorted(done) == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert len(names) == 3
    assert threading.get_ident() not in names
    threads.close()


async def test_what_work_raises_is_raised_where_it_is_waited_for() -> None:
    threads = KeyThreads("test", 1)
    with pytest.raises(ZeroDivisionError):
        await threads.run(lambda: 1 // 0)
    assert await threads.run(lambda: 7) == 7
    threads.close()


async def test_what_nobody_waits_for_any_more_is_not_begun() -> None:
    threads = KeyThreads("test", 1)
    gate, begun = threading.Event(), []
    first = asyncio.create_task(threads.run(gate.wait))
    second = asyncio.create_task(threads.run(lambda: begun.append("second")))
    await asyncio.sleep(0)
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    gate.set()
    assert await first
    assert await threads.run(lambda: begun.append("third")) is None
    assert begun == ["third"]
    threads.close()


def test_before_there_is_a_loop_it_is_waited_for_so_long_and_no_longer() -> None:
    threads = KeyThreads("test", 1)
    gate = threading.Event()
    assert threads.run_now(lambda: 5, 60) == 5
    with pytest.raises(KeyUnavailable, match=r"did not answer within 0\.01 s"):
        threads.run_now(gate.wait, 0.01)
    gate.set()
    assert threads.run_now(lambda: 6, 60) == 6
    threads.close()


async def test_where_the_system_starts_no_thread_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    with pytest.raises(KeyUnavailable, match="starts no further thread"):
        await KeyThreads("test", 1).run(lambda: 1)
