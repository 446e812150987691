"""The chaos run's report notices what was promised and did not hold, and shows it to people."""

from __future__ import annotations

from typing import Any

import pytest

from tests.chaos.books import Fault
from tests.chaos.clients import Call
from tests.chaos.report import Row, find_problems, table

WELL = Row("one", "PostgreSQL frozen 14 s", 100.0, 120.0, 8, 8, [], 2.5, 1.0)


def call(took: float, status: int | None = 200, began: float = 101.0) -> Call:
    return Call("client", began + took, took, status, "why", None)


@pytest.mark.parametrize(
    ("row", "calls", "said"),
    [
        ({}, [call(0.1), call(4.6, 503)], None),
        ({"behind": ["x owes 9 s"]}, [], "x owes 9 s"),
        ({"alive_after": 7}, [call(0.1, 400)], "1 sessions ended; 1 x 400 why"),
        ({}, [call(5.2, 503)], "a client waited 5.20 s"),
        ({"late_seconds": 0.3}, [call(5.2, 503)], None),
        ({}, [call(4.99, None)], "1 calls were not answered before their clients gave up"),
        ({"late_seconds": 0.3}, [call(5.01, None)], "1 calls were not answered before their clients gave up"),
        ({"late_seconds": 0.6}, [call(5.01, None)], None),
        ({}, [call(0.2, None)], None),
        ({}, [call(5.2, 503, began=121.0)], None),
        ({"ready_after": 5.5}, [], "/readyz is well only 5.5 s after it was mended"),
        ({"not_ready_after": None}, [], "/readyz says 503 only after None s"),
        ({"not_ready_after": 5.5}, [], "/readyz says 503 only after 5.5 s"),
        ({"not_ready_after": None, "fault": "worker killed"}, [], None),
    ],
)
def test_a_promise_that_did_not_hold_is_told(row: dict[str, Any], calls: list[Call], said: str | None) -> None:
    problems = find_problems({"one": calls}, [WELL._replace(**row)])
    assert len(problems) == (said is not None)
    assert said is None or said in problems[0]


def test_the_table_has_a_line_for_each_fault() -> None:
    rows = [WELL, WELL._replace(fault="worker killed", began=130.0, ended=140.0, alive_after=7, not_ready_after=None, ready_after=None)]
    lost, twice = Fault(110.0, "lost", "a"), Fault(135.0, "twice", "b")
    head, first, second = table({"one": [call(0.25), call(4.5, 503, began=131.0)]}, rows, [lost, twice]).splitlines()
    assert head.split("  ")[0] == "rig"
    assert first.split() == ["one", "PostgreSQL", "frozen", "14", "s", "8", "8", "1", "0", "0.25", "s", "2.5", "s", "1.0", "s"]
    assert second.split() == ["one", "worker", "killed", "8", "7", "0", "1", "4.50", "s"]
