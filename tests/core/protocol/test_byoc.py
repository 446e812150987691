"""BYOC jobs: the signed message against the protocol's layout, and fields that are what they must be."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest
from eth_utils import keccak
from hypothesis import given
from hypothesis import strategies as st

from livepeer_remote_signer.core.errors import BadField, BadJson
from livepeer_remote_signer.core.protocol.byoc import ByocJob, byoc_job_message, parse_byoc_job, parse_label
from livepeer_remote_signer.core.protocol.strict_json import JsonNumber
from tests.outcomes import outcome
from tests.strategies import go_texts, json_like_bytes

JOB = {"id": "j", "capability": "c", "request": "r", "parameters": "", "timeout_seconds": 5}


@given(go_texts, go_texts, go_texts, go_texts, st.integers(1, 2**32 - 1))
def test_the_message_is_domain_separated_and_length_prefixed(
    name: str, capability: str, request: str, parameters: str, seconds: int
) -> None:
    preimage = b"LP_BYOC_JOB_V1\0\0" + struct.pack(">I", seconds)
    for text in (name, capability, request, parameters):
        preimage += struct.pack(">I", len(text.encode())) + text.encode()
    assert byoc_job_message(ByocJob(name, capability, request, parameters, seconds)) == keccak(preimage)


def test_a_job_is_read() -> None:
    assert parse_byoc_job(json.dumps(JOB).encode()) == ByocJob("j", "c", "r", "", 5)


def test_keys_match_in_any_case_and_those_that_no_signature_covers_are_ignored() -> None:
    job = {"ID": "j", "Capability": "c", "request": "r", "timeout_Seconds": 5, "signature_format": "v1"}
    assert parse_byoc_job(json.dumps(job).encode()) == ByocJob("j", "c", "r", "", 5)
    with pytest.raises(BadJson, match="stands twice"):
        parse_byoc_job(b'{"id":"a","ID":"b","capability":"c","timeout_seconds":1}')


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"id": ""}, "id must not be empty"),
        ({"capability": None}, "capability must not be empty"),
        ({"timeout_seconds": 0}, "timeout_seconds must be 1 to"),
        ({"timeout_seconds": -1}, "timeout_seconds must be 1 to"),
        ({"timeout_seconds": 2**32}, "timeout_seconds must be 1 to"),
        ({"timeout_seconds": 1.5}, "integer of 64 bits"),
        ({"request": 5}, "request must be a string"),
    ],
)
def test_a_field_that_cannot_stand_is_named(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(BadField, match=said):
        parse_byoc_job(json.dumps({**JOB, **changes}).encode())


@given(json_like_bytes)
def test_any_body_is_a_job_or_a_refusal(body: bytes) -> None:
    assert isinstance(outcome(parse_byoc_job, body), ByocJob | BadField | BadJson)


@pytest.mark.parametrize("label", ["x", "comfy ui/é", "y" * 128])
def test_printable_text_is_a_label(label: str) -> None:
    assert parse_label(label) == label


@pytest.mark.parametrize("value", [None, "", "y" * 129, "a\nb", "\x00", 5, JsonNumber("5"), ["a"], b"a"])
def test_whatever_else_is_none(value: object) -> None:
    assert parse_label(value) == ""
