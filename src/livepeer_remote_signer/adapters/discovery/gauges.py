"""What is shown of discovery."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

from livepeer_remote_signer.adapters.metrics.registry import Metrics
from livepeer_remote_signer.core.rules.discovery import Cause

if TYPE_CHECKING:
    from livepeer_remote_signer.adapters.discovery.snapshot import Discovery


def add_discovery_gauges(metrics: Metrics, discovery: Discovery) -> None:
    """How many are listed, and how old the newest answer is."""
    metrics.gauge("livepeer_signer_discovery_orchestrators", "Orchestrators listed.", lambda: discovery.status().entries)
    metrics.gauge(
        "livepeer_signer_discovery_left_out",
        "Orchestrators that are known and not listed, by cause.",
        lambda: {(cause,): float(discovery.status().left_out.get(cause, 0)) for cause in get_args(Cause)},
        ("cause",),
    )
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
