"""A name that does not answer stands before no other name, and a name that was good once stays good for a while."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import httpx
import pytest

from livepeer_remote_signer.process import loop as loops
from livepeer_remote_signer.process.loop import SLOW_SECONDS, Loop, Names
from tests.fake_chain import FakeChain
from tests.rpc_node import RpcNode

LOOPBACK = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0))]


class Resolver:
    """The system's, where names that start with `slow` hang and those that start with `none` are not known."""

    def __init__(self) -> None:
        self.released = threading.Event()
        self.asked: list[str] = []
        self.real = socket.getaddrinfo

    def __call__(self, host: Any, port: Any, *rest: Any, **more: Any) -> Any:
        name = str(host)
        if not name.endswith(".example"):
            return self.real(host, port, *rest, **more)
        self.asked.append(name)
        if name.startswith("slow"):
            self.released.wait(30)
        if name.startswith("none"):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return self.real("127.0.0.1", port, *rest, **more)


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Resolver]:
    resolver = Resolver()
    monkeypatch.setattr(socket, "getaddrinfo", resolver)
    yield resolver
    resolver.released.set()


def run(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """On the loop that the service runs on."""
    with asyncio.Runner(loop_factory=Loop) as runner:
        runner.run(work())


async def begun(resolver: Resolver, count: int) -> None:
    async with asyncio.timeout(30):
        while len(resolver.asked) < count:  # noqa: ASYNC110 - what is waited for happens in a thread
            await asyncio.sleep(0.01)


def test_endpoints_whose_names_hang_do_not_stop_one_whose_name_is_good(resolver: Resolver) -> None:
    async def work() -> None:
        async with RpcNode(FakeChain().answer) as node, httpx.AsyncClient(trust_env=False, timeout=None) as client:
            port = node.url.rpartition(":")[2].rstrip("/")
            hanging = [asyncio.create_task(client.post(f"http://slow{i}.example:{port}/", json=[])) for i in range(20)]
            await begun(resolver, 20)
            question = [{"jsonrpc": "2.0", "id": 0, "method": "eth_chainId", "params": []}]
            async with asyncio.timeout(30):
                reply = await client.post(f"http://good.example:{port}/", json=question)
            assert reply.json()[0]["result"] == hex(31337)
            for task in hanging:
                task.cancel()
            await asyncio.gather(*hanging, return_exceptions=True)

    run(work)


def test_a_name_that_hangs_is_asked_for_once_however_many_wait(resolver: Resolver) -> None:
    async def work() -> None:
        loop = asyncio.get_running_loop()
        waiting = [asyncio.create_task(loop.getaddrinfo("slow.example", 80)) for _ in range(100)]
        await begun(resolver, 1)
        waiting[0].cancel()
        await asyncio.sleep(0)
        resolver.released.set()
        found = await asyncio.gather(*waiting, return_exceptions=True)
        assert isinstance(found[0], asyncio.CancelledError)
        assert {answer[0][4] for answer in found[1:]} == {("127.0.0.1", 80)}  # type: ignore[index]
        assert resolver.asked == ["slow.example"]

    run(work)


def test_addresses_are_never_asked_for(resolver: Resolver) -> None:
    async def work() -> None:
        loop = asyncio.get_running_loop()
        assert (await loop.getaddrinfo("127.0.0.1", 80, type=socket.SOCK_STREAM))[0][4] == ("127.0.0.1", 80)
        assert (await loop.getaddrinfo(b"::1", 80, type=socket.SOCK_STREAM))[0][4][:2] == ("::1", 80)

    run(work)
    assert resolver.asked == []


def test_a_name_that_is_not_known_is_an_os_error(resolver: Resolver) -> None:
    async def work() -> None:
        with pytest.raises(OSError, match="Name or service not known"):
            await asyncio.get_running_loop().getaddrinfo("none.example", 80)

    run(work)


class System:
    """A resolver that a test makes hang or fail; and a clock."""

    def __init__(self) -> None:
        self.now = 0.0
        self.fault: OSError | None = None
        self.gate = threading.Event()
        self.gate.set()

    def ask(self, *_: Any) -> Any:
        self.gate.wait(30)
        if self.fault is not None:
            raise self.fault
        return LOOPBACK

    def names(self, **more: Any) -> Names:
        return Names(self.ask, monotonic=lambda: self.now, **more)


def question(host: str) -> Any:
    return loops._Question(host, 80, 0, socket.SOCK_STREAM, 0, 0)


async def test_the_last_good_address_serves_while_the_look_up_fails(caplog: pytest.LogCaptureFixture) -> None:
    system = System()
    names = system.names()
    assert await names.look_up(question("a")) == LOOPBACK
    system.fault = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
    assert await names.look_up(question("a")) == LOOPBACK
    assert "the look-up of a fails ([Errno -3] Temporary failure in name resolution): its last good address is used" in caplog.text
    with pytest.raises(OSError, match="Temporary failure"):
        await names.look_up(question("b"))


async def test_the_last_good_address_serves_after_a_second_and_then_at_once_while_the_look_up_hangs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    system = System()
    names = system.names()
    await names.look_up(question("a"))
    system.gate.clear()
    started = asyncio.get_running_loop().time()
    assert await names.look_up(question("a")) == LOOPBACK
    assert asyncio.get_running_loop().time() - started >= SLOW_SECONDS * 0.9
    system.now = 60 * SLOW_SECONDS
    monkeypatch.setattr(loops, "SLOW_SECONDS", 60 * SLOW_SECONDS)
    async with asyncio.timeout(30 * SLOW_SECONDS):
        assert await names.look_up(question("a")) == LOOPBACK
    system.gate.set()


async def test_beyond_the_most_names_at_one_time_a_new_one_is_refused_and_a_known_one_is_not() -> None:
    system = System()
    names = system.names(max_threads=2)
    await names.look_up(question("known"))
    system.gate.clear()
    hanging = [asyncio.create_task(names.look_up(question(host))) for host in ("a", "b")]
    await asyncio.sleep(0)
    with pytest.raises(OSError, match="2 names are being looked up, the most at one time"):
        await names.look_up(question("c"))
    assert await names.look_up(question("known")) == LOOPBACK
    system.gate.set()
    assert await asyncio.gather(*hanging) == [LOOPBACK, LOOPBACK]
    assert await names.look_up(question("c")) == LOOPBACK
