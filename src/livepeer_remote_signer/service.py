"""The imperative shell: gather -> plan -> authorize -> reserve -> sign -> record, and the seams it needs for that.

Nothing is signed until every check has passed. Each outside thing is one small Protocol, declared here by its user and
implemented in `adapters`; a stage that is not configured is None and costs nothing.
"""

from __future__ import annotations

import struct
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from hashlib import sha256
from typing import NamedTuple, Protocol, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from livepeer_remote_signer.core.errors import (
    AuthIdChanged,
    InvalidState,
    NoTickets,
    Refused,
    SessionBusy,
    SignerError,
    StaleState,
    Suspended,
)
from livepeer_remote_signer.core.protocol.eip191 import keccak256
from livepeer_remote_signer.core.protocol.state import Seal, SignerState, encode_state, parse_state
from livepeer_remote_signer.core.protocol.strict_json import INT64_MAX
from livepeer_remote_signer.core.protocol.ticket import seg_creds_message, ticket_hash_parts
from livepeer_remote_signer.core.protocol.wire import encode_payment, encode_seg_data
from livepeer_remote_signer.core.recent import MAX_KEY_BYTES
from livepeer_remote_signer.core.rules.chain import ChainView
from livepeer_remote_signer.core.rules.ledger import Found, Newest, Record, RequestKey, Stored
from livepeer_remote_signer.core.rules.limits import check_chain, check_clock, check_params_alive
from livepeer_remote_signer.core.rules.payment import LivePaymentSender, OpenedSession, PaymentPlan, PaymentRequest
from livepeer_remote_signer.core.rules.policy import (
    ANONYMOUS,
    Caller,
    Identity,
    Verdict,
    apply_auth_id,
    apply_cached_verdict,
    apply_verdict,
    is_verdict_cached,
)
from livepeer_remote_signer.core.rules.pricing import Ceilings

SEG_CREDS_CACHE_ENTRIES = 4096
"""A signature less for every call of a session but its first. Requests longer than MAX_KEY_BYTES are not kept."""

_T = TypeVar("_T")

MAX_RACES = 4
"""How often a call starts over because another one of its session was faster."""


class MessageSigner(Protocol):
    """Holds the key. Signs EIP-191 personal messages that this package composed, never a caller's bytes."""

    @property
    def address(self) -> bytes:
        """The 20-byte address whose deposit backs the tickets."""

    def sign_personal(self, message: bytes) -> bytes:
        """65 bytes r || s || v over the personal message `message`; deterministic (RFC 6979)."""


class ChainSource(Protocol):
    """The last reading of the chain, from memory."""

    def view(self) -> ChainView: ...


class CeilingSource(Protocol):
    """The operator's price ceilings as they stand now, from memory."""

    def current(self) -> Ceilings: ...


class Identifier(Protocol):
    """Who is calling. Raises Unauthenticated."""

    async def identify(self, caller: Caller) -> Identity: ...


class Authorizer(Protocol):
    """Whether this payment may be made: asks the webhook with the proposed state. Raises AuthFailed."""

    def binding(self, caller: Caller, identity: Identity) -> str:
        """What a cached verdict must carry to hold for this caller, "" when verdicts are not bound to credentials."""

    async def authorize(self, caller: Caller, identity: Identity, plan: PaymentPlan, request_id: str) -> Verdict: ...


class RecipientPolicy(Protocol):
    """Whether the ticket's recipient may be paid. Raises RecipientRefused, OrchestratorPaused, RecipientUndetermined."""

    async def check(self, plan: PaymentPlan) -> None: ...


class Ledger(Protocol):
    """Budgets, replay guard and outbox. Raises BudgetExceeded, RateExceeded, Suspended, StaleState, SessionBusy, BadField,
    LedgerUnavailable and OutboxFull."""

    def turn(self, key: RequestKey) -> AbstractAsyncContextManager[None]:
        """One call at a time for each session: waits a little for the one in work, then raises SessionBusy."""

    async def find(self, key: RequestKey, now_ns: int) -> Found:
        """What is known of this request, before anybody is asked whether it may be paid."""

    async def pay(self, key: RequestKey, plan: PaymentPlan, sign: Callable[[PaymentPlan], Record]) -> Found:
        """Judges, signs and records one payment in one transaction; returns None when it is durable.

        `sign` is called with the plan as the ledger allows it: nonces may be raised, tickets bought ahead may be fewer. It
        may be called again when the transaction has to be repeated; only the last call counts. Nothing is set aside before
        the transaction, so whatever ends it gives all back. Anything but None: another call was faster, nothing was paid.
        """


class Observer(Protocol):
    """Told of every outcome: metrics and logs. Must not raise and must not block."""

    def paid(self, payment: SignedPayment, route: str, request_id: str) -> None: ...

    def repeated(self, session: OpenedSession, route: str, request_id: str) -> None:
        """A request that was paid before got its reply again; the session is as that reply has it."""

    def refused(self, error: SignerError, route: str, request_id: str) -> None: ...


