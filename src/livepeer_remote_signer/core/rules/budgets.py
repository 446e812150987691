"""Budgets: how much may be spent by whom in which window, counted in expected value or in worst-case face value.

Amounts are whole wei. The expected value of a payment is rounded up, so a budget may count up to one wei a payment too
much and never too little. A rolling window is cut into sixty buckets; a bucket counts until the whole window has passed
since its end, so that no interval of the window's length ever sees more than the limit. Every budget that matches holds,
but for a `"*"` budget where another one of the same scope, window and measure names the id: that one stands instead of it,
as the exception from a default.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Literal, NamedTuple, TypeAlias

from livepeer_remote_signer.core.errors import BudgetExceeded, RateExceeded, SignerError
from livepeer_remote_signer.core.protocol.timestamps import NS_PER_SECOND
from livepeer_remote_signer.core.rules.billing import DATED_AHEAD_NS, no_tickets, not_due_seconds
from livepeer_remote_signer.core.rules.payment import PaymentPlan

Scope: TypeAlias = Literal["auth_id", "app", "orchestrator", "sender", "global"]
Window: TypeAlias = Literal["total", "minute", "hour", "day"]
Measure: TypeAlias = Literal["ev", "face_value"]

WINDOW_SECONDS: Mapping[str, int] = {"minute": 60, "hour": 3600, "day": 86_400}
BUCKETS = 60
_BY_ADDRESS = ("orchestrator", "sender")
MAX_NAME_BYTES = 200
"""Longer names of spenders are cut and told apart by a digest: an app label is as long as its caller likes."""


class Budget(NamedTuple):
    """One configured limit, wei. `match` "*" holds for each id on its own; an orchestrator and a sender are named by their 0x address."""

    scope: Scope
    match: str
    window: Window
    measure: Measure
    limit_wei: int


class Spender(NamedTuple):
    """Who spends: the names that budgets are kept for. The orchestrator is a 20-byte address, and so is the sender, who pays.

    `former_auth_id`: the auth id before it had a namespace; "": it has none, or is the same.
    """

    auth_id: str
    app: str
    orchestrator: bytes
    former_auth_id: str = ""
    sender: bytes = b""


class Claim(NamedTuple):
    """A budget that holds for a payment, and the name under which its spending is kept; "" or the one that it was kept under
    before."""

    budget: Budget
    key: str
    former_key: str = ""


class Usage:
    """What was spent under one name: wei by bucket. A total has the one bucket 0."""

    __slots__ = ("amounts",)

    def __init__(self, amounts: dict[int, int] | None = None) -> None:
        self.amounts = amounts if amounts is not None else {}

    def spent(self, window: Window, now_ns: int) -> int:
        """Wei that count now."""
        if window == "total":
            return self.amounts.get(0, 0)
        oldest = _bucket(window, now_ns) - BUCKETS
        return sum(amount for bucket, amount in self.amounts.items() if bucket >= oldest)

    def date_back(self, window: Window, now_ns: int) -> bool:
        """Counts what is dated further ahead than clocks differ as spent now, where now is known to be right. Whether there was any.

        It was spent while some clock was wrong. It counts in any case; left where it is, it would for as long as that clock
        was ahead.
        """
        if window == "total" or not self.amounts:
            return False
        latest = _bucket(window, now_ns + DATED_AHEAD_NS)
        if max(self.amounts) <= latest:
            return False
        bucket = _bucket(window, now_ns)
        for ahead in [b for b in self.amounts if b > latest]:
            self.amounts[bucket] = self.amounts.get(bucket, 0) + self.amounts.pop(ahead)
        return True

    def add(self, window: Window, now_ns: int, amount: int) -> None:
        """Counts a payment, and forgets what has left the window."""
        bucket = 0 if window == "total" else _bucket(window, now_ns)
        self.amounts[bucket] = self.amounts.get(bucket, 0) + amount
        if len(self.amounts) > BUCKETS + 1:
            self.amounts = {b: a for b, a in self.amounts.items() if b >= bucket - BUCKETS}

    def take_back(self, window: Window, at_ns: int, amount: int) -> None:
        """Counts a payment no more that was counted at `at_ns` and not made. What has left the window, or was dated back since,
        stays as it is: a budget is never passed by what is given back."""
        bucket = 0 if window == "total" else _bucket(window, at_ns)
        left = self.amounts.pop(bucket, 0) - amount
        if left > 0:
            self.amounts[bucket] = left

    def frees_up_seconds(self, window: Window, now_ns: int, wanted: int) -> int | None:
        """Whole seconds until `wanted` wei have left the window, rounded up; None when they never will."""
        if window == "total":
            return None
        width_ns = WINDOW_SECONDS[window] * NS_PER_SECOND // BUCKETS
        oldest = _bucket(window, now_ns) - BUCKETS
        for bucket in sorted(b for b in self.amounts if b >= oldest):
            wanted -= self.amounts[bucket]
            if wanted <= 0:
                return max(1, -(-((bucket + BUCKETS + 1) * width_ns - now_ns) // NS_PER_SECOND))
        return None


def _bucket(window: Window, now_ns: int) -> int:
    return now_ns * BUCKETS // (WINDOW_SECONDS[window] * NS_PER_SECOND)


def parse_usage(text: str) -> Usage:
    """The reverse of `encode_usage`."""
    return Usage(dict(json.loads(text)))


def encode_usage(usage: Usage) -> str:
    """Buckets and amounts as JSON text; whole numbers of any size stay exact."""
    return json.dumps(sorted(usage.amounts.items()), separators=(",", ":"))


def bounded_name(name: str) -> str:
    """`name`, or where it is long its beginning and a digest of all of it."""
    raw = name.encode("utf-8", "surrogatepass")
    if len(raw) <= MAX_NAME_BYTES:
        return name
    return f"{raw[:64].decode('utf-8', 'ignore')}#{blake2b(raw, digest_size=16).hexdigest()}"


@lru_cache(4096)
def usage_key(scope: Scope, window: Window, measure: Measure, auth_id: str, app: str, address: bytes) -> str:
    """The name under which spending is kept: a JSON list in ASCII, the spender's own names last. `address` is the
    orchestrator's or the sender's."""
    named = ["0x" + address.hex()]
    names = {"auth_id": [auth_id], "app": [auth_id, app], "orchestrator": named, "sender": named, "global": []}[scope]
    return json.dumps([scope, window, measure, *(bounded_name(name) for name in names)], separators=(",", ":"))


def claims_of(budgets: Sequence[Budget], spender: Spender) -> tuple[Claim, ...]:
    """The budgets that hold for this spender."""
    return tuple(_claim(budget, spender) for budget in without_overridden([budget for budget in budgets if _matches(budget, spender)]))


def _claim(budget: Budget, spender: Spender) -> Claim:
    app, former = bounded_name(spender.app), spender.former_auth_id
    address = spender.sender if budget.scope == "sender" else spender.orchestrator
    key = usage_key(budget.scope, budget.window, budget.measure, bounded_name(spender.auth_id), app, address)
    if not former or former == spender.auth_id or budget.scope not in ("auth_id", "app"):
        return Claim(budget, key)
    return Claim(budget, key, usage_key(budget.scope, budget.window, budget.measure, bounded_name(former), app, address))


def take_over(claims: Iterable[Claim], usage: dict[str, Usage]) -> None:
    """Lets spending that was counted under a former name count on where nothing was counted under the new one yet.

    The former row stays: whoever else had that name goes on from it too, so that nobody gets a fresh budget by a change of names.
    """
    for claim in claims:
        if claim.former_key and not usage[claim.key].amounts:
            usage[claim.key] = Usage(dict(usage[claim.former_key].amounts))


def without_overridden(matching: Sequence[Budget]) -> list[Budget]:
    """Of the budgets that match one id those that hold for it: a default gives way where an entry names the id."""
    named = {(budget.scope, budget.window, budget.measure) for budget in matching if budget.match != "*"}
    return [budget for budget in matching if budget.match != "*" or (budget.scope, budget.window, budget.measure) not in named]


def raised_limits(budgets: Sequence[Budget]) -> list[tuple[Budget, Budget]]:
    """Entries that name an id and allow it more than the default, each with that default: beside it they would allow less.

    Of several entries for one id the lowest counts.
    """
    found = []
    for budget in budgets:
        if budget.match == "*" or budget.scope == "global":
            continue
        same = [b for b in budgets if (b.scope, b.window, b.measure) == (budget.scope, budget.window, budget.measure)]
        defaults = [b for b in same if b.match == "*"]
        lowest = min((b for b in same if _is_same_id(b, budget)), key=lambda b: b.limit_wei)
        if defaults and lowest is budget and budget.limit_wei > (default := min(defaults, key=lambda b: b.limit_wei)).limit_wei:
            found.append((budget, default))
    return found


def _is_same_id(one: Budget, other: Budget) -> bool:
    if one.scope in _BY_ADDRESS:
        return one.match.lower() == other.match.lower()
    return one.match == other.match


def _matches(budget: Budget, spender: Spender) -> bool:
    if budget.match == "*" or budget.scope == "global":
        return True
    if budget.scope in _BY_ADDRESS:
        return budget.match.lower() == "0x" + (spender.sender if budget.scope == "sender" else spender.orchestrator).hex()
    return budget.match == (spender.auth_id if budget.scope == "auth_id" else spender.app)


def spend_of(plan: PaymentPlan, measure: Measure) -> int:
    """What a payment counts for, wei: its expected value rounded up, or what is lost when every ticket wins."""
    if measure == "face_value":
        return plan.total_face_value
    ev_n, ev_d = plan.session.info.ev_ratio
    return -(-ev_n * plan.num_tickets // ev_d)


def fit_budgets(plan: PaymentPlan, claims: Iterable[Claim], usage: Mapping[str, Usage]) -> PaymentPlan:
    """The plan with as many of its tickets as every budget allows, at least what is due.

    Tickets bought ahead are given up first. Raises BudgetExceeded when a total does not cover what is due, RateExceeded
    when a window does not, and NoTickets when nothing is due and nothing can be bought ahead.
    """
    num_tickets = plan.num_tickets
    for budget, key, _ in claims:
        left = budget.limit_wei - usage[key].spent(budget.window, plan.now_ns)
        num_tickets = min(num_tickets, _affordable(plan, budget.measure, left))
    if num_tickets >= plan.num_tickets:
        return plan
    if num_tickets >= max(1, plan.min_tickets):
        return plan.with_tickets(num_tickets)
    if plan.min_tickets == 0:
        left_seconds = not_due_seconds(plan.session.request.type, plan.balance_before, plan.price, plan.billed.elapsed_ns)
        raise no_tickets("the credit covers this session for now, and the budget allows none ahead", left_seconds)
    raise max(budget_refusals(plan, claims, usage), key=_patience)


def budget_refusals(plan: PaymentPlan, claims: Iterable[Claim], usage: Mapping[str, Usage]) -> list[SignerError]:
    """What each budget says that does not cover the fewest tickets of a payment."""
    least = plan.with_tickets(plan.min_tickets)
    return [refusal for claim in claims if (refusal := _refusal(least, claim, usage[claim.key])) is not None]


def _affordable(plan: PaymentPlan, measure: Measure, left_wei: int) -> int:
    """The largest number of tickets whose spend is at most `left_wei`."""
    if left_wei <= 0:
        return 0
    if measure == "face_value":
        return left_wei // plan.session.info.ticket_params.face_value
    ev = plan.session.info.ev
    return left_wei * ev.denominator // ev.numerator


def _patience(refusal: SignerError) -> float:
    """The refusal that lasts longest is the one to tell of."""
    return float("inf") if refusal.retry_after_seconds is None else refusal.retry_after_seconds


def _refusal(plan: PaymentPlan, claim: Claim, usage: Usage) -> SignerError | None:
    budget, key, _ = claim
    spent = usage.spent(budget.window, plan.now_ns)
    needed = spend_of(plan, budget.measure)
    left = max(0, budget.limit_wei - spent)
    if needed <= left:
        return None
    values: dict[str, Any] = {
        "scope": budget.scope,
        "id": " / ".join(json.loads(key)[3:]),
        "window": budget.window,
        "measure": budget.measure,
        "limit_wei": str(budget.limit_wei),
        "spent_wei": str(spent),
        "left_wei": str(left),
        "needed_wei": str(needed),
    }
    name = f"{budget.scope} {values['id']!r}" if values["id"] else budget.scope
    sentence = (
        f"budget of {name}, {budget.measure} per {budget.window}: {left} of {budget.limit_wei} wei are left, this payment needs {needed}"
    )
    if budget.window == "total":
        return BudgetExceeded(sentence, hint="the operator must raise this budget's limit_wei; it does not free up by itself", **values)
    wait = usage.frees_up_seconds(budget.window, plan.now_ns, spent + needed - budget.limit_wei) if needed <= budget.limit_wei else None
    if wait is None:
        return RateExceeded(
            sentence,
            hint="one payment needs more than the whole window allows: pay more often, or let the operator raise limit_wei",
            retry_after_seconds=WINDOW_SECONDS[budget.window],
            **values,
        )
    return RateExceeded(
        sentence,
        hint=f"enough frees up in {wait} s",
        retry_after_seconds=wait,
        frees_up_in_seconds=wait,
        **values,
    )


class BudgetUse(NamedTuple):
    """How full one budget is for one spender. Amounts in wei."""

    budget: Budget
    id: str
    spent_wei: int
    left_wei: int

    def describe(self) -> dict[str, str]:
        """As operators read it; amounts are decimal strings."""
        return {
            "scope": self.budget.scope,
            "id": self.id,
            "window": self.budget.window,
            "measure": self.budget.measure,
            "limit_wei": str(self.budget.limit_wei),
            "spent_wei": str(self.spent_wei),
            "left_wei": str(self.left_wei),
        }


def use_of(claim: Claim, used: Usage, now_ns: int) -> BudgetUse:
    """How full a budget is that holds for a payment."""
    spent = used.spent(claim.budget.window, now_ns)
    return BudgetUse(claim.budget, " / ".join(json.loads(claim.key)[3:]), spent, max(0, claim.budget.limit_wei - spent))


def global_keys(budgets: Sequence[Budget]) -> set[str]:
    """The names under which everybody's spending is kept: those budgets are shown before anything was counted for them."""
    return {usage_key("global", b.window, b.measure, "", "", b"") for b in budgets if b.scope == "global"}


