"""Names that hang wait among themselves, and for as long as whoever asks for them."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from livepeer_remote_signer.adapters.orchestrators.names import NameThreads, resolve_name
from livepeer_remote_signer.core.errors import OrchestratorUnreachable


class Names:
    """A look-up that hangs for names that start with `slow` until it is released."""

    def __init__(self) -> None:
        self.released = threading.Event()
        self.asked: list[str] = []

    def __call__(self, host: str, port: int) -> list[str]:
        self.asked.append(host)
        if host.startswith("slow"):
            self.released.wait(30)
        if host.startswith("none"):
            raise OSError("no such name")
        return [f"{host}:{port}"]


@pytest.fixture
def names() -> Iterator[Names]:
    names = Names()
    yield names
    names.released.set()


async def _has_begun(names: Names, count: int) -> None:
    async with asyncio.timeout(30):
        while len(names.asked) < count:  # noqa: ASYNC110 - what is waited for happens in a thread
            await asyncio.sleep(0.01)


async def test_names_that_hang_do_not_stand_before_anybody_elses_look_ups(names: Names, monkeypatch: pytest.MonkeyPatch) -> None:
    ask_system = socket.getaddrinfo

    def getaddrinfo(host: Any, port: Any, *rest: Any, **more: Any) -> Any:
        return ask_system("127.0.0.1" if names(str(host), 0) else host, port, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    hanging = [asyncio.create_task(resolve_name(f"slow{n}.example", 1)) for n in range(40)]
    await _has_begun(names, 40)
    async with asyncio.timeout(30):
        assert await asyncio.get_running_loop().getaddrinfo("rpc.example", 1)
        assert await resolve_name("good.example", 1) == ["127.0.0.1"]
    names.released.set()
    assert await asyncio.gather(*hanging) == [["127.0.0.1"]] * 40


async def test_one_name_takes_one_thread_however_many_ask_and_give_up(names: Names) -> None:
    threads = NameThreads(names, max_threads=2)
    for _ in range(3):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(threads.resolve("slow.example", 1), 0.05)
    assert await threads.resolve("good.example", 1) == ["good.example:1"]
    assert names.asked.count("slow.example") == 1
    late = asyncio.create_task(threads.resolve("slow.example", 1))
    await asyncio.sleep(0)
    names.released.set()
    assert await late == ["slow.example:1"]


async def test_a_name_without_a_thread_waits_and_no_more_wait_than_the_bound(names: Names) -> None:
    threads = NameThreads(names, max_threads=1, max_waiting=1)
    asked = [asyncio.create_task(threads.resolve("slow.example", 1))]
    await _has_begun(names, 1)
    asked.append(asyncio.create_task(threads.resolve("good.example", 1)))
    await asyncio.sleep(0)
    with pytest.raises(OrchestratorUnreachable, match=r"third.example cannot be looked up: 1 names"):
        await threads.resolve("third.example", 1)
    names.released.set()
    assert await asyncio.gather(*asked) == [["slow.example:1"], ["good.example:1"]]


async def test_a_look_up_that_fails_tells_everybody_and_is_made_anew(names: Names) -> None:
    threads = NameThreads(names)
    for _ in range(2):
        with pytest.raises(OSError, match="no such name"):
            await threads.resolve("none.example", 1)
    assert names.asked == ["none.example"] * 2


def test_a_look_up_may_end_after_the_loop_that_asked(names: Names) -> None:
    threads = NameThreads(names, max_threads=1)

    async def ask(host: str, seconds: float) -> Any:
        return await asyncio.wait_for(threads.resolve(host, 1), seconds)

    with pytest.raises(TimeoutError):
        asyncio.run(ask("slow.example", 0.05))
    names.released.set()
    assert asyncio.run(ask("good.example", 30)) == ["good.example:1"]


async def test_where_the_system_has_no_thread_left_the_others_answer_or_it_is_said(names: Names, monkeypatch: pytest.MonkeyPatch) -> None:
    threads = NameThreads(names, max_threads=4)
    first = asyncio.create_task(threads.resolve("slow.example", 1))
    await _has_begun(names, 1)

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        second = asyncio.create_task(threads.resolve("good.example", 1))
        await asyncio.sleep(0.05)
        names.released.set()
        assert await first == ["slow.example:1"]
        assert await second == ["good.example:1"]
        with pytest.raises(OrchestratorUnreachable, match="no further thread"):
            await NameThreads(names).resolve("good.example", 1)
