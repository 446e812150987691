"""Composition of billing events: configuration -> sinks, outbox and forwarder. Part of `app`, and of the replay command.

What is not configured is not imported.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from pydantic import SecretStr

from livepeer_remote_signer.adapters.events.delivery import Delivery
from livepeer_remote_signer.adapters.events.forwarder import Forwarder
from livepeer_remote_signer.adapters.events.metrics import EventMetrics, add_outbox_gauges
from livepeer_remote_signer.adapters.events.outbox import MemoryOutbox, Outbox
from livepeer_remote_signer.adapters.events.sink import Sink
from livepeer_remote_signer.adapters.keys import read_secret_file
from livepeer_remote_signer.adapters.ledger.running import RunningLedger
from livepeer_remote_signer.adapters.metrics import Metrics
from livepeer_remote_signer.adapters.outbound import Outbound
from livepeer_remote_signer.config.events import FileSink, HttpSink, KafkaSink
from livepeer_remote_signer.config.in_force import is_tls
from livepeer_remote_signer.config.loading import ConfigError
from livepeer_remote_signer.config.models import Config

DRAIN_SECONDS = 5.0


class EventParts(NamedTuple):
    """How events are sent. `memory` is None with a ledger, which has an outbox of its own."""

    forwarder: Forwarder
    memory: MemoryOutbox | None
    delivery: Delivery


def open_events(config: Config, sinks: Sequence[Sink], ledger: RunningLedger | None, metrics: Metrics) -> EventParts | None:
    """What sends events, None without sinks."""
    meter = EventMetrics(metrics)
    if not sinks:
        return None
    meter.expect(*(sink.kind for sink in sinks))
    memory = None
    outbox: Outbox | None = ledger.outbox if ledger is not None else None
    if outbox is None:
        outbox = memory = MemoryOutbox([sink.name for sink in sinks])
    add_outbox_gauges(metrics, meter, outbox, sinks, is_shared=memory is None)
    forwarder = Forwarder(outbox, sinks, meter)
    return EventParts(
        forwarder,
        memory,
        Delivery(sinks, forwarder, memory, min(DRAIN_SECONDS, config.limits.drain_seconds)),
    )


def open_sinks(config: Config, outbound: Outbound) -> Sequence[Sink]:
    """The configured sinks, not connected yet. Raises ConfigError, or SigningKeyError for a secret's file."""
    return [_open_sink(sink, f"events.sinks.{index}", outbound) for index, sink in enumerate(config.events.sinks)]


def _open_sink(sink: FileSink | HttpSink | KafkaSink, where: str, outbound: Outbound) -> Sink:
    if isinstance(sink, FileSink):
        from livepeer_remote_signer.adapters.events.file import FileSink as Adapter

        return Adapter(sink.path)
    return _open_http_sink(sink, where, outbound) if isinstance(sink, HttpSink) else _open_kafka_sink(sink, where, outbound)


def _open_http_sink(sink: HttpSink, where: str, outbound: Outbound) -> Sink:
    from livepeer_remote_signer.adapters.events.http import HttpSink as Adapter

    try:
        return Adapter(
            sink.url,
            secret=_load_secret(sink.secret, sink.secret_file, f"{where}.secret_file"),
            timeout_seconds=sink.timeout_seconds,
            outbound=outbound,
        )
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from None


def _open_kafka_sink(sink: KafkaSink, where: str, outbound: Outbound) -> Sink:
    try:
        from livepeer_remote_signer.adapters.events.kafka import KafkaSink as Adapter
    except ImportError:
        raise ConfigError(f"{where}: a kafka sink needs the extra `kafka`: install livepeer-remote-signer[kafka]") from None
    return Adapter(
        sink.brokers,
        sink.topic,
        username=sink.username,
        password=_load_secret(sink.password, sink.password_file, f"{where}.password_file"),
        tls=outbound.tls if is_tls(sink) else None,
    )


def _load_secret(value: SecretStr | None, file: Path | None, where: str) -> str | None:
    if file is not None:
        return read_secret_file(file, where)
    return value.get_secret_value() if value is not None else None
