"""How much room a payment may take on the ledger's disk at most: known before it is signed, from what is kept of it.

Kept are the state, the reply (on our own route with each ticket in JSON), the billing event, and entries in indexes.
"""

from __future__ import annotations

from livepeer_remote_signer.core.protocol.wire import MAX_AUTH_TOKEN_BYTES, MAX_PRICE_INFO_BYTES, MAX_TRANSCODER_CHARACTERS
from livepeer_remote_signer.core.rules.events import MAX_EVENT_BYTES
from livepeer_remote_signer.core.rules.payment import PaymentPlan

INDEX_BYTES = 24 * 1024
"""Pages of the indexes that a payment touches."""

TICKET_BYTES = 1000
"""One ticket in JSON, and in the payment header in base64."""

STATE_BYTES = 2048
"""A state without the names in it."""

NAME_BYTES = 18
"""A character of a manifest id: escaped in JSON, and in segment credentials in base64."""

CAPACITIES_BYTES = 16 * 1024
"""What empty capacities are filled up with."""

_STATE_NAME_BYTES = 6
_TWICE = 2
"""More than base64 makes of it."""


def most_bytes(plan: PaymentPlan) -> int:
    """What a payment may take at most."""
    session, state = plan.session, plan.state
    names = len(state.app) + len(state.auth_id) + len(state.manifest_id)
    kept_state = STATE_BYTES + _STATE_NAME_BYTES * names
    echoed = MAX_AUTH_TOKEN_BYTES + MAX_PRICE_INFO_BYTES + MAX_TRANSCODER_CHARACTERS + STATE_BYTES
    capabilities = len(session.request.capabilities) + CAPACITIES_BYTES if session.capabilities is not None else 0
    return (
        INDEX_BYTES
        + MAX_EVENT_BYTES
        + TICKET_BYTES * plan.num_tickets
        + NAME_BYTES * len(session.manifest_id)
        + kept_state
        + _TWICE * (kept_state + echoed + capabilities)
    )