class Ticket(Struct, frozen=True, gc=False):
    """One signed ticket."""

    sender_nonce: int
    hash: bytes
    sig: bytes


class SignedPayment(Struct, frozen=True, gc=False):
    """What a payment consists of: the two headers' bytes, the sealed state, and the plan that they were made from."""

    plan: PaymentPlan
    sender: bytes
    payment: bytes
    seg_creds: bytes
    state: bytes
    state_sig: bytes
    tickets: tuple[Ticket, ...]


class Route(NamedTuple):
    """What differs between the two paying routes: their names, their replies, and the headroom they buy ahead."""

    name: str
    encode: Callable[[SignedPayment], bytes]
    headroom_seconds: int
    encode_state: Callable[[bytes, bytes], object]
    """A state and its seal in the form that this route's callers send back."""

    keep: Callable[[SignedPayment, bytes], bytes]
    """What a ledger keeps of a reply beside the state: as little as the reply can be made from."""

    restore: Callable[[bytes, bytes], bytes]
    """The reply, to the byte, from what was kept of it and the state."""


class PaymentSigner:
    """Makes the signatures of a plan: tickets, segment credentials, state seal, in this order."""

    def __init__(self, signer: MessageSigner, seal: Seal, remember_state: Callable[[bytes, SignerState], None] | None = None) -> None:
        self._signer = signer
        self._seal = seal
        self._remember_state = remember_state
        self._known_seg_creds: dict[tuple[str, bytes, bytes], bytes] = {}
        self.signatures = 0
        """How many tickets were signed since start: a denied caller must not move it."""

    @property
    def address(self) -> bytes:
        """The sender of all tickets."""
        return self._signer.address

    def sign(self, plan: PaymentPlan) -> SignedPayment:
        """Signs; every check must have passed."""
        session, sender, sign = plan.session, self._signer.address, self._signer.sign_personal
        head, tail = ticket_hash_parts(session.info.ticket_params, sender, plan.aux_data)
        tickets, signed = [], []
        for nonce in range(plan.first_nonce, plan.first_nonce + plan.num_tickets):
            digest = keccak256(head + nonce.to_bytes(32, "big") + tail)
            sig = sign(digest)
            signed.append((nonce, sig))
            tickets.append(Ticket(nonce, digest, sig))
        self.signatures += len(tickets)
        payment = encode_payment(session.info, sender, plan.creation_round, plan.creation_round_block_hash, signed)
        state = encode_state(plan.state)
        if self._remember_state is not None:
            self._remember_state(state, plan.state)
        return SignedPayment(plan, sender, payment, self._seg_creds(session), state, self._seal.seal(state), tuple(tickets))

    def seal(self, state: bytes) -> bytes:
        """The seal over a state that was given out before."""
        return self._seal.seal(state)

    def _seg_creds(self, session: OpenedSession) -> bytes:
        """Segment credentials depend on these three alone, and a session asks for the same ones at every call."""
        key = (session.manifest_id, session.request.orchestrator, session.request.capabilities)
        known = self._known_seg_creds.get(key)
        if known is None:
            sig = self._signer.sign_personal(seg_creds_message(session.manifest_id))
            known = encode_seg_data(session.manifest_id, sig, session.capabilities, session.auth_token)
            if sum(map(len, key)) <= MAX_KEY_BYTES:
                if len(self._known_seg_creds) >= SEG_CREDS_CACHE_ENTRIES:
                    self._known_seg_creds.clear()
                self._known_seg_creds[key] = known
        return known


