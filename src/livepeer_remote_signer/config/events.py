"""Where billing events go. Every key with its type, default and meaning."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
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


class KafkaSink(Section):
    """Events to a Kafka topic. With `username`: SASL PLAIN, over TLS unless `tls` is false."""

    type: Literal["kafka"]
    brokers: tuple[str, ...] = Field(min_length=1)
    topic: str
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
