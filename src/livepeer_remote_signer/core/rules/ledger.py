"""What a ledger decides: which request a payment answers, whether its place in the session is free, what it may spend.

Sources: sections 6 (step 16), 7 and 13 of the protocol. Pure: `Books` are the rows that a batch of payments needs, read
inside the transaction that will record them; `admit` judges a payment against them and `post` counts it. The adapters
only read, write and commit.

The rules of replay. (StateID, SequenceNumber) is used once. The identical request again is answered with the identical
bytes. A request that is late in its session is answered from the session's newest state. A state that the ledger does
not know is adopted when it is younger than what the ledger remembers: had it been used here, that would still be known.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Generic, NamedTuple, Protocol, TypeVar

from msgspec import Struct

from livepeer_remote_signer.core.errors import BudgetExceeded, RateExceeded, SignerError, StaleState, Suspended
from livepeer_remote_signer.core.protocol.state import SignerState
from livepeer_remote_signer.core.protocol.timestamps import NS_PER_MS, NS_PER_SECOND
from livepeer_remote_signer.core.rules.budgets import (
    Budget,
    BudgetUse,
    Claim,
    Spender,
    Usage,
    Window,
    budget_refusals,
    claims_of,
    fit_budgets,
    spend_of,
    take_over,
    use_of,
)
from livepeer_remote_signer.core.rules.payment import PaymentPlan
from livepeer_remote_signer.core.rules.policy import without_namespace
from livepeer_remote_signer.core.rules.reservation import Reservation, Reserved
from livepeer_remote_signer.core.rules.runtime_budgets import RuntimeBudgets
from livepeer_remote_signer.core.rules.tally import Tally


class RequestKey(Struct, frozen=True, gc=False):
    """Names one request to the ledger.

    `state_id` and `sequence_number` say which step of which session it asks for; `digest` (32 bytes) is the same for the
    identical request and for no other; `idempotency_key` (32 bytes, or empty) is a digest of the caller and of the key it
    sent with a new session; `last_update_ns` is the time of the state that was sent. `is_healed`: the step is not the one
    that was asked for, but the one after the session's newest state.
    """

    state_id: str
    sequence_number: int
    digest: bytes
    auth_id: str
    idempotency_key: bytes
    last_update_ns: int | None
    is_new: bool
    is_healed: bool = False
    served: str = ""
    """Whose turn it is when the request is served: batches are filled in turn between callers."""


class Stored(NamedTuple):
    """This very request was answered, for `auth_id`: the reply as its route keeps it, and the state's bytes in it."""

    kept: bytes
    auth_id: str
    state: bytes


class Newest(NamedTuple):
    """The place was used by another request; `state` is the session's newest one, `raw` the bytes that were sealed."""

    state: SignerState
    raw: bytes


Found = Stored | Newest | Reserved | None
"""None: nobody used this place."""


class SegCreds(NamedTuple):
    """The signature under a session's segment credentials, by what names its sender and the message that was signed: 32 bytes."""

    message: bytes
    sig: bytes


class Record(Struct, frozen=True, gc=False):
    """What is kept of a payment: the state's bytes, the rest of the reply as its route keeps it, and the billing event.

    `eth_usd` is the price of one ETH in USD that the event was made with; None where no feed told one. `seg_creds`: those that
    were signed for it, where other signers are not to sign them again.
    """

    state: bytes
    kept: bytes
    event: bytes | None
    eth_usd: Fraction | None = None
    seg_creds: SegCreds | None = None


class Tip(NamedTuple):
    """The newest payment of a session: its sequence number, and the LastUpdate that it left (unix milliseconds).

    That is the moment of the payment, unless time stayed owed. A signer of the release before, which takes it for the
    moment, compares it with a state's LastUpdate as we do: a shared ledger guards the same states for both.
    """

    sequence_number: int
    updated_ms: int


