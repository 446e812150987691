"""Where a caller is, as far as it can be told: the peer's address, or whom trusted proxies say they speak for.

A caller without a credential is known by nothing else, so its address must not be its own choice: of `X-Forwarded-For` only
what a trusted proxy wrote counts, which is what stands furthest to the right.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from functools import lru_cache

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_IPV6_PREFIX = 64
"""What one subscriber is given at least: all of it is one caller."""


def client_address(peer: str, headers: Iterable[tuple[bytes, bytes]], trusted: Sequence[Network]) -> str:
    """The address of who sent a request: the peer's or, behind trusted proxies, the right-most in `X-Forwarded-For` that is none
    of theirs. What is no address there says nothing: then it is the proxy's that let it pass."""
    if not trusted or not is_within(peer, trusted):
        return peer
    hops = [hop for name, value in headers if name == b"x-forwarded-for" for hop in value.split(b",")]
    address = peer
    for hop in reversed(hops):
        found = _parse_hop(hop)
        if found is None:
            return address
        address = found
        if not is_within(address, trusted):
            return address
    return address


def is_within(address: str, networks: Sequence[Network]) -> bool:
    """Whether an address is in one of the networks; False for what is no address."""
    found = _parse(address)
    return found is not None and any(found in network for network in networks)


@lru_cache(4096)
def caller_group(address: str) -> str:
    """Under which name an address counts as a caller: an IPv6 one with all of its /64. What is no address stands for itself."""
    found = _parse(address)
    if isinstance(found, ipaddress.IPv6Address):
        return str(ipaddress.IPv6Network((int(found) >> _IPV6_PREFIX << _IPV6_PREFIX, _IPV6_PREFIX)))
    return address if found is None else str(found)


def _parse(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address; an IPv4 one that is written as IPv6 is an IPv4 one."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return None
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        return found.ipv4_mapped
    return found


def _parse_hop(hop: bytes) -> str | None:
    """An entry of `X-Forwarded-For` without the port and brackets that some proxies write."""
    text = hop.decode("latin-1").strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    return None if _parse(text) is None else text
