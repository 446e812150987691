"""The ledger's rules: whose place is taken, which state is known, which nonces are free, who is suspended."""

from __future__ import annotations

import os
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from livepeer_remote_signer.core.errors import BudgetExceeded, RateExceeded, RefreshSession, StaleState, Suspended
from livepeer_remote_signer.core.protocol.ticket import REFRESH_AT_NONCE
from livepeer_remote_signer.core.protocol.timestamps import NS_PER_SECOND
from livepeer_remote_signer.core.rules.budgets import Budget, Usage, spend_of
from livepeer_remote_signer.core.rules.figures import figures_of
from livepeer_remote_signer.core.rules.ledger import (
    Books,
    LedgerRules,
    OpenLines,
    RequestKey,
    SpendKey,
    SpendSum,
    Switches,
    Tip,
    add_spend,
    admit,
    check_known,
    claims_of_plan,
    is_taken,
    judge,
    post,
)
from livepeer_remote_signer.core.rules.payment import PaymentPlan
from livepeer_remote_signer.core.rules.policy import apply_auth_id
from livepeer_remote_signer.core.rules.sums import tally_of
from tests.plans import NOW_NS, ORCHESTRATOR, orchestrator_info, plan_payment

RULES = LedgerRules((), 86_400)
NOW_MS = NOW_NS // 10**6


def key(sequence_number: int = 5, **changes: Any) -> RequestKey:
    given = {"state_id": "s", "digest": bytes(32), "auth_id": "", "idempotency_key": b"", "last_update_ns": NOW_NS, "is_new": False}
    return RequestKey(sequence_number=sequence_number, **{**given, **changes})


@pytest.mark.parametrize(
    ("sequence_number", "tip", "age_ms", "taken"),
    [
        (5, None, 0, False),
        (5, 4, 0, False),
        (5, 5, 0, True),
        (5, 9, 0, True),
        (0, 0, 0, True),
        (7, 4, 0, False),  # made by another signer of the key, not before our newest
        (7, 4, 1, True),  # a branch: made before our newest, so it would pay the same time again
        (5, 4, 1, True),  # the same, with the number that comes next
    ],
)
def test_a_place_is_taken_by_its_own_or_a_later_payment(sequence_number: int, tip: int | None, age_ms: int, taken: bool) -> None:
    asked = key(sequence_number, last_update_ns=NOW_NS - age_ms * 10**6)
    assert is_taken(asked, None if tip is None else Tip(tip, NOW_MS)) is taken


def test_a_state_without_a_time_continues_nothing() -> None:
    assert is_taken(key(7, last_update_ns=None), Tip(4, NOW_MS))
    assert is_taken(key(5, last_update_ns=None), Tip(4, NOW_MS))


def test_an_unknown_state_is_adopted_only_while_the_ledger_would_still_remember_it() -> None:
    check_known(key(last_update_ns=NOW_NS - 86_399 * NS_PER_SECOND), None, RULES, NOW_NS)
    check_known(key(last_update_ns=NOW_NS + 5 * NS_PER_SECOND), None, RULES, NOW_NS)
    check_known(key(last_update_ns=0), Tip(4, 0), RULES, NOW_NS)
    check_known(key(0, last_update_ns=None, is_new=True), None, RULES, NOW_NS)
    for too_old in (NOW_NS - 86_400 * NS_PER_SECOND, 0, None):
        with pytest.raises(StaleState):
            check_known(key(last_update_ns=too_old), None, RULES, NOW_NS)


def test_nonces_go_on_after_the_highest_that_was_given_out() -> None:
    plan = plan_payment()
    books = Books(nonces={plan.session.info.ticket_params.recipient_rand_hash: 41})
    admitted = admit(key(), plan, (), books, RULES)
    assert admitted is not None
    assert (admitted.first_nonce, admitted.state.sender_nonce) == (42, 41 + plan.num_tickets)
    assert admitted.state.balance == plan.state.balance


def test_a_session_that_is_ahead_of_the_ledger_keeps_its_nonce() -> None:
    plan = plan_payment().with_first_nonce(90)
    books = Books(nonces={plan.session.info.ticket_params.recipient_rand_hash: 41})
    assert admit(key(), plan, (), books, RULES) is plan


def test_the_nonce_limit_is_judged_on_the_raised_nonce() -> None:
    plan = plan_payment()
    rand_hash = plan.session.info.ticket_params.recipient_rand_hash
    assert admit(key(), plan, (), Books(nonces={rand_hash: REFRESH_AT_NONCE - 1}), RULES) is not None
    with pytest.raises(RefreshSession) as caught:
        admit(key(), plan, (), Books(nonces={rand_hash: REFRESH_AT_NONCE}), RULES)
    assert caught.value.orchestrator_url == plan.session.info.transcoder


