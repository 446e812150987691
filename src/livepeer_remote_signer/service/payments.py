"""The way of one payment: gather -> plan -> authorize -> reserve -> sign -> record. Nothing is signed until every check has passed."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Awaitable, Callable
from fractions import Fraction
from typing import TypeVar

from msgspec import Struct
from msgspec.structs import replace

from livepeer_remote_signer.core.errors import (
    CallerLeft,
    KeyThrottled,
    NoTickets,
    Refused,
    SessionBusy,
    SignerError,
    StaleState,
    Suspended,
    TimedOut,
)
from livepeer_remote_signer.core.protocol.state import SignerState, encode_state, parse_state
from livepeer_remote_signer.core.rules.custody import Held
from livepeer_remote_signer.core.rules.fairness import is_dear
from livepeer_remote_signer.core.rules.ledger import Found, Newest, Record, RequestKey, SegCreds, Stored
from livepeer_remote_signer.core.rules.limits import check_chain, check_clock, check_params_alive
from livepeer_remote_signer.core.rules.payment import OpenedSession, PaymentPlan, PaymentRequest
from livepeer_remote_signer.core.rules.policy import (
    ANONYMOUS,
    Caller,
    Identity,
    apply_auth_id,
    apply_cached_verdict,
    apply_verdict,
    auth_id_changed,
    check_named,
    check_owner,
    is_same_payer,
    is_verdict_cached,
)
from livepeer_remote_signer.core.rules.rates import CallerRates
from livepeer_remote_signer.core.rules.request_key import request_key
from livepeer_remote_signer.core.rules.reservation import Reservation, Reserved, restore_plan
from livepeer_remote_signer.core.rules.sender import LivePaymentSender
from livepeer_remote_signer.core.rules.senders import BySender
from livepeer_remote_signer.core.rules.trail import Mark, Trail
from livepeer_remote_signer.service.custody import Custody, Order
from livepeer_remote_signer.service.deadlines import Deadlines
from livepeer_remote_signer.service.observers import Observer
from livepeer_remote_signer.service.seams import Authorizer, CeilingSource, ChainSource, Identifier, Ledger, RecipientPolicy
from livepeer_remote_signer.service.signing import PaymentSigner, SignedPayment
from livepeer_remote_signer.service.turns import TURN_TICKETS, SigningTurns

_NOBODY = Caller()
_LEFT = "the connection was reset before the payment was signed"
_T = TypeVar("_T")

_INLINE_PHASES = ("parse", "open", "policy", "sign")
"""What follows each other where nothing waits."""

_WAITING_PHASES = frozenset({"identify", "turn", "recipients", "webhook", "lookup", "ledger", "sign"})

MAX_RACES = 4
"""How often a call starts over because another one of its session was faster."""


class Route(Struct, frozen=True):
    """What differs between the two paying routes: their names, bodies and replies, and the headroom they buy ahead."""

    name: str
    parse: Callable[[bytes], PaymentRequest]
    encode: Callable[[SignedPayment], bytes]
    headroom_seconds: int
    catch_up_seconds: int
    """The most that a session may owe which pays in parts; 0: none does."""

    encode_state: Callable[[bytes, bytes], object]
    """A state and its seal in the form that this route's callers send back."""

    keep: Callable[[SignedPayment, bytes], bytes]
    """What a ledger keeps of a reply beside the state: as little as the reply can be made from."""

    restore: Callable[[bytes, bytes], bytes]
    """The reply, to the byte, from what was kept of it and the state."""


class _Call(Struct, frozen=True):
    """One call on a paying route, and who it turned out to be from; `now_ns` is its one reading of the wall clock."""

    route: Route
    trail: Trail
    now_ns: int
    caller: Caller
    identity: Identity


class _Made(Struct, frozen=True, gc=False):
    """A payment that was signed, and becomes one when it is recorded."""

    plan: PaymentPlan
    reply: bytes
    marks: list[Mark]


