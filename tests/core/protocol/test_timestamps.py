"""RFC 3339 with nanoseconds, held against datetime and against what Go's time package was seen to take."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livepeer_remote_signer.core.protocol.timestamps import NEVER, encode_rfc3339_ns, parse_rfc3339_ns

FIRST_NS = -62_135_596_800 * 10**9
END_NS = 253_402_300_800 * 10**9
instants = st.integers(FIRST_NS + 1, END_NS - 1)


@pytest.mark.parametrize(
    ("unix_ns", "text"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (1_775_592_000_123_456_789, "2026-04-07T20:00:00.123456789Z"),
        (1_775_592_022_100_000_000, "2026-04-07T20:00:22.1Z"),
        (1_775_592_055_000_000_001, "2026-04-07T20:00:55.000000001Z"),
        (1_775_592_066_000_000_010, "2026-04-07T20:01:06.00000001Z"),
        (-1, "1969-12-31T23:59:59.999999999Z"),
        (FIRST_NS + 1, "0001-01-01T00:00:00.000000001Z"),
        (END_NS - 1, "9999-12-31T23:59:59.999999999Z"),
    ],
)
def test_times_are_written_as_go_writes_them(unix_ns: int, text: str) -> None:
    assert encode_rfc3339_ns(unix_ns) == text
    assert parse_rfc3339_ns(text) == unix_ns


@given(instants)
def test_what_is_written_is_read_back_to_the_nanosecond(unix_ns: int) -> None:
    text = encode_rfc3339_ns(unix_ns)
    assert parse_rfc3339_ns(text) == unix_ns
    assert not text.endswith(("0Z", ".Z")) or "." not in text


@given(st.datetimes(min_value=datetime(2, 1, 1), max_value=datetime(9998, 1, 1)), st.integers(-1439, 1439))
def test_zone_offsets_are_read_as_datetime_reads_them(local: datetime, offset_minutes: int) -> None:
    moment = local.replace(tzinfo=timezone(timedelta(minutes=offset_minutes)))
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    assert parse_rfc3339_ns(moment.isoformat()) == (moment - epoch) // timedelta(microseconds=1) * 1000


@pytest.mark.parametrize("text", [NEVER, "0001-01-01T01:00:00+01:00", "0001-01-01T00:00:00.000Z", "0001-01-01T00:00:00-00:00"])
def test_gos_zero_time_means_never_whatever_offset_spells_it(text: str) -> None:
    assert parse_rfc3339_ns(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "never",
        "2026-04-07T20:00:00",
        "2026-04-07 20:00:00Z",
        "2026-04-07t20:00:00Z",
        "2026-04-07T20:00:00z",
        " 2026-04-07T20:00:00Z",
        "2026-04-07T20:00:00Z\n",
        "2026-04-07T24:00:00Z",
        "2026-04-07T23:59:60Z",
        "2026-02-30T00:00:00Z",
        "2026-13-01T00:00:00Z",
        "2026-04-07T20:00:00.Z",
        "2026-04-07T20:00:00.1234567891Z",
        "2026-04-07T20:00:00+0100",
        "2026-04-07T20:00:00+24:00",
        "2026-04-07T20:00:00+01:60",
        "0000-01-01T00:00:00Z",
        "0001-01-01T00:00:00+01:00",
        "9999-12-31T23:59:59-00:01",
        "٢٠٢٦-04-07T20:00:00Z",
    ],
)
def test_what_is_not_rfc_3339_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        parse_rfc3339_ns(text)


@given(
    st.text(max_size=40) | st.from_regex(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{0,10})?(Z|[+-][0-9]{2}:[0-9]{2})")
)
def test_any_text_is_a_time_that_can_be_written_again_or_a_value_error(text: str) -> None:
    try:
        unix_ns = parse_rfc3339_ns(text)
    except ValueError:
        return
    assert unix_ns is None or parse_rfc3339_ns(encode_rfc3339_ns(unix_ns)) == unix_ns
