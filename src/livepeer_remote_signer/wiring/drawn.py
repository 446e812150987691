"""Composition of what follows redeemed tickets: configuration -> follower and its gauges. Part of `app`.

What is not configured is not imported.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from livepeer_remote_signer.adapters.ledger.running import RunningLedger
from livepeer_remote_signer.adapters.metrics import Metrics
from livepeer_remote_signer.adapters.metrics.by_sender import SenderGauges
from livepeer_remote_signer.adapters.runways import read_burn
from livepeer_remote_signer.config.models import Config
from livepeer_remote_signer.wiring.chain import ChainParts
from livepeer_remote_signer.wiring.senders import SenderParts

if TYPE_CHECKING:
    from livepeer_remote_signer.adapters.drawn.figures import DrawnWatch
    from livepeer_remote_signer.adapters.drawn.follower import Follower

SUSPENDED_BY = "drawn.on_foreign_ticket"
"""The author in the audit log."""


class DrawnParts(NamedTuple):
    """What follows redeemed tickets, and what works out what they mean; None where the chain is not read, or nothing is kept to be
    compared with it."""

    follower: Follower | None = None
    watch: DrawnWatch | None = None


def open_drawn(
    config: Config,
    senders: Sequence[SenderParts],
    chain: ChainParts,
    ledger: RunningLedger | None,
    instance: str,
    metrics: Metrics,
    clock_ns: Callable[[], int],
) -> DrawnParts:
    """Both parts, not started."""
    if config.chain.source != "rpc" or chain.rpc is None or ledger is None or not config.drawn.enabled:
        return DrawnParts()
    from livepeer_remote_signer.adapters.drawn.alarm import Teller
    from livepeer_remote_signer.adapters.drawn.figures import DrawnWatch, add_figure_gauges
    from livepeer_remote_signer.adapters.drawn.follower import Follower, FollowerRules
    from livepeer_remote_signer.adapters.drawn.gauges import add_drawn_gauges

    names = {sender.address: sender.name for sender in senders} if len(senders) > 1 else {}
    rules = FollowerRules(config.drawn.poll_seconds, config.drawn.other_signers, config.drawn.on_foreign_ticket == "suspend")
    follower = Follower(
        senders=[sender.address for sender in senders],
        logs=chain.rpc.logs,
        contracts=chain.rpc,
        view=chain.rpc.view,
        store=ledger.store,
        rules=rules,
        teller=Teller(instance, ledger.outbox is not None, names),
        suspend=partial(ledger.controls.suspend, None, SUSPENDED_BY),
        keep_params=ledger.engine.keep_params,
        holder=os.urandom(8).hex(),
        clock_ns=clock_ns,
    )
    gauges = SenderGauges(metrics, {sender.address: sender.name for sender in senders})
    add_drawn_gauges(metrics, gauges, follower)
    burn = partial(read_burn, ledger.store, clock_ns)
    watch = DrawnWatch(sender=senders[0].address, store=ledger.store, burn=burn, view=chain.rpc.view, status=follower.status)
    add_figure_gauges(metrics, watch)
    return DrawnParts(follower, watch)
