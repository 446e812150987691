"""The `Retry-After` of an answer (RFC 9110, 10.2.3): seconds, or an HTTP date."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

MAX_SECONDS = 60.0


def parse_retry_after(text: str, now: datetime) -> float | None:
    """How many seconds from now, at most MAX_SECONDS; None for what is neither."""
    if text.isascii() and text.isdigit():
        return min(float(text), MAX_SECONDS)
    try:
        until = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max((until.replace(tzinfo=until.tzinfo or UTC) - now).total_seconds(), 0.0), MAX_SECONDS)
