"""Usage: sums of the events' own figures by day, and the queries that read them."""

from __future__ import annotations

import csv
import io
import json
from datetime import date
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from livepeer_remote_signer.core.errors import BadField
from livepeer_remote_signer.core.rules.budgets import spend_of
from livepeer_remote_signer.core.rules.events import EventSource, encode_event
from livepeer_remote_signer.core.rules.figures import Figures, decimal_text, figures_of, rounded, seconds_text
from livepeer_remote_signer.core.rules.payment import PaymentPlan
from livepeer_remote_signer.core.rules.sums import tally_of
from livepeer_remote_signer.core.rules.usage import (
    MAX_CURSOR_CHARACTERS,
    DayKey,
    UsageQuery,
    UsageRow,
    UsageSum,
    add_usage,
    columns_of,
    csv_text,
    day_text,
    days_of_month,
    decode_cursor,
    describe_query,
    encode_cursor,
    names_of,
    open_days,
    page_of,
    parse_day,
    parse_usage_query,
)
from tests.plans import NOW_NS, ORCHESTRATOR, costing, plan_payment

DAY_NS = 86_400 * 10**9
TODAY = NOW_NS // DAY_NS


def event_of(plan: PaymentPlan, eth_usd: Fraction | None) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(encode_event(plan, EventSource(bytes(20), "i"), "0" * 32, eth_usd=eth_usd))["data"]
    return data


def uneven(plan: PaymentPlan, tickets: int, fee: Fraction, billed_ns: int) -> PaymentPlan:
    """A payment whose expected value and fee are no whole wei."""
    changed = costing(replace(plan, due_tickets=0, num_tickets=tickets), fee)
    return replace(changed, billed=replace(changed.billed, elapsed_ns=billed_ns))


@given(st.lists(st.tuples(st.integers(1, 9), st.fractions(0, 10**6, max_denominator=7), st.integers(0, 10**12)), min_size=1, max_size=20))
def test_usage_is_the_sum_of_what_the_events_say_and_budgets_round_up(payments: list[tuple[int, Fraction, int]]) -> None:
    rate = Fraction(334_567, 100)
    days: dict[DayKey, UsageSum] = {}
    before = open_days()
    plans = [uneven(plan_payment(), *payment) for payment in payments]
    for plan in plans:
        add_usage(days, tally_of(plan, figures_of(plan, rate), b""), before)
    events = [event_of(plan, rate) for plan in plans]
    ((key, line),) = days.items()
    assert key == DayKey(TODAY * 1440, "", ORCHESTRATOR)
    assert line.ev_wei == sum(int(event["total_ev"]) for event in events)
    assert line.fee_wei == sum(int(event["computed_fee"]) for event in events)
    assert seconds_text(line.billed_ns) == seconds_text(int(sum(Fraction(str(event["billable_secs"])) for event in events) * 10**9))
    assert Fraction(decimal_text(line.fee_usd)) == sum(Fraction(event["computed_fee_usd"]) for event in events)
    assert line.tickets == sum(event["num_tickets"] for event in events)
    assert (line.payments, line.sessions, line.priced) == (len(plans), len(plans), len(plans))
    assert sum(spend_of(plan, "ev") for plan in plans) >= line.ev_wei - len(plans)


def test_a_line_goes_on_from_what_was_written_and_counts_sessions_by_their_first_payment() -> None:
    plan = plan_payment()
    before = open_days()
    written = UsageSum(1, 1, 2, 3, 4, 5, 6, 1)
    key = DayKey(TODAY * 1440, "", ORCHESTRATOR)
    before.keep({key: written})
    days: dict[DayKey, UsageSum] = {}
    later = replace(plan, state=replace(plan.state, sequence_number=3))
    add_usage(days, tally_of(later, Figures(10, 20, 30, None), b""), before)
    assert days == {key: written.plus(UsageSum(1, 0, plan.num_tickets, 10, 20, 30, 0, 0))}
    assert days[key].describe()["payments_without_usd"] == 1


def test_what_has_no_price_in_usd_says_so() -> None:
    assert figures_of(plan_payment(), None).fee_usd is None
    assert UsageSum(2, 1, 3, 4, 5, 6_500_000_000).describe() == {
        "payments": 2,
        "sessions": 1,
        "tickets": 3,
        "total_ev_wei": "4",
        "fee_wei": "5",
        "seconds": "6.5",
        "fee_usd": None,
        "payments_without_usd": 2,
    }
    assert UsageSum(priced=1, payments=1, fee_usd=25 * 10**17).describe()["fee_usd"] == "2.5"


def test_what_time_does_not_count_for_takes_the_time_since_the_payment_before() -> None:
    plan = plan_payment()
    fixed = replace(plan, billed=replace(plan.billed, elapsed_ns=0))
    assert figures_of(replace(fixed, previous_update_ns=None), None).billed_ns == 0
    assert figures_of(replace(fixed, previous_update_ns=plan.now_ns - 7), None).billed_ns == 7
    assert figures_of(replace(fixed, previous_update_ns=plan.now_ns + 7), None).billed_ns == 0


@given(st.integers(0, 10**30), st.integers(1, 10**9))
def test_halves_are_rounded_away_from_zero(numerator: int, denominator: int) -> None:
    assert abs(Fraction(numerator, denominator) - rounded(numerator, denominator)) <= Fraction(1, 2)
    assert rounded(2 * numerator + 1, 2) == numerator + 1


