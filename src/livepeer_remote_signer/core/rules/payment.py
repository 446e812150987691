"""One payment, decided: `LivePaymentSender` turns a request, a chain view and `now` into a plan of everything to sign.

Source: section 6 of the protocol, steps 2 to 15 in their order, because the order decides which error a client sees.
Stateless and pure. `open` is what can be told from the request alone (steps 2 to 9); `plan` adds chain, units and
ceilings (steps 10 to 15). Between them the shell may put the session's newest state in place of the one that was sent.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from livepeer_remote_signer.core.errors import (
    BadField,
    InvalidSig,
    MissingAuthToken,
    MissingManifestId,
    NoTickets,
    RefreshSession,
    RoundUnknown,
    SignerError,
    StateMismatch,
    TooManyTickets,
)
from livepeer_remote_signer.core.protocol.prices import MaxPrice, exact_price
from livepeer_remote_signer.core.protocol.state import (
    MAX_NAMES_CHARACTERS,
    MAX_STATE_BYTES,
    Seal,
    SignerState,
    check_first_price,
    parse_state,
)
from livepeer_remote_signer.core.protocol.ticket import REFRESH_AT_NONCE, encode_aux_data
from livepeer_remote_signer.core.protocol.timestamps import MAX_GO_SECONDS, NS_PER_SECOND
from livepeer_remote_signer.core.protocol.wire import (
    ZERO_HASH,
    AuthToken,
    Capabilities,
    OrchestratorInfo,
    parse_capabilities,
    parse_orchestrator_info,
)
from livepeer_remote_signer.core.rules.billing import (
    MAX_TICKETS,
    Billed,
    Due,
    bill_credit,
    bill_units,
    tickets_due,
    units_per_second,
)
from livepeer_remote_signer.core.rules.chain import ChainView
from livepeer_remote_signer.core.rules.limits import TicketLimits, check_ticket_params, total_ev_exceeded
from livepeer_remote_signer.core.rules.pricing import Ceilings, check_price, parse_max_price
from livepeer_remote_signer.core.rules.recipients import check_recipient_is_orchestrator

REFRESH_BEFORE_EXPIRY_SECONDS = 180
"""An auth token is refreshed in the last 10 % of its 30 minutes."""


class PaymentRequest(Struct, frozen=True, gc=False):
    """What a gateway asks, with the JSON already read and base64 decoded (step 1)."""

    orchestrator: bytes
    state: bytes = b""
    state_sig: bytes = b""
    manifest_id: str = ""
    app: str = ""
    type: str = ""
    in_pixels: int = 0
    max_price: MaxPrice | None = None
    capabilities: bytes = b""
    pipeline_label: str = ""
    model_label: str = ""
    """How a BYOC job's client names what it pays for (section 14): shown in the event, and judged by nobody."""


class SessionIds(NamedTuple):
    """Makers of random names, called only where a new name is needed: no randomness in here."""

    state_id: Callable[[], str]
    manifest_id: Callable[[], str]


class OpenedSession(Struct, frozen=True, gc=False):
    """A request that is well formed and belongs to its session; nothing of the chain or the price is known yet.

    `state` already has this call's type and sequence number; its nonce is the first one's predecessor.
    """

    request: PaymentRequest
    info: OrchestratorInfo
    auth_token: AuthToken
    capabilities: Capabilities | None
    state: SignerState
    manifest_id: str
    is_new: bool