def test_a_taken_place_is_told_before_budgets_and_nonces_are_looked_at() -> None:
    plan = plan_payment()
    books = Books(tips={"s": Tip(5, NOW_MS)}, nonces={plan.session.info.ticket_params.recipient_rand_hash: 600})
    assert admit(key(), plan, (), books, RULES) is None
    new = key(0, is_new=True, idempotency_key=b"k" * 32)
    assert admit(new, plan, (), Books(idempotency_keys={b"k" * 32}), RULES) is None
    assert admit(new, plan, (), Books(tips={"s": Tip(0, NOW_MS)}), RULES) is None


def test_kill_switches_stop_one_auth_id_or_all() -> None:
    plan = plan_payment()
    alices = replace(plan, state=replace(plan.state, auth_id="alice"))
    one, everybody = Books(switches=Switches(frozenset({"alice"}))), Books(switches=Switches(all=True))
    with pytest.raises(Suspended, match="this auth id"):
        admit(key(), alices, (), one, RULES)
    assert admit(key(), plan, (), one, RULES) is plan
    with pytest.raises(Suspended, match="by the operator"):
        admit(key(), plan, (), everybody, RULES)


class Session:
    """A client that always goes on from its newest state."""

    def __init__(self, rand_hashes: list[bytes]) -> None:
        self.state_id = os.urandom(8).hex()
        self.next_number = 0
        self.rand_hashes = rand_hashes


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 1), st.integers(1, 9)), max_size=60), st.integers(0, 60))
def test_no_nonce_twice_no_place_twice_and_no_wei_beyond_the_budget(steps: list[tuple[int, int, int]], tickets_allowed: int) -> None:
    plans: list[PaymentPlan] = [plan_payment(orchestrator_info(rand_hash=bytes([n]) * 32)) for n in (1, 2)]
    rules = LedgerRules((Budget("global", "*", "total", "ev", tickets_allowed * 10**12),), 86_400)
    sessions = [Session([]) for _ in range(4)]
    books = Books(usage={claim.key: Usage() for claim in claims_of_plan(plans[0], rules)})
    nonces: list[tuple[bytes, int]] = []
    places: list[tuple[str, int]] = []
    for who, which, tickets in steps:
        session = sessions[who]
        plan = replace(replace(plans[which], due_tickets=0).with_tickets(tickets), due_tickets=1)
        claims = claims_of_plan(plan, rules)
        asked = key(session.next_number, state_id=session.state_id, is_new=session.next_number == 0)
        try:
            admitted = admit(asked, plan, claims, books, rules)
        except (BudgetExceeded, RefreshSession):
            continue
        assert admitted is not None
        post(asked, admitted, claims, books)
        rand_hash = plan.session.info.ticket_params.recipient_rand_hash
        nonces += [(rand_hash, admitted.first_nonce + n) for n in range(admitted.num_tickets)]
        places.append((session.state_id, session.next_number))
        assert admit(asked, plan, claims, books, rules) is None
        session.next_number += 1
    assert len(nonces) == len(set(nonces)) <= tickets_allowed
    assert len(places) == len(set(places))


def test_lines_of_a_part_that_has_ended_are_not_added_to_any_more() -> None:
    lines = OpenLines(1)
    first, second = (lines.key(5, auth_id, ORCHESTRATOR) for auth_id in "ab")
    lines.keep({first: SpendSum(1, 1, 1, 1, 1), second: SpendSum(2, 2, 2, 2, 2)})  # more than there is room for: the next part begins
    assert lines.key(5, "a", ORCHESTRATOR) != first
    lines.keep({first: SpendSum(3, 3, 3, 3, 3)})
    assert lines.get(first) == SpendSum()


