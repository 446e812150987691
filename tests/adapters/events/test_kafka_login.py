"""A broker that refuses a login, or wants another kind: told as such."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from livepeer_remote_signer.adapters.events.kafka import KafkaSink
from livepeer_remote_signer.adapters.events.sink import SinkError

API_VERSIONS, HANDSHAKE, AUTHENTICATE = 18, 17, 36
REFUSED = 58


@asynccontextmanager
async def broker(*, mechanism: str = "PLAIN") -> AsyncIterator[str]:
    """Speaks as much of Kafka's protocol as a login takes, and refuses it."""

    def text(words: str) -> bytes:
        return struct.pack(">h", len(words)) + words.encode()

    answers = {
        API_VERSIONS: struct.pack(">hi", 0, 3) + b"".join(struct.pack(">hhh", *api) for api in ((18, 0, 0), (17, 0, 1), (36, 0, 0))),
        HANDSHAKE: struct.pack(">hi", 0 if mechanism == "PLAIN" else 33, 1) + text(mechanism),
        AUTHENTICATE: struct.pack(">h", REFUSED) + text("Authentication failed") + struct.pack(">i", 0),
    }

    writers: list[asyncio.StreamWriter] = []
    handlers: list[asyncio.Task[None] | None] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        handlers.append(asyncio.current_task())
        try:
            while True:
                (size,) = struct.unpack(">i", await reader.readexactly(4))
                key, _, correlation = struct.unpack(">hhi", (await reader.readexactly(size))[:8])
                reply = struct.pack(">i", correlation) + answers[key]
                writer.write(struct.pack(">i", len(reply)) + reply)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        for writer in writers:
            writer.close()
        await asyncio.gather(*(handler for handler in handlers if handler is not None))


@pytest.mark.parametrize(
    ("mechanism", "words"), [("PLAIN", "the brokers refuse the login"), ("GSSAPI", "the brokers do not take SASL PLAIN")]
)
async def test_a_login_that_is_refused_is_no_failed_connection(mechanism: str, words: str) -> None:
    async with broker(mechanism=mechanism) as address:
        sink = KafkaSink([address], "events", username="gateway", password="geheim")
        for asked in (sink.look(), sink.publish([b"{}"])):
            with pytest.raises(SinkError, match=words) as refused:
                await asked
            assert "geheim" not in str(refused.value)
        await sink.aclose()


async def test_nobody_at_the_address_is_still_a_connection_that_failed() -> None:
    sink = KafkaSink(["127.0.0.1:1"], "events", username="gateway", password="geheim")
    with pytest.raises(SinkError, match="no broker could be connected to"):
        await sink.look()
    await sink.aclose()
