"""Stages of a payment with a stop-watch around them, and the observers that are told of its end. Part of `app`.

A stage that nobody watches is used as it is: then this module is not in the way. Phases are named as in the metrics:
parse (body to request), open (the request held against its session), identify, policy (chain, units, price, tickets),
recipients, webhook, lookup, ledger (which includes sign and event: the ledger signs inside its transaction), sign, event.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Sequence
from contextvars import ContextVar

from livepeer_remote_signer.core.errors import SignerError
from livepeer_remote_signer.core.protocol.amounts import float_string
from livepeer_remote_signer.core.protocol.state import SignerState
from livepeer_remote_signer.core.rules.billing import seconds_between_tickets
from livepeer_remote_signer.core.rules.chain import ChainView
from livepeer_remote_signer.core.rules.ledger import Found, Record, RequestKey
from livepeer_remote_signer.core.rules.payment import LivePaymentSender, OpenedSession, PaymentPlan, PaymentRequest
from livepeer_remote_signer.core.rules.policy import Caller, Identity, Verdict, header_text
from livepeer_remote_signer.core.rules.pricing import Ceilings
from livepeer_remote_signer.core.rules.request_id import RequestId, trail_of
from livepeer_remote_signer.service import (
    Authorizer,
    Identifier,
    Ledger,
    Observer,
    PaymentSigner,
    RecipientPolicy,
    SignedPayment,
)

_log = logging.getLogger(__name__)
_current: ContextVar[RequestId | None] = ContextVar("current_request", default=None)
_CLIENT_ID_HEADER = b"x-request-id"
_NAMES_AT_ONCE = 64
"""Asking the kernel for the random bits of each name costs more than the rest of `begin`."""


class Watch:
    """Begins requests, and notes the time of each phase with its request, for whoever is told of the request's end."""

    def __init__(self, phase: Callable[[str, float], None]) -> None:
        """`phase(name, seconds)` takes the phases that belong to no request."""
        self._phase = phase
        self._names: list[str] = []

    def begin(self, headers: Sequence[tuple[bytes, bytes]]) -> RequestId:
        """Names a request that has arrived whole, and follows it from here on."""
        client_id = ""
        for name, value in headers:
            if name == _CLIENT_ID_HEADER:
                client_id = header_text(value)
                break
        if not self._names:
            digits = os.urandom(16 * _NAMES_AT_ONCE).hex()
            self._names = [digits[at : at + 32] for at in range(0, len(digits), 32)]
        request = RequestId.begin(self._names.pop(), client_id, time.perf_counter())
        _current.set(request)
        return request

    def parsed(self) -> float:
        """The body has become a request. Returns the time."""
        now = time.perf_counter()
        request = _current.get()
        if request is not None and not request.marks:
            request.marks.append(("parse", request.started, now))
        return now

    def done(self, phase: str, started: float, request: RequestId | None = None) -> None:
        """A phase has ended now. `request` where the phase ran in another task than the request."""
        now = time.perf_counter()
        request = request or _current.get()
        if request is None:
            self._phase(phase, now - started)
        else:
            request.marks.append((phase, started, now))


class WatchedSender(LivePaymentSender):
    """Decides as ever; the time of its two parts is one phase."""

    watch: Watch

    def open(self, request: PaymentRequest, now_ns: int, newest: SignerState | None = None) -> OpenedSession:
        """Steps 2 to 9."""
        started = self.watch.parsed()
        trail = _current.get()
        try:
            session = super().open(request, now_ns, newest)
            if trail is not None:
                trail.session = session
            return session
        finally:
            self.watch.done("open", started, trail)

    def plan(
        self,
        session: OpenedSession,
        chain: ChainView,
        ceilings: Ceilings,
        now_ns: int,
        headroom_seconds: int = 0,
        catch_up_seconds: int = 0,
    ) -> PaymentPlan:
        """Steps 10 to 15."""
        started = time.perf_counter()
        try:
            return super().plan(session, chain, ceilings, now_ns, headroom_seconds, catch_up_seconds)
        finally:
            self.watch.done("policy", started)


class WatchedSigner(PaymentSigner):
    """Signs as ever."""

    watch: Watch

    def sign(self, plan: PaymentPlan) -> SignedPayment:
        """Signs; every check must have passed."""
        started = time.perf_counter()
        signed = super().sign(plan)
        self.watch.done("sign", started)
        return signed


