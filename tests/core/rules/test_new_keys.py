"""API keys as they are asked for, one or many at once."""

from __future__ import annotations

import json
from typing import Any

import pytest

from livepeer_remote_signer.core.errors import BadField
from livepeer_remote_signer.core.protocol.strict_json import parse_json
from livepeer_remote_signer.core.rules.api_keys import is_secret
from livepeer_remote_signer.core.rules.new_keys import (
    NewKey,
    describe_key,
    key_id_of,
    parse_expiry,
    parse_ids,
    parse_new_keys,
    state_of,
)

NOW = 1_900_000_000
DAY = 86_400


def parsed(body: Any) -> list[NewKey]:
    return parse_new_keys(parse_json(json.dumps(body).encode()), NOW)


def test_a_count_makes_keys_of_the_same_terms_each_with_an_auth_id_of_its_own() -> None:
    keys = parsed({"count": 3, "name": "team", "expires": "2d", "routes": ["signTicket", "signTicket"], "requests_per_minute": 60})
    assert [key.name for key in keys] == ["team 1", "team 2", "team 3"]
    assert {key[1:] for key in keys} == {(None, NOW + 2 * DAY, ("signTicket",), 60)}
    assert parsed({"count": 1}) == [NewKey("user")]
    record = keys[0].record("0" * 16, "s", b"salt", NOW)
    assert record.auth_id == "key:" + "0" * 16
    assert is_secret(record, "s")


def test_a_list_makes_each_key_as_it_is_described() -> None:
    keys = parsed({"keys": [{"auth_id": "alice"}, {"auth_id": "bob", "name": " Bob "}, {}]})
    assert keys == [NewKey("alice", "alice"), NewKey("Bob", "bob"), NewKey("user")]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"count": 3, "keys": [{}]},
        {"keys": [{}], "name": "a"},
        {"keys": {}},
        {"keys": []},
        {"keys": [{}] * 1001},
        {"count": 0},
        {"count": 1001},
        {"count": 1.5},
        {"count": "3"},
        {"count": 3, "auth_id": "shared"},
        {"keys": [{"auth_id": ""}]},
        {"keys": [{"auth_id": "x" * 1025}]},
        {"keys": [{"name": "x" * 201}]},
        {"count": 2, "name": "x" * 200},
        {"keys": [{"name": "a\nb"}]},
        {"keys": [{"expires": "yesterday"}]},
        {"keys": [{"expires": "2001-01-01"}]},
        {"keys": [{"expires": "999999w"}]},
        {"keys": [{"routes": ["pay"]}]},
        {"keys": [{"routes": "signTicket"}]},
        {"keys": [{"routes": [["signTicket"]]}]},
        {"keys": [{"requests_per_minute": 0}]},
        {"keys": [{"requests_per_minute": 10**10}]},
        {"keys": [{"secret": "mine"}]},
        {"keys": [5]},
        5,
    ],
)
def test_what_no_key_can_be_is_refused(body: Any) -> None:
    with pytest.raises(BadField):
        parsed(body)


def test_an_expiry_is_a_duration_or_a_date_in_utc() -> None:
    assert parse_expiry("12h", NOW) == NOW + DAY // 2
    assert parse_expiry("2999-01-31T12:30:00+02:00", NOW) == 32_474_773_800
    assert parse_expiry("2999-01-31", NOW) == 32_474_736_000


def test_a_key_is_described_without_anything_secret() -> None:
    record = NewKey("Bob", "bob", NOW + DAY, ("signTicket",), 5).record("a" * 16, "secret", b"s" * 16, NOW)
    told = describe_key(record, NOW // 60, NOW)
    assert told["state"].startswith("active until ")
    assert told["last_used"] == "2030-03-17T17:46:00Z"
    assert (told["expires"], told["revoked"], told["routes"]) == ("2030-03-18T17:46:40Z", None, ["signTicket"])
    assert record.hash.hex() not in json.dumps(told)
    assert describe_key(record, None, NOW)["last_used"] is None


def test_a_keys_state_in_words() -> None:
    record = NewKey("Bob", "bob").record("a" * 16, "secret", b"s" * 16, NOW)
    assert state_of(record, NOW) == "active"
    assert state_of(record._replace(expires=NOW), NOW).startswith("expired ")
    assert state_of(record._replace(revoked=NOW), NOW).startswith("revoked ")


def test_ids_are_taken_also_from_whole_keys_each_once() -> None:
    assert parse_ids(["lrs_00112233445566778_x", "0011223344556677", "zz"], 5) == ["0011223344556677", "zz"]
    assert key_id_of("lrs_") == ""
    for ids in ([], ["a"] * 6, [5]):
        with pytest.raises(BadField, match="1 to 5 ids"):
            parse_ids(ids, 5)
