"""What the sender's funds in TicketBroker allow: the figures an operator reads, and whether a change may be made. Pure.

Source: section 10 of the protocol, and TicketBroker's rules for unlocking: funds leave in two steps, two rounds apart.
"""

from __future__ import annotations

from fractions import Fraction
from typing import NamedTuple

from livepeer_remote_signer.core.protocol.amounts import WEI_PER_ETH, WEI_PER_GWEI, float_string

SECONDS_PER_L1_BLOCK = 12
SECONDS_PER_HOUR = 3600


class FundingRefused(Exception):
    """The change would fail or do nothing; the message says why and what to do instead."""


class Funds(NamedTuple):
    """What the chain says of a sender. Amounts in wei, rounds and their length as RoundsManager counts them (L1 blocks)."""

    wallet_wei: int
    deposit_wei: int
    reserve_wei: int
    claimed_wei: int
    withdraw_round: int
    current_round: int
    is_round_initialized: bool
    round_length: int
    round_start_block: int
    l1_block: int
    unlock_period: int
    pool_size: int
    paused: bool

    @property
    def claimable_wei(self) -> int:
        """What one orchestrator can claim from the reserve in this round: an equal share, as TicketBroker computes it."""
        return (self.reserve_wei + self.claimed_wei) // self.pool_size if self.pool_size else 0

    @property
    def is_unlocking(self) -> bool:
        """Whether an unlock was begun."""
        return self.withdraw_round != 0

    @property
    def is_unlocked(self) -> bool:
        """Whether the funds can be withdrawn now."""
        return self.is_unlocking and self.current_round >= self.withdraw_round

    def hours_until_round(self, round_: int) -> Fraction:
        """About how long until a round begins."""
        blocks = self.round_start_block + (round_ - self.current_round) * self.round_length - self.l1_block
        return Fraction(max(0, blocks) * SECONDS_PER_L1_BLOCK, SECONDS_PER_HOUR)


class Burn(NamedTuple):
    """What winning tickets took from the sender's funds within the last `seconds`."""

    redeemed_wei: int
    tickets: int
    seconds: int


def format_eth(wei: int) -> str:
    """`0.25 ETH`: exact, without trailing zeros."""
    text = float_string(Fraction(wei, WEI_PER_ETH), 18).rstrip("0").rstrip(".")
    return f"{text} ETH"


def format_gwei(wei: int) -> str:
    """`0.01 gwei`: to six places, without trailing zeros."""
    text = float_string(Fraction(wei, WEI_PER_GWEI), 6).rstrip("0").rstrip(".")
    return f"{text} gwei"


def format_hours(hours: Fraction) -> str:
    """`about 3.2 hours`, or days when they are many."""
    return f"about {float_string(hours, 1)} hours" if hours < 72 else f"about {float_string(hours / 24, 1)} days"


def check_fund(funds: Funds, deposit_wei: int, reserve_wei: int) -> None:
    """Raises FundingRefused when paying in cannot work."""
    _check_not_paused(funds)
    if deposit_wei + reserve_wei == 0:
        raise FundingRefused("nothing to fund: give --deposit, --reserve or both, above 0")
    if funds.wallet_wei <= deposit_wei + reserve_wei:
        raise FundingRefused(
            f"the wallet holds {format_eth(funds.wallet_wei)}, and {format_eth(deposit_wei + reserve_wei)} are to be paid in, "
            "with gas on top: send it more ETH, or pay in less"
        )


def top_up_amount(funds: Funds, below_wei: int, to_wei: int, paid_wei: int, most_wei: int) -> int:
    """What to pay into a deposit that is below `below_wei` so that it is `to_wei`: 0 while it is not below, and never more than what
    `paid_wei` of the last day leaves of `most_wei`. Raises FundingRefused when nothing may be paid although the deposit is below."""
    if funds.deposit_wei >= below_wei:
        return 0
    _check_not_paused(funds)
    if funds.is_unlocking:
        raise FundingRefused("an unlock was begun, and paying in would end it: stop the timer; to go on, cancel-unlock, or fund by hand")
    amount = min(to_wei - funds.deposit_wei, most_wei - paid_wei)
    if amount <= 0:
        raise FundingRefused(
            f"the deposit is {format_eth(funds.deposit_wei)}, below {format_eth(below_wei)}, but {format_eth(paid_wei)} were paid in "
            f"within the last day, and --max-per-day is {format_eth(most_wei)}: look at what spends so much, or raise it"
        )
    return amount


def check_unlock(funds: Funds) -> None:
    """Raises FundingRefused when there is nothing to unlock, or it is unlocking already."""
    _check_not_paused(funds)
    _check_any_funds(funds)
    if funds.is_unlocking:
        raise FundingRefused(f"an unlock is in progress already: the funds can be withdrawn from round {funds.withdraw_round} on")


def check_cancel_unlock(funds: Funds) -> None:
    """Raises FundingRefused when there is no unlock to cancel."""
    _check_not_paused(funds)
    if not funds.is_unlocking:
        raise FundingRefused("there is no unlock to cancel")


def check_withdraw(funds: Funds) -> None:
    """Raises FundingRefused before the unlock's round."""
    _check_not_paused(funds)
    _check_any_funds(funds)
    if not funds.is_unlocking:
        raise FundingRefused(f"the funds are locked: run unlock first, and withdraw {funds.unlock_period} rounds later")
    if not funds.is_unlocked:
        raise FundingRefused(
            f"the funds are locked until round {funds.withdraw_round}, the chain is in round {funds.current_round}: "
            f"wait {format_hours(funds.hours_until_round(funds.withdraw_round))}"
        )


def _check_not_paused(funds: Funds) -> None:
    if funds.paused:
        raise FundingRefused("the Livepeer protocol is paused by its Controller: nothing can be changed until it goes on")


def _check_any_funds(funds: Funds) -> None:
    if funds.deposit_wei == 0 and funds.reserve_wei == 0:
        raise FundingRefused("there is neither deposit nor reserve")
