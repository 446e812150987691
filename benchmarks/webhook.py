"""The webhook of the measurements: agrees at once. Prints its port; ends by SIGTERM, or after ten minutes."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any


class Agreeing(asyncio.Protocol):
    """Answers each request once its body is there."""

    expiry_seconds = 0

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.buffer = b""

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        at = self.buffer.lower().find(b"content-length: ")
        length = int(self.buffer[at + 16 : self.buffer.find(b"\r", at)])
        if len(self.buffer) < end + 4 + length:
            return
        self.buffer = b""
        expiry = int(time.time()) + self.expiry_seconds if self.expiry_seconds else 0
        body = json.dumps({"status": 200, "auth_id": "bench", "expiry": expiry}).encode()
        self.transport.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))


async def main() -> None:
    """Serves on a free loopback port."""
    Agreeing.expiry_seconds = json.loads(sys.argv[1])["expiry_seconds"]
    server = await asyncio.get_running_loop().create_server(Agreeing, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.sleep(600)


if __name__ == "__main__":
    asyncio.run(main())
