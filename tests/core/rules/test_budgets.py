"""Budgets: what counts, for how long, whose it is, and what a refusal says."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from livepeer_remote_signer.core.errors import BudgetExceeded, NoTickets, RateExceeded, SignerError
from livepeer_remote_signer.core.protocol.timestamps import NS_PER_SECOND
from livepeer_remote_signer.core.rules.budgets import (
    BUCKETS,
    MAX_NAME_BYTES,
    WINDOW_SECONDS,
    Budget,
    BudgetUse,
    Claim,
    Spender,
    Usage,
    Window,
    bounded_name,
    budget_uses,
    claims_of,
    encode_usage,
    fit_budgets,
    fullness,
    global_keys,
    is_configured,
    parse_usage,
    raised_limits,
    spend_of,
    use_of,
)
from livepeer_remote_signer.core.rules.payment import PaymentPlan
from tests.outcomes import outcome
from tests.plans import NOW_NS, ORCHESTRATOR, plan_payment

ALICE = Spender("alice", "app-1", ORCHESTRATOR, sender=b"\x70" * 20)
windows = st.sampled_from(list(WINDOW_SECONDS))


def planned(tickets: int, least: int | None = None, now_ns: int = NOW_NS) -> PaymentPlan:
    """A payment of so many tickets of 1e12 wei (a hair less: the probability is rounded down), `least` of them due."""
    plan = replace(plan_payment(now_ns=now_ns), due_tickets=0).with_tickets(tickets)
    return replace(plan, due_tickets=tickets if least is None else least)


def claim(window: str = "total", measure: str = "ev", limit: int = 0) -> Claim:
    return claims_of([Budget("auth_id", "*", window, measure, limit)], ALICE)[0]  # type: ignore[arg-type]


@given(windows, st.integers(1, 1000), st.lists(st.tuples(st.integers(0, 5000), st.integers(1, 400)), max_size=120))
def test_no_interval_of_the_windows_length_sees_more_than_the_limit(window: str, limit: int, wanted: list[tuple[int, int]]) -> None:
    length_ns = WINDOW_SECONDS[window] * NS_PER_SECOND
    usage, now, spent = Usage(), NOW_NS, []
    for step, amount in wanted:
        now += step * length_ns // 4000
        if usage.spent(window, now) + amount <= limit:  # type: ignore[arg-type]
            usage.add(window, now, amount)  # type: ignore[arg-type]
            spent.append((now, amount))
    for start, _ in spent:
        assert sum(amount for at, amount in spent if start <= at < start + length_ns) <= limit


@given(windows, st.integers(1, 500), st.lists(st.tuples(st.integers(0, 800), st.integers(1, 400)), min_size=1, max_size=80))
def test_what_a_refusal_promises_to_free_up_is_free_then(window: str, wanted: int, spent: list[tuple[int, int]]) -> None:
    length_ns = WINDOW_SECONDS[window] * NS_PER_SECOND
    usage, now = Usage(), NOW_NS
    for step, amount in spent:
        now += step * length_ns // 4000
        usage.add(window, now, amount)  # type: ignore[arg-type]
    before = usage.spent(window, now)  # type: ignore[arg-type]
    wait = usage.frees_up_seconds(window, now, wanted)  # type: ignore[arg-type]
    if wait is None:
        assert before < wanted
    else:
        assert 1 <= wait <= WINDOW_SECONDS[window] * 61 // 60 + 1
        assert usage.spent(window, now + wait * NS_PER_SECOND) <= before - wanted  # type: ignore[arg-type]


@given(windows, st.lists(st.tuples(st.integers(0, 10**6), st.integers(1, 2**200)), max_size=200))
def test_a_row_of_spending_stays_small_and_reads_back_exactly(window: str, spent: list[tuple[int, int]]) -> None:
    usage, now = Usage(), NOW_NS
    for seconds, amount in spent:
        now += seconds * NS_PER_SECOND // 60
        usage.add(window, now, amount)  # type: ignore[arg-type]
    assert len(usage.amounts) <= 62
    again = parse_usage(encode_usage(usage))
    assert again.amounts == usage.amounts
    assert again.spent(window, now) == usage.spent(window, now)  # type: ignore[arg-type]


def test_a_total_never_frees_up() -> None:
    usage = Usage()
    usage.add("total", NOW_NS, 5)
    usage.add("total", NOW_NS + 10**18, 7)
    assert usage.spent("total", NOW_NS + 10**20) == 12
    assert usage.frees_up_seconds("total", NOW_NS, 1) is None


@pytest.mark.parametrize(
    ("budget", "holds"),
    [
        (("auth_id", "*"), True),
        (("auth_id", "alice"), True),
        (("auth_id", "bob"), False),
        (("app", "*"), True),
        (("app", "app-1"), True),
        (("app", "alice"), False),
        (("orchestrator", "*"), True),
        (("orchestrator", "0x" + ORCHESTRATOR.hex().upper()), True),
        (("orchestrator", "0x" + "00" * 20), False),
        (("sender", "*"), True),
        (("sender", "0x" + "70" * 20), True),
        (("sender", "0x" + ORCHESTRATOR.hex()), False),
        (("sender", "alice"), False),
        (("global", "anything"), True),
    ],
)
def test_a_budget_holds_for_what_it_names(budget: tuple[str, str], holds: bool) -> None:
    assert bool(claims_of([Budget(budget[0], budget[1], "hour", "ev", 1)], ALICE)) is holds  # type: ignore[arg-type]


def fullest_first(budgets: Sequence[Budget], usage: Mapping[str, Usage]) -> list[BudgetUse]:
    return sorted((use for key, used in usage.items() for use in budget_uses(budgets, key, used, NOW_NS)), key=fullness)


DEFAULT, ALICES = Budget("auth_id", "*", "day", "ev", 10), Budget("auth_id", "alice", "day", "ev", 50)


def test_an_entry_that_names_an_id_stands_instead_of_the_default() -> None:
    for budgets in ([DEFAULT, ALICES], [ALICES, DEFAULT]):
        assert [claim.budget for claim in claims_of(budgets, ALICE)] == [ALICES]
        assert [claim.budget for claim in claims_of(budgets, ALICE._replace(auth_id="bob"))] == [DEFAULT]
        usage = {claim.key: Usage() for name in ("alice", "bob") for claim in claims_of(budgets, ALICE._replace(auth_id=name))}
        assert {(use.id, use.budget.limit_wei) for use in fullest_first(budgets, usage)} == {("alice", 50), ("bob", 10)}


def test_an_orchestrators_entry_stands_instead_of_the_default_in_any_case_of_its_address() -> None:
    default = Budget("orchestrator", "*", "day", "ev", 10)
    named = Budget("orchestrator", "0x" + ORCHESTRATOR.hex().upper(), "day", "ev", 50)
    assert [claim.budget for claim in claims_of([default, named], ALICE)] == [named]
    assert [claim.budget for claim in claims_of([default, named], ALICE._replace(orchestrator=bytes(20)))] == [default]


@pytest.mark.parametrize("other", [{"window": "hour"}, {"measure": "face_value"}, {"scope": "app", "match": "app-1"}, {"match": "bob"}])
def test_a_default_gives_way_to_nothing_of_another_kind(other: dict[str, str]) -> None:
    budgets = [DEFAULT, ALICES._replace(**other)]
    assert DEFAULT in [claim.budget for claim in claims_of(budgets, ALICE)]


def test_two_entries_of_one_id_both_hold() -> None:
    lower = ALICES._replace(limit_wei=20)
    assert [claim.budget for claim in claims_of([ALICES, DEFAULT, lower], ALICE)] == [ALICES, lower]


def test_entries_that_allow_more_than_both_together_did_are_told() -> None:
    lower = ALICES._replace(match="bob", limit_wei=5)
    hourly, dearer = ALICES._replace(window="hour"), DEFAULT._replace(limit_wei=60)
    everybody = Budget("global", "*", "day", "ev", 1)
    assert raised_limits([DEFAULT, ALICES, lower, hourly, everybody]) == [(ALICES, DEFAULT)]
    assert raised_limits([dearer, DEFAULT, ALICES]) == [(ALICES, DEFAULT)], "of two defaults the lower one held"
    assert raised_limits([DEFAULT, ALICES, ALICES._replace(limit_wei=10)]) == []
    assert raised_limits([ALICES]) == raised_limits([]) == []


def test_an_orchestrator_in_other_letters_is_the_same_one_and_an_auth_id_another() -> None:
    address = "0x" + ORCHESTRATOR.hex()
    every, upper, lower = (
        Budget("orchestrator", match, "day", "ev", limit) for match, limit in (("*", 10), (address.upper(), 50), (address, 20))
    )
    assert raised_limits([every, upper]) == [(upper, every)]
    assert raised_limits([every, upper, lower]) == [(lower, every)], "of two entries for one address the lower one counts"
    assert raised_limits([every, upper, lower._replace(limit_wei=10)]) == []
    other = lower._replace(match="0x" + "00" * 20)
    assert raised_limits([every, upper, other]) == [(upper, every), (other, every)]
    shouted = ALICES._replace(match="ALICE", limit_wei=20)
    assert raised_limits([DEFAULT, ALICES, shouted]) == [(ALICES, DEFAULT), (shouted, DEFAULT)]


def test_apps_of_two_auth_ids_are_two_apps_and_names_cannot_be_mixed_up() -> None:
    budgets = [Budget("app", "*", "total", "ev", 1)]
    spenders = [
        Spender("a", "b", ORCHESTRATOR),
        Spender("a", "c", ORCHESTRATOR),
        Spender("c", "b", ORCHESTRATOR),
        Spender('a","b', "", ORCHESTRATOR),
    ]
    assert len({claims_of(budgets, spender)[0].key for spender in spenders}) == 4


@given(st.text(max_size=600), st.text(max_size=600))
def test_names_are_bounded_and_stay_apart(one: str, other: str) -> None:
    assert len(bounded_name(one).encode("utf-8", "surrogatepass")) <= MAX_NAME_BYTES
    assert (bounded_name(one) == bounded_name(other)) == (one == other)


@given(st.integers(1, 100))
def test_expected_value_is_never_counted_too_low(tickets: int) -> None:
    plan = planned(tickets)
    assert 0 <= spend_of(plan, "ev") - plan.total_ev < 1
    assert spend_of(plan, "face_value") == plan.total_face_value


@given(st.integers(1, 100), st.integers(0, 100), st.integers(0, 10**14), st.sampled_from(["ev", "face_value"]))
def test_tickets_ahead_are_given_up_before_a_payment_is_refused(tickets: int, least: int, limit: int, measure: str) -> None:
    plan = planned(tickets, min(tickets, least))
    limit = limit * 1200 if measure == "face_value" else limit
    held = claim(measure=measure, limit=limit)
    fitted = outcome(fit_budgets, plan, [held], {held.key: Usage()})
    if isinstance(fitted, SignerError):
        smallest = replace(plan, due_tickets=0).with_tickets(max(1, plan.min_tickets))
        assert spend_of(smallest, measure) > limit  # type: ignore[arg-type]
        assert type(fitted) is (BudgetExceeded if plan.min_tickets else NoTickets)
        return
    assert max(1, plan.min_tickets) <= fitted.num_tickets <= tickets
    assert spend_of(fitted, measure) <= limit  # type: ignore[arg-type]
    if fitted.num_tickets < tickets:
        assert spend_of(replace(fitted, num_tickets=fitted.num_tickets + 1), measure) > limit  # type: ignore[arg-type]
    assert fitted.state.balance == plan.state.balance - (tickets - fitted.num_tickets) * plan.session.info.ev


def test_a_used_up_total_names_limit_rest_and_need() -> None:
    held = claim(limit=10**12 + 5)
    usage = {held.key: Usage({0: 10**12})}
    with pytest.raises(
        BudgetExceeded, match=r"auth_id 'alice', ev per total: 5 of 1000000000005 wei are left, .* needs 1000000000000"
    ) as caught:
        fit_budgets(planned(1), [held], usage)
    assert caught.value.values["left_wei"] == "5"
    assert caught.value.retry_after_seconds is None


def test_a_used_up_window_says_when_it_frees_up() -> None:
    held = claim("hour", limit=15 * 10**11)
    usage = Usage()
    usage.add("hour", NOW_NS - 600 * NS_PER_SECOND, 10**12)
    with pytest.raises(RateExceeded) as caught:
        fit_budgets(planned(1), [held], {held.key: usage})
    wait = caught.value.retry_after_seconds
    assert wait is not None
    assert 3000 < wait <= 3060
    later = planned(1, now_ns=NOW_NS + wait * NS_PER_SECOND)
    assert fit_budgets(later, [held], {held.key: usage}) is later


def test_the_wait_counts_what_was_spent_beyond_a_limit_that_was_lowered() -> None:
    held = claim("hour", limit=2 * 10**12)
    usage = Usage()
    for minutes in range(50, 0, -5):
        usage.add("hour", NOW_NS - minutes * 60 * NS_PER_SECOND, 10**12)
    with pytest.raises(RateExceeded) as caught:
        fit_budgets(planned(1), [held], {held.key: usage})
    wait = caught.value.retry_after_seconds
    assert wait is not None
    later = planned(1, now_ns=NOW_NS + wait * NS_PER_SECOND)
    assert fit_budgets(later, [held], {held.key: usage}) is later
    with pytest.raises(RateExceeded):
        fit_budgets(planned(1, now_ns=NOW_NS + (wait - 1) * NS_PER_SECOND), [held], {held.key: usage})


@given(windows.filter(lambda window: window != "total"), st.integers(1, 10**9), st.integers(1, 100), st.integers(1, 100))
def test_what_is_dated_ahead_is_counted_as_spent_now_and_leaves_with_the_window(
    window: Window, ahead_s: int, early: int, late: int
) -> None:
    usage = Usage()
    usage.add(window, NOW_NS, early)
    usage.add(window, NOW_NS + 31 * NS_PER_SECOND + ahead_s * NS_PER_SECOND, late)
    spent = usage.spent(window, NOW_NS)
    assert spent == early + late
    # a bucket of a day is 24 minutes wide: less than one ahead cannot be told
    width_ns = WINDOW_SECONDS[window] * NS_PER_SECOND // BUCKETS
    if usage.date_back(window, NOW_NS) or ahead_s * NS_PER_SECOND >= width_ns:
        assert not usage.date_back(window, NOW_NS)
        assert list(usage.amounts.values()) == [spent]
        assert usage.spent(window, NOW_NS) == spent
        assert usage.spent(window, NOW_NS + WINDOW_SECONDS[window] * NS_PER_SECOND + 2 * width_ns) == 0


def test_what_replicas_whose_clocks_differ_spent_stays_where_it_is() -> None:
    usage = Usage()
    usage.add("minute", NOW_NS + 29 * NS_PER_SECOND, 7)
    before = dict(usage.amounts)
    assert not usage.date_back("minute", NOW_NS)
    assert usage.amounts == before
    total = Usage({0: 5})
    assert not total.date_back("total", NOW_NS)
    assert not Usage().date_back("hour", NOW_NS)


def test_a_payment_larger_than_the_whole_window_is_told_so() -> None:
    held = claim("minute", limit=10**11)
    with pytest.raises(RateExceeded) as caught:
        fit_budgets(planned(1), [held], {held.key: Usage()})
    assert caught.value.retry_after_seconds == 60
    assert "more than the whole window" in str(caught.value.hint)


def test_of_several_refusals_the_one_that_lasts_longest_is_told() -> None:
    minute, total, day = claim("minute"), claim("total"), claim("day")
    usage = {c.key: Usage() for c in (minute, total, day)}
    with pytest.raises(BudgetExceeded):
        fit_budgets(planned(1), [minute, total, day], usage)
    with pytest.raises(RateExceeded, match="per day"):
        fit_budgets(planned(1), [minute, day], usage)


def test_uses_show_every_spender_of_every_budget_fullest_first() -> None:
    budgets = [
        Budget("auth_id", "*", "total", "ev", 100),
        Budget("auth_id", "alice", "total", "ev", 40),
        Budget("global", "*", "hour", "ev", 50),
    ]
    usage = {}
    for spender, amount in ((ALICE, 30), (Spender("bob", "", ORCHESTRATOR), 90)):
        for _, key, _ in claims_of(budgets, spender):
            usage.setdefault(key, Usage()).amounts.setdefault(0, amount)
    uses = fullest_first(budgets, usage)
    assert [(use.id, use.budget.limit_wei, use.spent_wei, use.left_wei) for use in uses] == [
        ("bob", 100, 90, 10),
        ("alice", 40, 30, 10),
        ("", 50, 0, 50),
    ]


def test_a_use_is_described_in_decimal_strings() -> None:
    use = BudgetUse(Budget("auth_id", "*", "hour", "ev", 10**30), "alice", 7, 10**30 - 7)
    assert list(use.describe().items()) == [
        ("scope", "auth_id"),
        ("id", "alice"),
        ("window", "hour"),
        ("measure", "ev"),
        ("limit_wei", "1" + "0" * 30),
        ("spent_wei", "7"),
        ("left_wei", "9" * 29 + "3"),
    ]


def test_a_global_budget_is_shown_before_anything_was_spent() -> None:
    budgets = [Budget("global", "*", "day", "ev", 50), Budget("auth_id", "*", "day", "ev", 100)]
    assert [
        (use.budget, use.id, use.spent_wei, use.left_wei) for use in fullest_first(budgets, {key: Usage() for key in global_keys(budgets)})
    ] == [(budgets[0], "", 0, 50)]


def test_a_fee_of_fractions_is_not_what_budgets_count() -> None:
    plan = planned(3)
    assert isinstance(plan.total_ev, Fraction)
    assert spend_of(plan, "ev") == -(-plan.total_ev.numerator // plan.total_ev.denominator)


def test_buckets_that_left_the_window_are_forgotten() -> None:
    usage = Usage()
    for minute in range(200):
        usage.add("hour", NOW_NS + minute * 60 * NS_PER_SECOND, 1)
    assert len(usage.amounts) <= 62


def test_a_long_name_is_cut_and_told_apart_by_a_digest() -> None:
    long, other = "x" * 500, "x" * 499 + "y"
    assert bounded_name("x" * MAX_NAME_BYTES) == "x" * MAX_NAME_BYTES
    assert bounded_name(long).startswith("x" * 64 + "#")
    assert len(bounded_name(long)) <= MAX_NAME_BYTES
    assert bounded_name(long) != bounded_name(other)


def test_a_budget_that_still_covers_the_payment_is_not_the_one_that_is_told() -> None:
    claims = claims_of([Budget("auth_id", "*", "day", "ev", 10**30), Budget("auth_id", "*", "total", "ev", 1)], ALICE)
    with pytest.raises(BudgetExceeded):
        fit_budgets(planned(1), claims, {claim.key: Usage() for claim in claims})


@pytest.mark.parametrize(
    ("budget", "names", "counts"),
    [
        (Budget("auth_id", "*", "hour", "ev", 1), ["alice"], True),
        (Budget("auth_id", "alice", "hour", "ev", 1), ["alice"], True),
        (Budget("auth_id", "bob", "hour", "ev", 1), ["alice"], False),
        (Budget("auth_id", "key:alice", "hour", "ev", 1), ["alice"], True),
        (Budget("auth_id", "key:alice", "day", "ev", 1), ["alice"], False),
        (Budget("auth_id", "key:alice", "hour", "face_value", 1), ["alice"], False),
    ],
)
def test_usage_that_was_kept_before_auth_ids_had_namespaces_counts_on(budget: Budget, names: list[str], counts: bool) -> None:
    assert is_configured([budget], json.dumps(["auth_id", "hour", "ev", *names])) is counts


def test_only_who_had_another_name_counts_on_from_it() -> None:
    budgets = [Budget(scope, "*", "total", "ev", 5) for scope in ("auth_id", "app", "orchestrator", "global")]  # type: ignore[arg-type]
    assert [claim.former_key for claim in claims_of(budgets, ALICE)] == [""] * 4
    assert [claim.former_key for claim in claims_of(budgets, ALICE._replace(former_auth_id="alice"))] == [""] * 4
    renamed = claims_of(budgets, ALICE._replace(auth_id="key:alice", former_auth_id="alice"))
    assert [claim.former_key for claim in renamed] == [claims_of(budgets, ALICE)[0].key, claims_of(budgets, ALICE)[1].key, "", ""]


def test_a_budget_that_was_passed_leaves_nothing_and_names_its_spender() -> None:
    passed = claims_of([Budget("app", "*", "total", "ev", 5)], ALICE)[0]
    for spent, left in ((4, 1), (5, 0), (9, 0)):
        use = use_of(passed, Usage({0: spent}), NOW_NS)
        assert (use.id, use.spent_wei, use.left_wei) == ("alice / app-1", spent, left)


def test_everybodys_budgets_are_kept_under_names_of_their_own() -> None:
    budgets = [
        Budget("global", "*", "day", "ev", 5),
        Budget("auth_id", "*", "day", "ev", 5),
        Budget("global", "*", "total", "face_value", 5),
    ]
    assert global_keys(budgets) == {'["global","day","ev"]', '["global","total","face_value"]'}


def test_each_senders_spending_is_kept_by_its_address_whoever_calls() -> None:
    every, named = Budget("sender", "*", "day", "ev", 10), Budget("sender", "0x" + "70" * 20, "day", "ev", 50)
    bob, other = ALICE._replace(auth_id="bob"), ALICE._replace(sender=b"\x71" * 20)
    keys = [claims_of([every], spender)[0].key for spender in (ALICE, bob, other)]
    assert keys[0] == keys[1] != keys[2]
    assert [claims_of([every, named], spender)[0].budget for spender in (ALICE, other)] == [named, every]
    orchestrators = Budget("orchestrator", "*", "day", "ev", 10)
    assert claims_of([orchestrators], ALICE._replace(orchestrator=ALICE.sender))[0].key != keys[0]
    used = Usage({NOW_NS * BUCKETS // (86_400 * NS_PER_SECOND): 4})
    assert [(use.id, use.spent_wei, use.left_wei) for use in budget_uses([every, named], keys[0], used, NOW_NS)] == [
        ("0x" + "70" * 20, 4, 46)
    ]
    assert is_configured([named], keys[0])
    assert not is_configured([named], keys[2])
    assert raised_limits([every, named._replace(match="0X" + "70" * 20)]) != []