class RemoteSigner:
    """The service: one payment in, one reply out."""

    def __init__(
        self,
        *,
        sender: LivePaymentSender,
        signer: PaymentSigner,
        chain: ChainSource,
        ceilings: CeilingSource,
        clock_ns: Callable[[], int],
        observer: Observer,
        identifier: Identifier | None = None,
        recipients: RecipientPolicy | None = None,
        authorizer: Authorizer | None = None,
        ledger: Ledger | None = None,
        heal_stale: bool = True,
        encode_event: Callable[[SignedPayment, str, str], bytes] | None = None,
        publish: Callable[[bytes], None] | None = None,
    ) -> None:
        self._sender = sender
        self._signer = signer
        self._chain = chain
        self._ceilings = ceilings
        self._clock_ns = clock_ns
        self._observer = observer
        self._identifier = identifier
        self._recipients = recipients
        self._authorizer = authorizer
        self._ledger = ledger
        self._heal_stale = heal_stale
        self._encode_event = encode_event
        self._publish = publish
        self.is_inline = identifier is None and recipients is None and authorizer is None and ledger is None
        """Whether no stage waits for anything: then `pay_inline` does all of it in one step."""

    def pay_inline(self, request: PaymentRequest, route: Route, request_id: str) -> bytes:
        """`pay` where nobody has to be asked."""
        now_ns = self._clock_ns()
        check_clock(self._chain.view())
        session = self._sender.open(request, now_ns)
        try:
            plan = self._plan(session, now_ns, route.headroom_seconds)
        except SignerError as error:
            self._due_after(error, session, route, now_ns)
            raise
        signed = self._signer.sign(plan)
        return self._finish(signed, route.encode(signed), route, request_id)

    async def pay(self, request: PaymentRequest, caller: Caller, route: Route, request_id: str) -> bytes:
        """The reply's body. Raises an error of the tree; nothing of a refused request is kept."""
        now_ns = self._clock_ns()
        identity = await self._identifier.identify(caller) if self._identifier else ANONYMOUS
        check_clock(self._chain.view())
        session = self._sender.open(request, now_ns)
        if self._ledger is None:
            plan = await self._with_headroom(session, route, now_ns, lambda plan: self._authorized(plan, caller, identity, request_id))
            signed = self._signer.sign(plan)
            return self._finish(signed, route.encode(signed), route, request_id)
        return await self._pay_once(self._ledger, session, caller, identity, route, request_id, now_ns)

    async def _pay_once(
        self,
        ledger: Ledger,
        session: OpenedSession,
        caller: Caller,
        identity: Identity,
        route: Route,
        request_id: str,
        now_ns: int,
    ) -> bytes:
        """With a ledger: the identical request gets the identical bytes, a used sequence number heals or is refused."""
        key = request_key(session, caller, identity, route)
        made: list[tuple[SignedPayment, bytes]] = []

        def sign(plan: PaymentPlan) -> Record:
            signed = self._signer.sign(plan)
            reply = route.encode(signed)
            made.append((signed, reply))
            return Record(
                signed.state, route.keep(signed, reply), self._encode_event(signed, route.name, request_id) if self._encode_event else None
            )

        async def record(plan: PaymentPlan) -> Found:
            nonlocal key
            plan = await self._authorized(plan, caller, identity, request_id)
            if plan.state.auth_id != key.auth_id:
                key = replace(key, auth_id=plan.state.auth_id)
            return await ledger.pay(key, plan, sign)

        async with ledger.turn(key):
            found = await ledger.find(key, now_ns)
            for _ in range(MAX_RACES):
                if isinstance(found, Stored):
                    self._check_answer(found, session, identity)
                    reply = route.restore(found.kept, found.state)
                    self._observer.repeated(as_answered(session, found), route.name, request_id)
                    return reply
                if isinstance(found, Newest):
                    session = self._healed(session, found, identity, route, now_ns)
                    state = session.state
                    key = replace(key, sequence_number=state.sequence_number, last_update_ns=state.last_update_ns, is_healed=True)
                found = await self._with_headroom(session, route, now_ns, record)
                if found is None:
                    signed, reply = made[-1]
                    self._observer.paid(signed, route.name, request_id)
                    return reply
        raise SessionBusy("other calls of this session were faster", hint="send one call of a session at a time", retry_after_seconds=1)

    def _plan(self, session: OpenedSession, now_ns: int, headroom_seconds: int) -> PaymentPlan:
        return self._sender.plan(session, self._chain.view(), self._ceilings.current(), now_ns, headroom_seconds)

    async def _with_headroom(self, session: OpenedSession, route: Route, now_ns: int, take: Callable[[PaymentPlan], Awaitable[_T]]) -> _T:
        """What `take` makes of the plan with tickets ahead or, where they were refused, of the plan without."""
        plan = None
        try:
            plan = self._plan(session, now_ns, route.headroom_seconds)
            return await take(plan)
        except SignerError as error:
            due = self._due_after(error, session, route, now_ns)
            if due is None or plan is None or plan.num_tickets == due.num_tickets or not isinstance(error, Refused):
                raise
        return await take(due)

    def _due_after(self, error: SignerError, session: OpenedSession, route: Route, now_ns: int) -> PaymentPlan | None:
        """The plan without tickets ahead, after one with them met `error`: headroom is never the cause of a refusal. None: there
        were none, or the operator wants to be told of a kill switch also where nothing is due.

        Raises NoTickets from `error` where nothing is due, so that who is told of it can see what else is wrong.
        """
        if not route.headroom_seconds or isinstance(error, NoTickets | Suspended):
            return None
        try:
            return self._plan(session, now_ns, 0)
        except NoTickets as nothing_due:
            raise nothing_due from error

    async def _authorized(self, plan: PaymentPlan, caller: Caller, identity: Identity, request_id: str) -> PaymentPlan:
        """Step 16: the recipient, the caller's own auth id, then the webhook's verdict unless the one in the state still holds."""
        if self._recipients is not None:
            await self._recipients.check(plan)
        if self._authorizer is None:
            return apply_auth_id(plan, identity.auth_id or identity.claimed_auth_id)
        plan = apply_auth_id(plan, identity.auth_id)
        if is_verdict_cached(plan.state, plan.now_ns, self._authorizer.binding(caller, identity)):
            return apply_cached_verdict(plan, identity)
        return apply_verdict(plan, await self._authorizer.authorize(caller, identity, plan, request_id), identity)

    def _check_answer(self, found: Stored, session: OpenedSession, identity: Identity) -> None:
        """A reply is given again for as long as its params live, and to whom it was made for."""
        chain = self._chain.view()
        check_chain(chain)
        check_params_alive(session.info, chain)
        self._check_owner(found.auth_id, identity)

    def _check_owner(self, auth_id: str, identity: Identity) -> None:
        """A session answers to nobody but its own auth id; one without any is whoever's holds its state, as it is in order."""
        known = identity.auth_id or ("" if self._authorizer else identity.claimed_auth_id)
        if known and auth_id and auth_id != known:
            raise AuthIdChanged("the session belongs to another auth id", hint="start a new session without state")

    def _healed(self, session: OpenedSession, found: Newest, identity: Identity, route: Route, now_ns: int) -> OpenedSession:
        """The session continued from its newest state, so that no interval is paid twice and the session lives on.

        All but the webhook's verdict is the newest state's: that one holds no longer than in the state that was sent.
        """
        newest, raw = found.state, found.raw
        self._check_owner(newest.auth_id or session.state.auth_id, identity)
        if session.state.auth_expiry < newest.auth_expiry:
            newest = replace(newest, auth_expiry=session.state.auth_expiry)
            raw = encode_state(newest)
        if not self._heal_stale:
            raise StaleState(
                f"sequence number {session.state.sequence_number} of this session was used by another request",
                hint="continue with the state in error.state",
                sequence_number=session.state.sequence_number,
                newest_sequence_number=newest.sequence_number,
                state=route.encode_state(raw, self._signer.seal(raw)),
            )
        return self._sender.open(session.request, now_ns, newest=newest)

    def _finish(self, signed: SignedPayment, reply: bytes, route: Route, request_id: str) -> bytes:
        """Without a ledger events are sent from memory, best effort."""
        if self._publish is not None and self._encode_event is not None:
            self._publish(self._encode_event(signed, route.name, request_id))
        self._observer.paid(signed, route.name, request_id)
        return reply


