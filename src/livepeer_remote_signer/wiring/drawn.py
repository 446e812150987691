"""Composition of what follows redeemed tickets: configuration -> follower and its gauges. Part of `app`.

What is not configured is not imported.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from livepeer_remote_signer.adapters.ledger.running import RunningLedger
from livepeer_remote_signer.adapters.metrics import Metrics
from livepeer_remote_signer.adapters.metrics.by_sender import SenderGauges
from livepeer_remote_signer.adapters.runways import read_burns
from livepeer_remote_signer.config.models import Config
from livepeer_remote_signer.wiring.chain import ChainParts

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
    keys: Mapping[bytes, str],
    chain: ChainParts,
    ledger: RunningLedger | None,
    instance: str,
    metrics: Metrics,
    gauges: SenderGauges,
    clock_ns: Callable[[], int],
) -> DrawnParts:
    """Both parts, not started. `keys` are the names of the senders' keys, by address."""
    if config.chain.source != "rpc" or chain.rpc is None or ledger is None or not config.drawn.enabled:
        return DrawnParts()
    from livepeer_remote_signer.adapters.drawn.alarm import Teller
    from livepeer_remote_signer.adapters.drawn.figures import DrawnWatch, add_figure_gauges
    from livepeer_remote_signer.adapters.drawn.follower import Follower, FollowerRules
    from livepeer_remote_signer.adapters.drawn.gauges import add_drawn_gauges

    senders = list(keys)
    rules = FollowerRules(config.drawn.poll_seconds, config.drawn.other_signers, config.drawn.on_foreign_ticket == "suspend")
    follower = Follower(
        senders=senders,
        logs=chain.rpc.logs,
        contracts=chain.rpc,
        view=chain.rpc.view,
        store=ledger.store,
        rules=rules,
        teller=Teller(instance, ledger.outbox is not None, keys if len(keys) > 1 else {}),
        suspend=partial(ledger.controls.suspend, None, SUSPENDED_BY),
        keep_params=ledger.engine.keep_params,
        holder=os.urandom(8).hex(),
        clock_ns=clock_ns,
    )
    add_drawn_gauges(metrics, gauges, follower)
    burns = partial(read_burns, ledger.store, clock_ns, senders)
    watch = DrawnWatch(senders=senders, store=ledger.store, burns=burns, view=chain.rpc.view, status=follower.status)
    add_figure_gauges(gauges, watch)
    return DrawnParts(follower, watch)
