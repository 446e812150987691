"""The faster way to read an ordinary body never reads anything else than the strict way does."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from livepeer_remote_signer.api import live_payment
from livepeer_remote_signer.core.errors import BadField, SignerError
from livepeer_remote_signer.core.rules.payment import PaymentRequest

KEYS = [
    "orchestrator",
    "ManifestID",
    "manifestId",
    "manifestID",
    "app",
    "type",
    "Type",
    "capabilities",
    "inPixels",
    "maxPrice",
    "state",
    "x",
]
TEXTS = st.one_of(st.sampled_from(["", "live", "YWJj", "YWI=", "YWJ=", 'q"q', "\\", "é", "\ud800", "state", "null"]), st.text(max_size=6))
VALUES: st.SearchStrategy[Any] = st.one_of(TEXTS, st.none(), st.booleans(), st.integers(), st.floats(), st.lists(TEXTS, max_size=2))
STATES = st.one_of(VALUES, st.dictionaries(st.sampled_from(["State", "Sig", "state", "SIG", "x"]), VALUES, max_size=3))


def as_json(pairs: list[tuple[str, Any]]) -> bytes:
    """An object whose keys may stand twice."""
    inner = ",".join(f"{json.dumps(key)}:{json.dumps(value)}" for key, value in pairs)
    return f"{{{inner}}}".encode()


BODIES = st.one_of(
    st.binary(max_size=60),
    st.lists(st.tuples(st.sampled_from(KEYS), st.one_of(VALUES, STATES)), max_size=6).map(as_json),
    st.lists(st.tuples(st.sampled_from(KEYS), TEXTS), max_size=6).map(as_json),
)


def read(body: bytes) -> PaymentRequest | tuple[type, str]:
    try:
        return live_payment.parse_live_payment(body)
    except SignerError as error:
        return type(error), error.message


@given(BODIES)
@example(b'{"type":"live","type":"fixed"}')
@example(b'{"state":{"State":"YQ==","Sig":"YQ=="},"state":{"State":"YQ==","Sig":"YQ=="}}')
@example(b'{"state.State":"YQ=="}')
@example(b'{"type":"a\x01b"}')
@example(b'{"type":"\xff"}')
@example(b'{"type":NaN}')
@example(b'\xef\xbb\xbf{"type":"live"}')
@example(b'{"type":"live"}{"type":"live"}')
@example(b'{"type":"live",}')
@example(b'{"ManifestID":"a","manifestId":"b"}')
@example(b'{"inPixels":5}')
@example(b'{"inPixels": 5}')
@example(b'{"inPixels":5 }')
@example(b'{"inPixels":-5,"type":""}')
@example(b'{"inPixels":5.0}')
@example(b'{"inPixels":5e0}')
@example(b'{"inPixels":-0}')
@example(b'{"inPixels":5.5}')
@example(b'{"inPixels":"5"}')
@example(b'{"inPixels":true}')
@example(b'{"inPixels":null}')
@example(b'{"inPixels":05}')
@example(b'{"inPixels":9223372036854775807}')
@example(b'{"inPixels":9223372036854775808}')
@example(b'{"inPixels":-9223372036854775808}')
@example(b'{"inPixels":5,"inPixels":6}')
@example(b'{"inPixels":5,"app":"\\"inPixels\\":5,"}')
@example(b'{"state":{"x":"","State":""},"type":"live"}')
@example(b' {"type" : "live"} ')
@example(b'{"type":null,"app":"a\\""}')
@example(b'{"state":null}')
@example(b'{"state":{"State":null,"Sig":""}}')
@example(b'{"\\u0074ype":"live"}')
@example(b'{"type":"\\u0022"}')
@example(b'{"type":"\\ud800"}')
@example(b'{"app":"="}')
@example(b'{"orchestrator":"="}')
@example(b'{"orchestrator":"QR=="}')
@example(b'{"orchestrator":"QUJ="}')
@example(b'{"orchestrator":"QQ=="}')
@example(b'{"orchestrator":"QUI="}')
@example(b'{"orchestrator":"====","app":"="}')
@example(b'{"orchestrator":"QQ==QQ=="}')
@example(b'{"orchestrator":"Q-_="}')
@example(b'{"orchestrator":"QUI=\\n"}')
@example(b'{"orchestrator":"QR\\u003d\\u003d"}')
@example(b'{"orchestrator":"Q\\u004A=="}')
@example(b'{"state":{"State":"zu/\\u003d","Sig":""}}')
def test_both_ways_read_the_same(body: bytes) -> None:
    found = read(body)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(live_payment, "_parse_ordinary", lambda _: None)
        assert read(body) == found


def test_an_ordinary_body_is_read_the_faster_way() -> None:
    text = base64.b64encode(b"x" * 40).decode()
    body = json.dumps({"orchestrator": text, "ManifestID": "m", "type": "live", "state": {"State": text, "Sig": text}}).encode()
    assert live_payment._parse_ordinary(body) == PaymentRequest(b"x" * 40, b"x" * 40, b"x" * 40, "m", type="live")


@pytest.mark.parametrize("key", ["capability", "model_id"])
@pytest.mark.parametrize(
    ("spelled", "label"),
    [
        ('"comfy ui"', "comfy ui"),
        (f'"{"é" * 128}"', "é" * 128),
        ('"\\u00e9"', "é"),
        (f'"{"x" * 129}"', ""),
        ('"a\\nb"', ""),
        ('"\x7f"', ""),
        ('""', ""),
        ("null", ""),
        ("5", ""),
        ('{"a": 1}', ""),
        ('["a"]', ""),
    ],
)
def test_a_label_is_printable_text_and_whatever_else_stands_there_is_no_fault(key: str, spelled: str, label: str) -> None:
    body = f'{{"type": "lv2v", "{key}": {spelled}}}'.encode()
    found = live_payment.parse_live_payment(body)
    assert {"capability": found.pipeline_label, "model_id": found.model_label}[key] == label
    assert found == PaymentRequest(b"", type="lv2v", **{"capability": {"pipeline_label": label}, "model_id": {"model_label": label}}[key])


def test_a_body_with_labels_is_read_the_faster_way() -> None:
    body = b'{"type":"lv2v","capability":"comfy","model_id":"sdxl"}'
    assert live_payment._parse_ordinary(body) == PaymentRequest(b"", type="lv2v", pipeline_label="comfy", model_label="sdxl")
    assert live_payment._parse_ordinary(b'{"capability":"a","capability":"b"}') is None


@pytest.mark.parametrize("text", ["=" * 5, "A=" * 5, "A==" * 5])
def test_more_padding_than_fields_is_read_the_strict_way(text: str) -> None:
    body = json.dumps({"app": text}).encode()
    assert live_payment._parse_ordinary(body) is None
    assert live_payment.parse_live_payment(body).app == text


@pytest.mark.parametrize(
    "body",
    [
        b'{"app":"' + b"A=" * 500_000 + b'"}',
        b'{"inPixels":' + b"9" * 1_000_000 + b"}",
        b'{"inPixels":1e' + b"9" * 1_000_000 + b"}",
        b'{"inPixels":0.' + b"9" * 1_000_000 + b"}",
        b'{"app":"' + b'\\"' * 500_000 + b'"}',
    ],
)
def test_a_large_body_takes_the_faster_way_no_time(body: bytes) -> None:
    began = time.thread_time()
    assert live_payment._parse_ordinary(body) is None
    assert time.thread_time() - began < 0.1


def test_deep_nesting_does_not_reach_the_faster_way() -> None:
    with pytest.raises(SignerError):
        live_payment.parse_live_payment(b'{"x":' + b"[" * 500_000)
    with pytest.raises(SignerError):
        live_payment.parse_live_payment(b'{"state":' * 100_000)


@pytest.mark.parametrize("price", ["true", "[1]", "{}"])
def test_a_price_that_is_neither_a_number_nor_spells_one_is_refused(price: str) -> None:
    with pytest.raises(BadField, match=r"maxPrice\.price must be a number, or a string that spells one, not"):
        live_payment.parse_live_payment(f'{{"maxPrice": {{"price": {price}}}}}'.encode())
