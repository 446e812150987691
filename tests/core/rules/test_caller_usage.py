"""What a caller is told of itself, and no more."""

from __future__ import annotations

from fractions import Fraction

from msgspec.structs import replace

from livepeer_remote_signer.core.rules.budgets import Budget, BudgetUse
from livepeer_remote_signer.core.rules.caller_usage import MAX_OPEN_SESSIONS, CallerUsage, OpenSession
from livepeer_remote_signer.core.rules.usage import UsageQuery, UsageRow, UsageSum, day_text
from tests.plans import NOW_NS, plan_payment

TODAY = NOW_NS // (86_400 * 10**9)


def test_a_caller_reads_its_sums_budgets_and_sessions() -> None:
    state = replace(plan_payment().state, sequence_number=4, balance=Fraction(7, 2), state_id="s", app="a")
    session = OpenSession(1_775_592_000_123, 1_775_592_060_000, state)
    use = BudgetUse(Budget("auth_id", "*", "day", "ev", 10), "alice", 3, 7)
    query = UsageQuery(TODAY, TODAY, "alice", group=("day",), limit=1)
    rows = [UsageRow(TODAY, None, None, UsageSum(payments=1))]
    told = CallerUsage(query, UsageSum(payments=9), rows, [use], [session]).describe()
    assert told["auth_id"] == "alice"
    assert (told["from"], told["to"]) == (day_text(TODAY), day_text(TODAY))
    assert told["total"]["payments"] == 9
    assert [row["payments"] for row in told["rows"]] == [1]
    assert told["next_cursor"] is None
    assert told["budgets"] == [{"window": "day", "measure": "ev", "limit_wei": "10", "spent_wei": "3", "left_wei": "7"}]
    (open_session,) = told["open_sessions"]
    assert open_session == {
        "session_id": "s",
        "orchestrator": "0xCaF7D2090F491f13B703F75D7f9A527563103224",
        "app": "a",
        "type": "live",
        "started": "2026-04-07T20:00:00.123Z",
        "last_payment": "2026-04-07T20:01:00Z",
        "payments": 5,
        "session_balance_wei": "4",
    }
    assert told["more_open_sessions"] is False
    many = CallerUsage(query, UsageSum(), rows * 2, [], [session] * (MAX_OPEN_SESSIONS + 1)).describe()
    assert (len(many["open_sessions"]), many["more_open_sessions"], len(many["rows"])) == (MAX_OPEN_SESSIONS, True, 1)
    assert many["next_cursor"] is not None
