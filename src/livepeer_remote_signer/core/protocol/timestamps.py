"""RFC 3339 with nanoseconds, as Go's time package writes and reads it. Times are integer unix nanoseconds.

Source: section 7 of the protocol. Python's datetime stops at microseconds, so only whole seconds go through it.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache

NS_PER_SECOND = 1_000_000_000
NS_PER_MS = 1_000_000
NEVER = "0001-01-01T00:00:00Z"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NEVER_SECONDS = -62_135_596_800
"""The first second of the year 1: the earliest that can be written, and Go's zero time, whatever offset spells it."""

MAX_GO_SECONDS = 2**63 - 1 + _NEVER_SECONDS
"""The last unix second that Go's 64 bits, which count from the year 1, can hold; a later one wraps around into the past."""

_END_SECONDS = 253_402_300_800
_RFC3339 = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]{1,9}))?(Z|[+-][0-9]{2}:[0-9]{2})", re.ASCII)


def encode_rfc3339_ns(unix_ns: int) -> str:
    """UTC, up to 9 fractional digits, trailing zeros (and then the dot) dropped."""
    seconds, ns = divmod(unix_ns, NS_PER_SECOND)
    text = _encode_seconds(seconds)
    return f"{text}.{f'{ns:09d}'.rstrip('0')}Z" if ns else f"{text}Z"


@lru_cache(64)
def _encode_seconds(seconds: int) -> str:
    return (_EPOCH + timedelta(seconds=seconds)).isoformat()[:19]


def parse_rfc3339_ns(text: str) -> int | None:
    """Unix nanoseconds; None for Go's zero time, which means "never". ValueError for anything that is not RFC 3339."""
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise ValueError("not an RFC 3339 time")
    base = datetime.fromisoformat(match[1]).replace(tzinfo=UTC)
    offset = 0
    if match[3] != "Z":
        hours, minutes = int(match[3][1:3]), int(match[3][4:6])
        if hours > 23 or minutes > 59:
            raise ValueError("not an RFC 3339 time: zone offset out of range")
        offset = (hours * 3600 + minutes * 60) * (1 if match[3][0] == "+" else -1)
    since = base - _EPOCH
    seconds = since.days * 86_400 + since.seconds - offset
    if not _NEVER_SECONDS <= seconds < _END_SECONDS:
        raise ValueError("not an RFC 3339 time: outside the years 1 to 9999")
    ns = int(match[2].ljust(9, "0")) if match[2] else 0
    return None if (seconds, ns) == (_NEVER_SECONDS, 0) else seconds * NS_PER_SECOND + ns