class PaymentPlan(Struct, frozen=True, gc=False):
    """Everything a payment consists of but its signatures. Amounts in wei; `state` is the session's state afterwards.

    `due_tickets` cover all that is due. `may_be_part`: the session may catch up, and be paid fewer. `owed_ns` is the time that
    stays unpaid. `is_clock_right`: `now_ns` is known to be so.
    """

    session: OpenedSession
    state: SignerState
    now_ns: int
    previous_update_ns: int | None
    creation_round: int
    creation_round_block_hash: bytes
    aux_data: bytes
    first_nonce: int
    num_tickets: int
    due_tickets: int
    price: Fraction
    fee: Fraction
    billed: Billed
    balance_before: Fraction
    may_be_part: bool = False
    owed_ns: int = 0
    is_clock_right: bool = False

    @property
    def updated_ns(self) -> int:
        """The session's LastUpdate after the payment."""
        return self.now_ns - self.owed_ns

    @property
    def min_tickets(self) -> int:
        """The fewest tickets that may be paid: all that are due, or of a part what one second takes."""
        return _tickets_of_a_second(self.session, self.price, self.due_tickets) if self.may_be_part else self.due_tickets

    @property
    def total_ev(self) -> Fraction:
        """Expected value of all tickets, wei."""
        return self.session.info.ev * self.num_tickets

    @property
    def total_face_value(self) -> int:
        """What is lost when every ticket wins, wei."""
        return self.session.info.ticket_params.face_value * self.num_tickets

    def with_tickets(self, num_tickets: int) -> PaymentPlan:
        """The same payment with another number of tickets, at least `min_tickets`; a part of it with fewer than are due."""
        if num_tickets < self.min_tickets:
            raise ValueError(f"{num_tickets} tickets do not cover what is due: {self.min_tickets} do")
        if num_tickets < self.due_tickets:
            return self._in_part(num_tickets)
        more = num_tickets - self.num_tickets
        state = replace(self.state, sender_nonce=self.state.sender_nonce + more, balance=self.state.balance + more * self.session.info.ev)
        return replace(self, num_tickets=num_tickets, state=state)

    def _in_part(self, num_tickets: int) -> PaymentPlan:
        """Bills the time that so many tickets and the credit cover, and dates the session forward by exactly that time."""
        owed_since_ns = self.session.state.last_update_ns
        if owed_since_ns is None:
            raise ValueError("a first payment has no parts")
        credit = self.balance_before + num_tickets * self.session.info.ev
        billed = bill_credit(self.session.request.type, credit, self.price)
        fee = billed.units * self.price
        updated_ns = owed_since_ns + billed.elapsed_ns
        state = replace(self.state, last_update_ns=updated_ns, sender_nonce=self.first_nonce - 1 + num_tickets, balance=credit - fee)
        return replace(self, state=state, num_tickets=num_tickets, fee=fee, billed=billed, owed_ns=self.now_ns - updated_ns)

    def with_first_nonce(self, first_nonce: int) -> PaymentPlan:
        """The same payment with higher nonces; RefreshSession when the recipient's nonces run out."""
        check_nonce(self.session.info, first_nonce - 1)
        return replace(self, first_nonce=first_nonce, state=replace(self.state, sender_nonce=first_nonce - 1 + self.num_tickets))


def check_nonce(info: OrchestratorInfo, last_nonce: int) -> None:
    """Step 8: fresh params are asked for before the recipient's 600 nonces run out."""
    if last_nonce >= REFRESH_AT_NONCE:
        raise RefreshSession(
            f"sender nonce {last_nonce} of these ticket params has reached {REFRESH_AT_NONCE}",
            info.transcoder,
            sender_nonce=last_nonce,
            limit=REFRESH_AT_NONCE,
        )