def test_statistics_add_up_by_minute_auth_id_and_orchestrator() -> None:
    plan = plan_payment()
    line = SpendKey(NOW_NS // (60 * NS_PER_SECOND), "", ORCHESTRATOR)
    spend: dict[SpendKey, SpendSum] = {}
    before = OpenLines()
    before.keep({line: SpendSum(7, 7, 7, 7, 7)})
    tally = tally_of(plan, figures_of(plan, None), b"")
    add_spend(spend, tally, before)
    add_spend(spend, tally, before)
    ev = -(-plan.total_ev.numerator // plan.total_ev.denominator)
    assert spend == {line: SpendSum(9, 7 + 2 * plan.num_tickets, 7 + 2 * ev, 7 + 2 * plan.total_face_value, 7 + 2 * int(plan.fee))}


@given(
    st.lists(st.tuples(st.integers(0, 6), st.sampled_from("abc"), st.booleans()), max_size=60),
    st.integers(1, 5),
)
def test_the_lines_of_all_parts_add_up_whatever_the_clock_does_and_however_many_lines_there_are(
    payments: list[tuple[int, str, bool]], most: int
) -> None:
    lines, database, paid, waiting = OpenLines(most), dict[SpendKey, int](), Counter[tuple[int, str]](), Counter[tuple[int, str]]()
    batch: dict[SpendKey, SpendSum] = {}
    for minute, auth_id, is_committed in payments:
        key = lines.key(minute, auth_id, b"")
        batch[key] = SpendSum((batch.get(key) or lines.get(key)).payments + 1)
        waiting[minute, auth_id] += 1
        if is_committed:
            database.update((written, line.payments) for written, line in batch.items())  # a row is written whole
            lines.keep(batch)
            paid += waiting
            batch, waiting = {}, Counter()
        assert sum(map(len, lines._minutes.values())) <= most
    summed = Counter[tuple[int, str]]()
    for key, count in database.items():
        summed[key.minute, key.auth_id] += count
    assert summed == paid


def test_sums_are_added_and_taken_off_by_field() -> None:
    line, more = SpendSum(1, 20, 300, 4000, 50_000), SpendSum(9, 8, 7, 6, 5)
    assert line.plus(more) == more.plus(line) == SpendSum(10, 28, 307, 4006, 50_005)
    assert line.minus(more) == SpendSum(-8, 12, 293, 3994, 49_995)
    assert line.plus(more).minus(more) == line.plus(SpendSum()) == line.minus(SpendSum()) == line
    assert line.minus(line) == SpendSum(0, 0, 0, 0, 0)


def test_a_new_session_never_takes_a_known_name_nor_an_idempotency_key_twice() -> None:
    plan = plan_payment()
    books = Books(tips={"s": Tip(0, NOW_MS)})
    assert admit(key(0, is_new=True, last_update_ns=None), plan, (), books, RULES) is None
    named = key(0, state_id="t", is_new=True, idempotency_key=b"k" * 32, last_update_ns=None)
    assert admit(named, plan, (), books, RULES) is not None
    post(named, plan, (), books)
    assert admit(replace(named, state_id="u"), plan, (), books, RULES) is None


def test_without_budgets_nothing_is_counted_and_one_name_is_counted_once() -> None:
    plan = plan_payment()
    assert claims_of_plan(plan, RULES) == ()
    budget = Budget("global", "*", "day", "ev", 10**30)
    rules = LedgerRules((budget, budget._replace(limit_wei=10**31)), 86_400)
    claims = claims_of_plan(plan, rules)
    books = Books(usage={name: Usage() for _, name, _ in claims})
    post(key(), plan, claims, books)
    assert len(claims) == 2
    assert {name: usage.spent("day", NOW_NS) for name, usage in books.usage.items()} == {claims[0].key: -(-plan.total_ev // 1)}


def test_only_a_clock_that_is_right_dates_back_what_was_spent_ahead_and_a_refused_payment_does_so_too() -> None:
    plan, now, ahead = plan_payment(), Usage(), Usage()
    ev = spend_of(plan, "ev")
    now.add("hour", NOW_NS, 7)
    ahead.add("hour", NOW_NS + 3600 * NS_PER_SECOND, 7)
    assert now.amounts != ahead.amounts
    for is_clock_right, limit_wei in ((False, 7 + ev), (True, 7 + ev), (True, 6 + ev)):
        budgets = (
            Budget("global", "*", "hour", "ev", limit_wei),
            Budget("app", "*", "hour", "ev", 10**30),
            Budget("global", "*", "total", "ev", 10**30),
        )
        rules = LedgerRules(budgets, 86_400)
        claims = claims_of_plan(plan, rules)
        hour, others, total = (claim.key for claim in claims)
        books = Books(usage={hour: Usage(dict(ahead.amounts)), others: Usage(dict(now.amounts)), total: Usage({0: 7})})
        asked = replace(plan, is_clock_right=is_clock_right)
        if limit_wei == 7 + ev:
            assert admit(key(), asked, claims, books, rules) is asked
        else:
            with pytest.raises(RateExceeded):
                admit(key(), asked, claims, books, rules)
        assert books.dated_back == ({hour} if is_clock_right else set())
        assert books.usage[hour].amounts == (now.amounts if is_clock_right else ahead.amounts)
        assert (books.usage[others].amounts, books.usage[total].amounts) == (now.amounts, {0: 7})


def test_a_late_request_is_healed_once() -> None:
    plan, books = plan_payment(), Books()
    healed = key(6, is_healed=True, digest=b"\x01" * 32)
    assert admit(healed, plan, (), books, RULES) is plan
    post(healed, plan, (), books)
    again = key(7, is_healed=True, digest=b"\x01" * 32, last_update_ns=NOW_NS + 10**6)
    assert admit(again, plan, (), books, RULES) is None
    other = replace(again, digest=b"\x02" * 32)
    assert admit(other, plan, (), books, RULES) is not None


def test_what_was_spent_before_namespaces_counts_on_for_everybody_who_had_the_name() -> None:
    budgets = (
        Budget("auth_id", "*", "total", "ev", 6 * 10**12),
        Budget("app", "", "total", "ev", 6 * 10**12),
        Budget("global", "*", "day", "ev", 10**30),
    )
    bare = apply_auth_id(plan_payment(), "team-a")
    spent = claims_of_plan(bare, LedgerRules(budgets, 86_400))
    books = Books(usage={claim.key: Usage() for claim in spent})
    for sequence_number in (0, 1):
        post(key(sequence_number), bare, spent, books)
    rules = LedgerRules(budgets, 86_400, namespaces=True)
    for auth_id in ("key:team-a", "jwt:team-a"):
        plan = apply_auth_id(plan_payment(), auth_id)
        claims = claims_of_plan(plan, rules)
        assert [claim.former_key for claim in claims] == [spent[0].key, spent[1].key, ""]
        later = Books(usage={name: books.usage.get(name, Usage()) for claim in claims for name in (claim.key, claim.former_key) if name})
        for sequence_number, is_allowed in ((0, True), (1, False)):
            named = key(sequence_number, state_id=auth_id, is_new=True, last_update_ns=None)
            if is_allowed:
                assert admit(named, plan, claims, later, rules) is not None
                post(named, plan, claims, later)
            else:
                later.tips.clear()
                with pytest.raises(BudgetExceeded):
                    admit(named, plan, claims, later, rules)
        assert later.usage[spent[0].key].spent("total", NOW_NS) == 2 * spend_of(plan, "ev"), "the former row stays as it was"
    fresh = claims_of_plan(apply_auth_id(plan_payment(), "key:team-b"), rules)
    empty = Books(usage={name: Usage() for claim in fresh for name in (claim.key, claim.former_key) if name})
    assert admit(key(0, is_new=True, last_update_ns=None), apply_auth_id(plan_payment(), "key:team-b"), fresh, empty, rules) is not None


def test_a_switch_that_was_set_before_namespaces_holds_in_each_of_them() -> None:
    switches = Switches(frozenset({"team-a"}))
    for auth_id in ("team-a", "key:team-a", "jwt:team-a", "webhook:team-a", "proxy:team-a"):
        with pytest.raises(Suspended):
            switches.check(auth_id)
    switches.check("key:team-b")
    Switches(frozenset({"key:team-a"})).check("jwt:team-a")


def test_a_payment_that_is_only_asked_about_is_told_all_that_the_books_refuse() -> None:
    plan = plan_payment()
    rules = LedgerRules(
        (Budget("global", "", "total", "ev", 5), Budget("auth_id", "*", "hour", "ev", 10**15), Budget("app", "*", "day", "ev", 7)), 86_400
    )
    claims = claims_of_plan(plan, rules)
    books = Books(usage={claim.key: Usage() for claim in claims}, switches=Switches(all=True))
    books.nonces[plan.session.info.ticket_params.recipient_rand_hash] = REFRESH_AT_NONCE
    judged = judge(key(last_update_ns=None), plan, claims, books, rules)
    assert [type(refusal) for refusal in judged.refusals] == [Suspended, StaleState, BudgetExceeded, RateExceeded, RefreshSession]
    assert [(use.budget.limit_wei, use.spent_wei, use.left_wei) for use in judged.budgets] == [
        (5, 0, 5),
        (10**15, 0, 10**15),
        (7, 0, 7),
    ]


def test_a_payment_that_is_only_asked_about_is_the_one_that_would_be_admitted() -> None:
    plan = plan_payment()
    rand_hash = plan.session.info.ticket_params.recipient_rand_hash
    books = Books(nonces={rand_hash: 7})
    judged = judge(key(is_new=True, last_update_ns=None), plan, (), books, RULES)
    assert (judged.refusals, judged.budgets) == ([], [])
    assert judged.plan == admit(key(is_new=True, last_update_ns=None), plan, (), books, RULES)
    assert judged.plan.first_nonce == 8
