"""`LivePaymentSender` turns a request, a chain view and `now` into a plan of everything to sign, or into all that forbids one.

Stateless and pure. `open` is what can be told from the request alone (steps 2 to 9); `plan` adds chain, units and ceilings
(steps 10 to 15). Between them the shell may put the session's newest state in place of the one that was sent. `quote` is both,
judged to the end by the same list of rules (`core.rules.payment_rules`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from fractions import Fraction
from functools import partial

from msgspec import Struct
from msgspec.structs import replace

from livepeer_remote_signer.core.errors import SignerError
from livepeer_remote_signer.core.known import is_of_unknown
from livepeer_remote_signer.core.protocol.prices import exact_price
from livepeer_remote_signer.core.protocol.state import UNUSED_STATE, Seal, SignerState, parse_state
from livepeer_remote_signer.core.protocol.ticket import encode_aux_data
from livepeer_remote_signer.core.protocol.wire import ZERO_HASH, AuthToken, OrchestratorInfo, parse_orchestrator_info
from livepeer_remote_signer.core.rules.billing import Billed, Due
from livepeer_remote_signer.core.rules.chain import ChainView
from livepeer_remote_signer.core.rules.limits import TicketLimits, find_clock_fault, is_sound
from livepeer_remote_signer.core.rules.payment import OpenedSession, PaymentPlan, PaymentRequest, SessionIds
from livepeer_remote_signer.core.rules.payment_rules import OPENING, PLANNING, Draft, Rule, Terms, planning_rules
from livepeer_remote_signer.core.rules.pricing import Ceilings
from livepeer_remote_signer.proto import net_pb2

_INFO_PARTS = [part.name for part in fields(OrchestratorInfo)]


class Quoted(Struct, frozen=True):
    """What was found out about a payment that is not made.

    `plan` is the payment as it would be made; of what is `unknown` something stands in, which no ticket is counted of.
    `refusals` are all that could be told, in the order of the steps; the first `at_opening` are those of steps 2 to 9.
    """

    plan: PaymentPlan
    unknown: frozenset[str]
    refusals: list[SignerError]
    at_opening: int

    def knows(self, *parts: str) -> bool:
        """Whether these parts of the draft are what they would be in a payment."""
        return self.unknown.isdisjoint(parts)


class LivePaymentSender:
    """Decides payments. Holds values only: the operator's limits, and the seal that tells whether a state is ours.

    Without `must_be_orchestrator` tickets may pay another than the orchestrator that OrchestratorInfo names. `sender` is the address
    that pays.
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
        sender: bytes = b"",
    ) -> None:
        self._terms = Terms(limits, seal, ids, parse_info, parse_state, must_be_orchestrator, sender)
        self._planning = {sound: planning_rules(self._terms, on_sound_reading=sound) for sound in (False, True)}
        self._reading: ChainView | None = None
        self._rules = self._planning[False]
        """Those for the reading above, which stays the same for thousands of payments."""

    def open(self, request: PaymentRequest, now_ns: int, newest: SignerState | None = None) -> OpenedSession:
        """Steps 2 to 9. `newest`, the session's latest state, stands in for the one sent (whose seal is still checked)."""
        draft = Draft()
        draft.terms, draft.request, draft.newest, draft.now_ns = self._terms, request, newest, now_ns
        for rule in OPENING:
            rule(draft)
        return _opened(draft)

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
        if chain is not self._reading:
            self._reading, self._rules = chain, self._planning[is_sound(chain)]
        terms, state, draft = self._terms, session.state, Draft()
        draft.terms, draft.limits, draft.request, draft.now_ns = terms, terms.limits, session.request, now_ns
        draft.info, draft.state, draft.capabilities = session.info, state, session.capabilities
        draft.price = exact_price(state.initial_price_per_unit, state.initial_pixels_per_unit)
        draft.reading = draft.chain = chain  # which `check_fresh` would refuse where it may not be used
        draft.ceilings, draft.headroom_seconds, draft.catch_up_seconds = ceilings, headroom_seconds, catch_up_seconds
        for rule in self._rules:
            rule(draft)
        return _planned(session, draft)

    def quote(
        self,
        request: PaymentRequest,
        chain: ChainView,
        ceilings: Ceilings,
        now_ns: int,
        headroom_seconds: int = 0,
        catch_up_seconds: int = 0,
        newest: SignerState | None = None,
    ) -> Quoted:
        """All of the same, judged to the end: nothing is raised."""
        refusals: list[SignerError] = []
        parse_info = partial(parse_orchestrator_info, refuse=refusals.append)
        draft = Draft()
        draft.terms, draft.limits = replace(self._terms, parse_info=parse_info), self._terms.limits
        draft.request, draft.newest = request, newest
        draft.reading, draft.ceilings = chain, ceilings
        draft.headroom_seconds, draft.catch_up_seconds = headroom_seconds, catch_up_seconds
        if (fault := find_clock_fault(chain)) is not None:
            refusals.append(fault)  # and nothing can be told that rests on the time of day
        else:
            draft.now_ns = now_ns
        for rule in OPENING:
            _judge(rule, draft, refusals)
        at_opening = len(refusals)
        for rule in PLANNING:
            _judge(rule, draft, refusals)
        unknown = _stand_in(draft, now_ns)
        return Quoted(_planned(_opened(draft), draft), unknown, refusals, at_opening)


