"""Connections to orchestrators: a name is resolved once, all its addresses are checked, a checked address is dialled.

There is no second look-up between check and dial that could answer differently. The certificate in use on the very
connection is what pins are compared with.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from hashlib import sha256
from typing import Literal, NamedTuple, TypeAlias

from livepeer_remote_signer.core.addresses import AddressPolicy, OrchestratorUrl, parse_ip
from livepeer_remote_signer.core.errors import OrchestratorUnreachable

TlsPolicy: TypeAlias = Literal["tofu", "system", "pin-strict"]
Resolver: TypeAlias = Callable[[str, int], Awaitable[Sequence[str]]]
MAX_ADDRESSES = 8


class TlsConnection(NamedTuple):
    """An open connection to a checked address, and the SHA-256 of the certificate that was shown on it."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    fingerprint: bytes


async def resolve_name(host: str, port: int) -> Sequence[str]:
    """The addresses of `host` as the system's resolver gives them; OSError when there is none."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def client_context(policy: TlsPolicy, alpn: str) -> ssl.SSLContext:
    """TLS as the policy wants it: `system` verifies chain and name; the others take any certificate and pin it."""
    if policy == "system":
        context = ssl.create_default_context()
    else:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols([alpn])
    return context


def fingerprint_of(ssl_object: ssl.SSLObject) -> bytes:
    """SHA-256 of the certificate that the other side showed."""
    return sha256(ssl_object.getpeercert(binary_form=True) or b"").digest()


class Dialer:
    """Finds the addresses of orchestrators that may be dialled, and dials them."""

    def __init__(self, policy: AddressPolicy, resolve: Resolver = resolve_name) -> None:
        self._policy = policy
        self._resolve = resolve

    async def checked_addresses(self, url: OrchestratorUrl) -> list[str]:
        """IP literals, at least one. Raises AddressRefused when any is refused, OrchestratorUnreachable when there is none."""
        if parse_ip(url.host) is not None:
            return self._policy.check(url.host, [url.host])
        try:
            found = await self._resolve(url.host, url.port)
        except (OSError, UnicodeError):
            found = ()
        if not found:
            raise OrchestratorUnreachable(f"the orchestrator's name {url.host} does not resolve", hint="check the URL", host=url.host)
        return self._policy.check(url.host, found)[:MAX_ADDRESSES]

    async def open_tls(self, url: OrchestratorUrl, context: ssl.SSLContext) -> TlsConnection:
        """A TLS connection to the first checked address that answers. Raises AddressRefused or OrchestratorUnreachable."""
        reasons = []
        for address in await self.checked_addresses(url):
            try:
                reader, writer = await asyncio.open_connection(address, url.port, ssl=context, server_hostname=url.host)
            except ssl.SSLError as error:
                reasons.append(f"{address}: TLS failed: {error.reason or 'no agreement'}")
            except OSError as error:
                reasons.append(f"{address}: {error.strerror or 'no connection'}")
            else:
                return TlsConnection(reader, writer, fingerprint_of(writer.get_extra_info("ssl_object")))
        raise OrchestratorUnreachable(
            f"the orchestrator at {url.authority} cannot be reached: {'; '.join(reasons)[:400]}",
            hint="check that it is up and that its service URL is right",
            orchestrator=str(url),
        )
