"""A plain HTTP server that answers everything the same way."""

from __future__ import annotations

import asyncio
import ssl
from types import TracebackType


class PlainHttp:
    """Answers with `status` and `body`, one request a connection."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self.status = 200
        self.body = b""
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/pool"

    async def __aenter__(self) -> PlainHttp:
        self._server = await asyncio.start_server(self._answer, "127.0.0.1", 0, ssl=self._tls)
        return self

    async def __aexit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        assert self._server is not None
        self._server.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:  # whoever dialled does not trust the certificate
            writer.close()
            return
        head = f"HTTP/1.1 {self.status} -\r\ncontent-length: {len(self.body)}\r\nconnection: close\r\n\r\n"
        writer.write(head.encode() + self.body)
        try:
            await writer.drain()
        except ConnectionError:
            return
        finally:
            writer.close()
