"""A broker as clients of older clusters meet it: the real one, but no producer id is given to anybody."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Literal

from tests.operate.kafka.broker import KafkaNode

INIT_PRODUCER_ID = 22
CLUSTER_AUTHORIZATION_FAILED = 31


@asynccontextmanager
async def old_broker(kafka: KafkaNode, way: Literal["denies", "hangs up"]) -> AsyncIterator[str]:
    """The address of a broker in front of `kafka`, whose clients stay with it. It `denies` producer ids, or does not know them."""
    open_writers: set[asyncio.StreamWriter] = set()

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind_reader, behind_writer = await asyncio.open_connection("127.0.0.1", kafka.behind_port)
        open_writers.update((writer, behind_writer))
        answers = asyncio.create_task(copy(behind_reader, writer))
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                (size,) = struct.unpack(">i", await reader.readexactly(4))
                request = await reader.readexactly(size)
                api, _, correlation = struct.unpack(">hhi", request[:8])
                if api != INIT_PRODUCER_ID:
                    behind_writer.write(struct.pack(">i", size) + request)
                elif way == "hangs up":
                    break
                else:
                    answer = struct.pack(">iihqh", correlation, 0, CLUSTER_AUTHORIZATION_FAILED, -1, -1)
                    writer.write(struct.pack(">i", len(answer)) + answer)
        behind_writer.close()
        await answers
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", kafka.advertised_port)
    try:
        yield f"127.0.0.1:{kafka.advertised_port}"
    finally:
        server.close()
        for writer in open_writers:
            writer.transport.abort()
        await server.wait_closed()