def _judge(rule: Rule, draft: Draft, refusals: list[SignerError]) -> None:
    try:
        rule(draft)
    except SignerError as refusal:
        refusals.append(refusal)
    except AttributeError as error:  # the refusal of what is not known was told
        if not is_of_unknown(error):
            raise


def _opened(draft: Draft) -> OpenedSession:
    """The session: its state with this call's type and sequence number, and the first nonce's predecessor."""
    state = replace(
        draft.state,
        pm_session_id=draft.info.pm_session_id,
        sender_nonce=draft.last_nonce,
        type=draft.request.type,
        sequence_number=0 if draft.is_new else draft.state.sequence_number + 1,
        manifest_id=draft.kept_manifest_id,
    )
    return OpenedSession(draft.request, draft.info, draft.auth_token, draft.capabilities, state, draft.manifest_id, draft.is_new)


def _planned(session: OpenedSession, draft: Draft) -> PaymentPlan:
    """In the order of the plan's fields: named arguments would take five times as long."""
    state, due, num_tickets, now_ns = session.state, draft.due, draft.num_tickets, draft.now_ns
    creation_round, block_hash = draft.creation_round, draft.creation_round_block_hash
    whole = PaymentPlan(
        session,
        replace(state, last_update_ns=now_ns, sender_nonce=state.sender_nonce + num_tickets, balance=due.balance_after(num_tickets)),
        now_ns,
        draft.since_ns,
        creation_round,
        block_hash,
        encode_aux_data(creation_round, block_hash),
        state.sender_nonce + 1,
        num_tickets,
        due.tickets,
        draft.price,
        draft.billed,
        state.balance,
        draft.may_be_part,
        0,  # of the time nothing stays owed
        draft.reading.clock_agrees is True,
        draft.terms.sender,
    )
    return whole if num_tickets >= due.tickets else whole.with_tickets(num_tickets)


def _stand_in(draft: Draft, now_ns: int) -> frozenset[str]:
    """Puts something in the place of what is not known, so that who may spend, and whom may be paid, can be judged as well.
    What that is. Parts of the info that are missing stay so."""
    info = draft.info.__dict__
    unknown = {part for part in Draft.__slots__ if not hasattr(draft, part)} | {part for part in _INFO_PARTS if part not in info}
    if "ticket_params" in unknown:
        info["pm_session_id"] = ""
    stand_ins = {
        "now_ns": now_ns,
        "state": replace(UNUSED_STATE, app=draft.request.app),
        "last_nonce": 0,
        "kept_manifest_id": "",
        "manifest_id": draft.request.manifest_id,
        "capabilities": None,
        "auth_token": AuthToken("", 0, net_pb2.AuthToken()),
        "billed": Billed(0, 0),
        "price": Fraction(0),
        "since_ns": None,
        "may_be_part": False,
        "due": Due(0, 0, 0, 0, 0, 1),
        "num_tickets": 0,
        "creation_round": 0,
        "creation_round_block_hash": ZERO_HASH,
    }
    for part, value in stand_ins.items():
        if part in unknown:
            setattr(draft, part, value)
    return frozenset(unknown)
