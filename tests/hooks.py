"""A webhook that can be told to misbehave: a real socket server whose every answer is a function of the test's."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


class Hook:
    """What the server answers, and what it was asked."""

    def __init__(self) -> None:
        self.answer: Answer = says({"status": 200})
        self.questions: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.asked = asyncio.Event()
        self.connections = 0
        self.url = ""


def reply(body: bytes, status: str = "200 OK", headers: str = "") -> Answer:
    """A complete HTTP reply."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode() + body)
        await writer.drain()

    return answer


def says(verdict: dict[str, Any]) -> Answer:
    """A verdict as JSON."""
    return reply(json.dumps(verdict).encode())


async def silence(writer: asyncio.StreamWriter) -> None:
    """Nothing, for longer than anybody waits."""
    await asyncio.sleep(3600)


async def drip(writer: asyncio.StreamWriter) -> None:
    """A valid reply, a byte at a time: it would take a minute."""
    for byte in b'HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\n{"status":200}':
        writer.write(bytes((byte,)))
        await writer.drain()
        await asyncio.sleep(1)


async def flood(writer: asyncio.StreamWriter) -> None:
    """A reply without an end, that starts like a verdict."""
    writer.write(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\ne\r\n{"status":200 \r\n')
    block = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    while True:
        writer.write(block)
        await writer.drain()


async def die(writer: asyncio.StreamWriter) -> None:
    """The connection ends in the middle of a verdict."""
    writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\n{"status":')
    await writer.drain()
    writer.close()


async def hang_up(writer: asyncio.StreamWriter) -> None:
    """The connection ends without a word."""
    writer.close()


@asynccontextmanager
async def running_hook(tls: ssl.SSLContext | None = None) -> AsyncIterator[Hook]:
    """A webhook on a free port of 127.0.0.1, over TLS where a context is given."""
    hook = Hook()
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        hook.connections += 1
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                headers = {n.lower(): v for n, _, v in (line.partition(": ") for line in head[1:] if line)}
                hook.headers.append(headers)
                if length := int(headers.get("content-length", 0)):
                    hook.questions.append(json.loads(await reader.readexactly(length)))
                    hook.asked.set()
                await hook.answer(writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=tls)
    hook.url = f"{'http' if tls is None else 'https'}://127.0.0.1:{server.sockets[0].getsockname()[1]}/authorize"
    try:
        yield hook
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()
