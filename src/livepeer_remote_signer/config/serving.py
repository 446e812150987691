"""Limits, browsers, logs, traces and documentation of the service itself. Every key with its type, default and meaning."""

from __future__ import annotations

import re
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    Field,
    model_validator,
)

from livepeer_remote_signer.config.urls import HttpUrl
from livepeer_remote_signer.config.values import Seconds, Section, Wei
from livepeer_remote_signer.core.rules.billing import MAX_TICKETS

_DEFAULT_PORTS = {"http": 80, "https": 443}
_NO_ORIGIN = (
    'must be the origin of a page, scheme, host and port, such as https://app.example, or "*"; null is every page that hides its origin'
)
_HOST_NAME = re.compile(r"(?!-)[a-z0-9_-]+(\.[a-z0-9_-]+)*", re.ASCII)


class LimitsConfig(Section):
    """Limits on tickets (wei) and on requests."""

    max_ticket_ev_wei: Wei = 3_000_000_000_000
    max_total_ev_wei: Wei = 20_000_000_000_000
    deposit_multiplier: int = Field(1, ge=1)
    min_ticket_ev_wei: Wei = 0
    max_tickets: int = Field(MAX_TICKETS, ge=1, le=MAX_TICKETS)
    max_credit_seconds: int | None = Field(None, ge=1)
    max_body_bytes: int = Field(256 * 1024, ge=1024)
    max_arriving_bytes: int = Field(32 * 1024 * 1024, ge=1024 * 1024)
    max_unidentified_bytes_per_second: int = Field(8 * 1024 * 1024, ge=64 * 1024)
    max_connections: int | None = Field(None, ge=8)
    max_requests_in_work: int = Field(256, ge=1)
    fair_share: float = Field(0.25, ge=0, le=0.5, allow_inf_nan=False)
    payments_per_minute: int | None = Field(None, ge=1)
    tickets_per_minute: int | None = Field(None, ge=1)
    quotes_per_minute: int = Field(120, ge=1)
    body_timeout_seconds: Seconds = 10
    answer_seconds: Seconds = 4.5
    idle_seconds: Seconds = 120
    drain_seconds: Seconds = 20

    @model_validator(mode="after")
    def _some_ticket_fits(self) -> LimitsConfig:
        if self.min_ticket_ev_wei > self.max_ticket_ev_wei:
            raise ValueError(
                f"min_ticket_ev_wei {self.min_ticket_ev_wei} is above max_ticket_ev_wei {self.max_ticket_ev_wei}: no ticket could be signed"
            )
        return self


def _host_name(text: str) -> str:
    name = text.strip().lower().removesuffix(".")
    if _HOST_NAME.fullmatch(name) is None:
        raise ValueError("must be a host name without scheme and port, such as signer.example")
    return name


HostName = Annotated[str, AfterValidator(_host_name)]
"""A host name, in lower case."""


def _page_origin(text: str) -> str:
    origin = text.strip().lower().removesuffix("/")
    if origin == "*":
        return origin
    try:
        parts = urlsplit(origin)
        port = parts.port
    except ValueError:
        raise ValueError(_NO_ORIGIN) from None
    if not parts.scheme or not parts.hostname or origin != f"{parts.scheme}://{parts.netloc}" or "@" in parts.netloc or "*" in origin:
        raise ValueError(_NO_ORIGIN)
    is_named = port is not None and port == _DEFAULT_PORTS.get(parts.scheme)  # which browsers leave out
    return origin.removesuffix(f":{port}") if is_named else origin


PageOrigin = Annotated[str, AfterValidator(_page_origin)]
"""The origin of a page, as browsers spell it."""


class CorsConfig(Section):
    """Origins of browsers that may call the public routes; "*" for all."""

    allow_origins: tuple[PageOrigin, ...] = ()


class LogConfig(Section):
    """Log lines: JSON for machines, console for people."""

    format: Literal["json", "console"] = "json"
    level: Literal["debug", "info", "warning", "error"] = "info"


class TracingConfig(Section):
    """OpenTelemetry traces over OTLP/HTTP (the extra `otel`)."""

    otlp_endpoint: HttpUrl | None = None


class DocsConfig(Section):
    """Interactive API documentation."""

    enabled: bool = False
