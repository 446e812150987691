"""The rules of a payment, one function each, in the one list that payments and quotes are judged by.

Source: section 6 of the protocol, steps 2 to 15 in their order, because the order decides which error a client sees. A rule
reads what the rules before it put into the draft, puts there what it finds out, and raises its refusal. A payment ends with
the first one. A quote goes on: what a refused rule would have found out is not known (`core.known`), and rules that rest on
it are passed over.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from math import ceil
from typing import TypeAlias

from msgspec import Struct

from livepeer_remote_signer.core.errors import (
    BadField,
    CreditExceeded,
    InvalidSig,
    MissingAuthToken,
    MissingManifestId,
    RefreshSession,
    RoundUnknown,
    StateMismatch,
    TooManyTickets,
)
from livepeer_remote_signer.core.known import PartlyKnown
from livepeer_remote_signer.core.protocol.amounts import float_string, rat_string
from livepeer_remote_signer.core.protocol.prices import exact_price
from livepeer_remote_signer.core.protocol.state import MAX_NAMES_CHARACTERS, MAX_STATE_BYTES, Seal, SignerState, no_first_price
from livepeer_remote_signer.core.protocol.timestamps import MAX_GO_SECONDS, NS_PER_SECOND
from livepeer_remote_signer.core.protocol.wire import ZERO_HASH, AuthToken, Capabilities, OrchestratorInfo, parse_capabilities
from livepeer_remote_signer.core.rules.billing import (
    MAX_TICKETS,
    PIXELS_PER_SECOND,
    Billed,
    Due,
    bill_units,
    no_tickets,
    not_due_seconds,
    tickets_due,
    units_per_second,
)
from livepeer_remote_signer.core.rules.chain import ChainView
from livepeer_remote_signer.core.rules.limits import (
    TICKET_RULES,
    TicketLimits,
    check_deposit,
    check_reserve,
    check_unlocking,
    find_pause,
    find_staleness,
    total_ev_exceeded,
)
from livepeer_remote_signer.core.rules.payment import PaymentRequest, SessionIds, check_nonce, tickets_of_a_second
from livepeer_remote_signer.core.rules.pricing import Ceilings, check_price, parse_max_price
from livepeer_remote_signer.core.rules.recipients import not_the_orchestrator

REFRESH_BEFORE_EXPIRY_SECONDS = 180
"""An auth token is refreshed in the last 10 % of its 30 minutes."""


class Terms(Struct, frozen=True):
    """What the operator configured, and what rules read requests with."""

    limits: TicketLimits
    seal: Seal
    ids: SessionIds
    parse_info: Callable[[bytes], OrchestratorInfo]
    parse_state: Callable[[bytes], SignerState]
    must_be_orchestrator: bool
    sender: bytes


class Draft(PartlyKnown):
    """A payment in the making. The first five are given, the next five with the chain; the rest is put there by rules.

    `reading` is the chain as it was read, `chain` the same once it is known to be fresh.
    """

    __slots__ = (
        "auth_token",
        "billed",
        "capabilities",
        "catch_up_seconds",
        "ceilings",
        "chain",
        "creation_round",
        "creation_round_block_hash",
        "due",
        "headroom_seconds",
        "info",
        "is_new",
        "kept_manifest_id",
        "last_nonce",
        "limits",
        "manifest_id",
        "may_be_part",
        "newest",
        "now_ns",
        "num_tickets",
        "price",
        "reading",
        "request",
        "since_ns",
        "state",
        "terms",
    )
    terms: Terms
    limits: TicketLimits
    request: PaymentRequest
    now_ns: int
    newest: SignerState | None

    reading: ChainView
    ceilings: Ceilings
    headroom_seconds: int
    catch_up_seconds: int

    info: OrchestratorInfo
    is_new: bool
    state: SignerState
    price: Fraction
    manifest_id: str
    kept_manifest_id: str
    capabilities: Capabilities | None
    last_nonce: int
    auth_token: AuthToken
    chain: ChainView
    billed: Billed
    since_ns: int | None
    """When the time began that is billed now; None: with the session. A session dated ahead is billed up to now all the same."""

    may_be_part: bool
    due: Due
    num_tickets: int
    creation_round: int
    creation_round_block_hash: bytes


Rule: TypeAlias = Callable[[Draft], None]


# --- steps 2 to 9: what can be told from the request alone ---


def read_info(d: Draft) -> None:
    """Steps 2 to 4."""
    d.info = d.terms.parse_info(d.request.orchestrator)


def read_state(d: Draft) -> None:
    """Step 5: a new session's state, or the one that was sent where its seal is ours. `newest` stands in for that one."""
    request = d.request
    raw = request.state
    d.is_new = is_new = not (raw or request.state_sig)
    if is_new:
        d.state = _first_state(d)
        return
    if len(raw) > MAX_STATE_BYTES:
        raise InvalidSig("invalid sig", hint=f"a state of {len(raw)} bytes is longer than any of ours: {MAX_STATE_BYTES}")
    terms = d.terms
    if not terms.seal.verify(raw, request.state_sig):
        raise InvalidSig("invalid sig", hint="send State and Sig back exactly as they were returned by this signer")
    d.state = d.newest or terms.parse_state(raw)


