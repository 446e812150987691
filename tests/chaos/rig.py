"""Signers with everything they stand on, each part of which can be made to fail: chain, webhook, receiver of events.

Rigs are independent of each other, so several can be run at once.
"""

from __future__ import annotations

import asyncio
import json
import os
import struct
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import httpx
from aiohttp import web

from livepeer_remote_signer.core.protocol.timestamps import parse_rfc3339_ns
from tests.chaos.clients import Challenge, Client, JsonClient, SdkLoops
from tests.clients.live_runner import LiveRunner
from tests.fake_chain import CONTROLLER, LiveArbitrum
from tests.hooks import Hook, running_hook
from tests.lateness import Lateness
from tests.plans import SECRET
from tests.ports import free_port
from tests.rpc_node import RpcNode
from tests.signer import configuration
from tests.signing import PlainKey
from tests.simulators import Chain, Clock, Offer, Orchestrator

WEI_A_SECOND = 10**12
TICKETS_A_SECOND = 6.25
"""A first payment of 10 s takes 63 tickets; after an outage of 14 s more than 100 are due."""

CAPPED = "capped"
CAP_WEI = 200 * int(WEI_A_SECOND / TICKETS_A_SECOND)
"""What one client may spend in all: it is used up within the first minute."""

CAUGHT_UP_SECONDS = 7.5
"""A session is paid up when no more is owed than two intervals and a call."""


class Receiver:
    """Takes events over HTTP, by id. While `is_away` connections are refused with 503."""

    def __init__(self) -> None:
        self.events: dict[str, dict[str, Any]] = {}
        self.is_away = False
        self.contradictions: list[str] = []
        self.url = ""

    async def take(self, request: web.Request) -> web.Response:
        """A batch of CloudEvents."""
        if self.is_away:
            return web.Response(status=503)
        for event in json.loads(await request.read()):
            known = self.events.setdefault(event["id"], event["data"])
            if known != event["data"]:
                self.contradictions.append(event["id"])
        return web.Response()


class Fleet:
    """The running signers of a rig; each has an address of its own and may have several workers."""

    def __init__(self, folder: Path, name: str, count: int, workers: int, sections: dict[str, Any]) -> None:
        self.urls = [f"http://127.0.0.1:{free_port()}" for _ in range(count)]
        self.clock = folder / f"{name}.clock"
        self.clock.write_bytes(bytes(8))
        self._folder, self._name, self._workers, self._sections = folder, name, workers, sections
        self.processes: list[asyncio.subprocess.Process] = []

    async def start(self) -> None:
        """Returns when all are ready."""
        for number, url in enumerate(self.urls):
            config = self._folder / f"{self._name}-{number}.yaml"
            config.write_text(json.dumps(configuration(listen=url.removeprefix("http://"), **self._sections)))
            command = [sys.executable, "-m", "livepeer_remote_signer", "serve", "--config", str(config), "--workers", str(self._workers)]
            with self.log(number).open("wb") as log:
                self.processes.append(await asyncio.create_subprocess_exec(*command, stdout=log, stderr=log, env=self._environment()))
        async with asyncio.timeout(60):
            for number, url in enumerate(self.urls):
                while await self.ready(url) != 200:
                    assert self.processes[number].returncode is None, self.log(number).read_text()
                    await asyncio.sleep(0.1)

    def log(self, number: int) -> Path:
        """Where a signer prints."""
        return self._folder / f"{self._name}-{number}.log"

    def logs(self) -> list[Path]:
        """Of all signers."""
        return [self.log(number) for number in range(len(self.urls))]

    def _environment(self) -> dict[str, str]:
        clock = Path(__file__).parent / "clock"
        return {**os.environ, "PYTHONPATH": str(clock), "LRS_CHAOS_CLOCK": str(self.clock), "PYTHONWARNINGS": "ignore"}

    def set_clock(self, seconds: int) -> None:
        """The wall clock of all signers, so far ahead of the host's."""
        with self.clock.open("r+b") as file:
            file.write(struct.pack("<q", seconds))

    async def ready(self, url: str) -> int:
        """The status of /readyz; 0: no answer within 5 s."""
        with suppress(httpx.TransportError):
            async with httpx.AsyncClient(trust_env=False, timeout=5) as client:
                return (await client.get(url + "/readyz")).status_code
        return 0

    async def stop(self) -> None:
        """Ends all."""
        for process in self.processes:
            if process.returncode is None:
                process.terminate()
        for process in self.processes:
            try:
                await asyncio.wait_for(process.wait(), 20)
            except TimeoutError:
                process.kill()
                await process.wait()


