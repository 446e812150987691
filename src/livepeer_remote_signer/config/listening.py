"""Where a listener binds, as the configuration spells it. Light enough for the health check, which starts every ten seconds."""

from __future__ import annotations

import ipaddress
import re
from typing import NamedTuple

_ADDRESS = re.compile(r"(?:\[([0-9a-fA-F:.]+)\]|([^:\[\]]*)):([0-9]{1,5})")
_ALL = "0.0.0.0"  # noqa: S104 - ":8936" means all, as in Go


class ListenAddress(NamedTuple):
    """Host and port; as text HOST:PORT, an IPv6 address in brackets."""

    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """Whether only this host can reach it."""
        try:
            return self.host == "localhost" or ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def from_this_host(self) -> tuple[ListenAddress, ...]:
        """Where this host itself may reach it: a listener on all addresses is on loopback too, on either where it serves both kinds."""
        loopbacks = {_ALL: ("127.0.0.1", "::1"), "::": ("::1", "127.0.0.1")}
        return tuple(self._replace(host=host) for host in loopbacks.get(self.host, (self.host,)))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


DEFAULT_LISTEN = ListenAddress("127.0.0.1", 8936)


def parse_listen(text: str) -> ListenAddress:
    """`HOST:PORT`, `[IPv6]:PORT`, or `:PORT` for all IPv4 addresses. Raises ValueError."""
    match = _ADDRESS.fullmatch(text)
    if match is None or int(match[3]) > 65535:
        raise ValueError("must be HOST:PORT, such as 127.0.0.1:8936 or [::1]:8936")
    return ListenAddress(match[1] or match[2] or _ALL, int(match[3]))


def with_port(listen: str, port: str) -> str:
    """The address with another port, the host kept; `listen` as it is where it is no address. ValueError for what is no port."""
    if port.startswith("tcp://"):
        raise ValueError(
            "SIGNER_PORT is tcp://..., the link that Kubernetes sets in every pod for a service named signer: set "
            "enableServiceLinks: false in the pod, or give SIGNER_PORT a port number"
        )
    if not (port.isascii() and port.isdecimal()):
        raise ValueError("SIGNER_PORT is not a port number")
    try:
        host = parse_listen(listen).host
    except ValueError:
        return listen
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
