"""The billing event of a payment, as this process makes it."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

from livepeer_remote_signer.core.rules.events import EventSource, encode_event
from livepeer_remote_signer.core.rules.payment import PaymentPlan
from livepeer_remote_signer.core.rules.trail import Trail


class EventEncoder:
    """Knows who makes the events, and what an ETH costs now: `usd_per_eth`, None where no feed tells."""

    def __init__(self, source: EventSource, usd_per_eth: Callable[[], Fraction | None] | None) -> None:
        self._source = source
        self._usd_per_eth = usd_per_eth

    def encode(self, plan: PaymentPlan, trail: Trail) -> bytes:
        """The event's JSON."""
        rate = self._usd_per_eth() if self._usd_per_eth is not None else None
        return encode_event(plan, self._source, trail.request_id, trail.client_id, rate)
