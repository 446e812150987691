"""Composition of the logs: configuration -> where lines go, and what must never stand in them. Part of `app`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress

from pydantic import SecretStr

from livepeer_remote_signer.adapters.logs import LogWriter, Redaction, parts_of_url, route_standard_logging
from livepeer_remote_signer.config.events import HttpSink
from livepeer_remote_signer.config.models import Config


def open_logs(config: Config) -> LogWriter:
    """From now on everything this process logs is written in the configured form, to standard error."""
    writer = LogWriter(config.log.format, config.log.level, Redaction(known_secrets(config)))
    route_standard_logging(writer)
    return writer


def known_secrets(config: Config) -> list[str]:
    """Every secret of the configuration, from its values and from the files that it names, and the parts of secret URLs."""
    found: list[str] = []
    for value in _walk(config.model_dump()):
        if isinstance(value, SecretStr):
            text = value.get_secret_value()
            found += parts_of_url(text) if "://" in text else [text]
    files = [
        config.key.private_key_file,
        config.key.password_file,
        config.state.mac_key_file,
        config.admin.token_file if config.admin is not None else None,
        config.auth.webhook.secret_file if config.auth.webhook is not None else None,
        *(previous.private_key_file or previous.mac_key_file for previous in config.state.previous),
        *(getattr(sink, "secret_file", None) or getattr(sink, "password_file", None) for sink in config.events.sinks),
    ]
    for file in files:
        if file is not None:
            with suppress(OSError, UnicodeDecodeError):  # whoever needs the file says what is wrong with it
                found.append(file.read_text("utf-8").strip())
    urls = [sink.url for sink in config.events.sinks if isinstance(sink, HttpSink)]
    if config.auth.webhook is not None:
        urls.append(config.auth.webhook.url)
    urls += [url for url in (config.discovery.webhook_url, config.tracing.otlp_endpoint) if url is not None]
    found += [part for url in urls for part in parts_of_url(url)[1:]]
    return found


def _walk(value: object) -> Iterator[object]:
    if isinstance(value, Mapping):
        for item in value.values():
            yield from _walk(item)
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
        for item in value:
            yield from _walk(item)
    else:
        yield value
