"""Budgets of single auth ids: what they stand instead of, what they may pass, and who may raise them."""

from __future__ import annotations

from typing import Any

import pytest

from livepeer_remote_signer.core.errors import BadField, Denied
from livepeer_remote_signer.core.protocol.strict_json import parse_json
from livepeer_remote_signer.core.rules.budgets import Budget, Spender, bounded_name, claims_of
from livepeer_remote_signer.core.rules.ledger import LedgerRules, claims_of_plan
from livepeer_remote_signer.core.rules.runtime_budgets import (
    MAX_LIMIT_WEI,
    BudgetChange,
    BudgetName,
    RuntimeBudgets,
    Step,
    budgets_in_force,
    changed_limit,
    parse_budget_changes,
    source_of,
)
from tests.plans import plan_payment

DEFAULT = Budget("auth_id", "*", "total", "ev", 100)
NAMED = Budget("auth_id", "alice", "total", "ev", 50)
HOURLY = Budget("auth_id", "*", "hour", "ev", 10)
ALICE = BudgetName("alice", "total", "ev")


def taken(*limits: tuple[BudgetName, int | None]) -> RuntimeBudgets:
    budgets = RuntimeBudgets()
    budgets.take(limits)
    return budgets


def test_a_runtime_budget_stands_instead_of_the_default_of_its_kind_and_of_nothing_else() -> None:
    runtime = taken((ALICE, 300))
    for auth_id, limits in (("alice", [10, 300]), ("bob", [10, 100])):
        budgets = runtime.beside([DEFAULT, HOURLY], "auth_id", [auth_id])
        claims = claims_of(budgets, Spender(auth_id, "", bytes(20)))
        assert sorted(claim.budget.limit_wei for claim in claims) == limits


def test_a_configured_budget_that_names_the_id_goes_on_to_hold() -> None:
    assert budgets_in_force([DEFAULT, NAMED], taken((ALICE, 300)).of("alice"), ALICE)[0] == NAMED


def test_what_is_taken_away_is_gone_and_the_others_of_that_id_stay() -> None:
    hourly = BudgetName("alice", "hour", "ev")
    budgets = taken((ALICE, 1), (hourly, 2), (ALICE, 3))
    assert [b.limit_wei for b in budgets.of("alice")] == [2, 3]
    assert len(budgets) == 2
    budgets.take([(ALICE, None), (BudgetName("bob", "total", "ev"), None)])
    assert [b.limit_wei for b in budgets.of("alice")] == [2]
    budgets.take([(hourly, None)])
    assert len(budgets) == 0
    assert budgets.of("alice") == ()
    budgets.replace(taken((ALICE, 7)))
    assert [b.limit_wei for b in budgets.of("alice")] == [7]


def test_a_long_auth_id_is_found_as_spending_is_kept_under_it() -> None:
    long = BudgetName("x" * 500, "total", "ev")
    assert taken((long, 5)).of("x" * 500)[0].limit_wei == 5
    assert taken((long, 5)).of("x" * 499) == ()


def test_an_id_that_is_spelled_as_a_long_one_is_kept_takes_nothing_from_it() -> None:
    long, twin = BudgetName("x" * 500, "total", "ev"), BudgetName(bounded_name("x" * 500), "total", "ev")
    budgets = taken((long, 5), (twin, 6))
    assert {(b.match, b.limit_wei) for b in budgets.of("x" * 500)} == {(long.auth_id, 5), (twin.auth_id, 6)}
    budgets.take([(twin, None)])
    assert [b.limit_wei for b in budgets.of("x" * 500)] == [5]


def test_budgets_of_other_scopes_are_not_touched() -> None:
    configured = [Budget("global", "*", "day", "ev", 5)]
    assert taken((ALICE, 1)).beside(configured, "global", []) is configured
    assert RuntimeBudgets().beside(configured, "auth_id", ["alice"]) is configured


def test_a_payment_is_held_against_the_runtimes_budgets_also_where_none_is_configured() -> None:
    plan = plan_payment()
    auth_id = plan.state.auth_id
    assert claims_of_plan(plan, LedgerRules((), 60, runtime=RuntimeBudgets())) == ()
    claims = claims_of_plan(plan, LedgerRules((), 60, runtime=taken((BudgetName(auth_id, "day", "face_value"), 9))))
    assert [(claim.budget.limit_wei, claim.budget.window) for claim in claims] == [(9, "day")]


@pytest.mark.parametrize(
    ("configured", "before", "step", "wei", "after"),
    [
        ([DEFAULT], None, "set", 40, 40),
        ([DEFAULT], None, "set", 100, 100),
        ([DEFAULT], 40, "set", 40, 40),
        ([], None, "set", 40, 40),
        ([DEFAULT, NAMED], None, "set", 50, 50),
        ([DEFAULT, NAMED], 20, "set", 10, 10),
        ([DEFAULT], 200, "reset", 0, None),
        ([NAMED], 50, "reset", 0, None),
        ([HOURLY], None, "set", 5000, 5000),
        ([], None, "reset", 0, None),
    ],
)
def test_whoever_holds_the_token_may_lower(configured: list[Budget], before: int | None, step: Step, wei: int, after: int | None) -> None:
    assert changed_limit(configured, before, BudgetChange(step, ALICE, wei), may_raise=False) == after


