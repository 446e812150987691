"""The signer on a loopback port in this process, for tests that speak real HTTP to it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from livepeer_remote_signer.app import create_app
from livepeer_remote_signer.config.loading import parse_config
from livepeer_remote_signer.process.listening import bind
from livepeer_remote_signer.process.server import make_server
from tests.simulators import Chain, static_chain

KEY = "0x" + "11" * 32


def config_text(chain: Chain, **sections: Any) -> str:
    """A configuration that can pay. JSON is YAML."""
    return json.dumps({"key": {"private_key": KEY}, "chain": static_chain(chain), **sections})


@asynccontextmanager
async def running_signer(chain: Chain, clock_ns: Callable[[], int], **sections: Any) -> AsyncIterator[str]:
    """The signer's URL while it serves."""
    app = create_app(parse_config(config_text(chain, **sections), {}), clock_ns=clock_ns)
    listener = bind("127.0.0.1", 0)
    server = make_server(app, 1)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        async with asyncio.timeout(20):
            while not server.started:  # noqa: ASYNC110 - uvicorn tells by this attribute
                await asyncio.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await serving
