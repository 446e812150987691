"""One gRPC channel over one TLS connection that this package opened and checked itself.

gRPC's own TLS cannot do what orchestrators need: their certificates are self-signed, may have no name at all, and outlive
their validity. So TLS ends here, where the certificate is compared with the pin, and gRPC talks plainly to a loopback
listener that takes one connection and is closed at once.
"""

from __future__ import annotations

import asyncio
from typing import Any

import grpc

from livepeer_remote_signer.adapters.orchestrators.dialing import TlsConnection
from livepeer_remote_signer.core.errors import OrchestratorUnreachable

MAX_REPLY_BYTES = 1 << 20
_GET_ORCHESTRATOR = "/net.Orchestrator/GetOrchestrator"
_CHUNK = 65536
_IDENTITY_ONLY = 1


class OrchestratorChannel:
    """Made by `open_channel`; usable until `is_open` turns False."""

    def __init__(self, tls: TlsConnection, authority: str) -> None:
        self._tls = tls
        self._authority = authority
        self._channel: Any = None
        self._accepted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._bridge: asyncio.Task[None] | None = None
        self._users = 0
        self._retired = False
        self.is_open = True

    @property
    def fingerprint(self) -> bytes:
        """SHA-256 of the certificate on this connection."""
        return self._tls.fingerprint

    async def get_orchestrator(self, request: bytes, timeout_seconds: float) -> bytes:
        """The serialized reply. Raises grpc.aio.AioRpcError, and OrchestratorUnreachable for a success without a message."""
        self._users += 1
        try:
            reply: bytes | None = await self._channel.unary_unary(_GET_ORCHESTRATOR)(request, timeout=timeout_seconds)
        finally:
            self._users -= 1
            if self._retired and not self._users:
                await self.aclose()
        if reply is None:  # grpc.aio's answer to trailers that say OK and bring nothing
            raise OrchestratorUnreachable(
                f"{self._authority} ended GetOrchestrator well and sent no message",
                hint="try again, or choose another orchestrator",
                orchestrator=f"https://{self._authority}",
            )
        return reply

    async def retire(self) -> None:
        """Closes the channel once nobody waits for an answer on it: closing it under a caller would cancel that caller."""
        self._retired = True
        if not self._users:
            await self.aclose()

    async def start(self) -> None:
        """Joins a new gRPC channel to the TLS connection."""
        listener = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        try:
            port = listener.sockets[0].getsockname()[1]
            self._channel = grpc.aio.insecure_channel(
                f"ipv4:127.0.0.1:{port}",
                options=[
                    ("grpc.default_authority", self._authority),
                    ("grpc.max_receive_message_length", MAX_REPLY_BYTES),
                    ("grpc.compression_enabled_algorithms_bitset", _IDENTITY_ONLY),
                    ("grpc.enable_http_proxy", 0),
                    ("grpc.enable_retries", 0),
                    ("grpc.use_local_subchannel_pool", 1),
                    ("grpc.service_config_disable_resolution", 1),
                ],
            )
            self._channel.get_state(try_to_connect=True)
            await self._accepted
        finally:
            listener.close()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._bridge is not None:
            writer.transport.abort()
            return
        self._bridge = asyncio.get_running_loop().create_task(self._carry(reader, writer))
        if not self._accepted.done():
            self._accepted.set_result(None)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Bytes both ways until either side ends."""
        ways = [
            asyncio.ensure_future(_pump(reader, self._tls.writer)),
            asyncio.ensure_future(_pump(self._tls.reader, writer)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.is_open = False
            for way in ways:
                way.cancel()
            writer.transport.abort()
            self._tls.writer.transport.abort()
            await asyncio.gather(*ways, return_exceptions=True)

    async def aclose(self) -> None:
        """Ends the channel and its connection."""
        self.is_open = False
        if self._channel is not None:
            await self._channel.close()
        if self._bridge is not None:
            self._bridge.cancel()
            await asyncio.gather(self._bridge, return_exceptions=True)
        self._tls.writer.transport.abort()


async def open_channel(tls: TlsConnection, authority: str) -> OrchestratorChannel:
    """A channel over `tls`, which it owns from here on."""
    channel = OrchestratorChannel(tls, authority)
    try:
        await channel.start()
    except BaseException:
        await channel.aclose()
        raise
    return channel


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(_CHUNK):
        writer.write(chunk)
        await writer.drain()