@pytest.mark.parametrize(
    ("configured", "before", "step", "wei", "after"),
    [
        ([DEFAULT], None, "set", 101, 101),
        ([DEFAULT], 40, "set", 41, 41),
        ([], 40, "set", 41, 41),
        ([], 40, "reset", 0, None),
        ([DEFAULT], 40, "reset", 0, None),
        ([DEFAULT, NAMED], 40, "reset", 0, None),
        ([DEFAULT], None, "top-up", 1, 101),
        ([DEFAULT], 40, "top-up", 100, 140),
        ([], 40, "top-up", MAX_LIMIT_WEI, MAX_LIMIT_WEI),
        ([NAMED], 40, "top-up", 10, 50),
    ],
)
def test_a_raise_needs_the_permission(configured: list[Budget], before: int | None, step: Step, wei: int, after: int | None) -> None:
    change = BudgetChange(step, ALICE, wei)
    with pytest.raises(Denied, match="would allow more than now") as refused:
        changed_limit(configured, before, change, may_raise=False)
    assert "manage_users" in (refused.value.hint or "")
    assert changed_limit(configured, before, change, may_raise=True) == after


@pytest.mark.parametrize(("before", "step", "wei"), [(None, "set", 51), (10, "set", 51), (None, "top-up", 1), (45, "top-up", 6)])
def test_what_the_configuration_says_of_an_id_is_never_passed(before: int | None, step: Step, wei: int) -> None:
    for configured in ([NAMED], [DEFAULT, NAMED], [NAMED._replace(limit_wei=70), NAMED]):
        with pytest.raises(Denied, match="the configuration names this auth id with 50 wei"):
            changed_limit(configured, before, BudgetChange(step, ALICE, wei), may_raise=True)


def test_what_has_no_limit_cannot_be_topped_up() -> None:
    with pytest.raises(BadField, match="no limit that could be topped up"):
        changed_limit([HOURLY], None, BudgetChange("top-up", ALICE, 5), may_raise=True)


def test_each_budget_says_where_it_comes_from() -> None:
    runtime = taken((ALICE, 7)).of("alice")
    assert [source_of(budget, runtime) for budget in (*runtime, DEFAULT, NAMED)] == ["runtime", "default", "config"]


def test_changes_are_read_as_they_are_asked_for() -> None:
    body = parse_json(
        b'{"budgets": [{"auth_id": "alice", "window": "total", "limit_wei": "0.5eth"},'
        b' {"auth_id": "bob", "window": "day", "measure": "face_value", "limit_wei": 12}]}'
    )
    assert parse_budget_changes(body, "set") == [
        BudgetChange("set", ALICE, 5 * 10**17),
        BudgetChange("set", BudgetName("bob", "day", "face_value"), 12),
    ]
    assert parse_budget_changes(parse_json(b'{"budgets": [{"auth_id": "alice", "window": "total"}]}'), "reset")[0].wei == 0


GOOD = {"auth_id": "alice", "window": "total", "add_wei": 5}


@pytest.mark.parametrize(
    "entry",
    [
        GOOD | {"auth_id": "*"},
        GOOD | {"auth_id": ""},
        GOOD | {"auth_id": "x" * 1025},
        GOOD | {"auth_id": "a\nb"},
        GOOD | {"window": "year"},
        GOOD | {"window": ""},
        GOOD | {"measure": "eth"},
        GOOD | {"add_wei": -1},
        GOOD | {"add_wei": 1.5},
        GOOD | {"add_wei": True},
        GOOD | {"add_wei": None},
        GOOD | {"add_wei": "5usd"},
        GOOD | {"add_wei": 2**256},
        GOOD | {"add_wei": "1" * 101},
        GOOD | {"limit_wei": 5},
        5,
    ],
)
def test_what_no_budget_can_be_is_refused_by_its_place(entry: Any) -> None:
    import json

    with pytest.raises(BadField, match=r"budgets\[1\]"):
        parse_budget_changes(parse_json(json.dumps({"budgets": [GOOD, entry]}).encode()), "top-up")


@pytest.mark.parametrize("body", [b"{}", b'{"budgets": []}', b'{"budgets": 5}', b'{"budgets": [' + b"5," * 1000 + b"5]}"])
def test_how_many_may_be_changed_at_once_is_bounded(body: bytes) -> None:
    with pytest.raises(BadField, match="1 to 1000 entries"):
        parse_budget_changes(parse_json(body), "set")