class LivePaymentSender:
    """Decides payments. Holds values only: the operator's limits, and the seal that tells whether a state is ours.

    Without `must_be_orchestrator` tickets may pay another than the orchestrator that OrchestratorInfo names.
    """

    def __init__(
        self,
        limits: TicketLimits,
        seal: Seal,
        ids: SessionIds,
        parse_info: Callable[[bytes], OrchestratorInfo] = parse_orchestrator_info,
        parse_state: Callable[[bytes], SignerState] = parse_state,
        *,
        must_be_orchestrator: bool = True,
    ) -> None:
        self._limits = limits
        self._must_be_orchestrator = must_be_orchestrator
        self._seal = seal
        self._ids = ids
        self._parse_info = parse_info
        self._parse_state = parse_state

    def open(self, request: PaymentRequest, now_ns: int, newest: SignerState | None = None) -> OpenedSession:
        """Steps 2 to 9. `newest`, the session's latest state, stands in for the one sent (whose seal is still checked)."""
        info = self._parse_info(request.orchestrator)
        is_new = not (request.state or request.state_sig)
        if is_new:
            state = SignerState(
                state_id=self._ids.state_id(),
                pm_session_id="",
                last_update_ns=None,
                orchestrator_address=info.address,
                app=request.app,
                auth_expiry=0,
                sender_nonce=0,
                balance=Fraction(0),
                initial_price_per_unit=info.price_per_unit,
                initial_pixels_per_unit=info.pixels_per_unit,
                type=request.type,
                sequence_number=0,
                auth_id="",
            )
        else:
            state = self._continued(request, info, newest)
        kept_manifest_id = state.manifest_id
        manifest_id = request.manifest_id or kept_manifest_id
        if not manifest_id:
            if not is_new:
                raise MissingManifestId("missing manifestID", hint="send the ManifestID of the session's first call")
            manifest_id = kept_manifest_id = (info.auth_token.session_id if info.auth_token else "") or self._ids.manifest_id()
        if is_new and len(request.app) + len(kept_manifest_id) > MAX_NAMES_CHARACTERS:
            raise BadField(
                f"app and the auth token's session id have {len(request.app) + len(kept_manifest_id)} characters together,"
                f" more than {MAX_NAMES_CHARACTERS}",
                hint="the state that carries them would be too long to be sent back",
            )
        capabilities = parse_capabilities(request.capabilities) if request.capabilities else None
        last_nonce = state.sender_nonce if state.pm_session_id == info.pm_session_id else 0
        check_nonce(info, last_nonce)
        if info.auth_token is None:
            raise MissingAuthToken("remote signer could not check whether to refresh session: missing auth token")
        expiration, now = info.auth_token.expiration, now_ns // NS_PER_SECOND
        refresh_at = expiration - REFRESH_BEFORE_EXPIRY_SECONDS
        if now_ns > refresh_at * NS_PER_SECOND or refresh_at > MAX_GO_SECONDS:
            raise RefreshSession(
                f"auth token expires at {expiration}, within {REFRESH_BEFORE_EXPIRY_SECONDS} s of {now} or beyond what a time can be",
                info.transcoder,
                expiration=expiration,
                now=now,
            )
        sequence_number = 0 if is_new else state.sequence_number + 1
        opened = replace(
            state,
            pm_session_id=info.pm_session_id,
            sender_nonce=last_nonce,
            type=request.type,
            sequence_number=sequence_number,
            manifest_id=kept_manifest_id,
        )
        return OpenedSession(request, info, info.auth_token, capabilities, opened, manifest_id, is_new)

    def _continued(self, request: PaymentRequest, info: OrchestratorInfo, newest: SignerState | None) -> SignerState:
        """Step 5 of a request with state: seal, form, and that the request continues this session."""
        if len(request.state) > MAX_STATE_BYTES:
            raise InvalidSig("invalid sig", hint=f"a state of {len(request.state)} bytes is longer than any of ours: {MAX_STATE_BYTES}")
        if not self._seal.verify(request.state, request.state_sig):
            raise InvalidSig("invalid sig", hint="send State and Sig back exactly as they were returned by this signer")
        state = newest or self._parse_state(request.state)
        if state.orchestrator_address != info.address:
            raise StateMismatch(
                "orchestratorAddress mismatch",
                hint="a session pays one orchestrator; start a new one without state for another",
                state="0x" + state.orchestrator_address.hex(),
                request="0x" + info.address.hex(),
            )
        if state.app != request.app:
            raise StateMismatch("app mismatch", state=state.app[:128], request=request.app[:128])
        if state.type and state.type != request.type:
            raise StateMismatch("job type mismatch", state=state.type[:32], request=request.type[:32])
        check_first_price(state)
        return state

    def plan(
        self,
        session: OpenedSession,
        chain: ChainView,
        ceilings: Ceilings,
        now_ns: int,
        headroom_seconds: int = 0,
        catch_up_seconds: int = 0,
    ) -> PaymentPlan:
        """Steps 10 to 15, and two departures within every limit.

        Headroom is credit bought ahead; it is never the cause of a refusal. A session that owes at most `catch_up_seconds`,
        but more than the limits allow in one payment, pays a part.
        """
        info, state, job_type = session.info, session.state, session.request.type
        check_ticket_params(info, chain, self._limits)
        is_clock_right = chain.clock_agrees is True
        billed = bill_units(job_type, session.request.in_pixels, state.last_update_ns, now_ns, is_clock_right=is_clock_right)
        _check_ceilings(session, ceilings)
        price = exact_price(state.initial_price_per_unit, state.initial_pixels_per_unit)
        price_n, price_d = price.as_integer_ratio()
        fee = Fraction(billed.units * price_n, price_d)
        ahead = price * (units_per_second(job_type) * headroom_seconds) if headroom_seconds else None
        since_ns = _billed_since_ns(state, billed, now_ns)
        is_redated = since_ns != state.last_update_ns  # it takes a payment: where nothing is due no state is given out
        due = tickets_due(state.balance, fee, info.ev, ahead, least=int(is_redated))
        is_owed = state.last_update_ns is not None and billed.elapsed_ns > 0
        may_be_part = is_owed and billed.elapsed_ns <= catch_up_seconds * NS_PER_SECOND
        num_tickets = self._most_within_limits(session, due)
        if num_tickets < due.tickets and not (may_be_part and _tickets_of_a_second(session, price, due.tickets) <= num_tickets):
            raise self._refusal(session, due.tickets, _owed_too_long(billed, catch_up_seconds) if is_owed else None)
        creation_round, block_hash = _creation_round(info, chain)
        if self._must_be_orchestrator:
            check_recipient_is_orchestrator(info)
        whole = PaymentPlan(
            session=session,
            state=replace(
                state,
                last_update_ns=now_ns,
                sender_nonce=state.sender_nonce + num_tickets,
                balance=due.balance_after(num_tickets),
            ),
            now_ns=now_ns,
            previous_update_ns=since_ns,
            creation_round=creation_round,
            creation_round_block_hash=block_hash,
            aux_data=encode_aux_data(creation_round, block_hash),
            first_nonce=state.sender_nonce + 1,
            num_tickets=num_tickets,
            due_tickets=due.tickets,
            price=price,
            fee=fee,
            billed=billed,
            balance_before=state.balance,
            may_be_part=may_be_part,
            is_clock_right=is_clock_right,
        )
        return whole if num_tickets >= due.tickets else whole.with_tickets(num_tickets)

    def _most_within_limits(self, session: OpenedSession, due: Due) -> int:
        """As many tickets as are wanted and the limits allow; fewer than are due where that is all that they allow. Raises NoTickets."""
        if due.tickets_ahead == 0:
            raise NoTickets(
                "no tickets",
                hint="the credit covers this session for now: skip this payment cycle",
                balance=str(int(session.state.balance)),
                required=str(due.required_wei),
            )
        ev_n, ev_d = session.info.ev_ratio
        most = min(self._limits.max_tickets, self._limits.max_total_ev_wei * ev_d // ev_n)
        return max(due.tickets, min(due.tickets_ahead, most)) if due.tickets <= most else most

    def _refusal(self, session: OpenedSession, num_tickets: int, hint: str | None) -> SignerError:
        """Of more tickets than the limits allow."""
        if num_tickets > self._limits.max_tickets:
            return _too_many_tickets(session, num_tickets, self._limits.max_tickets, hint)
        return total_ev_exceeded(session.info, num_tickets, self._limits, hint)


def _tickets_of_a_second(session: OpenedSession, price: Fraction, due_tickets: int) -> int:
    """How many tickets the smallest part takes, which is one second, and at most all that are due."""
    per_second = price * units_per_second(session.request.type)
    return min(due_tickets, tickets_due(session.state.balance, per_second, session.info.ev, least=1).tickets)


def _owed_too_long(billed: Billed, catch_up_seconds: int) -> str | None:
    """The hint for a session that might catch up, but for the time that it owes."""
    if not billed.elapsed_ns > catch_up_seconds * NS_PER_SECOND > 0:
        return None
    owed = -(-billed.elapsed_ns // NS_PER_SECOND)
    return f"{owed} s are owed, more than catch_up.max_seconds ({catch_up_seconds}) allows: start a new session without state"


def _billed_since_ns(state: SignerState, billed: Billed, now_ns: int) -> int | None:
    """When the time began that is billed now; None: with the session. A session dated ahead is billed up to now all the same."""
    since_ns = state.last_update_ns
    return now_ns - billed.elapsed_ns if since_ns is not None and billed.elapsed_ns and since_ns > now_ns else since_ns


def _check_ceilings(session: OpenedSession, ceilings: Ceilings) -> None:
    """Step 12: the lowest of the operator's ceilings, the request's maxPrice and the session's first price."""
    info, state, request = session.info, session.state, session.request
    asked = parse_max_price(request.max_price, request.type) if request.max_price is not None else None
    configured = ceilings.for_pairs(session.capabilities.pairs if session.capabilities else ())
    absolute = ceilings.absolute.get(request.type)
    initial = exact_price(state.initial_price_per_unit, state.initial_pixels_per_unit)
    if asked is None and configured is None and absolute is None and info.price is initial:
        return
    check_price(info.price, configured=configured, absolute=absolute, asked=asked, initial=initial)


def _too_many_tickets(session: OpenedSession, num_tickets: int, maximum: int, hint: str | None) -> TooManyTickets:
    usual_hint = "pay more often, or ask the orchestrator for a larger ticket EV"
    if maximum < MAX_TICKETS:
        usual_hint += f"; the operator may raise limits.max_tickets to at most {MAX_TICKETS}"
    if session.request.type == "lv2v":
        usual_hint = "lv2v bills 27,648,000 pixels a second: a price per second belongs to type live, a price per job to type fixed"
    return TooManyTickets(
        f"numTickets {num_tickets} exceeds maximum of {maximum}",
        hint=hint or usual_hint,
        num_tickets=str(num_tickets)[:80],
        maximum=maximum,
    )


def _creation_round(info: OrchestratorInfo, chain: ChainView) -> tuple[int, bytes]:
    """The orchestrator's round and hash; when either is missing both are the signer's own."""
    params = info.ticket_params
    if params.creation_round and params.creation_round_block_hash != ZERO_HASH:
        return params.creation_round, params.creation_round_block_hash
    if chain.last_initialized_round <= 0 or not any(chain.last_initialized_round_block_hash):
        raise RoundUnknown(
            "no creation round is known: such a ticket could never be redeemed",
            hint="check the signer's chain source",
            retry_after_seconds=5,
            round=chain.last_initialized_round,
        )
    return chain.last_initialized_round, chain.last_initialized_round_block_hash
