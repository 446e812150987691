"""Budgets of single auth ids that the operator changes while the signer runs, beside those of the configuration.

A runtime budget is one more entry that names its auth id: a `"*"` entry of the configuration of the same window and measure
is a default that it stands instead of, and may pass; a configured entry that names the id itself goes on to hold beside it,
so that it can only be tightened. Whatever allows an auth id more than before is a raise, which needs a permission of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias, cast

from livepeer_remote_signer.core.errors import BadField, Denied
from livepeer_remote_signer.core.protocol.amounts import parse_wei
from livepeer_remote_signer.core.protocol.strict_json import exact_object, text_field
from livepeer_remote_signer.core.rules.api_keys import check_auth_id
from livepeer_remote_signer.core.rules.budgets import WINDOW_SECONDS, Budget, Measure, Window, bounded_name, without_overridden

MAX_BUDGETS_AT_ONCE = 1000
MAX_AMOUNT_CHARACTERS = 100
MAX_LIMIT_WEI = 2**256 - 1
Step: TypeAlias = Literal["set", "top-up", "reset"]


class BudgetName(NamedTuple):
    """Which budget of an auth id: one for each window and measure."""

    auth_id: str
    window: Window
    measure: Measure


class BudgetChange(NamedTuple):
    """What is asked for: `set` to so many wei, `top-up` by so many, or `reset` to what the configuration says (`wei` is 0)."""

    step: Step
    name: BudgetName
    wei: int


class RuntimeBudgets:
    """The runtime budgets as last read, by auth id: what holds for one is found without a look at the others."""

    def __init__(self) -> None:
        self._by_name: dict[str, tuple[Budget, ...]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def take(self, changes: Iterable[tuple[BudgetName, int | None]]) -> None:
        """What these budgets are now, wei; None: there is none any more."""
        for name, limit_wei in changes:
            key = bounded_name(name.auth_id)
            before = self._by_name.pop(key, ())
            kept = tuple(b for b in before if (b.match, b.window, b.measure) != name)
            if limit_wei is not None:
                kept += (runtime_budget(name, limit_wei),)
            if kept:
                self._by_name[key] = kept
            self._count += len(kept) - len(before)

    def replace(self, other: RuntimeBudgets) -> None:
        """Becomes what another is."""
        self._by_name, self._count = other._by_name, other._count

    def of(self, auth_id: str) -> tuple[Budget, ...]:
        """Those of one auth id, also where its name is cut as spending is kept under it."""
        return self._by_name.get(bounded_name(auth_id), ()) if self._by_name else ()

    def beside(self, configured: Sequence[Budget], scope: str, names: Sequence[str]) -> Sequence[Budget]:
        """All that may count what is spent under these names of a scope."""
        return (*configured, *self.of(names[-1])) if scope == "auth_id" and self._by_name else configured


def runtime_budget(name: BudgetName, limit_wei: int) -> Budget:
    """As the rules of spending see it."""
    return Budget("auth_id", name.auth_id, name.window, name.measure, limit_wei)


def budgets_in_force(configured: Sequence[Budget], runtime: Sequence[Budget], name: BudgetName) -> list[Budget]:
    """The entries that hold for an auth id under this window and measure; all of them do."""
    kind = ("auth_id", name.window, name.measure)
    matching = [b for b in (*configured, *runtime) if (b.scope, b.window, b.measure) == kind and b.match in ("*", name.auth_id)]
    return without_overridden(matching)


def changed_limit(configured: Sequence[Budget], before_wei: int | None, change: BudgetChange, *, may_raise: bool) -> int | None:
    """The runtime limit after a change, wei; None: there is none. `before_wei` is the runtime limit that is kept now.

    Raises BadField for a top-up of what has no limit, Denied for what the configuration fixes and for a raise without the
    permission.
    """
    name = change.name
    before = _lowest(configured, before_wei, name)
    after_wei = None if change.step == "reset" else change.wei
    if change.step == "top-up":
        if before is None:
            raise BadField(
                f"{_words(name)} has no limit that could be topped up",
                hint="set one first; a total counts from then on",
                auth_id=name.auth_id,
            )
        after_wei = min(before + change.wei, MAX_LIMIT_WEI)
    fixed = [budget.limit_wei for budget in budgets_in_force(configured, (), name) if budget.match != "*"]
    if after_wei is not None and fixed and after_wei > min(fixed):
        raise Denied(
            f"{_words(name)}: the configuration names this auth id with {min(fixed)} wei, which {after_wei} wei would pass",
            hint="such a budget can only be tightened while the signer runs: change its limit_wei in the configuration",
            configured_wei=str(min(fixed)),
            asked_wei=str(after_wei),
        )
    after = _lowest(configured, after_wei, name)
    if not may_raise and before is not None and (after is None or after > before):
        raise Denied(
            f"{_words(name)}: {'no limit' if after is None else f'{after} wei'} instead of {before} wei would allow more than now",
            hint="raising a budget over the admin API needs admin.manage_users: true",
            before_wei=str(before),
            after_wei=None if after is None else str(after),
        )
    return after_wei


def _lowest(configured: Sequence[Budget], runtime_wei: int | None, name: BudgetName) -> int | None:
    runtime = () if runtime_wei is None else (runtime_budget(name, runtime_wei),)
    return min((budget.limit_wei for budget in budgets_in_force(configured, runtime, name)), default=None)


def _words(name: BudgetName) -> str:
    return f"budget of auth_id {name.auth_id[:64]!r}, {name.measure} per {name.window}"


def source_of(budget: Budget, runtime: Sequence[Budget]) -> str:
    """Where a budget of an auth id comes from: `runtime`, `default` (the configuration's `"*"`) or `config`."""
    if budget in runtime:
        return "runtime"
    return "default" if budget.match == "*" else "config"


_AMOUNTS: dict[Step, str] = {"set": "limit_wei", "top-up": "add_wei"}


def parse_budget_changes(body: Any, step: Step) -> list[BudgetChange]:
    """The changes that a body `{"budgets": [...]}` asks for. Raises BadField."""
    fields = exact_object(body, "the body", frozenset(("budgets",)))
    entries = fields.get("budgets")
    if type(entries) is not list or not 1 <= len(entries) <= MAX_BUDGETS_AT_ONCE:
        raise BadField(f"budgets must be an array of 1 to {MAX_BUDGETS_AT_ONCE} entries", limit=MAX_BUDGETS_AT_ONCE)
    return [_parse_change(entry, f"budgets[{index}]", step) for index, entry in enumerate(entries)]


def _parse_change(entry: Any, where: str, step: Step) -> BudgetChange:
    amount = _AMOUNTS.get(step)
    fields = exact_object(entry, where, frozenset(name for name in ("auth_id", "window", "measure", amount) if name))
    name = budget_name(
        text_field(fields, "auth_id", f"{where}: auth_id"),
        text_field(fields, "window", f"{where}: window"),
        text_field(fields, "measure", f"{where}: measure") or "ev",
        where,
    )
    return BudgetChange(step, name, 0 if amount is None else parse_limit(fields.get(amount), f"{where}: {amount}"))


def budget_name(auth_id: str, window: str, measure: str, where: str) -> BudgetName:
    """Raises BadField for what no budget can be."""
    try:
        check_auth_id(auth_id)
    except ValueError as error:
        raise BadField(f"{where}: {error}") from None
    if auth_id == "*":
        raise BadField(f'{where}: "*" is the default of the configuration: a budget here names one auth id')
    if window not in ("total", *WINDOW_SECONDS) or measure not in ("ev", "face_value"):
        raise BadField(f"{where}: window is one of total, {', '.join(WINDOW_SECONDS)}, and measure ev or face_value")
    return BudgetName(auth_id, cast(Window, window), cast(Measure, measure))


def parse_limit(value: Any, where: str) -> int:
    """Wei, as a whole number or as text such as "0.05eth". Raises BadField."""
    try:
        if not isinstance(value, str) or len(value) > MAX_AMOUNT_CHARACTERS:
            raise ValueError("not an amount")
        wei = parse_wei(value)
        if not 0 <= wei <= MAX_LIMIT_WEI:
            raise ValueError("out of range")
    except ValueError:
        raise BadField(f'{where} must be a whole number of wei, or text such as "0.05eth"') from None
    return wei
