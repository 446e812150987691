"""What bounds a caller in league with an orchestrator, and what does not."""

from __future__ import annotations

import pytest

from livepeer_remote_signer.core.rules.budgets import Budget
from livepeer_remote_signer.core.rules.exposure import TICKETS_A_SECOND, budget_bound, eth_text, signing_bound

ETH = 10**18
ANYBODY = Budget("auth_id", "*", "hour", "ev", ETH)


@pytest.mark.parametrize(
    ("budgets", "wei"),
    [
        ([], None),
        ([Budget("global", "*", "minute", "ev", ETH)], 60 * ETH),
        ([Budget("global", "*", "day", "ev", ETH)], ETH),
        ([Budget("global", "*", "total", "face_value", ETH)], ETH),
        ([Budget("global", "*", "day", "ev", ETH), Budget("global", "*", "minute", "ev", ETH // 100)], 60 * ETH // 100),
        ([ANYBODY], ETH),
        ([ANYBODY, ANYBODY._replace(match="alice", limit_wei=3 * ETH)], 3 * ETH),
        ([ANYBODY, ANYBODY._replace(match="alice", limit_wei=3 * ETH), Budget("global", "*", "hour", "ev", 2 * ETH)], 2 * ETH),
        ([ANYBODY, ANYBODY._replace(match="alice", limit_wei=9 * ETH, window="day")], ETH),
        ([ANYBODY._replace(match="alice")], None),
        ([Budget("sender", "*", "hour", "ev", ETH), Budget("sender", "0x" + "11" * 20, "hour", "ev", 2 * ETH)], 2 * ETH),
        ([Budget("sender", "0x" + "11" * 20, "hour", "ev", 2 * ETH)], None),
        ([Budget("orchestrator", "*", "hour", "ev", 1), Budget("app", "a", "hour", "ev", 1)], None),
    ],
)
def test_only_what_holds_for_whoever_it_is_bounds_a_caller(budgets: list[Budget], wei: int | None) -> None:
    found = budget_bound(budgets)
    assert (None if found is None else found.wei) == wei


def test_what_can_be_signed_bounds_everybody() -> None:
    one = signing_bound(3 * 10**12, 1)
    assert one.wei == 3 * 10**12 * TICKETS_A_SECOND * 3600
    assert one.text == "32.4 ETH an hour (what one process signs, 3000 tickets a second of limits.max_ticket_ev_wei)"
    assert signing_bound(3 * 10**12, 4).wei == 4 * one.wei


@pytest.mark.parametrize(("wei", "text"), [(0, "0"), (ETH, "1"), (10 * ETH, "10"), (5 * ETH // 1000, "0.005"), (1, "0")])
def test_eth_is_written_short(wei: int, text: str) -> None:
    assert eth_text(wei) == text
