"""`Retry-After` as RFC 9110 spells it, and what is neither."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livepeer_remote_signer.adapters.outbound.retry_after import parse_retry_after

NOW = datetime(2026, 4, 7, 20, 0, 0, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        (" 59 ", 59),
        ("61", 60),
        ("9" * 400, 60),
        ("Tue, 07 Apr 2026 20:00:30 GMT", 30),
        ("Tuesday, 07-Apr-26 20:00:30 GMT", 30),
        ("Tue, 07 Apr 2026 20:00:30 -0000", 30),
        ("Tue Apr  7 20:00:30 2026", 30),
        ("Tue, 07 Apr 2026 22:00:30 +0200", 30),
        ("Tue, 07 Apr 2026 19:59:00 GMT", 0),
        ("Wed, 08 Apr 2026 20:00:00 GMT", 60),
        ("", None),
        ("-5", None),
        ("5.5", None),
        ("soon", None),
        ("Wed, 21 Oct 99999 07:28:00 GMT", None),
        ("Wed, 21 Oct 2015 07:28:00 +999999999999999999", None),
        ("\N{ARABIC-INDIC DIGIT FIVE}", None),
    ],
)
def test_seconds_or_a_date_of_at_most_a_minute(text: str, seconds: float | None) -> None:
    assert parse_retry_after(text, NOW, 60) == seconds


@given(st.text())
def test_any_header_is_a_time_that_is_neither_past_nor_too_far_or_nothing(text: str) -> None:
    seconds = parse_retry_after(text, NOW, 60)
    assert seconds is None or 0 <= seconds <= 60
