"""Who is told how a payment ended."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Protocol

from livepeer_remote_signer.core.errors import SignerError
from livepeer_remote_signer.core.protocol.amounts import float_string
from livepeer_remote_signer.core.rules.billing import seconds_between_tickets
from livepeer_remote_signer.core.rules.payment import PaymentPlan
from livepeer_remote_signer.core.rules.trail import Trail

_log = logging.getLogger(__name__)


class Observer(Protocol):
    """Told of every outcome: metrics, logs and traces. Must not raise and must not block."""

    def paid(self, plan: PaymentPlan, trail: Trail) -> None:
        """A payment was made."""

    def repeated(self, trail: Trail) -> None:
        """A request that was paid before got its reply again; the trail's session is as that reply has it."""

    def refused(self, error: SignerError, trail: Trail) -> None:
        """A payment was refused, or could not be decided."""


class Observers:
    """Tells several observers, in their order."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._observers = tuple(observers)
        self._tell_paid = tuple(observer.paid for observer in observers)

    def paid(self, plan: PaymentPlan, trail: Trail) -> None:
        """A payment was made."""
        for paid in self._tell_paid:
            paid(plan, trail)

    def repeated(self, trail: Trail) -> None:
        """A reply was given again."""
        for observer in self._observers:
            observer.repeated(trail)

    def refused(self, error: SignerError, trail: Trail) -> None:
        """A payment was not made."""
        for observer in self._observers:
            observer.refused(error, trail)


class RareTicketWarning:
    """Warns, once a session, when one ticket lasts longer than the network's payment interval and nothing is bought ahead."""

    def __init__(self, interval_seconds: float, headroom_seconds: Mapping[str, float]) -> None:
        """`headroom_seconds`: what is bought ahead, by route. Bought ahead is enough where it covers an interval."""
        self._interval_seconds = interval_seconds
        self._routes = frozenset(route for route, seconds in headroom_seconds.items() if seconds >= interval_seconds)

    def paid(self, plan: PaymentPlan, trail: Trail) -> None:
        """Looks at the first payment of a session."""
        session = plan.session
        if not session.is_new or trail.route in self._routes:
            return
        lasts = seconds_between_tickets(session.info.ev, plan.price, session.request.type)
        if lasts is not None and lasts > self._interval_seconds:
            _log.warning(
                "session %s: one ticket of %s wei EV lasts %s s at this price, longer than the payment interval of %g s: "
                "the orchestrator may end the session between two tickets; buy ahead with headroom_seconds of %g or more, or "
                "choose an orchestrator with a smaller ticket EV (request %s)",
                session.state.state_id,
                float_string(session.info.ev, 0),
                float_string(lasts, 1),
                self._interval_seconds,
                self._interval_seconds,
                trail.request_id,
            )

    def repeated(self, trail: Trail) -> None:
        """Nothing to warn of: it was done when the payment was made."""

    def refused(self, error: SignerError, trail: Trail) -> None:
        """Nothing to warn of: no session began."""