def budget_uses(budgets: Sequence[Budget], key: str, used: Usage, now_ns: int) -> list[BudgetUse]:
    """The budgets that count what is kept under this name, and how full they are; none where they are configured no more."""
    scope, window, measure, *names = json.loads(key)
    matching = [b for b in budgets if (b.scope, b.window, b.measure) == (scope, window, measure) and _names(b, names)]
    uses = []
    for budget in without_overridden(matching):
        spent = used.spent(budget.window, now_ns)
        uses.append(BudgetUse(budget, " / ".join(names), spent, max(0, budget.limit_wei - spent)))
    return uses


def fullness(use: BudgetUse) -> tuple[int, str]:
    """Sorts the fullest budget first."""
    return use.left_wei * 10**6 // max(1, use.budget.limit_wei), use.id


def is_configured(budgets: Iterable[Budget], key: str) -> bool:
    """Whether some budget counts, or counted before auth ids had namespaces, what is kept under this name."""
    scope, window, measure, *names = json.loads(key)
    return any(
        (budget.scope, budget.window, budget.measure) == (scope, window, measure)
        and (_names(budget, names) or budget.match.endswith(names[-1]))
        for budget in budgets
    )


def _names(budget: Budget, names: Sequence[str]) -> bool:
    """Whether a budget holds for the spender whose names usage was kept under."""
    match = budget.match.lower() if budget.scope in _BY_ADDRESS else bounded_name(budget.match)
    return not names or match in ("*", names[-1])