class WatchedIdentifier:
    """An Identifier."""

    def __init__(self, behind: Identifier, watch: Watch) -> None:
        self._behind = behind
        self._watch = watch

    async def identify(self, caller: Caller) -> Identity:
        """Who is calling."""
        started = self._watch.parsed()
        try:
            return await self._behind.identify(caller)
        finally:
            self._watch.done("identify", started)


class WatchedRecipients:
    """A RecipientPolicy."""

    def __init__(self, behind: RecipientPolicy, watch: Watch) -> None:
        self._behind = behind
        self._watch = watch

    async def check(self, plan: PaymentPlan) -> None:
        """Whether the recipient may be paid."""
        started = time.perf_counter()
        try:
            await self._behind.check(plan)
        finally:
            self._watch.done("recipients", started)


class WatchedAuthorizer:
    """An Authorizer."""

    def __init__(self, behind: Authorizer, watch: Watch) -> None:
        self._behind = behind
        self._watch = watch
        self.binding = behind.binding

    async def authorize(self, caller: Caller, identity: Identity, plan: PaymentPlan, request_id: str) -> Verdict:
        """The verdict."""
        started = time.perf_counter()
        try:
            return await self._behind.authorize(caller, identity, plan, request_id)
        finally:
            self._watch.done("webhook", started)


class WatchedLedger:
    """A Ledger."""

    def __init__(self, behind: Ledger, watch: Watch) -> None:
        self._behind = behind
        self._watch = watch
        self.turn = behind.turn

    async def find(self, key: RequestKey, now_ns: int) -> Found:
        """What is known of a request."""
        started = time.perf_counter()
        try:
            return await self._behind.find(key, now_ns)
        finally:
            self._watch.done("lookup", started)

    async def pay(self, key: RequestKey, plan: PaymentPlan, sign: Callable[[PaymentPlan], Record]) -> Found:
        """Judges, signs and records."""
        started = time.perf_counter()
        try:
            return await self._behind.pay(key, plan, sign)
        finally:
            self._watch.done("ledger", started)


def watched_event(encode: Callable[[SignedPayment, str, str], bytes], watch: Watch) -> Callable[[SignedPayment, str, str], bytes]:
    """The event's encoder."""

    def timed(signed: SignedPayment, route: str, request_id: str) -> bytes:
        started = time.perf_counter()
        event = encode(signed, route, request_id)
        watch.done("event", started, trail_of(request_id))
        return event

    return timed


class RareTicketWarning:
    """Warns, once a session, when one ticket lasts longer than the network's payment interval."""

    def __init__(self, interval_seconds: float) -> None:
        self._interval_seconds = interval_seconds

    def paid(self, payment: SignedPayment, route: str, request_id: str) -> None:
        """Looks at the first payment of a session."""
        session = payment.plan.session
        if not session.is_new:
            return
        lasts = seconds_between_tickets(session.info.ev, payment.plan.price, session.request.type)
        if lasts is not None and lasts > self._interval_seconds:
            _log.warning(
                "session %s: one ticket of %s wei EV lasts %s s at this price, longer than the payment interval of %g s: "
                "the orchestrator may end the session between two tickets; buy ahead with headroom_seconds, or choose an "
                "orchestrator with a smaller ticket EV (request %s)",
                session.state.state_id,
                float_string(session.info.ev, 0),
                float_string(lasts, 1),
                self._interval_seconds,
                request_id,
            )

    def repeated(self, session: OpenedSession, route: str, request_id: str) -> None:
        """Nothing to warn of: it was done when the payment was made."""

    def refused(self, error: SignerError, route: str, request_id: str) -> None:
        """Nothing to warn of: no session began."""


class Observers:
    """Tells several observers."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._observers = tuple(observers)

    def paid(self, payment: SignedPayment, route: str, request_id: str) -> None:
        """A payment was made."""
        for observer in self._observers:
            observer.paid(payment, route, request_id)

    def repeated(self, session: OpenedSession, route: str, request_id: str) -> None:
        """A reply was given again."""
        for observer in self._observers:
            observer.repeated(session, route, request_id)

    def refused(self, error: SignerError, route: str, request_id: str) -> None:
        """A payment was not made."""
        for observer in self._observers:
            observer.refused(error, route, request_id)
