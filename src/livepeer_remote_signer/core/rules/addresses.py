"""Which orchestrators may be dialled: the form of their URLs, and the rule over the addresses behind their names.

Orchestrator URLs are attacker-controlled: anyone can register one. So a name is resolved once, every address it stands
for is checked here, and the connection goes to a checked address, not to the name.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from typing import NamedTuple, TypeAlias
from urllib.parse import SplitResult, urlsplit

from livepeer_remote_signer.core.errors import AddressRefused, BadField

IpAddress: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
IpNetwork: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

MAX_URL_CHARACTERS = 2048
DEFAULT_PORT = 443

_HOST = re.compile(r"(?=.{1,253}$)[a-z0-9_](?:[a-z0-9_-]{0,62})(?:\.[a-z0-9_](?:[a-z0-9_-]{0,62}))*\.?")
_PATH = re.compile(r"(?:/[A-Za-z0-9._~-]+)*")
_METADATA = frozenset(
    ipaddress.ip_address(text) for text in ("169.254.169.254", "168.63.129.16", "100.100.100.200", "192.0.0.192", "fd00:ec2::254")
)
"""Where clouds serve credentials to their machines; one of them is inside a public range."""

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_RESERVED = tuple(ipaddress.ip_network(text) for text in ("192.0.0.0/24", "192.88.99.0/24", "fec0::/10", "3fff::/20", "64:ff9b:1::/48"))
"""Protocol assignments, relays of 6to4, site-local addresses, documentation, and NAT64 within a site: nobody's public address,
though some of them are routed inside some networks, and not every Python knows them."""

_ISATAP = frozenset((0x00005EFE, 0x02005EFE))
"""Bits 32 to 63 of an address that is a tunnel's to an IPv4 one inside a site (RFC 5214)."""


class OrchestratorUrl(NamedTuple):
    """A parsed orchestrator URL: `host` in lower case, without brackets; `path` is empty or starts with a slash."""

    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """`host:port`, an IPv6 address in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def __str__(self) -> str:
        return f"https://{self.authority}{self.path}"


def parse_orchestrator_url(text: str) -> OrchestratorUrl:
    """`https://host[:port][/path]`; a trailing slash means nothing. Raises BadField for anything else."""
    if len(text) > MAX_URL_CHARACTERS:
        raise BadField(f"the orchestrator's URL has {len(text)} characters, more than {MAX_URL_CHARACTERS}")
    if not (text.isascii() and text.isprintable()) or " " in text:
        raise BadField("the orchestrator's URL is not printable ASCII without spaces")
    try:
        parts = urlsplit(text)
        port = parts.port
        host = parts.hostname or ""
    except ValueError as error:
        raise BadField(f"the orchestrator's URL cannot be read: {error}") from None
    path = parts.path.rstrip("/")
    _check_form(parts, host, port, path)
    return OrchestratorUrl(host, DEFAULT_PORT if port is None else port, path)


def _check_form(parts: SplitResult, host: str, port: int | None, path: str) -> None:
    if parts.scheme != "https":
        raise BadField("the orchestrator's URL must start with https://", hint="orchestrators answer over TLS: https://host:port")
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise BadField("the orchestrator's URL must be https://host:port, without user, query or fragment")
    if port == 0 or not host or (parse_ip(host) is None and _HOST.fullmatch(host) is None):
        raise BadField("the orchestrator's URL has no usable host and port")
    if _PATH.fullmatch(path) is None or any(step in (".", "..") for step in path.split("/")):
        raise BadField("the path of the orchestrator's URL is not plain")


def parse_ip(text: str) -> IpAddress | None:
    """An IP literal without a zone; None for a name."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return None if getattr(address, "scope_id", None) else address


class AddressPolicy(NamedTuple):
    """What may be dialled. Public addresses may; `allow_private` adds private and loopback ones, `networks` anything in them."""

    allow_private: bool = False
    networks: tuple[IpNetwork, ...] = ()

    def check(self, host: str, addresses: Iterable[str]) -> list[str]:
        """The addresses of `host`, all of which may be dialled. Raises AddressRefused, naming the first that may not."""
        checked = []
        for text in addresses:
            address = parse_ip(text)
            reason = "not an IP address" if address is None else self.reason_against(address)
            if reason:
                raise AddressRefused(
                    f"{host} resolves to {text[:64]}, which may not be dialled: {reason}",
                    hint="if this orchestrator is yours, grant its network under orchestrators.allowed_networks",
                    host=host,
                    address=text[:64],
                )
            checked.append(text)
        return checked

    def reason_against(self, address: IpAddress) -> str:
        """Why this address may not be dialled; "" when it may. An address that carries an IPv4 address is judged as that one too."""
        if any(address in network for network in self.networks if network.version == address.version):
            return ""
        carried = _carried_ipv4(address)
        if carried is not None:
            return self.reason_against(carried)
        if address in _METADATA:
            return "a cloud's metadata service"
        if isinstance(address, ipaddress.IPv6Address) and int(address) >> 32 & 0xFFFFFFFF in _ISATAP:
            return "an address of a tunnel within a site"
        if address.is_unspecified or address.is_multicast:
            return "not the address of one host"
        if address.is_link_local:
            return "a link-local address"
        if address.is_loopback:
            return "" if self.allow_private else "a loopback address"
        if address.is_reserved or any(address in network for network in _RESERVED if network.version == address.version):
            return "a reserved range"
        if not address.is_global:
            return "" if self.allow_private else "a private or reserved range"
        return ""


def _carried_ipv4(address: IpAddress) -> ipaddress.IPv4Address | None:
    """The IPv4 address that traffic to this IPv6 address ends up at."""
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return None
