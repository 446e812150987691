"""This host's clock, held against the chain's block times and against the monotonic clock.

What is due to an orchestrator is a matter of time, so a clock that is wrong stops payments. That it agreed once holds for
as long as it runs beside the monotonic clock; when it jumps, it must agree anew.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from livepeer_remote_signer.adapters.chain.trust import MAX_CLOCK_OFFSET_SECONDS, BlockTime, find_clock_offset
from livepeer_remote_signer.core.rules.chain import ClockFault

MAX_LAG_SECONDS = 300.0
"""All endpoints may lag so far behind a clock that agreed with them before, and did not jump since."""

_SAME_CLOCK_SECONDS = 5.0


class HostClock:
    """What is known of this host's clock. `may_stop_payments`: a chain whose block times are the time of day (Arbitrum One)."""

    def __init__(self, monotonic: Callable[[], float], wall: Callable[[], float], *, may_stop_payments: bool) -> None:
        self._monotonic = monotonic
        self._wall = wall
        self._may_stop_payments = may_stop_payments
        self._agreed_at_offset: float | None = None
        self._last_offset: float | None = None
        self._fault: ClockFault | None = None

    def seconds_ahead(self, block_timestamp: int, asked_at: float, answered_at: float) -> float:
        """How far this clock, as it runs now, is ahead of a block that was the newest at some moment between `asked_at` and
        `answered_at` (monotonic seconds); 0 where it can have been made within them."""
        offset = self._wall() - self._monotonic()
        if block_timestamp > answered_at + offset:
            return answered_at + offset - block_timestamp
        return max(0.0, asked_at + offset - block_timestamp)

    def take_jump(self) -> float:
        """By how many seconds this clock went on further than the monotonic one since the last call: a suspended machine."""
        offset = self._wall() - self._monotonic()
        before, self._last_offset = self._last_offset, offset
        return offset - before if before is not None and offset - before > _SAME_CLOCK_SECONDS else 0.0

    def note(self, times: Sequence[BlockTime]) -> None:
        """Takes the block times of all believed endpoints, by this clock as it runs now."""
        offset = self._wall() - self._monotonic()
        ahead = find_clock_offset(times)
        if ahead is None:
            return
        if ahead == 0:
            self._agreed_at_offset, self._fault = offset, None
            return
        is_same_clock = self._agreed_at_offset is not None and abs(offset - self._agreed_at_offset) <= _SAME_CLOCK_SECONDS
        if 0 < ahead <= MAX_LAG_SECONDS and is_same_clock:
            return
        self._agreed_at_offset = None
        self._fault = ClockFault(
            f"this host's clock is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} the newest blocks of all RPC endpoints, "
            f"the limit is {MAX_CLOCK_OFFSET_SECONDS:g} s",
            ahead,
            MAX_CLOCK_OFFSET_SECONDS,
        )

    def judgement(self, now: float) -> tuple[bool | None, ClockFault | None]:
        """Whether this clock agrees with the chain (None: not known), and why payments must wait. `now` is monotonic."""
        if self._fault is not None:
            return (False, self._fault) if self._may_stop_payments else (None, None)
        if self._agreed_at_offset is None:
            return None, None
        jumped = self._wall() - now - self._agreed_at_offset
        if abs(jumped) <= MAX_CLOCK_OFFSET_SECONDS:
            return True, None
        if not self._may_stop_payments:
            return None, None
        reason = (
            f"this host's clock has jumped by {jumped:.0f} s since it agreed with the chain, the limit is "
            f"{MAX_CLOCK_OFFSET_SECONDS:g} s: the next reading of the chain tells whether it is right now"
        )
        return None, ClockFault(reason, jumped, MAX_CLOCK_OFFSET_SECONDS)
