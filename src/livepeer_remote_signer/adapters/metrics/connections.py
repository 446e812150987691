"""Gauges of what strangers take: connections, and bytes that are not in work yet."""

from __future__ import annotations

from typing import Protocol

from livepeer_remote_signer.adapters.metrics.registry import Metrics


class Places(Protocol):
    """The connections of this process."""

    taken: int
    given_way: int
    turned_away: int


class Arrivals(Protocol):
    """What has arrived and is not in work."""

    held_bytes: int
    given_way: int


def add_connection_gauges(metrics: Metrics, places: Places, arrivals: Arrivals) -> None:
    """How many connections there are, and what had to give way to whom."""
    metrics.follow(metrics.level("livepeer_signer_connections", "Open connections, in all workers."), lambda: places.taken)
    given_way = metrics.counter("livepeer_signer_connections_given_way_total", "Idle connections that were closed for new ones.")
    metrics.follow(given_way, lambda: places.given_way)
    turned_away = metrics.counter("livepeer_signer_connections_turned_away_total", "New connections that found every other one at work.")
    metrics.follow(turned_away, lambda: places.turned_away)
    arriving = metrics.level("livepeer_signer_arriving_bytes", "Bytes that have arrived and are not in work yet, in all workers.")
    metrics.follow(arriving, lambda: arrivals.held_bytes)
    refused = metrics.counter("livepeer_signer_arriving_refused_total", "Requests refused because too many bytes had arrived.")
    metrics.follow(refused, lambda: arrivals.given_way)
