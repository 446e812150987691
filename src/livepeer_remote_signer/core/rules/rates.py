"""Rates by caller: a minute's worth at once, evenly refilled. Counted in this process: a brake, not a budget.

Pure: `now` is an argument, in seconds of a monotonic clock.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from math import ceil, inf

from livepeer_remote_signer.core.errors import RateExceeded

MINUTE = 60.0
MAX_CALLERS = 10_000
MAX_WAIT_SECONDS = 3600


class Brake:
    """What each name has used of its rate. The one that used nothing for longest is forgotten first."""

    def __init__(self) -> None:
        self._free_at: OrderedDict[str, float] = OrderedDict()

    def wait_seconds(self, name: str, per_minute: int, amount: int, now: float, *, is_counted: bool = True) -> int:
        """0: it may, and was counted. Else whole seconds until it may. More than a minute's worth may when nothing is used, and
        is paid off afterwards."""
        if not per_minute:
            return MAX_WAIT_SECONDS
        cost = amount * MINUTE / per_minute
        start = max(self._free_at.get(name, -inf), now - MINUTE)
        wait = start + min(cost, MINUTE) - now
        if wait > 0:
            return max(1, min(MAX_WAIT_SECONDS, ceil(wait)))
        if not is_counted:
            return 0
        self._free_at[name] = start + cost
        self._free_at.move_to_end(name)
        if len(self._free_at) > MAX_CALLERS:
            self._free_at.popitem(last=False)
        return 0


class CallerRates:
    """How many payments and tickets each caller may have within a minute, whoever vouches for it. None: as many as it likes."""

    def __init__(self, payments_per_minute: int | None, tickets_per_minute: int | None) -> None:
        self._limits = [("payments", payments_per_minute, Brake()), ("tickets", tickets_per_minute, Brake())]

    def check(self, caller: str, tickets: int, now: float, *, is_counted: bool = True) -> None:
        """Counts one payment of so many tickets, unless it is only asked about. Raises RateExceeded."""
        for unit, per_minute, brake in self._limits:
            if per_minute is None:
                continue
            wait = brake.wait_seconds(caller, per_minute, 1 if unit == "payments" else tickets, now, is_counted=is_counted)
            if wait:
                raise RateExceeded(
                    f"this caller may have {per_minute} {unit} a minute from one process of this signer",
                    hint=f"limits.{unit}_per_minute sets the limit",
                    retry_after_seconds=wait,
                    unit=unit,
                    limit=per_minute,
                )


class SecondQuota:
    """At most `limit` within any second, whenever it begins."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._taken: deque[tuple[float, int]] = deque()
        self._sum = 0

    def take(self, amount: int, now: float) -> bool:
        """Whether so many may, which counts them. More than the limit may when nothing was taken within a second."""
        while self._taken and self._taken[0][0] <= now - 1:
            self._sum -= self._taken.popleft()[1]
        if self._sum and self._sum + amount > self._limit:
            return False
        self._taken.append((now, amount))
        self._sum += amount
        return True
