"""Which page a form came from: as its browser sees it, whatever proxies make of `Host` on the way."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import urlsplit

from fastapi import Request

from livepeer_remote_signer.core.errors import Denied

_PORTS = {"http": 80, "https": 443}


class Origin(NamedTuple):
    """Scheme, host in lower case, and the port, also where it is the scheme's own."""

    scheme: str
    host: str
    port: int


def parse_origin(text: str) -> Origin | None:
    """The origin of a URL; None for what has none, as `null` and `http://[`."""
    try:
        parts = urlsplit(text)
        port = parts.port or _PORTS.get(parts.scheme, 0)
    except ValueError:
        return None
    return Origin(parts.scheme, parts.hostname, port) if parts.hostname and port else None


def check_own_page(request: Request, public_url: str | None) -> None:
    """Raises Denied for a form that another site's page sent. Browsers name the origin of every POST; other programs name none.

    It is ours where the browser itself says so (`Sec-Fetch-Site`, which no page can set, and which they send over TLS and to this
    host), where it is that of `public_url`, or where it is what `Host` says.
    """
    text = request.headers.get("origin")
    if text is None or request.headers.get("sec-fetch-site") == "same-origin":
        return
    origin = parse_origin(text)
    if origin is not None and public_url is not None and origin == parse_origin(public_url):
        return
    if origin is not None and origin == parse_origin(f"{origin.scheme}://{request.headers.get('host', '')}"):
        return
    raise Denied(
        "the console takes forms from its own page only",
        hint="behind a proxy set admin.public_url to the address that the browser shows, such as https://ops.example/signer",
    )


def is_over_tls(request: Request, public_url: str | None) -> bool:
    """Whether the browser asked over TLS, though whoever ends it may speak plain HTTP to us."""
    told = request.headers.get("origin") or public_url or str(request.url)
    return told.startswith("https:")