class Switches(NamedTuple):
    """The kill switches that are set."""

    auth_ids: frozenset[str] = frozenset()
    all: bool = False

    def check(self, auth_id: str) -> None:
        """Raises Suspended. A switch that was set before auth ids had namespaces goes on to hold."""
        if self.all:
            raise Suspended("payments are suspended by the operator", hint="the operator ends it with the resume command", scope="global")
        if self.auth_ids and (auth_id in self.auth_ids or without_namespace(auth_id) in self.auth_ids):
            raise Suspended(
                "payments of this auth id are suspended by the operator",
                hint="the operator ends it with the resume command",
                scope="auth_id",
                auth_id=auth_id[:128],
            )


class LedgerRules(NamedTuple):
    """What the operator configured: budgets, and how long rows are remembered."""

    budgets: Sequence[Budget]
    retention_seconds: int
    namespaces: bool = False
    """Auth ids begin with who vouches for them: what was spent under the bare id before counts on."""

    runtime: RuntimeBudgets | None = None
    """Budgets of single auth ids as last read, changed in place."""


class SpendKey(NamedTuple):
    """A line of the spending statistics: unix minute, who paid, and whom. `part`: see `OpenLines`."""

    minute: int
    auth_id: str
    orchestrator: bytes
    part: int = 0


class SpendSum(NamedTuple):
    """What was paid on a line. Amounts in wei, the expected value and the fee rounded up by payment."""

    payments: int = 0
    tickets: int = 0
    ev_wei: int = 0
    face_value_wei: int = 0
    fee_wei: int = 0

    def plus(self, other: SpendSum) -> SpendSum:
        """Both together."""
        return SpendSum(*(a + b for a, b in zip(self, other, strict=True)))

    def minus(self, other: SpendSum) -> SpendSum:
        """What is left of it without the other."""
        return SpendSum(*(a - b for a, b in zip(self, other, strict=True)))


_NOTHING_SPENT = SpendSum()
MAX_OPEN_LINES = 65_536
"""Some 20 MB."""


class Line(Protocol):
    """Names a line of figures of a stretch of time, by the unix minute that it begins with."""

    @property
    def minute(self) -> int: ...

    @property
    def part(self) -> int: ...


_K = TypeVar("_K", bound=Line)
_V = TypeVar("_V")


class Lines(Generic[_K, _V]):
    """The lines that this process still adds to: the newest two stretches of time, within a bound.

    A line is written whole, so it goes on from what is known of it here. Where that was dropped (the bound, or a clock that
    went back), payments begin lines of another part: those of all parts and processes add up.
    """

    def __init__(self, nothing: _V, most: int = MAX_OPEN_LINES) -> None:
        self._nothing = nothing
        self._most = most
        self._part = 0
        self._minutes: dict[int, dict[_K, _V]] = {}
        self._closed_minute = -1

    def part(self, minute: int) -> int:
        """The part that a payment of this time is added to."""
        if minute <= self._closed_minute:
            self.begin_part()
        return self._part

    def get(self, key: _K) -> _V:
        """What was written to a line so far."""
        lines = self._minutes.get(key.minute)
        return lines.get(key, self._nothing) if lines is not None else self._nothing

    def keep(self, written: Mapping[_K, _V]) -> None:
        """Told of the lines that are in the database now."""
        for key, line in written.items():
            if key.part == self._part:
                self._minutes.setdefault(key.minute, {})[key] = line
        while len(self._minutes) > 2:
            oldest = min(self._minutes)
            del self._minutes[oldest]
            self._closed_minute = max(self._closed_minute, oldest)
        if sum(map(len, self._minutes.values())) > self._most:
            self.begin_part()

    def begin_part(self) -> None:
        """No line that was begun is added to any more: also where it is not known whether the last ones were written."""
        self._part += 1
        self._minutes = {}
        self._closed_minute = -1


class OpenLines(Lines[SpendKey, SpendSum]):
    """The lines of the spending statistics."""

    def __init__(self, most: int = MAX_OPEN_LINES) -> None:
        super().__init__(_NOTHING_SPENT, most)

    def key(self, minute: int, auth_id: str, orchestrator: bytes) -> SpendKey:
        """The line that a payment of this minute is added to."""
        return SpendKey(minute, auth_id, orchestrator, self.part(minute))


