"""Whose word on the L1 block and on the contracts is believed, and whether this host's clock agrees with the chain. Decisions only,
no I/O.

One endpoint must not speak for all. What each one last said is held against what the others said; the largest group
that agrees is believed. Where that does not decide, as with two endpoints, the clock does: on Arbitrum One the L1 block
rises by one in 12 seconds, never faster, so a number can be too high for the time that has passed. Other chains may jump:
there the one behind is taken for the one that lags. On what stands in the contracts a majority decides, and nothing else.

`at` is in monotonic seconds throughout. Source: section 10 of the protocol; the slot of 12 s is Ethereum's.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from math import ceil
from typing import NamedTuple

from livepeer_remote_signer.adapters.chain.reading import MAX_L1_LAG, Figures

L1_BLOCK_SECONDS = 12
MAX_L1_AHEAD = 10
"""Blocks by which an endpoint alone may be ahead of the clock. An orchestrator's params live for 40."""

STEADY_SECONDS = 300.0
"""After so long an endpoint alone is believed against the clock: what was believed before was wrong then."""

MAX_CLOCK_OFFSET_SECONDS = 30.0
_WINDOW_SECONDS = 600.0


class Claim(NamedTuple):
    """What one endpoint last said. `place` is the one in the order of preference; `clock_ahead` is how many seconds this
    host's clock is ahead of its newest block's time (negative: behind)."""

    place: int
    name: str
    l1_block: int
    at: float
    clock_ahead: float = 0.0
    is_distrusted: bool = False
    steady_since: float | None = None
    figures: Figures | None = None


def do_agree(one: Claim, other: Claim, *, is_paced: bool) -> bool:
    """Whether both can be right. `is_paced`: the L1 block rises by one in 12 seconds at the most."""
    older, newer = sorted((one, other), key=lambda claim: claim.at)
    due = ceil((newer.at - older.at) / L1_BLOCK_SECONDS) if is_paced else 0
    return -MAX_L1_LAG <= newer.l1_block - older.l1_block <= MAX_L1_LAG + due


MAX_FUNDS_FACTOR = 2
"""Deposit and reserve may differ by it: winning tickets are redeemed, and funds paid in, between two answers."""


def find_difference(one: Figures, other: Figures) -> tuple[str, object, object] | None:
    """In what two endpoints contradict each other on the contracts, and what each of them says."""
    exact = (
        ("Controller.paused", one.is_paused, other.is_paused),
        ("lastInitializedRound", one.round, other.round),
        ("blockHashForRound", one.round_hash.hex(), other.round_hash.hex()),
        *(("withdrawRound", *both) for both in zip(one.unlocks, other.unlocks, strict=True)),
    )
    for what, here, there in exact:
        if here != there:
            return what, here, there
    funds = (("deposit", one.deposits, other.deposits), ("reserve", one.reserves, other.reserves))
    for what, ours, theirs in funds:
        for mine, yours in zip(ours, theirs, strict=True):
            if max(mine, yours) > MAX_FUNDS_FACTOR * min(mine, yours):
                return what, mine, yours
    return None


def find_outvoted(claim: Claim, others: Sequence[Claim]) -> str | None:
    """Why a claim is not believed that the others agree in contradicting: they are most of all that were heard."""
    for other in others:
        difference = _difference(claim, other)
        agreeing = sum(_difference(other, third) is None for third in others)
        if difference is not None and 2 * agreeing > len(others) + 1:
            what, here, there = difference
            return f"its {what} is {here}, and {agreeing} of {len(others) + 1} endpoints have {there}"
    return None


def most_that_agree(claims: Sequence[Claim]) -> int:
    """How many there are of those that agree on the contracts."""
    return max((sum(_difference(one, other) is None for other in claims) for one in claims), default=0)


def _difference(one: Claim, other: Claim) -> tuple[str, object, object] | None:
    return None if one.figures is None or other.figures is None else find_difference(one.figures, other.figures)


class ExpectedBlock:
    """Where the L1 block can be by now at the most, by what was believed within the last ten minutes.

    Its highest line counts, so that the L1 block may stand still for a while and catch up. What was believed of one
    endpoint alone never lifts the line: else it could creep upwards within the slack.
    """

    def __init__(self) -> None:
        self._offsets: deque[tuple[float, float]] = deque()
        self.last_block = 0

    def at(self, now: float) -> float | None:
        """The L1 block that the clock expects; None before anything was believed."""
        if not self._offsets:
            return None
        return max(offset for _, offset in self._offsets) + now / L1_BLOCK_SECONDS

    def note(self, l1_block: int, at: float, *, may_lift: bool, lag_seconds: float = 0.0) -> None:
        """A block that is believed. The first one counts from `lag_seconds` before: so far its head lay behind the clock."""
        offset = l1_block - at / L1_BLOCK_SECONDS
        if not self._offsets:
            offset += lag_seconds / L1_BLOCK_SECONDS
        elif not may_lift:
            offset = min(offset, max(known for _, known in self._offsets))
        if self._offsets and at - self._offsets[-1][0] < L1_BLOCK_SECONDS:
            since, highest = self._offsets.pop()
            self._offsets.append((since, max(offset, highest)))
        else:
            self._offsets.append((at, offset))
        while len(self._offsets) > 1 and self._offsets[0][0] < at - _WINDOW_SECONDS:
            self._offsets.popleft()
        self.last_block = l1_block

    def lift(self, seconds: float) -> None:
        """So much time has passed that the monotonic clock did not count: a suspended machine."""
        self._offsets = deque((at, offset + seconds / L1_BLOCK_SECONDS) for at, offset in self._offsets)

    def forget(self) -> None:
        """Begins anew with the next block."""
        self._offsets.clear()


