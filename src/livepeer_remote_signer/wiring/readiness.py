"""Composition of readiness: the parts that payments depend on. Part of `app`."""

from __future__ import annotations

from collections.abc import Sequence

from livepeer_remote_signer.adapters.ledger.running import RunningLedger
from livepeer_remote_signer.adapters.readiness import Readiness
from livepeer_remote_signer.api.bounds import Bounds
from livepeer_remote_signer.wiring.auth import AuthParts
from livepeer_remote_signer.wiring.chain import ChainParts, open_sender_chain
from livepeer_remote_signer.wiring.events import EventParts
from livepeer_remote_signer.wiring.orchestrators import OrchestratorParts
from livepeer_remote_signer.wiring.senders import SenderParts


def open_readiness(
    chain: ChainParts,
    auth: AuthParts,
    orchestrators: OrchestratorParts,
    ledger: RunningLedger | None,
    events: EventParts | None,
    bounds: Bounds,
    senders: Sequence[SenderParts],
) -> Readiness:
    """What `/readyz` and the console show."""
    outside = {f"keys.{sender.name}" if sender.name else "key": sender.key.outside for sender in senders}
    views = {sender.name: open_sender_chain(chain, sender.address).view for sender in senders if sender.name}
    return Readiness(
        chain.source.view,
        chain.ceilings,
        endpoints=chain.rpc,
        feed=chain.feed,
        discovery=orchestrators.discovery,
        ledger=ledger,
        sinks=events.forwarder if events else None,
        authorities=auth.authorities,
        places=bounds.places,
        keys={name: key for name, key in outside.items() if key is not None},
        senders=views,
    )
