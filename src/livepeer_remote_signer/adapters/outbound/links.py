"""Through whom the signer's own HTTP requests go, and which authorities it believes.

Believed are `SSL_CERT_FILE` and `SSL_CERT_DIR` of the environment where one is set, else the public authorities that come
with certifi; and in either case those of `outbound.ca_file`.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import certifi

if TYPE_CHECKING:
    import httpx
    import requests

IDLE_SECONDS = 1.5
"""Below the two seconds after which gunicorn, and the five after which others close an idle connection."""

_PROXY_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


class OutboundFault(Exception):
    """A certificate file or the environment cannot be used. The message names which, and no content."""


class Outbound:
    """Values of `outbound`: a proxy's http or https URL, percent-encoded, and a file of further authorities (PEM)."""

    def __init__(
        self,
        proxy: str | None = None,
        ca_file: Path | None = None,
        environ: Mapping[str, str] | None = None,
        idle_seconds: float = IDLE_SECONDS,
    ) -> None:
        """After `idle_seconds` without a request a kept connection is not used any more."""
        self.proxy = proxy
        self.idle_seconds = idle_seconds
        self._ca_file = ca_file
        self._environ = os.environ if environ is None else environ

    @cached_property
    def tls(self) -> ssl.SSLContext:
        """What every TLS connection is made with: reading the authorities takes some 20 ms, so it is done once. Raises OutboundFault."""
        environ = self._environ
        if key_log := environ.get("SSLKEYLOGFILE"):  # Python's ssl writes there what decrypts our connections
            with _naming("SSLKEYLOGFILE", key_log, "cannot be written"), open(key_log, "ab"):
                pass
        file, folder = environ.get("SSL_CERT_FILE") or None, environ.get("SSL_CERT_DIR") or None
        if folder and not any(os.path.isdir(part) for part in folder.split(os.pathsep)):
            raise OutboundFault(f"SSL_CERT_DIR {folder} is no folder")
        with _naming("SSL_CERT_FILE", file or "", "cannot be read"):
            context = ssl.create_default_context(cafile=file if file or folder else certifi.where(), capath=folder)
        if self._ca_file is not None:
            with _naming("outbound.ca_file", self._ca_file, "cannot be read"):
                context.load_verify_locations(cafile=self._ca_file)
        return context

    def load(self) -> None:
        """Reads the authorities now, so that a fault shows at start. Raises OutboundFault."""
        _ = self.tls

    def open_httpx(self, limits: httpx.Limits | None = None, **options: Any) -> httpx.AsyncClient:
        """A client of httpx that obeys this and no variable of the environment. Raises OutboundFault."""
        import httpx  # who uses another client needs it not

        from livepeer_remote_signer.adapters.outbound.reuse import TryingAgain

        proxy = None if self.proxy is None else httpx.Proxy(self.proxy, ssl_context=self.tls if self.proxy.startswith("https:") else None)
        transport = TryingAgain(
            self.tls, proxy, limits or httpx.Limits(max_connections=100, max_keepalive_connections=20, keepalive_expiry=self.idle_seconds)
        )
        return httpx.AsyncClient(transport=transport, trust_env=False, **options)

    def open_requests(self) -> requests.Session:
        """The same for requests, which web3 and the OTLP exporter use. Raises OutboundFault."""
        from livepeer_remote_signer.adapters.outbound.sessions import open_session

        return open_session(self.proxy, self.tls)


def disobeyed_variables(environ: Mapping[str, str]) -> list[str]:
    """The names of proxy variables that are set: other programs obey them, this one does not."""
    return sorted(name for name, value in environ.items() if name.upper() in _PROXY_VARIABLES and value)


@contextmanager
def _naming(name: str, path: str | Path, fault: str) -> Iterator[None]:
    """Turns what is wrong with a file into an OutboundFault that names the setting."""
    try:
        yield
    except ssl.SSLError:
        raise OutboundFault(f"{name} {path} holds no certificates: a file of PEM certificates is expected") from None
    except (OSError, ValueError) as error:
        raise OutboundFault(f"{name} {path} {fault}: {getattr(error, 'strerror', None) or 'it is not a path'}") from None
