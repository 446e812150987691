"""The `simulate` command (`make demo`): the whole service against simulated counterparts, over real HTTP and gRPC on loopback."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

MIN_PAYMENTS = 20
WEI_A_SECOND = 15_000_000_000


def add_parsers(subparsers: Any) -> None:
    """Adds this module's command."""
    parser = subparsers.add_parser(
        "simulate",
        help="see the signer work: a simulated gateway pays a simulated orchestrator",
        description="Starts the signer with a throw-away key and static chain data on loopback, and pays a simulated orchestrator "
        "through it for some minutes of accelerated time. Exits 1 when anything is not as it should be.",
    )
    parser.set_defaults(run=run)


def run(_: argparse.Namespace) -> int:
    """Tells the story and prints it."""
    started = time.monotonic()
    story = asyncio.run(_play())
    from livepeer_remote_signer.simulate.report import render

    for line in render(story):
        print(line)
    if story.payments < MIN_PAYMENTS:
        print(f"Only {story.payments} payments; {MIN_PAYMENTS} are the least that prove anything.")
        return 1
    print(f"Took {time.monotonic() - started:.1f} s of real time.")
    return 1 if story.off else 0


async def _play() -> Any:
    """The sessions, against a signer that runs while this does."""
    import httpx

    from livepeer_remote_signer.simulate.clock import Clock
    from livepeer_remote_signer.simulate.gateway import Gateway
    from livepeer_remote_signer.simulate.orchestrator import PIXELS_A_SECOND, Offer, Orchestrator
    from livepeer_remote_signer.simulate.recipient import Chain
    from livepeer_remote_signer.simulate.serving import Network
    from livepeer_remote_signer.simulate.story import pixel_price, tell

    clock, chain = Clock(), Chain()
    live = Orchestrator(clock, chain, Offer(WEI_A_SECOND, token_seconds=330))
    pixels = Orchestrator(clock, chain, Offer(pixel_price(WEI_A_SECOND), units_a_second=PIXELS_A_SECOND))
    async with (
        Network() as network,
        running_signer(clock, chain) as url,
        httpx.AsyncClient(base_url=url, trust_env=False) as signer,
        httpx.AsyncClient(verify=False, trust_env=False) as world,  # noqa: S501 - as gateways do: certificates are self-signed
    ):
        await network.host_orchestrator(live)
        await network.host_orchestrator(pixels)
        return await tell(Gateway(signer, world), clock, live, pixels)


@contextlib.asynccontextmanager
async def running_signer(clock: Any, chain: Any) -> AsyncIterator[str]:
    """The signer's URL, while it serves on loopback with a key that nobody keeps."""
    from livepeer_remote_signer.app import create_app
    from livepeer_remote_signer.config import load_config
    from livepeer_remote_signer.listening import bind
    from livepeer_remote_signer.serving import make_server

    with tempfile.TemporaryDirectory() as directory:
        config = load_config(_write_config(Path(directory), chain), {})
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


def _write_config(directory: Path, chain: Any) -> Path:
    key = directory / "key"
    key.touch(0o600)
    key.write_text(os.urandom(32).hex())
    config = directory / "config.yaml"
    config.write_text(
        f"""\
key: {{private_key_file: {key}}}
chain:
  source: static
  static:
    l1_block: {chain.l1_block}
    last_initialized_round: {chain.round}
    last_initialized_round_block_hash: "0x{chain.block_hash.hex()}"
    deposit_wei: 1eth
    reserve_wei: 1eth
orchestrators: {{allow_private_addresses: true}}
"""
    )
    return config
