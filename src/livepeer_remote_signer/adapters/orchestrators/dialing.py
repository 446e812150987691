"""Connections to orchestrators: a name is resolved once, all its addresses are checked, a checked address is dialled.

There is no second look-up between check and dial that could answer differently. The certificate in use on the very
connection is what pins are compared with.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Collection, Sequence
from hashlib import sha256
from typing import Literal, NamedTuple, TypeAlias

from livepeer_remote_signer.adapters.orchestrators.names import resolve_name
from livepeer_remote_signer.core.errors import OrchestratorUnreachable
from livepeer_remote_signer.core.rules.addresses import AddressPolicy, OrchestratorUrl, parse_ip

TlsPolicy: TypeAlias = Literal["tofu", "system", "pin-strict"]
Resolver: TypeAlias = Callable[[str, int], Awaitable[Sequence[str]]]
MAX_ADDRESSES = 8
HEAD_START_SECONDS = 0.3
"""Before the next address is tried beside one that has not answered: RFC 8305 recommends 0.25 s, here a handshake is part of it."""


class TlsConnection(NamedTuple):
    """An open connection to a checked address, and the SHA-256 of the certificate that was shown on it."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    fingerprint: bytes


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
        """A TLS connection to the first checked address that answers. Raises AddressRefused or OrchestratorUnreachable.

        They are tried in order, the next one as soon as one fails or has had its head start: an address that swallows
        everything does not use up the time of the others.
        """
        left = await self.checked_addresses(url)
        reasons: list[str] = []
        trying: set[asyncio.Task[TlsConnection | str]] = set()
        try:
            while left or trying:
                if left:
                    trying.add(asyncio.create_task(_try(left.pop(0), url, context)))
                head_start = HEAD_START_SECONDS if left else None
                done, _ = await asyncio.wait(trying, timeout=head_start, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    trying.remove(task)
                    outcome = task.result()
                    if isinstance(outcome, TlsConnection):
                        return outcome
                    reasons.append(outcome)
        finally:
            await _give_up(trying)
        raise OrchestratorUnreachable(
            f"the orchestrator at {url.authority} cannot be reached: {'; '.join(reasons)[:400]}",
            hint="check that it is up and that its service URL is right",
            orchestrator=str(url),
        )


async def _try(address: str, url: OrchestratorUrl, context: ssl.SSLContext) -> TlsConnection | str:
    """The connection, or why there is none."""
    try:
        reader, writer = await asyncio.open_connection(address, url.port, ssl=context, server_hostname=url.host)
    except ssl.SSLError as error:
        return f"{address}: TLS failed: {error.reason or 'no agreement'}"
    except OSError as error:
        return f"{address}: {error.strerror or 'no connection'}"
    return TlsConnection(reader, writer, fingerprint_of(writer.get_extra_info("ssl_object")))


async def _give_up(tasks: Collection[asyncio.Task[TlsConnection | str]]) -> None:
    """Ends what is still being tried, and closes what came too late."""
    for task in tasks:
        task.cancel()
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(outcome, TlsConnection):
            outcome.writer.transport.abort()
