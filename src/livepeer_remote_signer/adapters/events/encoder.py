"""The billing event of a payment, as this process makes it."""

from __future__ import annotations

from fractions import Fraction

from livepeer_remote_signer.core.rules.events import EventSource, encode_event
from livepeer_remote_signer.core.rules.payment import PaymentPlan
from livepeer_remote_signer.core.rules.trail import Trail


class EventEncoder:
    """Knows who makes the events."""

    def __init__(self, source: EventSource) -> None:
        self._source = source

    def encode(self, plan: PaymentPlan, trail: Trail, eth_usd: Fraction | None) -> bytes:
        """The event's JSON. `eth_usd`: what an ETH costs now, None where no feed tells."""
        return encode_event(plan, self._source, trail.request_id, trail.client_id, eth_usd)
