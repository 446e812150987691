"""Spending, computed from what was paid: spending over time, who spends most, and how long funds last.

Amounts in wei, exact. Pure: lines of the spending statistics in, figures out.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from fractions import Fraction
from typing import NamedTuple, Protocol, TypeVar

from livepeer_remote_signer.core.rules.ledger import SpendSum

MINUTES_PER_HOUR = 60


class SpendEntry(Protocol):
    """One line of the spending statistics: who paid whom (20-byte address) within a unix minute."""

    @property
    def minute(self) -> int: ...

    @property
    def auth_id(self) -> str: ...

    @property
    def orchestrator(self) -> bytes: ...

    @property
    def paid(self) -> SpendSum: ...


class Span(NamedTuple):
    """Equal buckets of time: `first_minute` is the unix minute that the oldest one begins with."""

    first_minute: int
    bucket_minutes: int
    buckets: int

    def bucket_of(self, minute: int) -> int | None:
        """The bucket a minute lies in, None outside the span."""
        index = (minute - self.first_minute) // self.bucket_minutes
        return index if 0 <= index < self.buckets else None


class Spending(NamedTuple):
    """One spender's or receiver's part: the sums, and the expected value by bucket, oldest first."""

    name: str
    paid: SpendSum
    ev_wei_by_bucket: tuple[int, ...]


_K = TypeVar("_K", bound=Hashable)


def span_until(now_minute: int, bucket_minutes: int, buckets: int) -> Span:
    """The buckets that end with the one of `now_minute`; their bounds stay the same from minute to minute."""
    last = now_minute // bucket_minutes
    return Span((last - buckets + 1) * bucket_minutes, bucket_minutes, buckets)


def spending(
    lines: Iterable[SpendEntry], span: Span, key: Callable[[SpendEntry], _K], name: Callable[[_K], str], most: int
) -> list[Spending]:
    """The `most` largest spenders by expected value, largest first, and after them all others together under the name ""."""
    sums: dict[_K, SpendSum] = {}
    points: dict[_K, list[int]] = {}
    for line in lines:
        bucket = span.bucket_of(line.minute)
        if bucket is None:
            continue
        who = key(line)
        sums[who] = add_sums(sums.get(who, SpendSum()), line.paid)
        points.setdefault(who, [0] * span.buckets)[bucket] += line.paid.ev_wei
    ranked = sorted(sums, key=lambda who: (-sums[who].ev_wei, name(who)))
    shown = [Spending(name(who), sums[who], tuple(points[who])) for who in ranked[:most]]
    rest = ranked[most:]
    if rest:
        total = SpendSum()
        for who in rest:
            total = add_sums(total, sums[who])
        shown.append(Spending("", total, tuple(sum(column) for column in zip(*(points[who] for who in rest), strict=True))))
    return shown


def add_sums(a: SpendSum, b: SpendSum) -> SpendSum:
    """Both together."""
    return SpendSum(*(x + y for x, y in zip(a, b, strict=True)))


def expected_burn_wei_per_hour(lines: Iterable[SpendEntry], now_minute: int) -> int:
    """The expected value signed within the last sixty whole minutes and the present one, wei."""
    return sum(line.paid.ev_wei for line in lines if 0 <= now_minute - line.minute <= MINUTES_PER_HOUR)


def expected_runway_hours(deposit_wei: int, burn_wei_per_hour: int) -> Fraction | None:
    """How long the deposit lasts when winners take what tickets are worth on average; None when nothing was signed."""
    return Fraction(deposit_wei, burn_wei_per_hour) if burn_wei_per_hour else None
