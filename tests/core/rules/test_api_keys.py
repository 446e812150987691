"""The keys file: what is written is read back, anything else is refused."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livepeer_remote_signer.core.rules.api_keys import KeyRecord, KeysFileError, encode_keys, hash_secret, is_secret, parse_keys, split_key

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