class _Attempt:
    """How far a call came, for whoever has to say so after it was given up."""

    __slots__ = ("is_reserved", "made", "service", "session")

    def __init__(self) -> None:
        self.service: RemoteSigner | None = None
        """Whose service took it, where there are several senders."""
        self.session: OpenedSession | None = None
        self.made: list[_Made] = []
        """What was signed and perhaps recorded; without a ledger nothing waits after signing."""
        self.is_reserved = False
        """Whether a key outside this host may be signing it, which goes on where the call is given up."""

    @property
    def may_be_recorded(self) -> bool:
        """Whether it may become a payment although nobody waits for it any more."""
        return self.is_reserved or bool(self.made)


class RemoteSigner:
    """The service: one payment in, one reply out."""

    def __init__(
        self,
        *,
        live_payments: LivePaymentSender,
        signer: PaymentSigner | Custody,
        chain: ChainSource,
        ceilings: CeilingSource,
        clock_ns: Callable[[], int],
        observer: Observer,
        identifier: Identifier | None = None,
        recipients: RecipientPolicy | None = None,
        authorizer: Authorizer | None = None,
        ledger: Ledger | None = None,
        rates: CallerRates | None = None,
        requires_auth_id: bool = False,
        heal_stale: bool = True,
        encode_event: Callable[[PaymentPlan, Trail, Fraction | None], bytes] | None = None,
        usd_per_eth: Callable[[], Fraction | None] | None = None,
        publish: Callable[[bytes], None] | None = None,
        senders: BySender[RemoteSigner] | None = None,
        sender_of: BySender[bytes] | None = None,
    ) -> None:
        """`senders`: whose service takes a caller's payment, where not all are paid by one sender; only the first service has them.
        `sender_of`: whose address pays for whom then."""
        self._live_payments = live_payments
        self._custody = signer if isinstance(signer, Custody) else None
        self._sign_plan = signer.sign if isinstance(signer, PaymentSigner) else _sign_nothing
        self._seal = signer.seal
        self._chain = chain
        self._ceilings = ceilings
        self._clock_ns = clock_ns
        self._observer = observer
        self._identifier = identifier
        self._recipients = recipients
        self._authorizer = authorizer
        self._ledger = ledger
        self._rates = rates
        self._requires_auth_id = requires_auth_id
        self._heal_stale = heal_stale
        self._encode_event = encode_event
        self._usd_per_eth = usd_per_eth
        self._publish = publish
        self._turns = SigningTurns()
        self._readings = SigningTurns()
        self._deadlines = Deadlines()
        self._senders = senders
        self._sender_of = sender_of
        self._address = signer.address
        asked = (identifier, recipients, authorizer, ledger, rates, senders)
        self.is_inline = not requires_auth_id and all(one is None for one in asked)
        """Whether no stage waits for anything: then `pay_inline` does all of it in one step."""
        self._asks_nobody_first = identifier is None and senders is None
        """Whether nobody says who calls, and one sender pays for all."""
        self.identifies = identifier is not None
        """Whether callers are known by more than their address."""

    def pay_inline(self, body: bytes, route: Route, trail: Trail) -> bytes:
        """`pay` where nobody has to be asked, in one piece, phases included: each call more on its way costs a two-hundredth of a
        payment."""
        now_ns = self._clock_ns()
        live_payments, clock = self._live_payments, trail.clock
        times = [clock()]
        try:
            trail.request = request = route.parse(body)
            times.append(clock())
            chain = self._chain.view()
            check_clock(chain)
            trail.session = session = live_payments.open(request, now_ns)
            times.append(clock())
            plan = live_payments.plan(session, chain, self._ceilings.current(), now_ns, route.headroom_seconds, route.catch_up_seconds)
            if trail.has_left():
                raise CallerLeft(_LEFT)
            times.append(clock())
            signed = self._sign_plan(plan)
        except BaseException as error:
            times.append(clock())
            trail.marks += zip(_INLINE_PHASES, times, times[1:], strict=False)
            is_judged = _INLINE_PHASES[len(times) - 2] == "policy" and not isinstance(error, CallerLeft)
            if is_judged and isinstance(error, SignerError):
                self._due_after(error, session, _Call(route, trail, now_ns, _NOBODY, ANONYMOUS))
            raise
        times.append(clock())
        trail.marks += zip(_INLINE_PHASES, times, times[1:], strict=False)
        return self._tell(plan, trail, route.encode(signed))

    async def pay(self, body: bytes, caller: Caller, route: Route, trail: Trail) -> bytes:
        """The reply's body. Raises an error of the tree; nothing of a refused request is kept.

        What is not answered when the trail says that it must be is given up: nobody is left who waits for its signatures.
        """
        call = _Call(route, trail, self._clock_ns(), caller, ANONYMOUS)
        attempt = _Attempt()
        deadline = self._deadlines.begin(trail.answer_by - trail.clock())
        try:
            take = self._pay_known if self._asks_nobody_first and not is_dear(body) else self._pay
            return await take(body, call, attempt)
        except asyncio.CancelledError:
            if not deadline.is_cause():
                raise
            error = TimedOut(round(trail.answer_by - trail.started, 3), _waited_for(trail), may_be_recorded=attempt.may_be_recorded)
            if attempt.session is not None and not attempt.may_be_recorded:
                (attempt.service or self)._due_after(error, attempt.session, call)
            raise error from None
        finally:
            deadline.end()

    async def _pay(self, body: bytes, call: _Call, attempt: _Attempt) -> bytes:
        """Who calls is known before the body is read (protocol section 6): nothing of a stranger's is looked at."""
        if self._identifier is not None:
            with call.trail.phase("identify"):
                call = replace(call, identity=await self._identifier.identify(call.caller))
            self._name_caller(call)
        if is_dear(body):
            await self._readings.take(call.trail.caller, TURN_TICKETS)
        if self._senders is None:
            return await self._pay_known(body, call, attempt)
        attempt.service = service = self._senders.of(call.identity)
        return await service._pay_known(body, call, attempt)

    async def _pay_known(self, body: bytes, call: _Call, attempt: _Attempt) -> bytes:
        """Of a caller who was identified as far as anybody can say who he is, by the sender that pays for him."""
        attempt.session = session = self._open(body, call)
        if self._ledger is not None:
            return await self._pay_once(self._ledger, session, call, attempt)
        plan = await self._with_headroom(session, call, lambda plan: self._authorized(plan, call))
        if call.trail.place is not None and call.trail.place.is_shared:
            with call.trail.phase("turn"):
                await self._turns.take(call.trail.place.caller, plan.num_tickets)
        return self._finish(plan, call)

    def _name_caller(self, call: _Call) -> None:
        """Whoever proved an auth id is served under it, not under the address that he shares with others. Raises ShareExceeded."""
        trail, auth_id = call.trail, call.identity.auth_id or call.identity.claimed_auth_id
        trail.caller, trail.auth_id = auth_id or trail.caller, auth_id
        if trail.place is not None:
            trail.place.move(f"auth id {auth_id}" if auth_id else trail.place.caller, trail.clock())

    async def _pay_once(self, ledger: Ledger, session: OpenedSession, call: _Call, attempt: _Attempt) -> bytes:
        """With a ledger: the identical request gets the identical bytes, a used sequence number heals or is refused."""
        route, trail = call.route, call.trail
        served = trail.place.caller if trail.place is not None else ""
        key = request_key(session, call.caller, call.identity, route.name, served)

        def sign(plan: PaymentPlan) -> Record:
            before = len(trail.marks)
            return self._recorded(self._sign(plan, call), call, attempt, before)

        custody = self._custody
        order: Order | None = None
        if custody is not None:
            order = Order(lambda signed, seg_creds: self._recorded(signed, call, attempt, len(trail.marks), seg_creds), served, trail)

        async def record(plan: PaymentPlan) -> Found:
            nonlocal key
            plan = await self._authorized(plan, call)
            if plan.state.auth_id != key.auth_id:
                key = replace(key, auth_id=plan.state.auth_id)
            if custody is not None and order is not None:
                return await self._outside(custody.pay(key, plan, order), attempt)
            began = trail.clock()
            try:
                return await ledger.pay(key, plan, sign)
            finally:
                trail.mark("ledger", began)

        async with ledger.turn(key):
            with trail.phase("lookup"):
                found = await ledger.find(key, call.now_ns)
            for _ in range(MAX_RACES):
                if isinstance(found, Stored):
                    return await self._repeat(found, session, call)
                if custody is not None and order is not None and isinstance(found, Reserved):
                    if await self._finished(custody, found.reservation, key, session, call, order, attempt):
                        return self._paid(attempt, trail)
                    found = await custody.wait_for(found.reservation, key)
                    continue
                if isinstance(found, Newest):
                    session = await self._healed(session, found, call)
                    state = session.state
                    key = replace(key, sequence_number=state.sequence_number, last_update_ns=state.last_update_ns, is_healed=True)
                found = await self._with_headroom(session, call, record)
                if found is None:
                    return self._paid(attempt, trail)
        raise SessionBusy("other calls of this session were faster", hint="send one call of a session at a time", retry_after_seconds=1)

    def _paid(self, attempt: _Attempt, trail: Trail) -> bytes:
        """The reply of a payment that is recorded."""
        paid = attempt.made[-1]
        trail.marks += paid.marks  # of the signatures that count: a transaction that was repeated made others
        self._observer.paid(paid.plan, trail)
        return paid.reply

    async def _outside(self, signing: Awaitable[_T], attempt: _Attempt) -> _T:
        """What comes of signing outside. Whoever gives up meanwhile is told that it may be recorded all the same."""
        attempt.is_reserved = True
        try:
            result = await signing
        except Exception:
            attempt.is_reserved = False
            raise
        attempt.is_reserved = False
        return result

    async def _finished(
        self,
        custody: Custody,
        reservation: Reservation,
        key: RequestKey,
        session: OpenedSession,
        call: _Call,
        order: Order,
        attempt: _Attempt,
    ) -> bool:
        """Signs what was reserved for this very request, by a call before it that did not come to its end. False: it was reserved for
        another one, or is being signed, or has ended meanwhile."""
        if reservation.digest != key.digest or reservation.sender != custody.address or custody.is_in_work(reservation):
            return False
        plan = restore_plan(session, reservation.plan, reservation.sender)
        await self._check_asker(reservation.auth_id, encode_state(plan.state), session, call)
        call.trail.session, call.trail.auth_id = plan.session, plan.state.auth_id
        return await self._outside(custody.finish(Held(reservation, plan), order), attempt)

    def _open(self, body: bytes, call: _Call) -> OpenedSession:
        """Steps 1 to 9."""
        trail = call.trail
        began = trail.clock()
        try:
            trail.request = request = call.route.parse(body)
        finally:
            trail.mark("parse", began)
        check_clock(self._chain.view())
        return self._opened(request, call, None)

    def _opened(self, request: PaymentRequest, call: _Call, newest: SignerState | None) -> OpenedSession:
        trail = call.trail
        began = trail.clock()
        try:
            trail.session = session = self._live_payments.open(request, call.now_ns, newest)
        finally:
            trail.mark("open", began)
        return session

    def _plan(self, session: OpenedSession, call: _Call, *, with_headroom: bool = True) -> PaymentPlan:
        """Steps 10 to 15."""
        route, trail = call.route, call.trail
        headroom_seconds = route.headroom_seconds if with_headroom else 0
        began = trail.clock()
        try:
            return self._live_payments.plan(
                session, self._chain.view(), self._ceilings.current(), call.now_ns, headroom_seconds, route.catch_up_seconds
            )
        finally:
            trail.mark("policy", began)

    async def _with_headroom(self, session: OpenedSession, call: _Call, take: Callable[[PaymentPlan], Awaitable[_T]]) -> _T:
        """What `take` makes of the plan with tickets ahead or, where they were refused, of the plan without."""
        plan = None
        try:
            plan = self._plan(session, call)
            return await take(plan)
        except SignerError as error:
            due = self._due_after(error, session, call)
            if due is None or plan is None or plan.num_tickets == due.num_tickets or not isinstance(error, Refused | KeyThrottled):
                raise
        return await take(due)

    def _due_after(self, error: SignerError, session: OpenedSession, call: _Call) -> PaymentPlan | None:
        """The plan without tickets ahead, after one with them met `error`: headroom is never the cause of a refusal. None: there
        were none, or the operator wants to be told of a kill switch also where nothing is due.

        Raises NoTickets from `error` where nothing is due, so that who is told of it can see what else is wrong.
        """
        if not call.route.headroom_seconds or isinstance(error, NoTickets | Suspended):
            return None
        try:
            return self._plan(session, call, with_headroom=False)
        except NoTickets as nothing_due:
            raise nothing_due from error

    async def _authorized(self, plan: PaymentPlan, call: _Call) -> PaymentPlan:
        """Step 16: the recipient as far as it is known, then whether this caller may pay it, and whether he may go on doing so.

        The chain is asked of the recipient last: nobody who may not pay causes a request to it.
        """
        if self._recipients is not None:
            self._recipients.check(plan)
        if self._authorizer is None:
            identity = call.identity
            plan = apply_auth_id(plan, identity.auth_id or identity.claimed_auth_id, identity)
        else:
            plan = await self._allowed(self._authorizer, plan, call)
        call.trail.auth_id = plan.state.auth_id
        if self._sender_of is not None:
            self._sender_of.check(plan.state.auth_id, self._address)
        if self._requires_auth_id:
            check_named(plan.state.auth_id)
        if self._rates is not None:
            self._rates.check(plan.state.auth_id or call.trail.caller, plan.num_tickets, call.trail.clock())
        if self._recipients is None:
            return plan
        self._recipients.check_caller(plan)
        with call.trail.phase("recipients"):
            await self._recipients.look_up(plan)
        return plan

    async def _allowed(self, authorizer: Authorizer, plan: PaymentPlan, call: _Call) -> PaymentPlan:
        """The caller's own auth id, then the webhook's verdict unless the one in the state still holds."""
        caller, identity, trail = call.caller, call.identity, call.trail
        plan = apply_auth_id(plan, identity.auth_id, identity)
        if is_verdict_cached(plan.state, plan.now_ns, authorizer.binding(caller, identity)):
            return apply_cached_verdict(plan, identity)
        with trail.phase("webhook"):
            verdict = await authorizer.authorize(caller, identity, plan, trail)
        return apply_verdict(plan, verdict, identity)

    async def _check_reader(self, authorizer: Authorizer, session: OpenedSession, owner: str, call: _Call) -> None:
        """Whether the caller may be given what was made for the auth id `owner`, where only the webhook can tell: it is asked
        about the payment that was asked for, which is not made."""
        plan = await self._allowed(authorizer, self._plan(session, call, with_headroom=False), call)
        if owner and plan.state.auth_id and not is_same_payer(owner, plan.state.auth_id, call.identity):
            raise auth_id_changed(owner, plan.state.auth_id)

    def _sign(self, plan: PaymentPlan, call: _Call) -> SignedPayment:
        """Step 17."""
        trail = call.trail
        if trail.has_left():
            raise CallerLeft(_LEFT)
        began = trail.clock()
        try:
            return self._sign_plan(plan)
        finally:
            trail.mark("sign", began)

    def _recorded(self, signed: SignedPayment, call: _Call, attempt: _Attempt, before: int, seg_creds: SegCreds | None = None) -> Record:
        """What a ledger keeps of a payment that was signed; its reply, and the marks since `before`, count if it does."""
        route, trail = call.route, call.trail
        reply = route.encode(signed)
        eth_usd = self._eth_usd()
        record = Record(signed.state, route.keep(signed, reply), self._event(signed.plan, trail, eth_usd), eth_usd, seg_creds)
        attempt.made.append(_Made(signed.plan, reply, trail.cut(before)))
        return record

    def _eth_usd(self) -> Fraction | None:
        """What an ETH costs now; None where no feed tells."""
        return self._usd_per_eth() if self._usd_per_eth is not None else None

    def _event(self, plan: PaymentPlan, trail: Trail, eth_usd: Fraction | None) -> bytes | None:
        """Step 18; None where nobody takes events."""
        if self._encode_event is None:
            return None
        with trail.phase("event"):
            return self._encode_event(plan, trail, eth_usd)

    def _finish(self, plan: PaymentPlan, call: _Call) -> bytes:
        """Without a ledger."""
        return self._tell(plan, call.trail, call.route.encode(self._sign(plan, call)))

    def _tell(self, plan: PaymentPlan, trail: Trail, reply: bytes) -> bytes:
        """A payment without a ledger was made: its event is sent from memory, best effort."""
        if self._publish is not None and (event := self._event(plan, trail, self._eth_usd())) is not None:
            self._publish(event)
        self._observer.paid(plan, trail)
        return reply

    async def _repeat(self, found: Stored, session: OpenedSession, call: _Call) -> bytes:
        """The reply that the identical request got before."""
        await self._check_asker(found.auth_id, found.state, session, call)
        reply = call.route.restore(found.kept, found.state)
        call.trail.session = as_answered(session, found)
        self._observer.repeated(call.trail)
        return reply

    async def _check_asker(self, auth_id: str, state: bytes, session: OpenedSession, call: _Call) -> None:
        """A reply is given again, and what was reserved is finished, for as long as the params live, and for whom it was made."""
        chain = self._chain.view()
        check_chain(chain)
        check_params_alive(session.info, chain)
        check_owner(auth_id, call.identity, has_webhook=self._authorizer is not None)
        if self._authorizer is None:
            return
        binding = self._authorizer.binding(call.caller, call.identity)
        if binding and not hmac.compare_digest(parse_state(state).auth_binding, binding):
            await self._check_reader(self._authorizer, session, auth_id, call)

    async def _healed(self, session: OpenedSession, found: Newest, call: _Call) -> OpenedSession:
        """The session continued from its newest state, so that no interval is paid twice and the session lives on.

        All but the webhook's verdict is the newest state's: that one holds no longer than in the state that was sent.
        """
        newest, raw = found.state, found.raw
        check_owner(newest.auth_id or session.state.auth_id, call.identity, has_webhook=self._authorizer is not None)
        if session.state.auth_expiry < newest.auth_expiry:
            newest = replace(newest, auth_expiry=session.state.auth_expiry)
            raw = encode_state(newest)
        if not self._heal_stale:
            if self._authorizer is not None:
                await self._check_reader(self._authorizer, session, newest.auth_id, call)
            raise StaleState(
                f"sequence number {session.state.sequence_number} of this session was used by another request",
                hint="continue with the state in error.state",
                sequence_number=session.state.sequence_number,
                newest_sequence_number=newest.sequence_number,
                state=call.route.encode_state(raw, self._seal(raw)),
            )
        return self._opened(session.request, call, newest)


def _sign_nothing(plan: PaymentPlan) -> SignedPayment:
    raise RuntimeError("a key outside this host signs nothing inside a transaction")


def _waited_for(trail: Trail) -> str:
    """The phase in which the time ran out: the one that ended last, if it is one that waits for somebody."""
    last = trail.marks[-1][0] if trail.marks else ""
    return last if last in _WAITING_PHASES else ""


def as_answered(session: OpenedSession, found: Stored) -> OpenedSession:
    """The session of a repeated request as it was when it was paid: a first request opens a session of another name each time."""
    state = parse_state(found.state)
    return replace(session, state=state, manifest_id=session.request.manifest_id or state.manifest_id)
