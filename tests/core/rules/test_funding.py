"""The figures of `funds`, and what may be changed when."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import pytest

from livepeer_remote_signer.core.rules.funding import (
    FundingRefused,
    Funds,
    check_cancel_unlock,
    check_fund,
    check_unlock,
    check_withdraw,
    format_eth,
    format_gwei,
    format_hours,
    top_up_amount,
)

ETH = 10**18
FUNDS = Funds(
    wallet_wei=ETH,
    deposit_wei=ETH // 4,
    reserve_wei=ETH,
    claimed_wei=ETH // 2,
    withdraw_round=0,
    current_round=100,
    is_round_initialized=True,
    round_length=5760,
    round_start_block=1000,
    l1_block=1060,
    unlock_period=2,
    pool_size=3,
    paused=False,
)


def test_each_orchestrator_can_claim_an_equal_share_of_what_the_round_began_with() -> None:
    assert FUNDS.claimable_wei == ETH // 2
    assert FUNDS._replace(pool_size=0).claimable_wei == 0


def test_hours_until_a_round_count_l1_blocks_of_twelve_seconds() -> None:
    assert FUNDS.hours_until_round(101) == Fraction(5700 * 12, 3600)
    assert FUNDS.hours_until_round(99) == 0


@pytest.mark.parametrize(
    ("wei", "text"),
    [(0, "0 ETH"), (1, "0.000000000000000001 ETH"), (ETH // 4, "0.25 ETH"), (100 * ETH, "100 ETH"), (-ETH // 2, "-0.5 ETH")],
)
def test_amounts_are_written_exactly(wei: int, text: str) -> None:
    assert format_eth(wei) == text


@pytest.mark.parametrize(
    ("wei", "text"),
    [
        (0, "0 gwei"),
        (499, "0 gwei"),
        (500, "0.000001 gwei"),
        (1_499, "0.000001 gwei"),
        (10_000_000, "0.01 gwei"),
        (10**9, "1 gwei"),
        (100 * 10**9, "100 gwei"),
        (1_234_567_890, "1.234568 gwei"),
    ],
)
def test_gas_prices_are_written_to_six_places(wei: int, text: str) -> None:
    assert format_gwei(wei) == text


def test_many_hours_are_days() -> None:
    assert (format_hours(Fraction(5)), format_hours(Fraction(96))) == ("about 5.0 hours", "about 4.0 days")


REFUSED: dict[str, tuple[Callable[[], None], str]] = {
    "fund nothing": (lambda: check_fund(FUNDS, 0, 0), "nothing to fund"),
    "fund above the wallet": (lambda: check_fund(FUNDS, ETH, 1), "the wallet holds 1 ETH"),
    "fund while paused": (lambda: check_fund(FUNDS._replace(paused=True), 1, 0), "paused"),
    "unlock nothing": (lambda: check_unlock(FUNDS._replace(deposit_wei=0, reserve_wei=0)), "neither deposit nor reserve"),
    "unlock twice": (lambda: check_unlock(FUNDS._replace(withdraw_round=102)), "from round 102 on"),
    "cancel nothing": (lambda: check_cancel_unlock(FUNDS), "no unlock to cancel"),
    "withdraw locked": (lambda: check_withdraw(FUNDS), "run unlock first, and withdraw 2 rounds later"),
    "withdraw early": (
        lambda: check_withdraw(FUNDS._replace(withdraw_round=101)),
        "until round 101, the chain is in round 100: wait about 19.0",
    ),
    "withdraw nothing": (lambda: check_withdraw(FUNDS._replace(deposit_wei=0, reserve_wei=0, withdraw_round=9)), "neither"),
}


@pytest.mark.parametrize(("check", "why"), REFUSED.values(), ids=REFUSED.keys())
def test_a_change_that_would_fail_is_refused_with_its_reason(check: Callable[[], None], why: str) -> None:
    with pytest.raises(FundingRefused, match=why):
        check()


def test_changes_that_can_work_pass() -> None:
    check_fund(FUNDS, 1, 1)
    check_unlock(FUNDS)
    check_cancel_unlock(FUNDS._replace(withdraw_round=102))
    check_withdraw(FUNDS._replace(withdraw_round=100))


@pytest.mark.parametrize(
    ("deposit", "paid", "amount"),
    [
        (50, 0, 0),
        (51, 0, 0),
        (49, 0, 51),
        (0, 0, 100),
        (0, 50, 70),
        (49, 69, 51),
        (49, 70, 50),
        (49, 119, 1),
        (50, 500, 0),
    ],
)
def test_a_deposit_below_its_mark_is_filled_up_within_the_days_limit(deposit: int, paid: int, amount: int) -> None:
    assert top_up_amount(FUNDS._replace(deposit_wei=deposit), 50, 100, paid, 120) == amount


@pytest.mark.parametrize("paid", [120, 121, 10**30])
def test_above_the_days_limit_nothing_is_paid_in_and_that_is_no_silence(paid: int) -> None:
    with pytest.raises(FundingRefused, match=r"--max-per-day is 0\.00000000000000012 ETH: look at what spends so much"):
        top_up_amount(FUNDS._replace(deposit_wei=49), 50, 100, paid, 120)


def test_topping_up_ends_no_unlock_and_waits_for_a_paused_protocol() -> None:
    with pytest.raises(FundingRefused, match="an unlock was begun, and paying in would end it"):
        top_up_amount(FUNDS._replace(deposit_wei=49, withdraw_round=9), 50, 100, 0, 120)
    with pytest.raises(FundingRefused, match="paused"):
        top_up_amount(FUNDS._replace(deposit_wei=49, paused=True), 50, 100, 0, 120)
    assert top_up_amount(FUNDS._replace(deposit_wei=50, withdraw_round=9, paused=True), 50, 100, 0, 120) == 0