class Rig(NamedTuple):
    """All of it. `clients` are the sessions that pay, `tasks` those of them that run in this process."""

    name: str
    fleet: Fleet
    chains: list[LiveArbitrum]
    nodes: list[RpcNode]
    hook: Hook
    receiver: Receiver
    orchestrator: Orchestrator
    runner: LiveRunner
    clients: list[Client]
    tasks: list[asyncio.Task[None]]
    lateness: Lateness

    def begin_session(self, name: str, auth_id: str = "", *, has_key: bool = True) -> None:
        """Another session in JSON."""
        challenge = _challenge(self.orchestrator, self.runner)
        client = JsonClient(
            f"{self.name} {name}",
            self.fleet.urls,
            challenge,
            deliver=self.orchestrator.take_payment,
            refresh=lambda: self.runner._terms(_sender(), challenge.manifest_id),
            auth_id=auth_id,
            has_key=has_key,
        )
        if auth_id != CAPPED:
            self.clients.append(client)
        self.tasks.append(asyncio.create_task(client.run()))

    def owed_seconds(self, client: Client) -> float:
        """How long ago the time ends that the client's newest state has paid for."""
        if client.state is None:
            return float("inf")
        updated_ns = parse_rfc3339_ns(client.state["LastUpdate"])
        assert updated_ns is not None
        return time.time() - updated_ns / 1e9

    async def caught_up(self, seconds: float) -> list[str]:
        """Waits until every live session is paid up; those that are not within `seconds`, with what they owe."""
        give_up = time.monotonic() + seconds
        while True:
            behind = [c for c in self.clients if c.is_alive and not -1 < self.owed_seconds(c) < CAUGHT_UP_SECONDS]
            if not behind or time.monotonic() > give_up:
                return [f"{c.name} owes {self.owed_seconds(c):.0f} s" for c in behind]
            await asyncio.sleep(0.1)


@asynccontextmanager
async def rig(
    folder: Path, name: str, loops: SdkLoops, *, replicas: int, workers: int, sdk_sessions: int, ledger: dict[str, Any]
) -> AsyncIterator[Rig]:
    """Running signers with sessions that have paid once."""
    started = time.time()
    chains = [LiveArbitrum(started=started) for _ in range(3)]
    told = Chain(chains[0].first_l1_block, chains[0].round, chains[0].round_hash(chains[0].round))
    offer = Offer(WEI_A_SECOND, ticket_ev=int(WEI_A_SECOND / TICKETS_A_SECOND))
    clock = Clock(time.time_ns())
    orchestrator = Orchestrator(clock, told, offer)
    async with AsyncExitStack() as stack:
        nodes = [await stack.enter_async_context(RpcNode(chain.answer)) for chain in chains]
        hook = await stack.enter_async_context(running_hook())
        receiver = await stack.enter_async_context(_receiving())
        runner = await stack.enter_async_context(LiveRunner(orchestrator, 0))
        sections = {
            "chain": {
                "source": "rpc",
                "rpc": {"urls": [n.url for n in nodes], "controller": "0x" + CONTROLLER.hex(), "poll_seconds": 0.5, "max_age_seconds": 4},
            },
            "recipients": {"require": "any"},
            "auth": {"webhook": {"url": hook.url}, "trusted_proxies": ["127.0.0.0/8"]},
            "ledger": ledger,
            "budgets": [{"scope": "auth_id", "match": CAPPED, "window": "total", "limit_wei": str(CAP_WEI)}],
            "catch_up": {"generate_live_payment": True, "sign_ticket": True},
            "events": {"sinks": [{"type": "http", "url": receiver.url}]},
        }
        fleet = Fleet(folder, name, replicas, workers, sections)
        stack.push_async_callback(fleet.stop)
        await fleet.start()
        clients = [loops.start(f"{name} sdk {n}", fleet.urls[n % replicas], _challenge(orchestrator, runner)) for n in range(sdk_sessions)]
        found = Rig(name, fleet, chains, nodes, hook, receiver, orchestrator, runner, clients, [], Lateness())
        found.tasks.extend((asyncio.create_task(_keep_time(found)), asyncio.create_task(found.lateness.watch())))
        found.begin_session("json")
        found.begin_session(CAPPED, CAPPED)
        try:
            yield found
        finally:
            for task in found.tasks:
                task.cancel()
            await asyncio.gather(*found.tasks, return_exceptions=True)


def _sender() -> bytes:
    return PlainKey(SECRET).address


def _challenge(orchestrator: Orchestrator, runner: LiveRunner) -> Challenge:
    """Terms of a new session for the rigs' key."""
    session_id = os.urandom(4).hex()
    orchestrator.sessions[session_id] = _sender()
    return Challenge(runner._terms(_sender(), session_id), session_id, f"{runner._base}/payment")


async def _keep_time(rig: Rig) -> None:
    """The orchestrator goes by the host's clock, and by the honest chain."""
    while True:
        rig.orchestrator.clock.now_ns = time.time_ns()
        rig.orchestrator.chain.l1_block = rig.chains[0].first_l1_block + int(time.time() - rig.chains[0].started) // 12
        await asyncio.sleep(0.05)


@asynccontextmanager
async def _receiving() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    app = web.Application()
    app.router.add_post("/events", receiver.take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/events"
    try:
        yield receiver
    finally:
        await runner.cleanup()