def _first_state(d: Draft) -> SignerState:
    """What of the info was refused is not looked at any more."""
    info, request = d.info, d.request
    return SignerState(
        state_id=d.terms.ids.state_id(),
        pm_session_id="",
        last_update_ns=None,
        orchestrator_address=getattr(info, "address", b""),
        app=request.app,
        auth_expiry=0,
        sender_nonce=0,
        balance=Fraction(0),
        initial_price_per_unit=getattr(info, "price_per_unit", 0),
        initial_pixels_per_unit=getattr(info, "pixels_per_unit", 0),
        type=request.type,
        sequence_number=0,
        auth_id="",
    )


def check_same_orchestrator(d: Draft) -> None:
    """Raises StateMismatch."""
    if d.state.orchestrator_address != d.info.address:
        raise StateMismatch(
            "orchestratorAddress mismatch",
            hint="a session pays one orchestrator; start a new one without state for another",
            state="0x" + d.state.orchestrator_address.hex(),
            request="0x" + d.info.address.hex(),
        )


def check_same_app(d: Draft) -> None:
    """Raises StateMismatch."""
    if d.state.app != d.request.app:
        raise StateMismatch("app mismatch", state=d.state.app[:128], request=d.request.app[:128])


def check_same_type(d: Draft) -> None:
    """Raises StateMismatch."""
    if d.state.type and d.state.type != d.request.type:
        raise StateMismatch("job type mismatch", state=d.state.type[:32], request=d.request.type[:32])


def read_price(d: Draft) -> None:
    """The session's price, which is its first one to the end. Raises InvalidState where a state has none."""
    state = d.state
    if d.is_new:
        d.price = d.info.price
    elif state.initial_price_per_unit > 0 and state.initial_pixels_per_unit > 0:
        d.price = exact_price(state.initial_price_per_unit, state.initial_pixels_per_unit)
    else:
        raise no_first_price(state)


def read_manifest_id(d: Draft) -> None:
    """Step 6. Raises MissingManifestId, and BadField for names that would make a state too long to be sent back."""
    d.kept_manifest_id = d.state.manifest_id
    d.manifest_id = d.request.manifest_id or d.kept_manifest_id
    if not d.manifest_id:
        if not d.is_new:
            raise MissingManifestId("missing manifestID", hint="send the ManifestID of the session's first call")
        token = d.info.auth_token
        d.manifest_id = d.kept_manifest_id = (token.session_id if token else "") or d.terms.ids.manifest_id()
    if d.is_new and len(d.request.app) + len(d.kept_manifest_id) > MAX_NAMES_CHARACTERS:
        raise BadField(
            f"app and the auth token's session id have {len(d.request.app) + len(d.kept_manifest_id)} characters together,"
            f" more than {MAX_NAMES_CHARACTERS}",
            hint="the state that carries them would be too long to be sent back",
        )


def read_capabilities(d: Draft) -> None:
    """Step 7. Raises BadCapabilities."""
    d.capabilities = parse_capabilities(d.request.capabilities) if d.request.capabilities else None


def check_nonces(d: Draft) -> None:
    """Step 8. Raises RefreshSession."""
    state, info = d.state, d.info
    d.last_nonce = state.sender_nonce if state.pm_session_id == info.pm_session_id else 0
    check_nonce(info, d.last_nonce)


def read_token(d: Draft) -> None:
    """Step 9. Raises MissingAuthToken, and RefreshSession for one that does not last."""
    token = d.info.auth_token
    if token is None:
        raise MissingAuthToken("remote signer could not check whether to refresh session: missing auth token")
    d.auth_token = token
    refresh_at = token.expiration - REFRESH_BEFORE_EXPIRY_SECONDS
    if d.now_ns > refresh_at * NS_PER_SECOND or refresh_at > MAX_GO_SECONDS:
        now = d.now_ns // NS_PER_SECOND
        raise RefreshSession(
            f"auth token expires at {token.expiration}, within {REFRESH_BEFORE_EXPIRY_SECONDS} s of {now} or beyond what a time can be",
            d.info.transcoder,
            expiration=token.expiration,
            now=now,
        )


