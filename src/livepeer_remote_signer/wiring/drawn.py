"""Composition of what follows redeemed tickets: configuration -> follower and its gauges. Part of `app`.

What is not configured is not imported.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from livepeer_remote_signer.adapters.ledger.running import RunningLedger
from livepeer_remote_signer.adapters.metrics import Metrics
from livepeer_remote_signer.config.models import Config
from livepeer_remote_signer.wiring.chain import ChainParts

if TYPE_CHECKING:
    from livepeer_remote_signer.adapters.drawn.follower import Follower

SUSPENDED_BY = "drawn.on_foreign_ticket"
"""The author in the audit log."""


def open_drawn(
    config: Config,
    sender: bytes,
    chain: ChainParts,
    ledger: RunningLedger | None,
    instance: str,
    metrics: Metrics,
    clock_ns: Callable[[], int],
) -> Follower | None:
    """The follower, not started; None where the chain is not read, or nothing is kept to be compared with it."""
    if config.chain.source != "rpc" or chain.rpc is None or ledger is None or not config.drawn.enabled:
        return None
    from livepeer_remote_signer.adapters.drawn.alarm import Teller
    from livepeer_remote_signer.adapters.drawn.follower import Follower, FollowerRules
    from livepeer_remote_signer.adapters.drawn.gauges import add_drawn_gauges

    rules = FollowerRules(config.drawn.poll_seconds, config.drawn.other_signers, config.drawn.on_foreign_ticket == "suspend")
    follower = Follower(
        sender=sender,
        logs=chain.rpc.logs,
        contracts=chain.rpc,
        view=chain.rpc.view,
        store=ledger.store,
        rules=rules,
        teller=Teller(instance, sends_events=ledger.outbox is not None),
        suspend=partial(ledger.controls.suspend, None, SUSPENDED_BY),
        keep_params=ledger.engine.keep_params,
        holder=os.urandom(8).hex(),
        clock_ns=clock_ns,
    )
    add_drawn_gauges(metrics, follower)
    return follower