@dataclass(slots=True)
class Books:
    """The rows that a batch needs, kept up to date while the batch goes on. A missing entry is a missing row."""

    tips: dict[str, Tip] = field(default_factory=dict)
    nonces: dict[bytes, int] = field(default_factory=dict)
    signed: dict[bytes, bytes] = field(default_factory=dict)
    """Beside the nonces: which of them were signed on which terms (`core.rules.signed`)."""

    usage: dict[str, Usage] = field(default_factory=dict)
    idempotency_keys: set[bytes] = field(default_factory=set)
    healed: set[tuple[str, bytes]] = field(default_factory=set)
    """Session and digest of late requests that were answered already."""

    dated_back: set[str] = field(default_factory=set)
    """Names of `usage` whose amounts were dated ahead: to be recorded, whatever comes of the payment."""

    switches: Switches = field(default_factory=Switches)
    reserved: dict[str, Reservation] = field(default_factory=dict)
    """By session, where a key outside this host signs: see `custody`."""

    reserved_keys: dict[bytes, str] = field(default_factory=dict)
    """The sessions that were reserved under an idempotency key."""


def is_taken(key: RequestKey, tip: Tip | None) -> bool:
    """Whether the place that the request asks for was used by another one.

    The state that was sent must be the newest payment's, or a later one that another signer of the same key made. One whose
    LastUpdate is older than the newest payment's is a branch of the session and would pay the same time twice, whatever its
    number.
    """
    if tip is None:
        return False
    is_older = key.last_update_ns is None or key.last_update_ns // NS_PER_MS < tip.updated_ms
    return key.sequence_number <= tip.sequence_number or is_older


def check_known(key: RequestKey, tip: Tip | None, rules: LedgerRules, now_ns: int) -> None:
    """Raises StaleState for a state that the ledger does not know and may have forgotten."""
    if key.is_new or tip is not None:
        return
    age_ns = None if key.last_update_ns is None else now_ns - key.last_update_ns
    if age_ns is None or age_ns >= rules.retention_seconds * NS_PER_SECOND:
        age = "no LastUpdate" if age_ns is None else f"a LastUpdate {age_ns // NS_PER_SECOND} s ago"
        raise StaleState(
            f"the ledger does not know this session, whose state has {age}: states older than {rules.retention_seconds} s are not adopted",
            hint="start a new session without state",
            age_seconds=None if age_ns is None else age_ns // NS_PER_SECOND,
            retention_seconds=rules.retention_seconds,
        )


def claims_of_plan(plan: PaymentPlan, rules: LedgerRules) -> tuple[Claim, ...]:
    """The budgets that hold for a payment."""
    auth_id = plan.state.auth_id
    budgets = rules.budgets if rules.runtime is None else rules.runtime.beside(rules.budgets, "auth_id", (auth_id,))
    if not budgets:
        return ()
    former = without_namespace(auth_id) if rules.namespaces else auth_id
    return claims_of(budgets, Spender(auth_id, plan.state.app, plan.session.info.address, former, plan.sender))


class Admission:
    """A payment before the books. `plan` becomes what the ledger allows of it: fewer tickets ahead, raised nonces."""

    __slots__ = ("books", "claims", "key", "plan", "rules")

    def __init__(self, key: RequestKey, plan: PaymentPlan, claims: Sequence[Claim], books: Books, rules: LedgerRules) -> None:
        self.key = key
        self.plan = plan
        self.claims = claims
        self.books = books
        self.rules = rules


def check_switches(a: Admission) -> None:
    """Raises Suspended."""
    a.books.switches.check(a.plan.state.auth_id)


def check_session(a: Admission) -> None:
    """Raises StaleState."""
    check_known(a.key, a.books.tips.get(a.key.state_id), a.rules, a.plan.now_ns)


def fit_plan(a: Admission) -> None:
    """Raises BudgetExceeded and RateExceeded."""
    books, plan, claims = a.books, a.plan, a.claims
    if not claims:
        return
    take_over(claims, books.usage)
    if plan.is_clock_right:
        books.dated_back.update(name for budget, name, _ in claims if books.usage[name].date_back(budget.window, plan.now_ns))
    a.plan = fit_budgets(plan, claims, books.usage)


