"""A kept connection that ends before a byte of the answer costs nothing; one that ends later, or a new one, is a failure as ever."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from livepeer_remote_signer.adapters.auth.webhook import WebhookAuthorizer
from livepeer_remote_signer.adapters.outbound import Outbound
from livepeer_remote_signer.core.rules.policy import ANONYMOUS, Caller
from livepeer_remote_signer.core.rules.trail import Trail
from tests.outbound import Authority, proxying
from tests.plans import plan_payment

BODY = json.dumps({"status": 200}).encode()
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(BODY), BODY)


class Server:
    """Does with each request, in the order of their arrival, what the script says; `connections` of each request.

    Without a script it answers the first request of each connection, and ends with the second.
    """

    def __init__(self, script: Sequence[str]) -> None:
        self._script = list(script)
        self._accepted = 0
        self.connections: list[int] = []
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        number, self._accepted = self._accepted, self._accepted + 1
        with suppress(asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                await reader.readexactly(int(head.partition("content-length: ")[2].partition("\r\n")[0]))
                self.connections.append(number)
                first_then = "ends" if self.connections.count(number) > 1 else "answers"
                deed = self._script.pop(0) if self._script else first_then
                if deed == "resets":
                    writer.transport.abort()
                    return
                writer.write({"answers": ANSWER, "ends": b"", "begins": b"H", "half": ANSWER[:-1]}[deed])
                await writer.drain()
                if deed != "answers":
                    break
        writer.close()


@asynccontextmanager
async def scripted(*script: str, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    """A server on a free port."""
    server = Server(script)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=tls)
    server.url = f"{'https' if tls else 'http'}://127.0.0.1:{listening.sockets[0].getsockname()[1]}/"
    try:
        yield server
    finally:
        listening.close()
        await asyncio.sleep(0.01)


@asynccontextmanager
async def webhook(url: str, outbound: Outbound) -> AsyncIterator[Callable[[], Awaitable[object]]]:
    """Asks the webhook."""
    authorizer = WebhookAuthorizer(url, timeout_seconds=5, outbound=outbound)
    trail = Trail("/r", "r1", "", asyncio.get_running_loop().time)
    yield lambda: authorizer.authorize(Caller(()), ANONYMOUS, plan_payment(), trail)
    await authorizer.aclose()


@asynccontextmanager
async def pooled(url: str, outbound: Outbound) -> AsyncIterator[Callable[[], Awaitable[object]]]:
    """Posts as RPC, sinks and the others do."""
    async with outbound.open_httpx() as client:

        async def post() -> bytes:
            return (await client.post(url, content=b"asked")).content

        yield post


EACH = pytest.mark.parametrize("opened", [webhook, pooled])
Opened = Callable[[str, Outbound], "asynccontextmanager[Callable[[], Awaitable[object]]]"]


@EACH
@pytest.mark.parametrize("deed", ["ends", "resets"])
async def test_a_kept_connection_that_just_ended_costs_nothing(opened: Opened, deed: str) -> None:
    async with scripted("answers", deed, "answers", "answers", "answers") as server, opened(server.url, Outbound(environ={})) as ask:
        for _ in range(4):
            await ask()
        assert server.connections[:3] == [0, 0, 1], "asked again on a new one"
        assert len(server.connections) == 5


@EACH
@pytest.mark.parametrize("deed", ["begins", "half"])
async def test_once_a_byte_has_come_there_is_no_second_question(opened: Opened, deed: str) -> None:
    async with scripted("answers", deed, "answers") as server, opened(server.url, Outbound(environ={})) as ask:
        await ask()
        with pytest.raises(Exception, match=r"."):
            await ask()
        assert server.connections == [0, 0]
        await ask()
        assert server.connections == [0, 0, 1]


@EACH
async def test_a_new_connection_that_ends_is_a_failure(opened: Opened) -> None:
    async with scripted("ends", "answers") as server, opened(server.url, Outbound(environ={})) as ask:
        with pytest.raises(Exception, match=r"."):
            await ask()
        assert server.connections == [0]


@EACH
async def test_there_is_one_more_try_and_not_two(opened: Opened) -> None:
    async with scripted("answers", "ends", "ends", "answers") as server, opened(server.url, Outbound(environ={})) as ask:
        await ask()
        with pytest.raises(Exception, match=r"."):
            await ask()
        assert server.connections == [0, 0, 1]


@EACH
async def test_many_that_meet_ended_connections_at_once_are_all_answered(opened: Opened) -> None:
    async with scripted() as server, opened(server.url, Outbound(environ={})) as ask:
        await asyncio.gather(*(ask() for _ in range(8)))
        await asyncio.gather(*(ask() for _ in range(8)))
        assert len(server.connections) == 24


@EACH
async def test_it_holds_over_tls_and_through_a_proxy(opened: Opened, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    async with proxying() as proxy, scripted("answers", "ends", "answers", tls=authority.context()) as server:
        async with opened(server.url, Outbound(f"http://{proxy.address}", authority.file, {})) as ask:
            await ask()
            await ask()
        assert server.connections == [0, 0, 1]
        assert len(proxy.targets) == 2


@EACH
async def test_an_idle_connection_is_given_up_in_time(opened: Opened) -> None:
    async with scripted("answers", "answers") as server, opened(server.url, Outbound(environ={}, idle_seconds=0.05)) as ask:
        await ask()
        await asyncio.sleep(0.2)
        await ask()
        assert server.connections == [0, 1]
