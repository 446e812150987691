"""Where the story is played: a signer that serves on loopback with a key of the stage's, and two orchestrators on the same chain."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import httpx

from livepeer_remote_signer.app import create_app
from livepeer_remote_signer.config.loading import load_config
from livepeer_remote_signer.process.listening import bind
from livepeer_remote_signer.process.server import make_server
from livepeer_remote_signer.simulate.clock import Clock
from livepeer_remote_signer.simulate.gateway import Gateway
from livepeer_remote_signer.simulate.orchestrator import PIXELS_A_SECOND, Offer, Orchestrator
from livepeer_remote_signer.simulate.recipient import Chain
from livepeer_remote_signer.simulate.serving import Network
from livepeer_remote_signer.simulate.story import Line, Story, pixel_price, tell

WEI_A_SECOND = 15_000_000_000
READY_WITHIN_SECONDS = 15


@dataclass
class Stage:
    """`chain_section` is the signer's `chain:` in YAML, "" for static data that says what `chain` does; `face_value` is in wei;
    `addresses` are the orchestrators'."""

    chain: Chain = field(default_factory=Chain)
    chain_section: str = ""
    secret: bytes = field(default_factory=lambda: os.urandom(32))
    face_value: int = Offer(WEI_A_SECOND).face_value
    addresses: tuple[bytes, bytes] = field(default_factory=lambda: (os.urandom(20), os.urandom(20)))


class Played(NamedTuple):
    """The story, and the orchestrators with the tickets they won."""

    story: Story
    orchestrators: tuple[Orchestrator, ...]


async def play(stage: Stage, on_line: Callable[[Line], None] = lambda line: None) -> Played:
    """The sessions, against a signer that runs while this does; `on_line` is told of each row as it happens."""
    clock = Clock()
    live = Orchestrator(clock, stage.chain, Offer(WEI_A_SECOND, face_value=stage.face_value, token_seconds=330), address=stage.addresses[0])
    by_pixel = Offer(pixel_price(WEI_A_SECOND), units_a_second=PIXELS_A_SECOND, face_value=stage.face_value)
    pixels = Orchestrator(clock, stage.chain, by_pixel, address=stage.addresses[1])
    async with (
        Network() as network,
        running_signer(clock, stage) as url,
        httpx.AsyncClient(base_url=url, trust_env=False) as signer,
        httpx.AsyncClient(verify=False, trust_env=False) as world,  # noqa: S501 - as gateways do: certificates are self-signed
    ):
        await network.host_orchestrator(live)
        await network.host_orchestrator(pixels)
        await _until_ready(signer)
        return Played(await tell(Gateway(signer, world), clock, live, pixels, on_line), (live, pixels))


@contextlib.asynccontextmanager
async def running_signer(clock: Clock, stage: Stage) -> AsyncIterator[str]:
    """The signer's URL, while it serves."""
    with tempfile.TemporaryDirectory() as directory:
        config = load_config(_write_config(Path(directory), stage), {})
        app = create_app(config, clock_ns=clock)
        listener = bind("127.0.0.1", 0)
        server = make_server(app, drain_seconds=1)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            while not server.started:
                if serving.done():
                    serving.result()
                    raise RuntimeError("the signer stopped while it was starting")
                await asyncio.sleep(0.01)
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await serving


async def _until_ready(signer: httpx.AsyncClient) -> None:
    """Waits for the signer's first look at its chain."""
    try:
        async with asyncio.timeout(READY_WITHIN_SECONDS):
            while (reply := await signer.get("/readyz")).status_code != 200:  # noqa: ASYNC110 - readiness is asked over HTTP, as from outside
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise RuntimeError(f"the signer is not ready after {READY_WITHIN_SECONDS} s: {reply.text}") from None


def _write_config(directory: Path, stage: Stage) -> Path:
    key = directory / "key"
    key.touch(0o600)
    key.write_text(stage.secret.hex())
    config = directory / "config.yaml"
    section = stage.chain_section or _static_section(stage.chain)
    config.write_text(
        f"key: {{private_key_file: {key}}}\n{section}\norchestrators: {{allow_private_addresses: true}}\n"
        "live_payment_interval_seconds: 10\nheadroom_seconds: {generate_live_payment: 12, sign_ticket: 10}\n"
    )
    return config


def _static_section(chain: Chain) -> str:
    return f"""\
chain:
  source: static
  static:
    l1_block: {chain.l1_block}
    last_initialized_round: {chain.round}
    last_initialized_round_block_hash: "0x{chain.block_hash.hex()}"
    deposit_wei: 1eth
    reserve_wei: 1eth
"""
