"""Composition of what operators look at: logs, metrics, traces, and the billing events on their way out. Part of `app`.

What is not configured is not imported.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from livepeer_remote_signer import __version__
from livepeer_remote_signer.adapters.events.forwarder import Forwarder
from livepeer_remote_signer.adapters.events.outbox import MemoryOutbox, Outbox
from livepeer_remote_signer.adapters.events.sink import Sink, SinkError
from livepeer_remote_signer.adapters.keys import read_secret_file
from livepeer_remote_signer.adapters.logs import LogWriter, PaymentLog
from livepeer_remote_signer.adapters.metrics import Metrics, Slots
from livepeer_remote_signer.adapters.metrics.payments import EventMetrics, PaymentMetrics, SpendRate, add_chain_gauges
from livepeer_remote_signer.adapters.metrics.process import add_process_metrics
from livepeer_remote_signer.api.errors import status_of
from livepeer_remote_signer.config.events import FileSink, HttpSink, KafkaSink
from livepeer_remote_signer.config.loading import ConfigError
from livepeer_remote_signer.config.models import Config
from livepeer_remote_signer.core.rules.events import EventSource, encode_event
from livepeer_remote_signer.core.rules.payment import PaymentPlan
from livepeer_remote_signer.core.rules.trail import Trail
from livepeer_remote_signer.service.observers import Observer, Observers, RareTicketWarning
from livepeer_remote_signer.wiring.chain import ChainParts
from livepeer_remote_signer.wiring.ledger import LedgerParts

if TYPE_CHECKING:
    from livepeer_remote_signer.adapters.discovery import Discovery
    from livepeer_remote_signer.adapters.tracing import PaymentTraces

SAMPLE_SECONDS = 60.0
SETTLE_SECONDS = 0.25
DRAIN_SECONDS = 5.0
WORKER_FOLDER_VARIABLE = "LRS_WORKER_DIR"

_log = logging.getLogger(__name__)


class Operations:
    """Logs, metrics, traces and events of one process; started and stopped with the application."""

    def __init__(
        self,
        config: Config,
        payer: bytes,
        chain: ChainParts,
        ledger: LedgerParts | None,
        sinks: Sequence[Sink],
        logs: LogWriter | None = None,
    ) -> None:
        """Without `logs` payments leave no lines: for applications inside another program."""
        self.instance = instance_name()
        self._logs = logs
        folder = os.environ.get(WORKER_FOLDER_VARIABLE)
        self.metrics = Metrics(Slots(Path(folder) / "metrics" if folder else None))
        self.payments = PaymentMetrics(self.metrics, status_of)
        self.events = EventMetrics(self.metrics)
        self._rate = SpendRate(self.payments.spent_gwei)
        self._config = config
        self._traces = _open_traces(config, self.instance)
        self._sinks = tuple(sinks)
        for sink in self._sinks:
            self.events.expect(sink.kind)
        self._memory: MemoryOutbox | None = None
        self._forwarder = self._open_forwarder(ledger)
        self._sampler: asyncio.Task[None] | None = None
        source = EventSource(payer, self.instance)
        rate = _eth_usd(chain)

        def encode(plan: PaymentPlan, trail: Trail) -> bytes:
            return encode_event(plan, source, trail.request_id, trail.client_id, rate())

        self.encode_event = encode if self._sinks else None
        self.publish = self._memory.publish if self._memory is not None else None
        add_chain_gauges(self.metrics, chain.source.view, _chain_age(chain), self._rate)
        _add_feed_gauges(self.metrics, chain)
        add_process_metrics(self.metrics, __version__)

    def observer(self) -> Observer:
        """Tells metrics, logs and traces."""
        observers: list[Observer] = [self.payments, RareTicketWarning(self._config.live_payment_interval_seconds)]
        if self._logs is not None:
            observers.append(PaymentLog(self._logs, status_of))
        if self._traces is not None:
            observers.append(self._traces)
        return Observers(observers)

    def add_gauges(self, *, in_work: Callable[[], int], signatures: Callable[[], int], discovery: Discovery | None) -> None:
        """What only the finished application can tell."""
        metrics = self.metrics
        metrics.follow(metrics.level("livepeer_signer_requests_in_work", "Requests in work, in all workers."), in_work)
        made = metrics.counter("livepeer_signer_signatures_total", "Tickets signed, also where recording the payment failed.")
        metrics.follow(made, signatures)
        if self._forwarder is not None:
            self._add_outbox_gauges(self._forwarder)
        if discovery is not None:
            metrics.gauge("livepeer_signer_discovery_orchestrators", "Orchestrators listed.", lambda: discovery.status().entries)
            metrics.gauge(
                "livepeer_signer_discovery_age_seconds",
                "Time since an orchestrator last answered discovery.",
                lambda: discovery.status().age_seconds,
            )
            metrics.gauge(
                "livepeer_signer_discovery_kept_seconds",
                "How long an answer counts: the list is stale when nobody has answered for longer.",
                lambda: discovery.status().kept_seconds,
            )

    def _add_outbox_gauges(self, forwarder: Forwarder) -> None:
        """Every worker sees the whole of a ledger's outbox, and only its own where there is no ledger."""
        pending = "livepeer_signer_outbox_pending", "Billing events that wait to be sent."
        oldest = "livepeer_signer_outbox_oldest_age_seconds", "Age of the oldest of them."
        if self._memory is None:
            self.metrics.gauge(*pending, lambda: forwarder.backlog.pending)
            self.metrics.gauge(*oldest, lambda: _age_seconds(forwarder))
        else:
            self.metrics.follow(self.metrics.level(*pending), lambda: forwarder.backlog.pending)
            self.metrics.follow(self.metrics.level(*oldest, merge="most"), lambda: _age_seconds(forwarder))

    def outcomes(self) -> Mapping[str, int]:
        """Answers on the paying routes by status, over all workers."""
        return self.payments.outcomes()

    async def start(self) -> None:
        """Mends the events file, and begins to forward. Raises ConfigError when a file cannot be written."""
        for sink in self._sinks:
            if isinstance(sink, _file_sink_class()):
                try:
                    await sink.start()
                except SinkError as error:
                    raise ConfigError(str(error)) from None
        if self._forwarder is not None:
            self._forwarder.start()
        self._sampler = asyncio.create_task(self._sample())

    async def stop_forwarding(self) -> None:
        """Sends what can still be sent; to be called while the ledger is open."""
        if self._sampler is not None:
            self._sampler.cancel()
            with suppress(asyncio.CancelledError):
                await self._sampler
        if self._forwarder is not None:
            await self._forwarder.stop(min(DRAIN_SECONDS, self._config.limits.drain_seconds))
        if self._memory is not None and (lost := self._memory.abandon()):
            _log.error("%d billing events could not be sent before the end and are lost: a ledger would have kept them", lost)

    async def stop(self) -> None:
        """Notes the last numbers, sends the last traces and writes every log line."""
        self.metrics.settle()
        if self._traces is not None:
            await asyncio.to_thread(self._traces.close)
        if self._logs is not None:
            self._logs.drain()

    async def _sample(self) -> None:
        """Counts what waits for it, so that whichever worker is scraped sees all; once a minute the spend is noted."""
        sampled = time.monotonic()
        while True:
            await asyncio.sleep(SETTLE_SECONDS)
            self.metrics.settle()
            if time.monotonic() - sampled >= SAMPLE_SECONDS:
                sampled = time.monotonic()
                self._rate.sample()

    def _open_forwarder(self, ledger: LedgerParts | None) -> Forwarder | None:
        if not self._sinks:
            return None
        outbox: Outbox | None = ledger.outbox if ledger is not None else None
        if outbox is None:
            outbox = self._memory = MemoryOutbox([sink.name for sink in self._sinks])
        self.metrics.follow(self.events.lost, lambda: outbox.backlog.lost)
        return Forwarder(outbox, self._sinks, self.events)


