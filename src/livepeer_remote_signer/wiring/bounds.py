"""Composition of the bounds on what strangers send. Part of `app`."""

from __future__ import annotations

import resource
import time

from livepeer_remote_signer.adapters.metrics import Metrics
from livepeer_remote_signer.adapters.metrics.connections import add_connection_gauges
from livepeer_remote_signer.api.bounds import Arrivals, BodyLimits, Bounds, Places, Turns, connections_within
from livepeer_remote_signer.config.serving import LimitsConfig
from livepeer_remote_signer.core.rules.rates import CallerRates


def open_bounds(limits: LimitsConfig, metrics: Metrics) -> Bounds:
    """What `limits` says of bodies and connections; without a number of connections as many as this process may have open files for."""
    bounds = Bounds(
        BodyLimits(limits.max_body_bytes, limits.body_timeout_seconds),
        Arrivals(limits.max_arriving_bytes, time.monotonic),
        Places(limits.max_connections or connections_within(resource.getrlimit(resource.RLIMIT_NOFILE)[0]), time.monotonic),
        Turns(),
        limits.idle_seconds,
    )
    add_connection_gauges(metrics, bounds.places, bounds.arrivals)
    return bounds


def open_rates(limits: LimitsConfig) -> CallerRates | None:
    """How often each caller may pay; None where nobody is limited."""
    if limits.payments_per_minute is None and limits.tickets_per_minute is None:
        return None
    return CallerRates(limits.payments_per_minute, limits.tickets_per_minute)
