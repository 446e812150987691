"""What a payment would come to, without making it: identify -> judge -> look into the books. Nothing is signed, taken or recorded.

The rules are the payment's own (`core.rules.payment_rules`, `core.rules.ledger.ADMISSION`), walked to their end: the first
refusal is what the payment would be refused with, and the others come next.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from typing import NamedTuple, Protocol, TypeVar, TypeVarTuple

from msgspec.structs import replace

from livepeer_remote_signer.core.errors import (
    LedgerUnavailable,
    NoSender,
    NoTickets,
    RateExceeded,
    RecipientRefused,
    Refused,
    SessionBusy,
    SignerError,
    StaleState,
    Suspended,
)
from livepeer_remote_signer.core.known import is_of_unknown
from livepeer_remote_signer.core.protocol.prices import UNIT_OF_TYPE
from livepeer_remote_signer.core.protocol.state import SignerState
from livepeer_remote_signer.core.rules.advice import Advice, Offer, advise
from livepeer_remote_signer.core.rules.budgets import BudgetUse
from livepeer_remote_signer.core.rules.chain import ChainView
from livepeer_remote_signer.core.rules.ledger import Found, Judged, Newest, RequestKey, Stored, Switches
from livepeer_remote_signer.core.rules.payment import PaymentPlan, PaymentRequest
from livepeer_remote_signer.core.rules.policy import (
    ANONYMOUS,
    Caller,
    Identity,
    apply_auth_id,
    apply_cached_verdict,
    apply_verdict,
    check_named,
    check_owner,
    is_verdict_cached,
)
from livepeer_remote_signer.core.rules.pricing import Ceilings
from livepeer_remote_signer.core.rules.rates import Brake, CallerRates
from livepeer_remote_signer.core.rules.request_key import request_key
from livepeer_remote_signer.core.rules.reservation import Reserved
from livepeer_remote_signer.core.rules.sender import LivePaymentSender, Quoted
from livepeer_remote_signer.core.rules.senders import BySender
from livepeer_remote_signer.core.rules.trail import Trail
from livepeer_remote_signer.service.advising import Advisor
from livepeer_remote_signer.service.seams import Authorizer, CeilingSource, ChainSource, Identifier, RecipientPolicy

_T = TypeVar("_T")
_Arguments = TypeVarTuple("_Arguments")

LEDGER_SECONDS = 1.0
"""How long a quote waits for the ledger: it says so, rather than to keep the caller."""


_ONE_CALL = "send one call of a session at a time"


class QuoteRequest(NamedTuple):
    """A payment that is asked about. `asks_webhook`: the authorization webhook is to be asked as well."""

    payment: PaymentRequest
    asks_webhook: bool


class QuoteTerms(NamedTuple):
    """What the operator configured of quotes: the route whose payments they are of, what that buys ahead and lets catch up, whether
    a late request of a session goes on, and how many quotes a caller may have in a minute."""

    route: str
    headroom_seconds: int
    catch_up_seconds: int
    heal_stale: bool
    requires_auth_id: bool
    per_minute: int


class Books(Protocol):
    """The ledger, read beside the payments. Raises StaleState, BadField, Suspended and LedgerUnavailable."""

    switches: Switches

    async def find(self, key: RequestKey, now_ns: int) -> Found: ...

    async def judge(self, key: RequestKey, plan: PaymentPlan) -> Judged: ...


class Surroundings(NamedTuple):
    """What all passes of one quote are judged against."""

    request: QuoteRequest
    chain: ChainView
    ceilings: Ceilings
    now_ns: int
    caller: Caller
    identity: Identity
    trail: Trail


class Quote(NamedTuple):
    """What was found out.

    `quoted` tells what is not known; `plan` is the payment as it would be made, after policy and budgets. `verdict`: what is
    known of the webhook's (`none`: there is no webhook). `is_repeated`: the payment would get an answer of before again.
    `budgets` is None where nothing was looked up. `usd_per_eth` None: no feed tells.
    """

    quoted: Quoted
    plan: PaymentPlan
    refusals: list[SignerError]
    verdict: str
    is_repeated: bool
    budgets: list[BudgetUse] | None
    chain: ChainView
    is_identified: bool
    usd_per_eth: Fraction | None
    advice: Advice | None


class PaymentQuotes:
    """Answers what payments would come to."""

    def __init__(
        self,
        terms: QuoteTerms,
        *,
        live_payments: LivePaymentSender,
        chain: ChainSource,
        ceilings: CeilingSource,
        clock_ns: Callable[[], int],
        advisor: Advisor,
        usd_per_eth: Callable[[], Fraction | None] | None = None,
        identifier: Identifier | None = None,
        recipients: RecipientPolicy | None = None,
        authorizer: Authorizer | None = None,
        books: Books | None = None,
        rates: CallerRates | None = None,
        senders: BySender[PaymentQuotes] | None = None,
        sender_of: BySender[bytes] | None = None,
    ) -> None:
        """`senders`: whose quotes a caller gets, where not all are paid by one sender; only the first has them. `sender_of`: whose
        address pays for whom then."""
        self._senders = senders
        self._sender_of = sender_of
        self._terms = terms
        self._live_payments = live_payments
        self._chain = chain
        self._ceilings = ceilings
        self._clock_ns = clock_ns
        self._advisor = advisor
        self._usd_per_eth = usd_per_eth
        self._identifier = identifier
        self._recipients = recipients
        self._authorizer = authorizer
        self._books = books
        self._rates = rates
        self._asked = Brake()

    async def quote(self, body: bytes, parse: Callable[[bytes], QuoteRequest], caller: Caller, trail: Trail) -> Quote:
        """Raises Unauthenticated, RateExceeded, and what `parse` raises; everything else is in the quote. A credential that is good for
        the payment's route is good for its quotes."""
        caller = caller._replace(path=self._terms.route)
        identity = await self._identifier.identify(caller) if self._identifier is not None else ANONYMOUS
        auth_id = identity.auth_id or identity.claimed_auth_id
        trail.caller, trail.auth_id = auth_id or trail.caller, auth_id
        self._check_rate(trail)
        if self._senders is None:
            return await self._quote_known(body, parse, caller, identity, trail)
        try:
            teller = self._senders.of(identity)
        except NoSender as refusal:
            return self._quote_of_nobody(parse(body), refusal)
        return await teller._quote_known(body, parse, caller, identity, trail)

    def _quote_of_nobody(self, request: QuoteRequest, refusal: NoSender) -> Quote:
        """For a caller whom no sender pays for: the terms, and that. What rests on a sender's funds, sessions or budgets is nobody's."""
        chain, terms = self._chain.view(), self._terms
        quoted = self._live_payments.quote(
            request.payment, chain, self._ceilings.current(), self._clock_ns(), terms.headroom_seconds, terms.catch_up_seconds
        )
        usd_per_eth = self._usd_per_eth() if self._usd_per_eth is not None else None
        return Quote(quoted, quoted.plan, [refusal], "none", False, None, chain, False, usd_per_eth, self._advise(quoted, False))

    async def _quote_known(
        self, body: bytes, parse: Callable[[bytes], QuoteRequest], caller: Caller, identity: Identity, trail: Trail
    ) -> Quote:
        around = Surroundings(parse(body), self._chain.view(), self._ceilings.current(), self._clock_ns(), caller, identity, trail)
        quote = await self._judge(around, self._terms.headroom_seconds)
        if quote.refusals and self._terms.headroom_seconds:
            quote = _without_headroom(quote, await self._judge(around, 0))
        return quote

    def _check_rate(self, trail: Trail) -> None:
        wait = self._asked.wait_seconds(trail.caller, self._terms.per_minute, 1, trail.clock())
        if wait:
            raise RateExceeded(
                f"this caller may have {self._terms.per_minute} quotes a minute from one process of this signer",
                hint="limits.quotes_per_minute sets the limit",
                retry_after_seconds=wait,
                unit="quotes",
                limit=self._terms.per_minute,
            )

    async def _judge(
        self, around: Surroundings, headroom_seconds: int, newest: SignerState | None = None, place: _Place | None = None
    ) -> Quote:
        """One pass over all rules; a second one from the session's newest state, where the one that was sent was used."""
        request, terms = around.request, self._terms
        quoted = self._live_payments.quote(
            request.payment, around.chain, around.ceilings, around.now_ns, headroom_seconds, terms.catch_up_seconds, newest
        )
        found = place or await self._find(quoted, around)
        if place is None and isinstance(found.found, Newest) and not found.refusals:
            refusals: list[SignerError] = []
            healed = _judged(refusals, self._healed, quoted, found.found, around.identity)
            found = found._replace(refusals=refusals, key=found.key and replace(found.key, is_healed=True))
            if healed is not None:
                return await self._judge(around, headroom_seconds, healed, found)
        refusals = quoted.refusals[: quoted.at_opening] + found.refusals + quoted.refusals[quoted.at_opening :]
        is_repeated = isinstance(found.found, Stored | Reserved)
        if is_repeated:
            refusals = quoted.refusals[: quoted.at_opening] + found.refusals
            return self._quote(around, quoted, quoted.plan, refusals, "none", None)._replace(is_repeated=not refusals)
        plan, verdict = await self._allow(quoted, around, refusals)
        budgets = None
        if self._books is not None and found.key is not None and quoted.knows("address", "ticket_params", "state"):
            state = plan.session.state
            key = replace(found.key, auth_id=plan.state.auth_id, sequence_number=state.sequence_number, last_update_ns=state.last_update_ns)
            if (judged := await self._look(self._books, key, plan, refusals)) is not None:
                plan, budgets = judged.plan, judged.budgets
        return self._quote(around, quoted, plan, refusals, verdict, budgets)

    def _quote(
        self,
        around: Surroundings,
        quoted: Quoted,
        plan: PaymentPlan,
        refusals: list[SignerError],
        verdict: str,
        budgets: list[BudgetUse] | None,
    ) -> Quote:
        is_identified = bool(around.identity.auth_id or around.identity.claimed_auth_id)
        usd_per_eth = self._usd_per_eth() if self._usd_per_eth is not None else None
        advice = self._advise(quoted, is_identified)
        return Quote(quoted, plan, refusals, verdict, False, budgets, around.chain, is_identified, usd_per_eth, advice)

    def _advise(self, quoted: Quoted, is_identified: bool) -> Advice | None:
        """On the terms of a session of this type; None where they are not known, or worth nothing."""
        job_type, info, price = quoted.plan.session.request.type, quoted.plan.session.info, quoted.plan.price
        if not quoted.knows("price", "ticket_params") or not info.ev or job_type not in UNIT_OF_TYPE:
            return None
        means = self._advisor.with_funds() if is_identified else self._advisor.without_funds()
        return advise(Offer(job_type, price, info.ev, info.ticket_params.face_value), means)

    async def _find(self, quoted: Quoted, around: Surroundings) -> _Place:
        """What the ledger knows of the request, and whether a kill switch is set."""
        refusals: list[SignerError] = []
        if self._books is None:
            return _Place(None, None, refusals)
        identity = around.identity
        key = _judged(refusals, request_key, quoted.plan.session, around.caller, identity, self._terms.route)
        if key is None or not quoted.knows("state"):
            auth_id = identity.auth_id or identity.claimed_auth_id or quoted.plan.state.auth_id
            _judged(refusals, self._books.switches.check, auth_id)
            return _Place(key, None, refusals)
        found: Found = None
        try:
            async with asyncio.timeout(LEDGER_SECONDS):
                found = await self._books.find(key, around.now_ns)
        except TimeoutError:
            refusals.append(_no_answer())
        except SignerError as refusal:
            refusals.append(refusal)
        if isinstance(found, Reserved) and found.reservation.digest != key.digest:
            refusals.append(SessionBusy("a payment of this session is being signed", hint=_ONE_CALL, retry_after_seconds=1))
        if isinstance(found, Stored | Reserved):
            auth_id = found.auth_id if isinstance(found, Stored) else found.reservation.auth_id
            _judged(refusals, partial(check_owner, has_webhook=self._authorizer is not None), auth_id, identity)
        return _Place(key, found, refusals)

    def _healed(self, quoted: Quoted, found: Newest, identity: Identity) -> SignerState:
        """The state that the session goes on from: all but the webhook's verdict is the newest one's."""
        state, newest = quoted.plan.session.state, found.state
        check_owner(newest.auth_id or state.auth_id, identity, has_webhook=self._authorizer is not None)
        if not self._terms.heal_stale:
            raise StaleState(
                f"sequence number {state.sequence_number} of this session was used by another request",
                hint="continue with the session's newest state",
                sequence_number=state.sequence_number,
                newest_sequence_number=newest.sequence_number,
            )
        return replace(newest, auth_expiry=min(newest.auth_expiry, state.auth_expiry))

    async def _allow(self, quoted: Quoted, around: Surroundings, refusals: list[SignerError]) -> tuple[PaymentPlan, str]:
        """Step 16, in the payment's order: the recipient, whose payment it is, whether he may go on."""
        plan, recipients = quoted.plan, self._recipients
        if recipients is not None:
            _judged(refusals, recipients.check, plan)
        plan, verdict = await self._authorize(plan, around, refusals)
        if self._sender_of is not None:
            _judged(refusals, self._sender_of.check, plan.state.auth_id, plan.sender)
        if self._terms.requires_auth_id and verdict != "not asked":
            _judged(refusals, check_named, plan.state.auth_id)
        if self._rates is not None:
            caller = plan.state.auth_id or around.trail.caller
            _judged(refusals, partial(self._rates.check, is_counted=False), caller, plan.num_tickets, around.trail.clock())
        if recipients is not None:
            _judged(refusals, partial(recipients.check_caller, is_paid=False), plan)
            if not any(isinstance(refusal, RecipientRefused) for refusal in refusals) and quoted.knows("ticket_params"):
                try:
                    await recipients.look_up(plan)
                except SignerError as refusal:
                    refusals.append(refusal)
        return plan, verdict

    async def _authorize(self, plan: PaymentPlan, around: Surroundings, refusals: list[SignerError]) -> tuple[PaymentPlan, str]:
        """The plan with its auth id, and what is known of the webhook's verdict: it is asked where the request says so, and only about
        what would reach it."""
        identity = around.identity
        if self._authorizer is None:
            known = identity.auth_id or identity.claimed_auth_id
            return _judged(refusals, apply_auth_id, plan, known, identity) or plan, "none"
        plan = _judged(refusals, apply_auth_id, plan, identity.auth_id, identity) or plan
        if is_verdict_cached(plan.state, plan.now_ns, self._authorizer.binding(around.caller, identity)):
            return _judged(refusals, apply_cached_verdict, plan, identity) or plan, "kept"
        if refusals or not around.request.asks_webhook:
            return plan, "not asked"
        try:
            verdict = await self._authorizer.authorize(around.caller, identity, plan, around.trail)
            return apply_verdict(plan, verdict, identity), "granted"
        except SignerError as refusal:
            refusals.append(refusal)
            return plan, "refused"

    async def _look(self, books: Books, key: RequestKey, plan: PaymentPlan, refusals: list[SignerError]) -> Judged | None:
        """What the books say; what a kill switch says was told already."""
        try:
            async with asyncio.timeout(LEDGER_SECONDS):
                judged = await books.judge(key, plan)
        except TimeoutError:
            failure: SignerError = _no_answer()
        except SignerError as unavailable:
            failure = unavailable
        else:
            told = {(refusal.code, refusal.message) for refusal in refusals}
            refusals += [refusal for refusal in judged.refusals if (refusal.code, refusal.message) not in told]
            return judged
        if not any(isinstance(refusal, LedgerUnavailable) for refusal in refusals):
            refusals.append(failure)
        return None