def instance_name() -> str:
    """This process among its replicas."""
    return f"{socket.gethostname()}:{os.getpid()}"


def open_sinks(config: Config) -> Iterator[Sink]:
    """The configured sinks, not connected yet. Raises ConfigError, or SigningKeyError for a secret's file."""
    for index, sink in enumerate(config.events.sinks):
        where = f"events.sinks.{index}"
        if isinstance(sink, FileSink):
            yield _file_sink_class()(sink.path)
        elif isinstance(sink, HttpSink):
            yield _open_http_sink(sink, where)
        else:
            yield _open_kafka_sink(sink, where)


def _file_sink_class() -> Any:
    from livepeer_remote_signer.adapters.events.file import FileSink as Adapter

    return Adapter


def _open_http_sink(sink: HttpSink, where: str) -> Sink:
    from livepeer_remote_signer.adapters.events.http import HttpSink as Adapter

    try:
        return Adapter(
            sink.url, secret=_secret(sink.secret, sink.secret_file, f"{where}.secret_file"), timeout_seconds=sink.timeout_seconds
        )
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from None


def _open_kafka_sink(sink: KafkaSink, where: str) -> Sink:
    try:
        from livepeer_remote_signer.adapters.events.kafka import KafkaSink as Adapter
    except ImportError:
        raise ConfigError(f"{where}: a kafka sink needs the extra `kafka`: install livepeer-remote-signer[kafka]") from None
    return Adapter(
        sink.brokers,
        sink.topic,
        username=sink.username,
        password=_secret(sink.password, sink.password_file, f"{where}.password_file"),
        tls=sink.username is not None if sink.tls is None else sink.tls,
    )


