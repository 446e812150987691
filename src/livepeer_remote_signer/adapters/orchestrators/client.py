"""Asks orchestrators: GetOrchestrator over gRPC, and `GET /discovery`.

Source: sections 4, 5.2 and 11 of the protocol. Everything that comes back is bounded in time and size and was written by
a stranger; connections are reused, within a bound.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from weakref import WeakValueDictionary

import grpc

from livepeer_remote_signer.adapters.orchestrators.channel import OrchestratorChannel, open_channel
from livepeer_remote_signer.adapters.orchestrators.dialing import (
    Dialer,
    Resolver,
    TlsPolicy,
    client_context,
)
from livepeer_remote_signer.adapters.orchestrators.http_get import HttpFault, get_over
from livepeer_remote_signer.adapters.orchestrators.names import resolve_name
from livepeer_remote_signer.adapters.orchestrators.pins import Pins
from livepeer_remote_signer.core.errors import OrchestratorUnreachable
from livepeer_remote_signer.core.protocol.wire import parse_capabilities, parse_message
from livepeer_remote_signer.core.rules.addresses import AddressPolicy, OrchestratorUrl, parse_orchestrator_url
from livepeer_remote_signer.proto import net_pb2

DISCOVERY_TIMEOUT_SECONDS = 2.0
MAX_DISCOVERY_BYTES = 1 << 20


class OrchestratorClient:
    """Calls orchestrators with the sender's address and its orchestrator-info signature.

    `max_connections` is how many are kept open; the one unused for longest is closed first.
    """

    def __init__(
        self,
        *,
        sender: bytes,
        signature: bytes,
        addresses: AddressPolicy,
        tls: TlsPolicy = "tofu",
        timeout_seconds: float = 3.0,
        max_connections: int = 64,
        resolve: Resolver = resolve_name,
    ) -> None:
        self._request = net_pb2.OrchestratorRequest(address=sender, sig=signature)
        self._dialer = Dialer(addresses, resolve)
        self._pins = Pins(tls)
        self._grpc_tls = client_context(tls, "h2")
        self._http_tls = client_context(tls, "http/1.1")
        self._timeout_seconds = timeout_seconds
        self._max_connections = max_connections
        self._channels: OrderedDict[str, OrchestratorChannel] = OrderedDict()
        self._dialling: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def fetch_orchestrator_info(
        self, url: str, capabilities: bytes = b"", *, ignore_capacity_check: bool = False, keep_open: bool = True
    ) -> bytes:
        """The serialized OrchestratorInfo of the orchestrator at `url`, which is a message of that kind.

        Raises BadField (the URL), BadCapabilities, AddressRefused, OrchestratorUnreachable.
        """
        target = parse_orchestrator_url(url)
        parse_capabilities(capabilities)
        request = net_pb2.OrchestratorRequest(ignoreCapacityCheck=ignore_capacity_check)
        request.MergeFrom(self._request)
        if capabilities:
            request.capabilities.MergeFromString(capabilities)
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return await self._ask(target, request.SerializeToString(), keep_open)
        except TimeoutError:
            raise OrchestratorUnreachable(
                f"the orchestrator at {target.authority} did not answer within {self._timeout_seconds:g} s",
                hint="try again, or choose another orchestrator",
                orchestrator=str(target),
                limit_seconds=self._timeout_seconds,
            ) from None

    async def _ask(self, url: OrchestratorUrl, request: bytes, keep_open: bool) -> bytes:
        """One call; once more on a fresh connection where a kept one turned out to be dead."""
        while True:
            kept = self._take(url)
            channel = kept or await self._connect(url)
            try:
                raw = await channel.get_orchestrator(request, self._timeout_seconds)
                self._pins.accept(url, channel.fingerprint, _address_in(raw, url))
            except grpc.aio.AioRpcError as error:
                await self._drop(url, channel)
                if kept is None or error.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise _refusal(error, url) from None
            except BaseException:
                await self._drop(url, channel)
                raise
            else:
                if not keep_open:
                    await self._drop(url, channel)
                return raw

    def _take(self, url: OrchestratorUrl) -> OrchestratorChannel | None:
        """A kept connection to this orchestrator, if it is still open."""
        channel = self._channels.get(url.authority)
        if channel is None or not channel.is_open:
            return None
        self._channels.move_to_end(url.authority)
        return channel

    async def _connect(self, url: OrchestratorUrl) -> OrchestratorChannel:
        """A new connection, kept; callers who want the same orchestrator at the same time share it."""
        lock = self._dialling.setdefault(url.authority, asyncio.Lock())
        async with lock:
            if (kept := self._take(url)) is not None:
                return kept
            tls = await self._dialer.open_tls(url, self._grpc_tls)
            try:
                if tls.writer.get_extra_info("ssl_object").selected_alpn_protocol() != "h2":
                    raise OrchestratorUnreachable(f"{url.authority} does not speak gRPC (no HTTP/2 over TLS)", orchestrator=str(url))
                self._pins.check_before_use(url, tls.fingerprint)
            except OrchestratorUnreachable:
                tls.writer.transport.abort()
                raise
            channel = await open_channel(tls, url.authority)
            await self._keep(url, channel)
            return channel

    async def _keep(self, url: OrchestratorUrl, channel: OrchestratorChannel) -> None:
        replaced = self._channels.pop(url.authority, None)
        self._channels[url.authority] = channel
        if replaced is None and len(self._channels) > self._max_connections:
            _, replaced = self._channels.popitem(last=False)
        if replaced is not None:
            await replaced.retire()

    async def _drop(self, url: OrchestratorUrl, channel: OrchestratorChannel) -> None:
        if self._channels.get(url.authority) is channel:
            del self._channels[url.authority]
        await channel.retire()

    async def fetch_discovery(self, url: str) -> bytes:
        """The body of `GET <url>/discovery`, at most 1 MiB within 2 s, redirects not followed.

        Raises BadField (the URL), AddressRefused, OrchestratorUnreachable.
        """
        target = parse_orchestrator_url(url)
        try:
            async with asyncio.timeout(DISCOVERY_TIMEOUT_SECONDS):
                return await self._get_discovery(target)
        except TimeoutError:
            raise _no_discovery(target, f"no answer within {DISCOVERY_TIMEOUT_SECONDS:g} s") from None
        except HttpFault as fault:
            raise _no_discovery(target, str(fault)) from None
        except OSError as error:
            raise _no_discovery(target, f"the connection broke ({type(error).__name__})") from None

    async def _get_discovery(self, url: OrchestratorUrl) -> bytes:
        tls = await self._dialer.open_tls(url, self._http_tls)
        try:
            pin = self._pins.get(url)
            if pin is not None and tls.fingerprint != pin.fingerprint:
                raise _no_discovery(url, "its certificate is not the pinned one")
            return await get_over(tls, url.authority, f"{url.path}/discovery", MAX_DISCOVERY_BYTES)
        finally:
            tls.writer.transport.abort()

    async def check_addresses(self, url: str) -> None:
        """Raises BadField, AddressRefused or OrchestratorUnreachable unless every address behind the URL's name may be dialled."""
        target = parse_orchestrator_url(url)
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await self._dialer.checked_addresses(target)
        except TimeoutError:
            raise OrchestratorUnreachable(f"the name {target.host} was not found in time", orchestrator=str(target)) from None

    async def aclose(self) -> None:
        """Closes every connection."""
        channels = list(self._channels.values())
        self._channels.clear()
        await asyncio.gather(*(channel.aclose() for channel in channels))


def _address_in(raw: bytes, url: OrchestratorUrl) -> bytes:
    try:
        return parse_message(net_pb2.OrchestratorInfo, raw).address
    except ValueError:
        raise OrchestratorUnreachable(
            f"{url.authority} answered with something else than an OrchestratorInfo", orchestrator=str(url)
        ) from None


def _refusal(error: grpc.aio.AioRpcError, url: OrchestratorUrl) -> OrchestratorUnreachable:
    """The orchestrator's own words, cleaned and cut: a stranger wrote them."""
    words = "".join(c if c.isprintable() else " " for c in (error.details() or "")[:200])
    return OrchestratorUnreachable(
        f"the orchestrator at {url.authority} refused GetOrchestrator: {error.code().name}: {words}",
        hint="it may be busy or not take this sender; try again, or choose another orchestrator",
        orchestrator=str(url),
        grpc_status=error.code().name,
    )


def _no_discovery(url: OrchestratorUrl, reason: str) -> OrchestratorUnreachable:
    return OrchestratorUnreachable(f"{url}/discovery: {reason}", orchestrator=str(url))