class Judgement(NamedTuple):
    """`distrusted` says why, by place; `believed` are those that agree with one another; `is_against_the_clock`: the L1 block is
    another than the clock expects, and is believed all the same."""

    believed: tuple[Claim, ...]
    distrusted: Mapping[int, str]
    is_against_the_clock: bool = False


def judge(claims: Sequence[Claim], expected: ExpectedBlock | None) -> Judgement:
    """Whom to believe. `expected` None: the chain's L1 block may jump."""
    if not claims:
        return Judgement((), {})
    is_paced = expected is not None
    groups = {claim: [other for other in claims if do_agree(claim, other, is_paced=is_paced)] for claim in claims}
    best = min(claims, key=lambda claim: (-len(groups[claim]), *_doubt(claim, expected), claim.place))
    group = groups[best]
    distrusted = {}
    for claim in claims:
        if claim not in group:
            side = "ahead of" if claim.l1_block > best.l1_block else "behind"
            why = _reason(best, group, len(claims), expected)
            distrusted[claim.place] = f"its L1 block {claim.l1_block} is more than {MAX_L1_LAG} {side} {best.l1_block} of {best.name}{why}"
    fault = None if expected is None else _against_the_clock(best, expected)
    if fault is None or len(group) > 1:
        return Judgement(tuple(group), distrusted, fault is not None)
    if best.steady_since is not None and best.at - best.steady_since >= STEADY_SECONDS:
        return Judgement(tuple(group), distrusted, True)
    return Judgement((), {**distrusted, best.place: fault})


def _doubt(claim: Claim, expected: ExpectedBlock | None) -> tuple[float, ...]:
    """What decides between groups of one size: the smaller, the better."""
    if expected is None:
        return (claim.is_distrusted, -claim.l1_block)
    due = expected.at(claim.at)
    if due is not None:
        return (abs(claim.l1_block - due),)
    return (abs(claim.clock_ahead) // (MAX_L1_LAG * L1_BLOCK_SECONDS),)


def _reason(best: Claim, group: Sequence[Claim], count: int, expected: ExpectedBlock | None) -> str:
    if 2 * len(group) > count:
        return f", as {len(group)} of {count} endpoints have it"
    if expected is None:
        return ""
    due = expected.at(best.at)
    return ", whose head's time is nearer to the clock" if due is None else f", which is nearer to the {due:.0f} that the clock expects"


def _against_the_clock(claim: Claim, expected: ExpectedBlock) -> str | None:
    """Why a claim cannot be right if what was believed before was; None when it can."""
    due = expected.at(claim.at)
    if due is None:
        return None
    if claim.l1_block > due + MAX_L1_AHEAD:
        return (
            f"its L1 block {claim.l1_block} is more than {MAX_L1_AHEAD} ahead of {due:.0f}: one block in {L1_BLOCK_SECONDS} s "
            f"since what was believed before, and no other endpoint agrees"
        )
    if claim.l1_block < expected.last_block - MAX_L1_LAG:
        return f"its L1 block went back from {expected.last_block} to {claim.l1_block}, and no other endpoint agrees"
    return None


class BlockTime(NamedTuple):
    """How one endpoint's newest block stands to this host's clock. `is_new`: it came since the endpoint was asked before."""

    clock_ahead: float
    is_new: bool


def find_clock_offset(times: Sequence[BlockTime]) -> float | None:
    """By how many seconds this host's clock is ahead of all endpoints' block times (negative: behind); 0 where it agrees with
    one of them; None where nobody can tell, because no head moves.

    A block later than our clock says so at once. An old one may belong to a head that stands still: only one that has just
    come tells that the clock is ahead.
    """
    if any(abs(time.clock_ahead) <= MAX_CLOCK_OFFSET_SECONDS for time in times):
        return 0.0
    if not times or not all(time.clock_ahead < 0 or time.is_new for time in times):
        return None
    nearest = min(times, key=lambda time: abs(time.clock_ahead))
    return nearest.clock_ahead if all((time.clock_ahead < 0) == (nearest.clock_ahead < 0) for time in times) else None
