"""The signer over real HTTP, in this process: so that a test can count signatures where they are made."""

from __future__ import annotations

import asyncio
import gc
import json
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import httpx
import yaml

from livepeer_remote_signer.adapters.keys import SigningKey
from livepeer_remote_signer.app import create_app
from livepeer_remote_signer.config.loading import parse_config
from livepeer_remote_signer.process.listening import bind
from livepeer_remote_signer.process.server import make_server
from tests.plans import CHAIN, SECRET, orchestrator_info

PAY = "/generate-live-payment"


class Signatures:
    """How often the key was used."""

    def __init__(self) -> None:
        self.made = 0


@contextmanager
def counted_signatures() -> Iterator[Signatures]:
    """Counts every use of the key, wherever it comes from."""
    count = Signatures()
    real = SigningKey.sign_personal

    def sign(self: SigningKey, message: bytes) -> bytes:
        count.made += 1
        return real(self, message)

    with patch.object(SigningKey, "sign_personal", sign):
        yield count


def configuration(**sections: Any) -> dict[str, Any]:
    """A static chain with funds, a throw-away key, and what a test adds."""
    return {
        **({} if "keys" in sections else {"key": {"private_key": "0x" + SECRET.hex()}}),
        "chain": {
            "source": "static",
            "static": {
                "l1_block": CHAIN.l1_block,
                "last_initialized_round": CHAIN.last_initialized_round,
                "last_initialized_round_block_hash": "0x" + CHAIN.last_initialized_round_block_hash.hex(),
                "deposit_wei": str(CHAIN.deposit_wei),
                "reserve_wei": str(CHAIN.reserve_wei),
            },
        },
        **sections,
    }


class RunningSigner:
    """A client of the signer, and one of its admin listener where there is one."""

    def __init__(self, client: httpx.AsyncClient, admin: httpx.AsyncClient | None) -> None:
        self.client = client
        self.admin = admin

    async def pay(self, headers: dict[str, str] | None = None, **fields: Any) -> httpx.Response:
        """Asks for a payment; `fields` stand over those of a new live session's first call."""
        info = fields.pop("info", None) or orchestrator_info(now_ns=time.time_ns())
        body = {"orchestrator": b64encode(info).decode(), "ManifestID": "m1", "type": "live", **fields}
        return await self.client.post(PAY, content=json.dumps(body), headers=headers)


@asynccontextmanager
async def running_signer(
    *,
    admin_token_file: Path | None = None,
    clock_ns: Callable[[], int] = time.time_ns,
    workers_folder: Path | None = None,
    manage_users: bool = False,
    **sections: Any,
) -> AsyncIterator[RunningSigner]:
    """The signer on a free port of 127.0.0.1."""
    if admin_token_file is not None:
        sections["admin"] = {
            "listen": "127.0.0.1:1",
            "token_file": str(admin_token_file),
            "manage_users": manage_users,
            **sections.get("admin", {}),
        }
    config = parse_config(yaml.safe_dump(configuration(**sections)), {})
    app = create_app(config, clock_ns=clock_ns, workers_folder=workers_folder)
    listener = bind("127.0.0.1", 0)
    admin_listener = bind("127.0.0.1", 0) if admin_token_file is not None else None
    server = make_server(app, 1, admin_listener)
    thresholds = gc.get_threshold()
    task = asyncio.create_task(server.serve([listener]))
    port = listener.getsockname()[1]
    admin_port = admin_listener.getsockname()[1] if admin_listener else port
    try:
        while not server.started:
            assert not task.done(), "the server did not start"
            await asyncio.sleep(0.01)
        async with (
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False) as client,
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{admin_port}", timeout=30, trust_env=False) as admin,
        ):
            yield RunningSigner(client, admin if admin_listener else None)
    finally:
        server.should_exit = True
        try:
            await task
        finally:
            for opened in (listener, admin_listener):
                if opened is not None:
                    opened.close()
        gc.unfreeze()
        gc.set_threshold(*thresholds)
