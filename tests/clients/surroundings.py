"""What clients meet: a signer on a static or a live view of the chain, with and without a ledger, and the wall's clock."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

from tests.api_keys import create_key
from tests.fake_chain import CHAIN_ID, CONTROLLER, FakeChain
from tests.rpc_node import RpcNode
from tests.served import Served, served
from tests.simulators import Chain, Clock, static_chain

AUTH_ID = "team-a"


class Surroundings(NamedTuple):
    """A running signer that demands an API key, the headers with one, and the chain and clock that orchestrators share with it."""

    signer: Served
    headers: dict[str, str]
    chain: Chain
    clock: Clock


@contextlib.asynccontextmanager
async def surroundings(folder: Path, view: str, backend: str, orchestrators: list[str], **sections: Any) -> AsyncIterator[Surroundings]:
    """`view` is static or rpc, `backend` the ledger's. Yields when the orchestrators are listed."""
    clock, node = Clock(time.time_ns()), FakeChain(timestamp=int(time.time()))
    live = Chain(node.l1_block, node.round, node.round_hash(node.round))
    key, _ = create_key(folder / "keys.json", name="gateway", auth_id=AUTH_ID, now=int(time.time()))
    async with RpcNode(node.answer) as rpc, _keeping_time(clock):
        chain = live if view == "rpc" else Chain()
        rpc_section = {"urls": [rpc.url], "chain_id": CHAIN_ID, "controller": "0x" + CONTROLLER.hex()}
        told = {
            "chain": static_chain(chain) if view == "static" else {"source": "rpc", "rpc": rpc_section},
            "recipients": {"require": "any"},
            "auth": {"api_keys_file": str(folder / "keys.json")},
            "ledger": {"backend": backend, "path": str(folder / "ledger.sqlite")} if backend != "none" else {"backend": "none"},
            "discovery": {"enabled": True, "static": orchestrators, "allow_private_addresses": True},
            "orchestrators": {"allow_private_addresses": True},
            **sections,
        }
        with served(folder, wait=False, **told) as signer:
            found = Surroundings(signer, {"Authorization": f"Bearer {key}"}, chain, clock)
            await _until_listed(found)
            yield found


async def _until_listed(found: Surroundings) -> None:
    """Asks as a client does, until the list is there."""
    line = "".join(f"{name}: {value}\r\n" for name, value in found.headers.items())
    request = f"GET /discover-orchestrators HTTP/1.1\r\nHost: localhost\r\n{line}\r\n".encode()
    give_up = time.monotonic() + 60
    while True:
        with contextlib.suppress(OSError):
            if (await asyncio.to_thread(found.signer.exchange, request)).status == 200:
                return
        assert found.signer.process.poll() is None, found.signer.log
        assert time.monotonic() < give_up, found.signer.log
        await asyncio.sleep(0.1)


@contextlib.asynccontextmanager
async def _keeping_time(clock: Clock) -> AsyncIterator[None]:
    async def tick() -> None:
        while True:
            clock.now_ns = time.time_ns()
            await asyncio.sleep(0.01)

    ticking = asyncio.create_task(tick())
    try:
        yield
    finally:
        ticking.cancel()
