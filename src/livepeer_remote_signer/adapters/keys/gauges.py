"""What is counted of a key outside this host."""

from __future__ import annotations

from collections.abc import Sequence

from livepeer_remote_signer.adapters.keys.external import CheckedKey, Outcome
from livepeer_remote_signer.adapters.metrics.registry import Metrics

OUTCOMES: tuple[Outcome, ...] = ("signed", "unavailable", "throttled", "wrong")
SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


def add_key_metrics(metrics: Metrics, keys: Sequence[CheckedKey]) -> None:
    """Counts the signatures that were asked of these keys, and how long a call took. To be called once, before the first call."""
    asked = metrics.counter(
        "livepeer_signer_key_signatures_total", "Signatures asked of keys outside this host, by outcome.", ("backend", "outcome")
    )
    seconds = metrics.histogram(
        "livepeer_signer_key_seconds", "Time until a key outside this host has signed all messages of a call.", SECONDS, ("backend",)
    )

    def watch(key: CheckedKey) -> None:
        backend = key.kind
        for outcome in OUTCOMES:  # 0 from the start: a first one is seen to be more
            asked.add(0.0, backend, outcome)

        def count(outcome: Outcome, signatures: int, took: float) -> None:
            asked.add(float(signatures), backend, outcome)
            if outcome == "signed":
                seconds.observe_all((took,), backend)

        key.watch(count)

    for key in keys:
        watch(key)
