"""Any bytes are a JSON value or a refusal; keys, numbers and base64 are read as Go's decoder reads them, or refused."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livepeer_remote_signer.api.live_payment import parse_live_payment
from livepeer_remote_signer.api.sign_ticket import parse_sign_ticket
from livepeer_remote_signer.core.errors import BadField, BadJson, SignerError
from livepeer_remote_signer.core.protocol.strict_json import (
    MAX_DEPTH,
    MAX_VALUES,
    JsonNumber,
    JsonObject,
    base64_field,
    exact_object,
    fold_key,
    fold_object,
    int64_field,
    is_number_text,
    is_too_deep,
    json_type,
    parse_base64,
    parse_json,
    replace_surrogates,
    text_field,
)
from livepeer_remote_signer.core.rules.payment import PaymentRequest
from tests.outcomes import outcome
from tests.strategies import json_like_bytes, json_values

KEYS = frozenset({"type", "state", "inpixels"})


def plain(value: Any) -> Any:
    """A parsed value as the json module would have given it."""
    if isinstance(value, JsonObject):
        return {key: plain(item) for key, item in value}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return json.loads(value) if isinstance(value, JsonNumber) else value


@given(json_values)
def test_what_is_json_is_read_as_it_is(value: Any) -> None:
    assert plain(parse_json(json.dumps(value).encode())) == value


@given(json_like_bytes)
def test_any_bytes_are_one_json_value_or_bad_json(body: bytes) -> None:
    value = outcome(parse_json, body)
    assert isinstance(value, JsonObject | list | str | bool | None | BadJson)
    assert not isinstance(value, BadJson) or len(value.message) < 300


def check_request(request: PaymentRequest | SignerError) -> None:
    """A request whose texts can be written, or a refusal of step 1."""
    if isinstance(request, SignerError):
        assert request.code in ("bad_json", "bad_field", "bad_orchestrator", "bad_capabilities")
        return
    for text in (request.manifest_id, request.app, request.type):
        text.encode()


@given(json_like_bytes)
def test_any_bytes_are_a_request_or_a_refusal_of_our_tree(body: bytes) -> None:
    check_request(outcome(parse_live_payment, body))
    check_request(outcome(parse_sign_ticket, body))


request_keys = st.sampled_from(
    ["orchestrator", "state", "ManifestID", "manifestid", "APP", "type", "inPixels", "maxPrice", "capabilities", "orchestratorInfo", "x"]
)
inner_objects = st.dictionaries(st.sampled_from(["State", "sig", "price", "currency", "UNIT", "x"]), json_values, max_size=3)


@given(st.dictionaries(request_keys, json_values | inner_objects | st.just("AAAA"), max_size=6))
def test_any_object_is_a_request_or_a_refusal_of_our_tree(body: dict[str, Any]) -> None:
    check_request(outcome(parse_live_payment, json.dumps(body).encode()))
    check_request(outcome(parse_sign_ticket, json.dumps(body).encode()))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"{",
        b"{'type': 1}",
        b"{}{}",
        b"{} x",
        b'{"a":1,}',
        b"[1,]",
        b"// comment\n{}",
        b'{"a":NaN}',
        b'{"a":-Infinity}',
        b'{"a":Infinity}',
        b'{"a":01}',
        b'{"a":+1}',
        b'{"a":.5}',
        b'{"a":1.}',
        b'{"a":0x10}',
        b'{"a":"\n"}',
        b'{"a":"\\x41"}',
        b'{"a":"\\u12G4"}',
        b'{"a":"\\u+123"}',
        b'{"a":"\\U0041"}',
        b'{"a":tru}',
        b"\xef\xbb\xbf{}",
        b'{"a":"\xff"}',
        b'{"a":"\xed\xa0\x80"}',
        b"\xff\xfe{\x00}\x00",
        "{\u00a0}".encode(),
        b"\x0c{}",
        b"[" * 100_000 + b"]" * 100_000,
        b'{"a":' * 100_000,
    ],
    ids=lambda body: repr(body[:16]),
)
def test_what_gos_decoder_refuses_and_doubled_values_are_bad_json(body: bytes) -> None:
    with pytest.raises(BadJson):
        parse_json(body)


BOMBS = """
import sys
import time
from livepeer_remote_signer.api.live_payment import parse_live_payment
from livepeer_remote_signer.core.errors import BadJson

sys.setrecursionlimit(1_000_000)
for bomb in (b"[" * 900_000, b'{"a":' * 150_000, b'{"x":' + b"[" * 500_000 + b"]" * 500_000 + b"}", b'{"x":"' + b"[" * 900_000):
    try:
        parse_live_payment(bomb)
    except BadJson:
        continue
    raise SystemExit("read")
