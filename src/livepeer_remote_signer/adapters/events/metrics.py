"""What is shown of billing events on their way out."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Protocol

from livepeer_remote_signer.adapters.events.sink import Sink
from livepeer_remote_signer.adapters.metrics.registry import Metrics
from livepeer_remote_signer.core.protocol.timestamps import NS_PER_MS
from livepeer_remote_signer.core.rules.events import EVENT_TYPE, Backlog


class EventMetrics:
    """What happens to billing events."""

    def __init__(self, metrics: Metrics) -> None:
        self._sent = metrics.counter("livepeer_signer_events_sent_total", "Billing events that a sink has taken.", ("sink",))
        self._failures = metrics.counter(
            "livepeer_signer_event_send_failures_total", "Batches of billing events that a sink did not take.", ("sink",)
        )
        self.lost = metrics.counter(
            "livepeer_signer_events_lost_total", "Billing events that were dropped unsent: only without a ledger, or as configured."
        )
        self._kafka = metrics.counter("livepeer_kafka_event_send_errors", "Batches of events that Kafka did not take.", ("event_type",))
        self._kafka.slot((EVENT_TYPE,))

    def expect(self, *kinds: str) -> None:
        """Shows zeros for sinks of these kinds before anything was sent."""
        for kind in kinds:
            self._sent.slot((kind,))
            self._failures.slot((kind,))

    def sent(self, kind: str, events: int) -> None:
        """A sink of this kind took so many."""
        self._sent.add(events, kind)

    def send_failed(self, kind: str) -> None:
        """A sink of this kind did not take a batch."""
        self._failures.add(1.0, kind)
        if kind == "kafka":
            self._kafka.add(1.0, EVENT_TYPE)


class Queue(Protocol):
    """What knows how much of it waits, as last counted, and how its sinks are."""

    @property
    def backlog(self) -> Backlog: ...

    @property
    def sink_faults(self) -> Mapping[str, str]: ...


def add_outbox_gauges(metrics: Metrics, events: EventMetrics, outbox: Queue, sinks: Sequence[Sink], *, is_shared: bool) -> None:
    """Every worker sees the whole of a ledger's outbox (`is_shared`), and only its own where there is no ledger."""

    def pending() -> float:
        return outbox.backlog.pending

    def oldest_age() -> float:
        return outbox.backlog.oldest_age_seconds(time.time_ns() // NS_PER_MS)

    pending_name = "livepeer_signer_outbox_pending", "Billing events that wait to be sent."

    def degraded() -> dict[tuple[str, ...], float]:
        return {(sink.kind, str(position)): float(sink.name in outbox.sink_faults) for position, sink in enumerate(sinks)}

    oldest_name = "livepeer_signer_outbox_oldest_age_seconds", "Age of the oldest of them."
    degraded_name = "livepeer_signer_sink_degraded", "1 while a sink, by its place in events.sinks, is away or refuses events."
    labels = ("sink", "position")
    if is_shared:
        metrics.gauge(
            "livepeer_signer_outbox_parked", "Billing events that a sink refused, for an operator.", lambda: outbox.backlog.parked
        )
        metrics.gauge(*degraded_name, degraded, labels)
        metrics.gauge(*pending_name, pending)
        metrics.gauge(*oldest_name, oldest_age)
    else:
        metrics.follow(metrics.level(*pending_name), pending)
        metrics.follow(metrics.level(*oldest_name, merge="most"), oldest_age)
        level = metrics.level(*degraded_name, labels, merge="most")

        def fold() -> None:
            for values, value in degraded().items():
                level.set(value, *values)

        metrics.before_reading(fold)
    metrics.follow(events.lost, lambda: outbox.backlog.lost)
