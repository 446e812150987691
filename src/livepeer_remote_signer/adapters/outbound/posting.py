"""POSTs to one URL over kept connections, with one more try on a new one where a kept one had just ended.

The webhook and keys behind JSON-RPC are asked so. No redirect is followed, no proxy of the environment is used, and nothing is
decompressed. How long an exchange may take is its caller's matter.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

import aiohttp
from yarl import URL

from livepeer_remote_signer.adapters.outbound.links import Outbound
from livepeer_remote_signer.adapters.outbound.watched import StaleConnection, WatchingConnector


class Posting:
    """Opened with the first request: the connections belong to the event loop that is running then."""

    def __init__(self, url: URL, headers: Mapping[str, str], outbound: Outbound, *, max_connections: int, max_line_bytes: int) -> None:
        self._url = url
        self._headers = headers
        self._outbound = outbound
        self._max_connections = max_connections
        self._max_line_bytes = max_line_bytes
        self._kept: aiohttp.ClientSession | None = None
        self._fresh: aiohttp.ClientSession

    async def post(self, body: bytes, read: Callable[[aiohttp.ClientResponse], Awaitable[bytes]]) -> bytes:
        """What `read` makes of the answer. Raises what it raises, and aiohttp's errors."""
        try:
            return await self._post_on(self._kept or self._open(), body, read)
        except StaleConnection:
            return await self._post_on(self._fresh, body, read)

    async def aclose(self) -> None:
        """Closes the kept connections."""
        if self._kept is not None:
            await self._kept.close()
            await self._fresh.close()

    async def _post_on(
        self, session: aiohttp.ClientSession, body: bytes, read: Callable[[aiohttp.ClientResponse], Awaitable[bytes]]
    ) -> bytes:
        async with session.post(self._url, data=body, allow_redirects=False) as response:
            return await read(response)

    def _open(self) -> aiohttp.ClientSession:
        needs_tls = self._url.scheme == "https" or (self._outbound.proxy or "").startswith("https:")
        tls = self._outbound.tls if needs_tls else True
        most = self._max_connections
        self._fresh = self._open_session(aiohttp.TCPConnector(limit=most, force_close=True, ssl=tls))
        self._kept = self._open_session(WatchingConnector(limit=most, keepalive_timeout=self._outbound.idle_seconds, ssl=tls))
        return self._kept

    def _open_session(self, connector: aiohttp.TCPConnector) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=connector,
            headers=self._headers,
            timeout=aiohttp.ClientTimeout(total=None),  # the whole exchange is timed by who asks
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            max_line_size=self._max_line_bytes,
            max_field_size=self._max_line_bytes,
            trust_env=False,
            proxy=self._outbound.proxy,
        )