def test_a_query_begins_with_the_month_and_ends_today_unless_it_says_otherwise() -> None:
    today = parse_day("2026-11-28", "to")
    query = parse_usage_query({"auth_id": "", "cursor": ""}, today)
    assert (day_text(query.first_day), day_text(query.last_day)) == ("2026-11-01", "2026-11-28")
    assert (query.auth_id, query.orchestrator, query.group, query.after, query.limit) == (None, None, ("auth_id",), None, 1000)
    asked = {"auth_id": "a", "orchestrator": "0x" + ORCHESTRATOR.hex(), "from": "2026-02-03", "to": "2026-02-03", "limit": "7"}
    query = parse_usage_query({**asked, "group": "orchestrator,day"}, today)
    assert (query.auth_id, query.orchestrator, query.group, query.limit) == ("a", ORCHESTRATOR, ("day", "orchestrator"), 7)
    assert query.first_day == query.last_day == parse_day("2026-02-03", "")


@pytest.mark.parametrize(
    ("asked", "word"),
    [
        ({"form": "2026-01-01"}, "unknown parameter 'form'"),
        ({"from": "2026-02-30"}, "from must be a day"),
        ({"to": "20260201"}, "to must be a day"),
        ({"to": "2026-01-01", "from": "2026-01-02"}, "after to"),
        ({"group": "day,app"}, "group has 'app'"),
        ({"orchestrator": "0x12"}, "orchestrator must be"),
        ({"limit": "0"}, "from 1 to 1000"),
        ({"limit": "1001"}, "from 1 to 1000"),
        ({"limit": "²"}, "from 1 to 1000"),
        ({"cursor": "!"}, "the cursor"),
        ({"cursor": "A" * (MAX_CURSOR_CHARACTERS + 1)}, "the cursor"),
        ({"cursor": encode_cursor(["a"]), "group": "day"}, "the cursor"),
        ({"cursor": encode_cursor([-1]), "group": "day"}, "the cursor"),
        ({"cursor": encode_cursor(["zz"]), "group": "orchestrator"}, "the cursor"),
        ({"cursor": encode_cursor([7]), "group": "auth_id"}, "the cursor"),
        ({"cursor": encode_cursor(["a", "b"]), "group": "auth_id"}, "the cursor"),
        ({"cursor": "7b7d"}, "the cursor"),
        ({"cursor": "5b" * 8000}, "the cursor"),
        ({"cursor": "ff"}, "the cursor"),
    ],
)
def test_a_query_that_cannot_be_answered_is_refused_by_name(asked: dict[str, str], word: str) -> None:
    with pytest.raises(BadField, match=word):
        parse_usage_query(asked, TODAY)


@given(st.integers(0, 10**6), st.text(max_size=50), st.binary(min_size=20, max_size=20))
def test_a_cursor_leads_back_to_the_row_that_it_was_made_of(day: int, auth_id: str, orchestrator: bytes) -> None:
    row = UsageRow(day, auth_id, orchestrator, UsageSum())
    names = names_of(row, ("day", "auth_id", "orchestrator"))
    assert decode_cursor(encode_cursor(names), ("day", "auth_id", "orchestrator")) == (day, auth_id, orchestrator)


@given(st.dates(min_value=date(1970, 1, 1), max_value=date(9999, 11, 30)))
def test_a_month_has_all_its_days(day: date) -> None:
    first, last = days_of_month(day.isoformat()[:7])
    assert day_text(first) == day.replace(day=1).isoformat()
    assert first <= parse_day(day.isoformat(), "day") <= last
    assert day_text(last)[:7] == day_text(first)[:7]
    assert day_text(last + 1).endswith("-01")


@pytest.mark.parametrize("text", ["2026-13", "2026-1", "x", "2026-11-01"])
def test_what_is_no_month_is_refused(text: str) -> None:
    with pytest.raises(BadField, match="YYYY-MM"):
        days_of_month(text)


def test_a_row_names_only_what_was_asked_for_apart() -> None:
    assert "day" not in UsageRow(None, None, None, UsageSum()).describe()
    named = UsageRow(TODAY, "a", ORCHESTRATOR, UsageSum()).describe()
    assert (named["day"], named["auth_id"], named["orchestrator"].lower()) == (day_text(TODAY), "a", "0x" + ORCHESTRATOR.hex())


def test_a_table_quotes_what_would_be_read_as_another_field() -> None:
    rows = [{"a": 'x"y', "b": None}, {"a": "1,2", "b": "c\r\nd"}, {"a": 7, "b": ""}]
    assert list(csv.DictReader(io.StringIO(csv_text(["a", "b"], rows), newline=""))) == [
        {"a": 'x"y', "b": ""},
        {"a": "1,2", "b": "c\r\nd"},
        {"a": "7", "b": ""},
    ]


def test_a_page_that_is_full_says_where_the_next_one_begins() -> None:
    query = UsageQuery(TODAY, TODAY, group=("auth_id",), limit=2)
    rows = [UsageRow(None, name, None, UsageSum()) for name in "abc"]
    page, cursor = page_of(query, rows)
    assert [row.auth_id for row in page] == ["a", "b"]
    assert cursor is not None
    assert decode_cursor(cursor, query.group) == ("b",)
    assert page_of(query, rows[:2]) == (rows[:2], None)
    assert page_of(query, []) == ([], None)
    assert columns_of(query)[:2] == ["auth_id", "payments"]
    assert describe_query(query) == {"from": day_text(TODAY), "to": day_text(TODAY), "group": ["auth_id"]}
