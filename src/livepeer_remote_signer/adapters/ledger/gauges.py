"""What is shown of the ledger."""

from __future__ import annotations

import math
import time

from livepeer_remote_signer.adapters.ledger.running import RunningLedger
from livepeer_remote_signer.adapters.metrics.registry import Metrics


def add_ledger_gauges(metrics: Metrics, ledger: RunningLedger) -> None:
    """Gauges of the database that every worker sees."""

    def silent_seconds() -> float | None:
        seconds = time.monotonic() - ledger.store.answered_at
        return None if math.isinf(seconds) else seconds

    metrics.gauge("livepeer_signer_ledger_silent_seconds", "Time since the ledger's database last did what it was asked.", silent_seconds)
    metrics.gauge(
        "livepeer_signer_ledger_forgetting_behind_seconds",
        "For how long the oldest row of a kind should have been forgotten.",
        lambda: {(kind,): seconds for kind, seconds in ledger.housekeeping.forgetting.behind_seconds.items()},
        ("kind",),
    )
    metrics.gauge("livepeer_signer_ledger_log_bytes", "Size of SQLite's write-ahead log.", ledger.store.log_bytes)
