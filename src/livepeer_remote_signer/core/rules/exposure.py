"""What a caller in league with an orchestrator can take within an hour: the lowest of what bounds it.

Time does not bound it: such a pair opens new sessions, asks for `inPixels` or `fixed` jobs, and names any price within the
ceilings. So what is left is what budgets allow and, without them, what a process can sign.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

from livepeer_remote_signer.core.protocol.amounts import WEI_PER_ETH, float_string
from livepeer_remote_signer.core.rules.budgets import Budget

TICKETS_A_SECOND = 3000
"""What one process signs on a fast core, beside all else that a payment takes."""

_PER = {"minute": "a minute", "hour": "an hour", "day": "a day", "total": "in total"}
_WINDOWS_AN_HOUR = {"minute": 60, "hour": 1, "day": 1, "total": 1}


class Exposure(NamedTuple):
    """The most expected value within an hour, wei, and what bounds it, for people."""

    wei: int
    bound: str

    @property
    def text(self) -> str:
        """`32.4 ETH an hour (what a process signs ...)`."""
        return f"{eth_text(self.wei)} ETH an hour ({self.bound})"


def eth_text(wei: int) -> str:
    """ETH with at most six decimals."""
    return float_string(Fraction(wei, WEI_PER_ETH), 6).rstrip("0").rstrip(".")


def signing_bound(max_ticket_ev_wei: int, processes: int) -> Exposure:
    """What can be signed at all."""
    several = "one process signs" if processes == 1 else f"{processes} processes sign"
    return Exposure(
        max_ticket_ev_wei * TICKETS_A_SECOND * 3600 * processes,
        f"what {several}, {TICKETS_A_SECOND} tickets a second of limits.max_ticket_ev_wei",
    )


def budget_bound(budgets: Sequence[Budget]) -> Exposure | None:
    """What one caller may spend within an hour, whoever it is; None where no budget holds for everybody.

    Budgets of an app or an orchestrator bound nobody: both are the caller's to choose. Face values count as what they are at
    least worth: the expected value is below them.
    """
    bounds = [_bound(budget, budget.limit_wei) for budget in budgets if budget.scope == "global"]
    for default in budgets:
        if default.scope in ("auth_id", "sender") and default.match == "*":
            same = [b.limit_wei for b in budgets if (b.scope, b.window, b.measure) == (default.scope, default.window, default.measure)]
            bounds.append(_bound(default, max(same)))
    return min(bounds, default=None)


def _bound(budget: Budget, limit_wei: int) -> Exposure:
    whose = {"global": "budgets of all callers", "sender": "budgets of a sender"}.get(budget.scope, "budgets of an auth id")
    return Exposure(limit_wei * _WINDOWS_AN_HOUR[budget.window], f"{whose}, {eth_text(limit_wei)} ETH {_PER[budget.window]}")
