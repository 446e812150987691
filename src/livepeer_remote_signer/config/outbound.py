"""Through whom the signer's own HTTP requests go. Every key with its type, default and meaning."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator

from livepeer_remote_signer.config.secret_files import PublicFile
from livepeer_remote_signer.config.urls import HttpUrl
from livepeer_remote_signer.config.values import Seconds, Section


def _none(value: Any) -> Any:
    return None if value == "none" else value


def _proxy(url: str | None) -> str | None:
    if url is not None:
        parts = urlsplit(url)
        if parts.path.strip("/") or parts.query or parts.fragment:
            raise ValueError("must be a proxy's URL such as http://proxy.example:3128; `#`, `?` and `/` in a password are %23, %3F and %2F")
    return url


class OutboundConfig(Section):
    """For RPC, webhooks, the token issuer's keys and HTTP sinks; orchestrators are always dialled directly."""

    proxy: Annotated[HttpUrl | None, AfterValidator(_proxy), BeforeValidator(_none)] = None
    ca_file: PublicFile = None
    idle_seconds: Seconds = 1.5
