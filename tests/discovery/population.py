"""A hundred simulated orchestrators in a process of their own: 75 good, 10 that grow slow, 10 broken, 5 lying.

`python -m tests.discovery.population` prints one JSON line with their URLs by kind and the port of the inner service that
nobody may reach, then obeys lines on standard input: `visits` (prints how often that service was dialled), `down`.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import Any

import uvloop

from livepeer_remote_signer.proto import net_pb2
from tests.discovery.names import REBINDING_NAME
from tests.simulators import Answers, Chain, Clock, HttpRequest, Network, Offer, Orchestrator, answers_of, url_of

GOOD, SLOW, BROKEN = 75, 10, 10
SLOW_SECONDS = 20
PRICE = 1000
CEILING = 1200
LV2V = 35


def honest(number: int) -> Orchestrator:
    node = Orchestrator(Clock(), Chain(), Offer(PRICE))
    if number % 3 == 0:
        node.runners = [runner(f"https://runner{number}.example/", f"app/{number}")]
    return node


def runner(url: str, app: str, price: Any = 5) -> dict[str, Any]:
    return {"url": url, "app": app, "capacity": 1, "price_info": {"price": price, "currency": "wei", "unit": "seconds"}}


def forgetful(node: Orchestrator) -> Answers:
    """Good the first time, slow ever after."""
    right = answers_of(node)
    calls = {"grpc": 0, "http": 0}

    async def grpc(raw: bytes) -> bytes:
        calls["grpc"] += 1
        if calls["grpc"] > 1:
            await asyncio.sleep(SLOW_SECONDS)
        return await right.grpc(raw)

    async def http(request: HttpRequest) -> tuple[int, bytes]:
        calls["http"] += 1
        if calls["http"] > 1:
            await asyncio.sleep(SLOW_SECONDS)
        return await right.http(request)

    return Answers(grpc, http)


def constant(raw: bytes, status: int, body: bytes) -> Answers:
    async def grpc(_: bytes) -> bytes:
        return raw

    async def http(_: HttpRequest) -> tuple[int, bytes]:
        return status, body

    return Answers(grpc, http)


def info(price: int, pixels: int, **more: Any) -> net_pb2.OrchestratorInfo:
    message = net_pb2.OrchestratorInfo(address=b"\1" * 20, price_info=net_pb2.PriceInfo(pricePerUnit=price, pixelsPerUnit=pixels), **more)
    message.capabilities.constraints.PerCapability[LV2V].models["m"].warm = True
    return message


def liars() -> list[Answers]:
    """Oversized; wrong types; private addresses; price tricks."""
    oversized = constant(info(1, 1, nodes=["x" * 1000] * 3000).SerializeToString(), 200, b"[" + b"0," * (1 << 20) + b"0]")
    wrong_types = [5, {"address": {}}, {"address": "https://a.example", "runners": [1, runner(5, []), {"url": [], "app": {}}]}]  # type: ignore[arg-type]
    mistyped = constant(info(-1, 1).SerializeToString(), 200, json.dumps(wrong_types).encode())
    inward = [
        {"address": "https://10.0.0.1:8935", "runners": [runner("https://x.example/", "private/node")]},
        {"address": "https://169.254.169.254", "runners": [runner("https://x.example/", "private/node")]},
        {"address": "https://b.example:1", "runners": [runner("http://169.254.169.254/latest/meta-data", "private/runner")]},
    ]
    private = constant(b"", 200, json.dumps(inward).encode())
    dear = net_pb2.PriceInfo(pricePerUnit=CEILING + 1, pixelsPerUnit=1, capability=LV2V, constraint="m")
    tricks = [
        runner(f"https://t{n}.example/", "cheap/trick", price) for n, price in enumerate([0, -5, "1e999999999", "1/3", CEILING + 0.5])
    ]
    priced = constant(
        info(1, 1, capabilities_prices=[dear]).SerializeToString(),
        200,
        json.dumps([{"address": "https://c.example:1", "runners": tricks}]).encode(),
    )
    return [oversized, mistyped, private, priced]


async def broken(network: Network, number: int) -> str:
    """One of five ways not to work."""
    if number % 5 == 0:
        server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    elif number % 5 == 1:
        server = await network.host(constant(b"\xff\xff\xff", 500, b"oops"))
    elif number % 5 == 2:
        server = await network.host(constant(b"", 200, b"<html>"))
    elif number % 5 == 3:
        server = await network.host(constant(b"\x0a\xff", 302, b""))
    else:
        server = await asyncio.start_server(lambda _, writer: writer.write(b"HTTP/1.1 200 OK\r\n\r\n"), "127.0.0.1", 0)
        return url_of(server).replace("https://127.0.0.1", "https://nowhere.example")
    return url_of(server)


async def main() -> None:
    os.nice(19)  # in life they are on other machines
    visits = 0

    def visited(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal visits
        visits += 1
        writer.close()

    async with Network() as network:
        urls: dict[str, Any] = {"good": [], "slow": [], "broken": [], "lying": []}
        for number in range(GOOD):
            node = honest(number)
            await network.host_orchestrator(node)
            urls["good"].append(node.url)
        for _ in range(SLOW):
            urls["slow"].append(url_of(await network.host(forgetful(honest(1)))))
        urls["broken"] = [await broken(network, number) for number in range(BROKEN)]
        urls["lying"] = [url_of(await network.host(answers)) for answers in liars()]
        inner = await asyncio.start_server(visited, "127.0.0.2", 0)
        outer = await network.host(answers_of(honest(1)), port=inner.sockets[0].getsockname()[1])
        urls["lying"].append(url_of(outer).replace("127.0.0.1", REBINDING_NAME))
        print(json.dumps(urls), flush=True)
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while (line := await reader.readline()).strip() not in (b"down", b""):
            print(visits if line.strip() == b"visits" else "?", flush=True)


if __name__ == "__main__":
    uvloop.run(main())
