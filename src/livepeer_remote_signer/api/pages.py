"""Web pages may not spend: which requests a browser can have been talked into, and what they need to pass.

A page that the operator's browser opens can post to a signer on loopback without a preflight (`text/plain`), and can read
what it says by letting its own name point to 127.0.0.1. So on every route where nobody is asked for a credential

- a request with `Origin` passes only if `cors.allow_origins` names it, or if its host is an own name and equals `Host`;
  `null` never does. Without `Origin`, `Sec-Fetch-Site: cross-site` is refused;
- where the signer listens on loopback, `Host` must be an own name, whatever its port: an IP address, `localhost` and what
  ends in it, the names by which containers call their host, or one of `allowed_hosts`.

Programs that are no browsers send no `Origin`, and the name they call.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable
from functools import lru_cache

from livepeer_remote_signer.core.errors import BadRequest, OriginRefused

HEALTH = "/healthz"
"""Says nothing and does nothing: whoever looks after the process may ask by any name."""

_OWN_NAMES = frozenset({"localhost", "host.docker.internal", "host.containers.internal"})
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}
_MAX_SHOWN_CHARACTERS = 100

RequestHeaders = Iterable[tuple[bytes, bytes]]


class PageRules:
    """The rules for one listener."""

    def __init__(
        self, *, allow_origins: Collection[str], allowed_hosts: Collection[str], asked_paths: Collection[str], is_loopback: bool
    ) -> None:
        """`asked_paths` are the routes that demand a credential or ask a webhook: what a page lacks protects them."""
        self.allow_origins = frozenset(allow_origins)
        self._own_names = _OWN_NAMES | frozenset(allowed_hosts)
        self._open_to_all = frozenset((*asked_paths, HEALTH))
        self._is_loopback = is_loopback
        self._is_own = lru_cache(256)(self._is_own_name)

    def admits(self, path: str, headers: RequestHeaders) -> bool:
        """Whether `check` would pass."""
        try:
            self.check(path, headers)
        except OriginRefused:
            return False
        return True

    def check(self, path: str, headers: RequestHeaders) -> None:
        """Raises OriginRefused where a page may be behind the request."""
        if path in self._open_to_all:
            return
        host: bytes | None = None
        origin: bytes | None = None
        is_cross_site = False
        for name, value in headers:
            if name == b"host":
                host = value
            elif name == b"origin":
                origin = value if origin is None else b"two"
            elif name == b"sec-fetch-site":
                is_cross_site = is_cross_site or value.strip().lower() == b"cross-site"
        if origin is not None:
            self._check_origin(origin.decode("latin-1").strip(), host or b"")
        elif is_cross_site:
            raise OriginRefused(
                "a page of another site made this request",
                hint="only pages whose origin cors.allow_origins names may call this signer, with requests that carry Origin",
            )
        if self._is_loopback and host is not None and not self._is_own(host):
            raise OriginRefused(
                f"{_shown(host)} is not a name of this signer: a page could have pointed it here",
                hint="call it by its address or as localhost, or name the host in allowed_hosts",
            )

    def _check_origin(self, origin: str, host: bytes) -> None:
        if origin != "null" and (origin in self.allow_origins or "*" in self.allow_origins):
            return
        scheme, separator, authority = origin.lower().partition("://")
        port = _DEFAULT_PORTS.get(scheme, "")
        called = host.decode("latin-1").strip().lower()
        if separator and port and authority.removesuffix(port) == called.removesuffix(port) and self._is_own(host):
            return
        raise OriginRefused(
            f"pages of the origin {_shown(origin.encode('latin-1'))} may not call this signer",
            hint="name the origin in cors.allow_origins, or in allowed_hosts the host under which the signer serves pages of its own",
        )

    def _is_own_name(self, host: bytes) -> bool:
        """Whether a `Host` names this signer, whatever its port and case."""
        text = host.decode("latin-1").strip().lower()
        name, colon, port = text.rpartition(":")
        if not colon or text.endswith("]"):
            name, port = text, ""
        if port and not (port.isascii() and port.isdigit()):
            return False
        if name.startswith("[") and name.endswith("]"):
            return _is_address(name[1:-1], 6)
        name = name.removesuffix(".")
        return name in self._own_names or name.endswith(".localhost") or _is_address(name, 4)


def check_one_host(headers: RequestHeaders, version: str, target: bytes = b"/") -> None:
    """Raises BadRequest for two `Host` headers, none in HTTP/1.1, or a target that names another one: proxies and servers would
    disagree on whom it is for."""
    hosts, host = 0, b""
    for name, value in headers:
        if name == b"host":
            hosts += 1
            host = value
    if hosts > 1:
        raise BadRequest(f"the header Host stands {hosts} times", hint="send it once")
    if not hosts and version == "1.1":
        raise BadRequest("HTTP/1.1 needs the header Host", hint="send the host and port that you call")
    if hosts and target[:1] != b"/":
        authority, has_path, _ = target.partition(b"://")[2].partition(b"/")
        if has_path and authority.lower() != host.strip().lower():
            raise BadRequest("the request's target names another host than the header Host", hint="send the path alone as the target")


def _is_address(text: str, version: int) -> bool:
    try:
        return ipaddress.ip_address(text).version == version
    except ValueError:
        return False


def _shown(text: bytes) -> str:
    return repr(text[:_MAX_SHOWN_CHARACTERS].decode("latin-1"))
