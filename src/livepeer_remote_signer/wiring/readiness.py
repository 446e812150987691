"""Composition of readiness: the parts that payments depend on. Part of `app`."""

from __future__ import annotations

from livepeer_remote_signer.adapters.keys.external import CheckedKey
from livepeer_remote_signer.adapters.ledger.running import RunningLedger
from livepeer_remote_signer.adapters.readiness import Readiness
from livepeer_remote_signer.api.bounds import Bounds
from livepeer_remote_signer.wiring.auth import AuthParts
from livepeer_remote_signer.wiring.chain import ChainParts
from livepeer_remote_signer.wiring.events import EventParts
from livepeer_remote_signer.wiring.orchestrators import OrchestratorParts


def open_readiness(
    chain: ChainParts,
    auth: AuthParts,
    orchestrators: OrchestratorParts,
    ledger: RunningLedger | None,
    events: EventParts | None,
    bounds: Bounds,
    key: CheckedKey | None = None,
) -> Readiness:
    """What `/readyz` and the console show."""
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
        key=key,
    )