"""


def test_a_json_bomb_is_refused_even_where_a_library_raised_the_recursion_limit() -> None:
    """In a process of its own: where this fails, the process dies of a full C stack."""
    assert subprocess.run([sys.executable, "-c", BOMBS], timeout=60, check=False).returncode == 0


@pytest.mark.parametrize(("depth", "passes"), [(1, True), (MAX_DEPTH, True), (MAX_DEPTH + 1, False)])
def test_nesting_is_bounded_exactly(depth: int, passes: bool) -> None:
    for body in (b"[" * depth + b"]" * depth, b'{"[{\\"":' * depth + b"1" + b"}" * depth, b"[" + b"[" * (depth - 1) + b"]" * depth):
        assert is_too_deep(body) == (not passes)
        assert isinstance(outcome(parse_json, body), BadJson) == (not passes)


@pytest.mark.parametrize(
    "tail",
    [b'\\"' * 500_000, b'\\"' * 500_000 + b"\\", b'"' + b"\\" * 999_999, b'"a' * 400_000, b"\\" * 1_000_000],
    ids=["escaped marks", "a backslash last", "one mark", "marks", "backslashes"],
)
def test_no_text_makes_the_depth_take_long(tail: bytes) -> None:
    """Quotation marks that open nothing, or open what never closes: each is looked at once."""
    began = time.thread_time()
    for start in (b"[" * 129, b'["' * 129, b"[" * 129 + b'"'):
        assert outcome(parse_json, start + tail).__class__ is BadJson
    assert time.thread_time() - began < 2


def test_many_brackets_beside_each_other_or_in_strings_are_not_deep() -> None:
    assert not is_too_deep(b"[" + b"[]," * 100_000 + b"{}]")
    assert not is_too_deep(json.dumps(["[{" * 100_000, '\\"[' * 1000]).encode())


@given(json_values)
def test_no_ordinary_value_is_too_deep(value: Any) -> None:
    assert not is_too_deep(json.dumps([value] * 9).encode())


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b"\t\r\n null ", None),
        (b'"\\ud800"', "\ud800"),
        (b'"\\ud83d\\ude00"', "\U0001f600"),
        (b'"\\ud800\\ud83d\\ude00"', "\ud800\U0001f600"),
        (b'"\\/\\b\\f"', "/\b\f"),
        (b'"\x7f"', "\x7f"),
        (b"-0", "-0"),
        (b"1e999999999", "1e999999999"),
    ],
)
def test_unusual_json_is_read_as_it_is_spelled(body: bytes, value: Any) -> None:
    assert parse_json(body) == value


def test_a_number_of_ten_megabytes_stays_the_text_it_is() -> None:
    digits = b"1" * 10_000_000
    assert parse_json(digits) == digits.decode()
    with pytest.raises(BadField, match="integer of 64 bits, not 1111"):
        int64_field({"n": parse_json(digits)}, "n", "n")


@pytest.mark.parametrize("key", ["type", "Type", "TYPE", "tYpE"])
def test_keys_match_in_any_case(key: str) -> None:
    assert fold_object(parse_json(json.dumps({key: "live"}).encode()), "the body", KEYS) == {"type": "live"}


def test_the_long_s_and_the_kelvin_sign_fold_as_in_go() -> None:
    assert fold_object(parse_json('{"\u017ftate": 1}'.encode()), "the body", KEYS) == {"state": "1"}
    assert fold_key("\u212aey\u017f") == "keys"


def test_null_counts_as_absent_and_unknown_keys_are_ignored() -> None:
    assert fold_object(parse_json(b'{"type": null, "other": {"type": 1}, "": 2}'), "the body", KEYS) == {}


@pytest.mark.parametrize(
    "body",
    [
        '{"type":1,"type":1}',
        '{"type":1,"TYPE":2}',
        '{"x":1,"X":1}',
        '{"type":null,"type":1}',
        '{"state":1,"\u017ftate":1}',
        '{"é":1,"É":1}',
    ],
)
def test_a_key_stands_once_in_whatever_case(body: str) -> None:
    with pytest.raises(BadJson, match="stands twice"):
        fold_object(parse_json(body.encode()), "the body", KEYS)


@pytest.mark.parametrize(
    ("body", "kind"),
    [(b"null", "null"), (b"[]", "an array"), (b'"x"', "a string"), (b"1", "a number"), (b"true", "a boolean")],
)
def test_where_an_object_is_expected_the_refusal_names_what_came(body: bytes, kind: str) -> None:
    for read in (fold_object, exact_object):
        with pytest.raises(BadField, match=f"must be a JSON object, not {kind}"):
            read(parse_json(body), "the body", KEYS)


def test_exact_objects_know_their_keys_and_name_them() -> None:
    assert exact_object(parse_json(b'{"type": 1, "state": null}'), "it", KEYS) == {"type": "1"}
    with pytest.raises(BadField, match="unknown key 'Type'") as refusal:
        exact_object(parse_json(b'{"Type": 1}'), "it", KEYS)
    assert refusal.value.hint == "known keys: inpixels, state, type"
    with pytest.raises(BadJson, match="stands twice"):
        exact_object(parse_json(b'{"type": 1, "type": 1}'), "it", KEYS)


def test_json_types_have_names() -> None:
    assert [json_type(parse_json(b)) for b in (b"{}", b"[]", b"1")] == ["an object", "an array", "a number"]
    assert json_type({}) == "an object"


@pytest.mark.parametrize("spelled", ["0", "-0", "1", "9223372036854775807", "-9223372036854775808"])
def test_integers_of_64_bits_are_taken(spelled: str) -> None:
    assert int64_field({"n": JsonNumber(spelled)}, "n", "n") == int(spelled)
    assert int64_field({}, "n", "n") == 0


@pytest.mark.parametrize("body", ["5.0", "1e3", "1E0", '"5"', "true", "[]", "{}", "9223372036854775808", "-9223372036854775809", "1" * 30])
def test_what_is_no_integer_of_64_bits_is_refused(body: str) -> None:
    with pytest.raises(BadField, match="n must be an integer of 64 bits"):
        int64_field({"n": parse_json(body.encode())}, "n", "n")


@pytest.mark.parametrize("body", ["5", "true", "[]", "{}"])
def test_text_and_base64_must_be_strings(body: str) -> None:
    value = {"t": parse_json(body.encode())}
    with pytest.raises(BadField, match="t must be a string"):
        text_field(value, "t", "t")
    with pytest.raises(BadField, match="t must be a base64 string"):
        base64_field(value, "t", "t")


def test_absent_text_and_base64_are_empty() -> None:
    assert text_field({}, "t", "t") == ""
    assert base64_field({}, "t", "t") == b""
    assert base64_field({"t": "AAE="}, "t", "t") == b"\x00\x01"


@given(st.text(max_size=20))
def test_text_is_kept_but_for_lone_surrogates(text: str) -> None:
    assert text_field({"t": text}, "t", "t") == text


@given(st.lists(st.characters(categories=["Cs", "Lu"]), max_size=8).map("".join))
def test_every_lone_surrogate_reads_as_one_replacement_character(text: str) -> None:
    replaced = replace_surrogates(text)
    assert replaced == "".join("\ufffd" if "\ud800" <= c <= "\udfff" else c for c in text)
    replaced.encode()


@given(st.binary(max_size=60))
def test_standard_base64_is_read(raw: bytes) -> None:
    assert parse_base64(base64.b64encode(raw).decode(), "it") == raw


CANONICAL = re.compile(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{3}=|[A-Za-z0-9+/]{2}==)?")


@given(st.text(alphabet="ABCabc019+/=-_ \n\ré", max_size=12) | st.text(max_size=8))
def test_base64_that_is_not_the_one_spelling_of_its_bytes_is_refused(text: str) -> None:
    raw = outcome(parse_base64, text, "it")
    if isinstance(raw, bytes):
        assert base64.b64encode(raw).decode() == text
    else:
        assert isinstance(raw, BadField)
        assert CANONICAL.fullmatch(text) is None or base64.b64encode(base64.b64decode(text)).decode() != text


@pytest.mark.parametrize(
    "text", ["YW Jj", "YWJj=", "YWI", "YWI==", "YW\nJj", "YWJj\n", "YWJ-", "YWJ_", "YR==", "YWJ=YWJj", "=", "====", "A===", "é"]
)
def test_loose_base64_is_refused(text: str) -> None:
    with pytest.raises(BadField):
        parse_base64(text, "it")


@pytest.mark.parametrize(
    ("text", "is_number"), [("1", True), ("-1.5e+3", True), ("", False), ("+1", False), ("1/2", False), ("1\n", False), ("٣", False)]
)
def test_number_texts_are_json_numbers(text: str, is_number: bool) -> None:
    assert is_number_text(text) == is_number
    assert is_number_text(JsonNumber("1e5"))


@pytest.mark.parametrize("value", [b"1", b"[]", b'{"a":1}', b'""'])
def test_the_number_of_values_is_bounded(value: bytes) -> None:
    """Each takes time in which nobody else is served."""
    parse_json(b"[" + b",".join([value] * 4000) + b"]")
    with pytest.raises(BadJson, match=rf"values, more than {MAX_VALUES}"):
        parse_json(b"[" + b",".join([value] * (MAX_VALUES + 1)) + b"]")
