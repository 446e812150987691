"""The keys file: what is written is read back, anything else is refused."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livepeer_remote_signer.core.rules.api_keys import (
    KEPT_SECONDS,
    KeyRecord,
    KeysFileError,
    encode_keys,
    hash_secret,
    is_forgotten,
    is_secret,
    parse_key,
    parse_keys,
    split_key,
    split_lines,
)

RECORD = KeyRecord("0123456789abcdef", "bob", "team-a", b"s" * 16, hash_secret(b"s" * 16, "x"), 5, 9, None, ("signTicket",), 60)


def test_what_is_written_is_read_back() -> None:
    other = RECORD._replace(id="f" * 16, expires=None, revoked=7, routes=(), requests_per_minute=None)
    assert parse_keys(encode_keys([RECORD, other])) == [RECORD, other]


def test_the_file_does_not_hold_the_secret() -> None:
    assert '"x"' not in encode_keys([RECORD])
    assert is_secret(RECORD, "x")
    assert not is_secret(RECORD, "y")
    assert not is_secret(RECORD._replace(salt=b"t" * 16), "x")


def changed(**fields: object) -> str:
    document = json.loads(encode_keys([RECORD]))
    document["keys"][0].update(fields)
    return json.dumps(document)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"version": 2, "keys": []}',
        '{"version": 1, "keys": {}}',
        '{"version": 1, "keys": [5]}',
        encode_keys([RECORD, RECORD]),
        changed(more=1),
        changed(id="short"),
        changed(id=5),
        changed(hash="00"),
        changed(salt="zz"),
        changed(expires="5"),
        changed(expires=True),
        changed(expires=-1),
        changed(routes=["nope"]),
        changed(routes=5),
        changed(auth_id=""),
        changed(auth_id="a\nb"),
        changed(auth_id="a" * 1025),
        "[" * 100_000,
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(KeysFileError):
        parse_keys(text)


@given(st.text(max_size=100))
def test_no_text_raises_anything_else(text: str) -> None:
    assert split_key(text) is None
    with pytest.raises(KeysFileError):
        parse_keys(text)


# --- one key a line ---

OTHER = RECORD._replace(id="b" * 16, routes=("signTicket",), expires=99)


def test_each_key_has_a_line_that_reads_by_itself() -> None:
    lines = split_lines(encode_keys([RECORD, OTHER]))
    assert lines is not None
    assert [parse_key(line) for line in lines] == [RECORD, OTHER]
    assert split_lines(encode_keys([])) == []
    assert parse_keys(encode_keys([])) == []


def test_a_file_in_another_form_is_read_whole() -> None:
    text = json.dumps(json.loads(encode_keys([RECORD, OTHER])), indent=2)
    assert split_lines(text) is None
    assert parse_keys(text) == [RECORD, OTHER]
    whole = encode_keys([RECORD, OTHER])
    for broken in (whole[:-1], whole + " ", whole.replace(",\n", "\n", 1), whole.replace("\n]}", ",\n]}"), "", "\n\n"):
        assert split_lines(broken) is None


@pytest.mark.parametrize("line", ["", "{", "[]", "5", "[" * 5000, '{"id": "x"}'])
def test_a_line_that_is_no_key_is_refused(line: str) -> None:
    with pytest.raises(KeysFileError):
        parse_key(line)


def test_a_key_that_ended_is_forgotten_a_month_later() -> None:
    lasting = RECORD._replace(expires=None)
    assert not is_forgotten(lasting, 10**12)
    for ended in (lasting._replace(revoked=100), lasting._replace(expires=100), lasting._replace(revoked=100, expires=10**12)):
        assert not is_forgotten(ended, 99 + KEPT_SECONDS)
        assert is_forgotten(ended, 100 + KEPT_SECONDS)
