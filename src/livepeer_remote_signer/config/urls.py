"""URLs as configuration values: checked when they are read, and printed without what could be a secret in them.

User info, path, query and fragment may each carry a token, so only scheme, host and port are ever shown. Errors do not
repeat the value.
"""

from __future__ import annotations

from typing import Annotated, TypeAlias
from urllib.parse import urlsplit

from pydantic import AfterValidator, PlainSerializer, SecretStr

HIDDEN = "***"


class ShownByHost(str):
    """A URL whose `repr` hides what may be secret, so that no printed configuration tells it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(without_secrets(self))


def check_http_url(text: str) -> None:
    """Raises ValueError, without repeating the text, unless it is an http or https URL with a host that can be asked."""
    try:
        parts = urlsplit(text)
        is_good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_good = False
    if not is_good or not text.isprintable() or " " in text:
        raise ValueError("must be an http:// or https:// URL with a host, such as https://host.example/path")


def without_secrets(url: str) -> str:
    """Scheme, host and port of a URL; what else there is only shows as `***`."""
    parts = urlsplit(url)
    shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
    return shown if url.rstrip("/") == shown else f"{shown}/{HIDDEN}"


def _http_url(text: str) -> str:
    check_http_url(text)
    return ShownByHost(text)


def _secret_http_url(secret: SecretStr) -> SecretStr:
    check_http_url(secret.get_secret_value())
    return secret


HttpUrl: TypeAlias = Annotated[str, AfterValidator(_http_url), PlainSerializer(without_secrets)]
SecretHttpUrl: TypeAlias = Annotated[SecretStr, AfterValidator(_secret_http_url)]
"""Of RPC endpoints not even the host is printed."""
