"""One more try on a new connection, where a kept one ended before a byte of the answer came.

Servers close connections that were idle for some seconds, and a request may be on its way just then: nobody has read it.
Once a byte of the answer has come there is no second request: somebody has acted on the first.
"""

from __future__ import annotations

import ssl
from typing import Any

import httpcore
import httpx


class StaleConnection(httpcore.ReadError):
    """A connection that had served before ended without a byte of an answer to what was asked last."""


class Watched(httpcore.AsyncNetworkStream):
    """A stream that knows whether an answer has begun since the last request."""

    def __init__(self, stream: httpcore.AsyncNetworkStream) -> None:
        self._stream = stream
        self._answers = 0
        self._is_answered = False

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 - httpcore's interface
        """Raises StaleConnection in place of an end or a failure that shows that the connection was stale."""
        try:
            data = await self._stream.read(max_bytes, timeout)
        except httpcore.ReadError:
            if self._is_stale:
                raise StaleConnection from None
            raise
        if not data and self._is_stale:
            raise StaleConnection
        if data and not self._is_answered:
            self._answers += 1
            self._is_answered = True
        return data

    @property
    def _is_stale(self) -> bool:
        return self._answers > 0 and not self._is_answered

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109 - httpcore's interface
        """A request begins. One that cannot be written is found out by the reading."""
        self._is_answered = False
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        """Closes it."""
        await self._stream.aclose()

    async def start_tls(self, ssl_context: ssl.SSLContext, *arguments: Any, **options: Any) -> httpcore.AsyncNetworkStream:
        """What was said before, to a proxy, is no earlier answer."""
        return Watched(await self._stream.start_tls(ssl_context, *arguments, **options))

    def get_extra_info(self, info: str) -> Any:
        """As the stream behind says."""
        return self._stream.get_extra_info(info)


class WatchingBackend(httpcore.AnyIOBackend):
    """httpcore's own way to connect."""

    async def connect_tcp(self, host: str, port: int, *arguments: Any, **options: Any) -> httpcore.AsyncNetworkStream:
        """A stream that is watched."""
        return Watched(await super().connect_tcp(host, port, *arguments, **options))


class TryingAgain(httpx.AsyncBaseTransport):
    """Sends through connections that are kept, and once more through one that is not."""

    def __init__(self, tls: ssl.SSLContext, proxy: httpx.Proxy | None, limits: httpx.Limits) -> None:
        self._kept = httpx.AsyncHTTPTransport(verify=tls, trust_env=False, proxy=proxy, limits=limits)
        self._kept._pool._network_backend = WatchingBackend()
        self._fresh = httpx.AsyncHTTPTransport(verify=tls, trust_env=False, proxy=proxy, limits=httpx.Limits(max_keepalive_connections=0))

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Raises what httpx raises."""
        try:
            return await self._kept.handle_async_request(request)
        except httpx.ReadError as error:
            if not isinstance(error.__cause__, StaleConnection):
                raise
        return await self._fresh.handle_async_request(request)

    async def aclose(self) -> None:
        """Closes what is kept."""
        await self._kept.aclose()
        await self._fresh.aclose()