OPENING: tuple[Rule, ...] = (
    read_info,
    read_state,
    check_same_orchestrator,
    check_same_app,
    check_same_type,
    read_price,
    read_manifest_id,
    read_capabilities,
    check_nonces,
    read_token,
)


# --- steps 10 to 15: with chain, units and ceilings ---


def check_fresh(d: Draft) -> None:
    """Raises ChainStale."""
    if (fault := find_staleness(d.reading)) is not None:
        raise fault
    d.chain = d.reading


def check_not_paused(d: Draft) -> None:
    """Raises ProtocolPaused."""
    if (fault := find_pause(d.chain)) is not None:
        raise fault


def read_units(d: Draft) -> None:
    """Step 11. Raises BadJobType, NoBillableUnits, and NoTickets where no time has passed."""
    is_clock_right = d.reading.clock_agrees is True
    d.billed = bill_units(d.request.type, d.request.in_pixels, d.state.last_update_ns, d.now_ns, is_clock_right=is_clock_right)


def check_ceilings(d: Draft) -> None:
    """Step 12: the lowest of the operator's ceilings, the request's maxPrice and the session's first price. Raises BadMaxPrice,
    PriceExceeded and PriceFeedStale."""
    request, ceilings = d.request, d.ceilings
    asked = parse_max_price(request.max_price, request.type) if request.max_price is not None else None
    configured = ceilings.for_pairs(d.capabilities.pairs if d.capabilities else ())
    absolute = ceilings.absolute.get(request.type)
    price = d.info.price
    if asked is None and configured is None and absolute is None and price is d.price:
        return
    check_price(price, configured=configured, absolute=absolute, asked=asked, initial=d.price)


