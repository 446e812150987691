"""What is shown of redeemed tickets."""

from __future__ import annotations

from livepeer_remote_signer.adapters.drawn.follower import Follower
from livepeer_remote_signer.adapters.metrics.by_sender import SenderGauges
from livepeer_remote_signer.adapters.metrics.registry import Metrics


def add_drawn_gauges(metrics: Metrics, senders: SenderGauges, follower: Follower) -> None:
    """Gauges that are the same whichever process of the ledger is asked."""

    def by_verdict(sender: bytes) -> dict[tuple[str, ...], float]:
        counts = follower.status(sender).counts
        return {(verdict,): float(counts.get(verdict, 0)) for verdict in ("ours", "foreign", "suspected", "unjudged")}

    senders.gauge(
        "livepeer_signer_redeemed_tickets",
        "Redeemed tickets that the ledger knows of, by what they are: ours, foreign (somebody else signs with this key), suspected (by one "
        "endpoint's word), unjudged.",
        by_verdict,
        ("verdict",),
    )
    metrics.gauge(
        "livepeer_signer_redeemed_behind_blocks",
        "Blocks that were not looked at yet for redeemed tickets; none of a process that does not follow.",
        lambda: follower.status().behind_blocks,
    )
    metrics.gauge(
        "livepeer_signer_redeemed_followed",
        "1 while redeemed tickets are looked for, 0 while that fails.",
        lambda: float(not follower.status().fault),
    )
