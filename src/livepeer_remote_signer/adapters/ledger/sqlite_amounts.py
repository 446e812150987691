"""Amounts in SQLite: text, since its whole numbers have 63 bits, and yet added up within it, exactly."""

from __future__ import annotations

from collections.abc import Sequence

BILLION = 10**9


def sums_of(column: str) -> str:
    """Sums of amounts that are text, exact: of their last nine digits and of what stands before. 10^27 and more is an overflow."""
    before = f"""CASE WHEN length({column}) < 19 THEN CAST({column} AS INTEGER) / {BILLION}
        WHEN length({column}) < 28 THEN CAST(substr({column}, 1, length({column}) - 9) AS INTEGER) ELSE abs(-9223372036854775808) END"""
    last = f"""CASE WHEN length({column}) < 19 THEN CAST({column} AS INTEGER) % {BILLION}
        ELSE CAST(substr({column}, -9) AS INTEGER) END"""
    return f"sum({before}), sum({last})"


def joined(halves: Sequence[int]) -> list[int]:
    """The sums that `sums_of` gave, whole."""
    return [high * BILLION + low for high, low in zip(halves[::2], halves[1::2], strict=True)]
