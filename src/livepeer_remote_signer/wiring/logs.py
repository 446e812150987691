"""Composition of the logs: configuration -> where lines go, and what must never stand in them. Part of `serve`."""

from __future__ import annotations

from livepeer_remote_signer.adapters.logs import LogWriter, Redaction, route_standard_logging
from livepeer_remote_signer.config.files import known_secrets, known_urls
from livepeer_remote_signer.config.models import Config


def open_logs(config: Config) -> LogWriter:
    """From now on everything this process logs is written in the configured form, to standard error."""
    writer = LogWriter(config.log.format, config.log.level, Redaction(known_secrets(config), known_urls(config)))
    route_standard_logging(writer)
    return writer
