"""What one payment comes to in whole numbers: the figures that its billing event says, and whose sums usage and statements are.

Source: section 12 of the protocol. The expected value of all tickets and the fee are rounded half away from zero, payment by
payment. Budgets count otherwise: they round up (`budgets.spend_of`).
"""

from __future__ import annotations

from fractions import Fraction
from typing import NamedTuple

from livepeer_remote_signer.core.protocol.timestamps import NS_PER_SECOND
from livepeer_remote_signer.core.rules.payment import PaymentPlan

DECIMALS = 18
"""Of an ETH in wei, and of the units that a fee in USD is kept and added up in."""


class Figures(NamedTuple):
    """Wei, nanoseconds, and 10^-18 USD at the price of the moment of signing: None where no feed told one."""

    ev_wei: int
    fee_wei: int
    billed_ns: int
    fee_usd: int | None


def figures_of(plan: PaymentPlan, eth_usd: Fraction | None) -> Figures:
    """The figures of a payment; `eth_usd` is the price of one ETH in USD."""
    ev_n, ev_d = plan.session.info.ev_ratio
    fee_n, fee_d = plan.fee_ratio
    billed_ns = plan.billed.elapsed_ns
    if not billed_ns and plan.previous_update_ns is not None:
        billed_ns = max(0, plan.updated_ns - plan.previous_update_ns)
    fee_usd = None if eth_usd is None else rounded(fee_n * eth_usd.numerator, fee_d * eth_usd.denominator)
    return Figures(rounded(ev_n * plan.num_tickets, ev_d), rounded(fee_n, fee_d), billed_ns, fee_usd)


def rounded(numerator: int, denominator: int) -> int:
    """A quotient that is not negative, rounded half away from zero."""
    return numerator if denominator == 1 else (2 * numerator + denominator) // (2 * denominator)


def decimal_text(units: int) -> str:
    """10^-18 ETH, or 10^-18 USD, as a decimal without zeros at its end."""
    scaled = str(units).rjust(DECIMALS + 1, "0")
    return f"{scaled[:-DECIMALS]}.{scaled[-DECIMALS:]}".rstrip("0").rstrip(".")


def seconds_text(ns: int) -> str:
    """Exact seconds as a JSON number: `60`, `5.25`."""
    seconds, rest = divmod(ns, NS_PER_SECOND)
    return f"{seconds}.{rest:09d}".rstrip("0") if rest else str(seconds)