def _secret(value: SecretStr | None, file: Path | None, where: str) -> str | None:
    if file is not None:
        return read_secret_file(file, where)
    return value.get_secret_value() if value is not None else None


def _open_traces(config: Config, instance: str) -> PaymentTraces | None:
    if config.tracing.otlp_endpoint is None:
        return None
    try:
        from livepeer_remote_signer.adapters.tracing import PaymentTraces
    except ImportError:
        raise ConfigError("tracing.otlp_endpoint needs the extra `otel`: install livepeer-remote-signer[otel]") from None
    return PaymentTraces(config.tracing.otlp_endpoint, version=__version__, instance=instance, status_of=status_of)


def _eth_usd(chain: ChainParts) -> Callable[[], Fraction | None]:
    feed = chain.feed
    if feed is None:
        return lambda: None

    def rate() -> Fraction | None:
        now = feed.rate()
        return now.per_eth if now is not None and now.currency == "usd" else None

    return rate


def _chain_age(chain: ChainParts) -> Callable[[], float | None]:
    rpc = chain.rpc
    return lambda: rpc.status().age_seconds if rpc is not None else 0.0


def _add_feed_gauges(metrics: Metrics, chain: ChainParts) -> None:
    if chain.feed is not None:
        feed, rate = chain.feed, _eth_usd(chain)

        def price() -> float | None:
            now = rate()
            return float(now) if now is not None else None

        metrics.gauge("livepeer_signer_price_feed_age_seconds", "Age of the price feed's answer.", lambda: feed.status().age_seconds)
        metrics.gauge("livepeer_signer_eth_usd_price", "USD for one ETH, by the price feed.", price)
    if chain.rpc is not None:
        rpc = chain.rpc
        metrics.gauge(
            "livepeer_signer_rpc_endpoint_usable",
            "1 while an Ethereum endpoint answers well, by its place in the configuration.",
            lambda: {(str(index),): float(e.is_healthy) for index, e in enumerate(rpc.status().endpoints)},
            ("endpoint",),
        )


def _age_seconds(forwarder: Forwarder) -> float:
    return forwarder.backlog.oldest_age_seconds(time.time_ns() // 1_000_000)
