"""What is shown of billing events on their way out."""

from __future__ import annotations

import time
from typing import Protocol

from livepeer_remote_signer.adapters.metrics.registry import Metrics
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
    """What knows how much of it waits, as last counted."""

    @property
    def backlog(self) -> Backlog: ...


def add_outbox_gauges(metrics: Metrics, events: EventMetrics, outbox: Queue, *, is_shared: bool) -> None:
    """Every worker sees the whole of a ledger's outbox (`is_shared`), and only its own where there is no ledger."""

    def pending() -> float:
        return outbox.backlog.pending

    def oldest_age() -> float:
        return outbox.backlog.oldest_age_seconds(time.time_ns() // 1_000_000)

    pending_name = "livepeer_signer_outbox_pending", "Billing events that wait to be sent."
    oldest_name = "livepeer_signer_outbox_oldest_age_seconds", "Age of the oldest of them."
    if is_shared:
        metrics.gauge(*pending_name, pending)
        metrics.gauge(*oldest_name, oldest_age)
    else:
        metrics.follow(metrics.level(*pending_name), pending)
        metrics.follow(metrics.level(*oldest_name, merge="most"), oldest_age)
    metrics.follow(events.lost, lambda: outbox.backlog.lost)
