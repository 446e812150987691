"""Spending over time, and who spends most.

Amounts in wei, exact. Pure: sums that the ledger has added up in, figures out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

from livepeer_remote_signer.core.rules.ledger import SpendSum

Buckets: TypeAlias = Sequence[tuple[int, SpendSum]]
"""Sums by `minute // bucket_minutes`; buckets without a payment are left out."""


class Span(NamedTuple):
    """Equal buckets of time: `first_minute` is the unix minute that the oldest one begins with."""

    first_minute: int
    bucket_minutes: int
    buckets: int


class Spending(NamedTuple):
    """One spender's or receiver's part: the sums, and the expected value by bucket, oldest first."""

    paid: SpendSum
    ev_wei_by_bucket: tuple[int, ...]


def span_until(now_minute: int, bucket_minutes: int, buckets: int) -> Span:
    """The buckets that end with the one of `now_minute`; their bounds stay the same from minute to minute."""
    last = now_minute // bucket_minutes
    return Span((last - buckets + 1) * bucket_minutes, bucket_minutes, buckets)


def spending(found: Buckets, span: Span) -> Spending:
    """The sums of a span, each bucket at its place."""
    first = span.first_minute // span.bucket_minutes
    paid, by_bucket = SpendSum(), [0] * span.buckets
    for bucket, part in found:
        paid = paid.plus(part)
        by_bucket[bucket - first] += part.ev_wei
    return Spending(paid, tuple(by_bucket))


def rest_of(total: Spending, shown: Sequence[Spending]) -> Spending:
    """What all others have spent together."""
    paid, by_bucket = total
    for part in shown:
        paid = paid.minus(part.paid)
        by_bucket = tuple(a - b for a, b in zip(by_bucket, part.ev_wei_by_bucket, strict=True))
    return Spending(paid, by_bucket)
