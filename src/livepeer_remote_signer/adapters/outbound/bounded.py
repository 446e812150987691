"""Reading an answer of another host: no further than was agreed."""

from __future__ import annotations

from collections.abc import AsyncIterable


async def read_bounded(parts: AsyncIterable[bytes], most_bytes: int) -> bytes | None:
    """The whole of it; None, and nothing more is read, when it is longer than `most_bytes`."""
    body = bytearray()
    async for part in parts:
        body += part
        if len(body) > most_bytes:
            return None
    return bytes(body)
