"""The `Retry-After` of an answer (RFC 9110, 10.2.3): seconds, or an HTTP date."""

from __future__ import annotations

from datetime import UTC
from email.utils import parsedate_to_datetime


def parse_retry_after(text: str, now_seconds: float, most_seconds: float) -> float | None:
    """Seconds from `now_seconds` (unix time) on, from 0 to `most_seconds`; None for what is neither."""
    text = text.strip()
    if text.isascii() and text.isdigit():
        return min(float(text), most_seconds)
    try:
        until = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(until.replace(tzinfo=until.tzinfo or UTC).timestamp() - now_seconds, 0.0), most_seconds)