def count_tickets(d: Draft) -> None:
    """Steps 13 and 14, and two departures within every limit: credit bought ahead, and a part of what is owed.

    Raises NoTickets and TooManyTickets; the draft then has the number all the same.
    """
    state, job_type, billed, ev = d.state, d.request.type, d.billed, d.info.ev_ratio
    price_n, price_d = d.price.as_integer_ratio()
    ahead = d.price * (units_per_second(job_type) * d.headroom_seconds) if d.headroom_seconds else None
    last_ns = state.last_update_ns
    is_dated_ahead = last_ns is not None and last_ns > d.now_ns and billed.elapsed_ns > 0
    d.since_ns = d.now_ns - billed.elapsed_ns if is_dated_ahead else last_ns
    # Without a payment no state is given out, and a session that is dated ahead must be dated back: that takes a ticket.
    d.due = due = tickets_due(state.balance, (billed.units * price_n, price_d), ev, ahead, least=int(is_dated_ahead))
    d.may_be_part = _is_owed(state, billed) and billed.elapsed_ns <= d.catch_up_seconds * NS_PER_SECOND
    d.num_tickets = due.tickets
    if due.tickets_ahead == 0:
        raise no_tickets(
            "the credit covers this session for now: skip this payment cycle",
            not_due_seconds(job_type, state.balance - (ahead or 0), d.price, billed.elapsed_ns),
            balance=str(int(state.balance)),
            required=str(due.required_wei),
        )
    ev_n, ev_d = ev
    most = min(d.limits.max_tickets, d.limits.max_total_ev_wei * ev_d // ev_n)
    if due.tickets <= most:
        d.num_tickets = max(due.tickets, min(due.tickets_ahead, most))
    elif d.may_be_part and tickets_of_a_second(job_type, state.balance, d.price, d.info.ev, due.tickets) <= most:
        d.num_tickets = most
    elif due.tickets > d.limits.max_tickets:
        raise _too_many_tickets(d)


def check_total_ev(d: Draft) -> None:
    """Step 15. Raises TotalEvExceeded for the batch; of one ticket it was told before."""
    ev_n, ev_d = d.info.ev_ratio
    if ev_n * d.num_tickets > d.limits.max_total_ev_wei * ev_d >= ev_n:
        hint = _owed_too_long(d.billed, d.catch_up_seconds) if _is_owed(d.state, d.billed) else None
        raise total_ev_exceeded(d.info, d.num_tickets, d.limits, hint)


def bound_credit(d: Draft) -> None:
    """Gives up tickets ahead that buy more than `max_credit_seconds` beyond what is owed, and raises CreditExceeded where
    those that are due do.

    27,648,000 pixels are a second, also of untyped work; a fixed job has none. NoTickets where nothing is due.
    """
    most_seconds = d.limits.max_credit_seconds
    if most_seconds is None or d.num_tickets == 0 or d.request.type == "fixed":
        return
    per_second = d.price * (units_per_second(d.request.type) or PIXELS_PER_SECOND)
    most = d.due.tickets_within(per_second * most_seconds)
    if d.num_tickets <= most:
        return
    if most >= max(1, d.due.tickets):
        d.num_tickets = most
        return
    d.num_tickets = d.due.tickets
    if d.due.tickets == 0:
        raise no_tickets(
            "the credit covers this session for now, and limits.max_credit_seconds allows none ahead",
            not_due_seconds(d.request.type, d.state.balance, d.price, d.billed.elapsed_ns),
        )
    seconds = ceil(d.due.bought_beyond(d.due.tickets) / per_second)
    raise CreditExceeded(
        f"{d.due.tickets} tickets of {float_string(d.info.ev, 3)} wei buy {seconds} s beyond what is owed, more than {most_seconds} s",
        hint="the orchestrator's ticket EV is large against its price: choose another orchestrator, or raise limits.max_credit_seconds",
        credit_seconds=seconds,
        max_credit_seconds=most_seconds,
        num_tickets=d.due.tickets,
        ticket_ev=rat_string(d.info.ev),
        price=rat_string(d.price),
    )


def read_round(d: Draft) -> None:
    """Step 15: the orchestrator's round and hash; when either is missing both are the signer's own. Raises RoundUnknown."""
    params, chain = d.info.ticket_params, d.chain
    if params.creation_round and params.creation_round_block_hash != ZERO_HASH:
        d.creation_round, d.creation_round_block_hash = params.creation_round, params.creation_round_block_hash
        return
    if chain.last_initialized_round <= 0 or not any(chain.last_initialized_round_block_hash):
        raise RoundUnknown(
            "no creation round is known: such a ticket could never be redeemed",
            hint="check the signer's chain source",
            retry_after_seconds=5,
            round=chain.last_initialized_round,
        )
    d.creation_round, d.creation_round_block_hash = chain.last_initialized_round, chain.last_initialized_round_block_hash


def check_recipient(d: Draft) -> None:
    """Raises RecipientRefused where the tickets would pay another than the orchestrator."""
    info = d.info
    if info.ticket_params.recipient != info.address and d.terms.must_be_orchestrator:
        raise not_the_orchestrator(info)


PLANNING: tuple[Rule, ...] = (
    check_fresh,
    check_not_paused,
    *TICKET_RULES,
    read_units,
    check_ceilings,
    count_tickets,
    check_total_ev,
    bound_credit,
    read_round,
    check_recipient,
)

_ON_READING = frozenset({check_fresh, check_not_paused, check_deposit, check_reserve, check_unlocking})


def planning_rules(terms: Terms, *, on_sound_reading: bool) -> tuple[Rule, ...]:
    """PLANNING without the rules that cannot refuse a payment: those that look at nothing but the reading, where it `is_sound`, and those
    that the operator did not ask for. Left out, they cost a payment a thirtieth less. Quotes are judged by all."""
    silent = set(_ON_READING) if on_sound_reading else set()
    if terms.limits.max_credit_seconds is None:
        silent.add(bound_credit)
    if not terms.must_be_orchestrator:
        silent.add(check_recipient)
    return tuple(rule for rule in PLANNING if rule not in silent)


def _is_owed(state: SignerState, billed: Billed) -> bool:
    """Whether time passed since the session was paid."""
    return state.last_update_ns is not None and billed.elapsed_ns > 0


def _owed_too_long(billed: Billed, catch_up_seconds: int) -> str | None:
    """The hint for a session that might catch up, but for the time that it owes."""
    if not billed.elapsed_ns > catch_up_seconds * NS_PER_SECOND > 0:
        return None
    owed = -(-billed.elapsed_ns // NS_PER_SECOND)
    return f"{owed} s are owed, more than catch_up.max_seconds ({catch_up_seconds}) allows: start a new session without state"


def _too_many_tickets(d: Draft) -> TooManyTickets:
    hint = _owed_too_long(d.billed, d.catch_up_seconds) if _is_owed(d.state, d.billed) else None
    maximum = d.limits.max_tickets
    usual_hint = "pay more often, or ask the orchestrator for a larger ticket EV"
    if maximum < MAX_TICKETS:
        usual_hint += f"; the operator may raise limits.max_tickets to at most {MAX_TICKETS}"
    if d.request.type == "lv2v":
        usual_hint = "lv2v bills 27,648,000 pixels a second: a price per second belongs to type live, a price per job to type fixed"
    return TooManyTickets(
        f"numTickets {d.num_tickets} exceeds maximum of {maximum}",
        hint=hint or usual_hint,
        num_tickets=str(d.num_tickets)[:80],
        maximum=maximum,
    )