def as_answered(session: OpenedSession, found: Stored) -> OpenedSession:
    """The session of a repeated request as it was when it was paid: a first request opens a session of another name each time."""
    state = parse_state(found.state)
    return replace(session, state=state, manifest_id=session.request.manifest_id or state.manifest_id)


def request_key(session: OpenedSession, caller: Caller, identity: Identity, route: Route) -> RequestKey:
    """What the ledger knows a request by. Raises InvalidState for a sequence number beyond what databases count to."""
    request = session.request
    if session.state.sequence_number > INT64_MAX:
        raise InvalidState(f"SequenceNumber {session.state.sequence_number} is more than a ledger holds: {INT64_MAX}")
    parts = (
        route.name.encode(),
        request.orchestrator,
        request.state,
        request.state_sig,
        request.manifest_id.encode(),
        request.app.encode(),
        request.type.encode(),
        str(request.in_pixels).encode(),
        b"" if request.max_price is None else repr(request.max_price).encode(),
        request.capabilities,
    )
    return RequestKey(
        state_id=session.state.state_id,
        sequence_number=session.state.sequence_number,
        digest=_digest(parts),
        auth_id=identity.auth_id or identity.claimed_auth_id or session.state.auth_id,
        idempotency_key=_idempotency_key(caller, identity) if session.is_new else b"",
        last_update_ns=session.state.last_update_ns,
        is_new=session.is_new,
    )


def _idempotency_key(caller: Caller, identity: Identity) -> bytes:
    """A digest of the caller's Idempotency-Key and of who the caller is: keys of different callers never meet.

    Who it is: the auth id, or, where only the webhook can tell, the credentials that were sent along.
    """
    key = caller.raw_header(b"idempotency-key")
    if not key:
        return b""
    if owner := identity.auth_id or identity.claimed_auth_id:
        return _digest([b"auth id", owner.encode("utf-8", "surrogatepass"), key])
    return _digest([b"credential", *(part for header in caller.credentials() for part in header), key])


def _digest(parts: Sequence[bytes]) -> bytes:
    """32 bytes over parts that cannot run into each other. OpenSSL's SHA-256 uses the processor's, hashlib's BLAKE2 does not."""
    lengths = struct.pack(f">{len(parts)}Q", *map(len, parts))
    return sha256(lengths + b"".join(parts)).digest()