class _Place(NamedTuple):
    """The request's place in its session: how the ledger names it, who has taken it, and what speaks against it."""

    key: RequestKey | None
    found: Found
    refusals: list[SignerError]


def _judged(refusals: list[SignerError], rule: Callable[[*_Arguments], _T], *arguments: *_Arguments) -> _T | None:
    """What a rule finds; None where it refuses, which is noted, or rests on what is not known."""
    try:
        return rule(*arguments)
    except SignerError as refusal:
        refusals.append(refusal)
    except AttributeError as error:
        if not is_of_unknown(error):
            raise
    return None


def _without_headroom(ahead: Quote, due: Quote) -> Quote:
    """Headroom is never the cause of a refusal: the payment without it is made where that is not refused, and where nothing is
    due that is what its caller is told."""
    if not due.refusals and all(isinstance(refusal, Refused) for refusal in ahead.refusals):
        return due
    nothing_due = due.quoted.refusals[:1]
    if not nothing_due or not isinstance(nothing_due[0], NoTickets) or isinstance(ahead.refusals[0], NoTickets | Suspended):
        return ahead
    return ahead._replace(refusals=nothing_due + [refusal for refusal in ahead.refusals if not isinstance(refusal, NoTickets)])


def _no_answer() -> LedgerUnavailable:
    return LedgerUnavailable(
        f"the ledger did not answer within {LEDGER_SECONDS:g} s", hint="what it has to say is missing here", retry_after_seconds=1
    )