def raise_nonces(a: Admission) -> None:
    """Raises RefreshSession when the recipient's nonces run out."""
    last_nonce = a.books.nonces.get(a.plan.session.info.ticket_params.recipient_rand_hash, 0)
    if last_nonce >= a.plan.first_nonce:
        a.plan = a.plan.with_first_nonce(last_nonce + 1)


ADMISSION: tuple[Callable[[Admission], None], ...] = (check_session, fit_plan, raise_nonces)
"""The rules of the books after the switches and the place, in their order: the one list of payments and quotes."""


def admit(key: RequestKey, plan: PaymentPlan, claims: Sequence[Claim], books: Books, rules: LedgerRules) -> PaymentPlan | None:
    """The plan as the ledger allows it: with raised nonces, and fewer tickets ahead. None when its place is taken.

    Raises Suspended, StaleState, BudgetExceeded, RateExceeded, and RefreshSession when the recipient's nonces run out.
    """
    admission = Admission(key, plan, claims, books, rules)
    check_switches(admission)
    if is_taken(key, books.tips.get(key.state_id)) or (key.idempotency_key and key.idempotency_key in books.idempotency_keys):
        return None
    if key.is_healed and (key.state_id, key.digest) in books.healed:
        return None
    for rule in ADMISSION:
        rule(admission)
    return admission.plan


class Judged(NamedTuple):
    """A payment that is not made, as the books have it: as much of it as they allow, what they refuse, and its budgets."""

    plan: PaymentPlan
    refusals: list[SignerError]
    budgets: list[BudgetUse]


def judge(key: RequestKey, plan: PaymentPlan, claims: Sequence[Claim], books: Books, rules: LedgerRules) -> Judged:
    """`admit` to its end, for a quote: each budget that does not suffice is told. Its place is free."""
    admission, refusals = Admission(key, plan, claims, books, rules), list[SignerError]()
    for rule in (check_switches, *ADMISSION):
        try:
            rule(admission)
        except (BudgetExceeded, RateExceeded):  # the one that lasts longest: here each is told
            refusals += budget_refusals(plan, claims, books.usage)
        except SignerError as refusal:
            refusals.append(refusal)
    return Judged(admission.plan, refusals, [use_of(claim, books.usage[claim.key], plan.now_ns) for claim in claims])


def post(key: RequestKey, plan: PaymentPlan, claims: Sequence[Claim], books: Books) -> None:
    """Counts a payment that will be recorded, so that the batch's next ones are judged with it."""
    books.tips[key.state_id] = Tip(key.sequence_number, plan.updated_ns // NS_PER_MS)
    books.nonces[plan.session.info.ticket_params.recipient_rand_hash] = plan.first_nonce + plan.num_tickets - 1
    if key.idempotency_key:
        books.idempotency_keys.add(key.idempotency_key)
    if key.is_healed:
        books.healed.add((key.state_id, key.digest))
    if claims:
        for name, (window, amount) in spends_of(claims, plan).items():
            books.usage[name].add(window, plan.now_ns, amount)


def spends_of(claims: Sequence[Claim], plan: PaymentPlan) -> dict[str, tuple[Window, int]]:
    """What a payment counts for under each name, wei: several budgets may share one."""
    return {claim.key: (claim.budget.window, spend_of(plan, claim.budget.measure)) for claim in claims}


def add_spend(spend: dict[SpendKey, SpendSum], tally: Tally, before: OpenLines) -> None:
    """Adds what was paid to the statistics in `spend`, whose lines go on from those in `before`. Amounts of `tally` are whole numbers."""
    key = before.key(tally.minute, tally.auth_id.decode("utf-8", "surrogatepass"), tally.orchestrator)
    payments, tickets, ev_wei, face_value_wei, fee_wei = spend.get(key) or before.get(key)
    spend[key] = SpendSum(
        payments + tally.payments,
        tickets + tally.tickets,
        ev_wei + int(tally.spent_ev_wei),
        face_value_wei + int(tally.face_value_wei),
        fee_wei + int(tally.spent_fee_wei),
    )
