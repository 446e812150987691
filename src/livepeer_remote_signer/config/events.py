"""Where billing events go. Every key with its type, default and meaning."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    Field,
    SecretStr,
    model_validator,
)

from livepeer_remote_signer.config.secret_files import SecretFile
from livepeer_remote_signer.config.urls import HttpUrl
from livepeer_remote_signer.config.values import Seconds, Section, check_one_form


class FileSink(Section):
    """Events as JSON lines."""

    type: Literal["file"]
    path: Path


class HttpSink(Section):
    """Events as CloudEvents batches."""

    type: Literal["http"]
    url: HttpUrl
    secret: SecretStr | None = None
    secret_file: SecretFile = None
    timeout_seconds: Seconds = 10

    @model_validator(mode="after")
    def _one_form(self) -> HttpSink:
        check_one_form(self, "secret")
        return self


_BROKER = re.compile(r"(?:\[[0-9a-fA-F:.]+(?:%[A-Za-z0-9_.-]+)?\]|[A-Za-z0-9_.-]+)(?::([0-9]{1,5}))?")
_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}")
_MAX_PORT = 65535


def _check_no_blanks(text: str) -> None:
    if text != text.strip():
        raise ValueError("begins or ends in a blank or a line break: perhaps the line ends of another system")


def _broker(text: str) -> str:
    _check_no_blanks(text)
    if "://" in text:
        raise ValueError("must be HOST:PORT, without a scheme such as kafka:// or SASL_SSL://: `tls` and `username` say how to connect")
    match = _BROKER.fullmatch(text)
    if match is None or not 1 <= int(match[1] or 9092) <= _MAX_PORT:
        raise ValueError("must be HOST:PORT, such as kafka.example:9092 or [2001:db8::1]:9092; several are items of the list")
    return text


def _topic(text: str) -> str:
    _check_no_blanks(text)
    if _TOPIC.fullmatch(text) is None or text in (".", ".."):
        raise ValueError("must be a Kafka topic: at most 249 letters, digits, dots, underscores and hyphens")
    return text


class KafkaSink(Section):
    """Events to a Kafka topic. With `username`: SASL PLAIN, over TLS unless `tls` is false."""

    type: Literal["kafka"]
    brokers: tuple[Annotated[str, AfterValidator(_broker)], ...] = Field(min_length=1)
    topic: Annotated[str, AfterValidator(_topic)]
    username: str | None = None
    password: SecretStr | None = None
    password_file: SecretFile = None
    tls: bool | None = None

    @model_validator(mode="after")
    def _credentials(self) -> KafkaSink:
        if self.username is not None and (self.password is None) == (self.password_file is None):
            raise ValueError("username needs exactly one of password_file and password")
        check_one_form(self, "password")
        return self


class EventsConfig(Section):
    """Where billing events go."""

    sinks: tuple[Annotated[FileSink | HttpSink | KafkaSink, Field(discriminator="type")], ...] = ()
