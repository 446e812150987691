"""What the authorization webhook is asked, and which answers are verdicts."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livepeer_remote_signer.core.errors import AuthBadMaxPrice, AuthFailed, BodyTooLarge
from livepeer_remote_signer.core.protocol.byoc import ByocJob
from livepeer_remote_signer.core.protocol.prices import MaxPrice
from livepeer_remote_signer.core.protocol.state import encode_state
from livepeer_remote_signer.core.rules.policy import ANONYMOUS, Caller, Identity, Verdict, apply_verdict
from livepeer_remote_signer.core.rules.webhook import (
    MAX_QUESTION_BYTES,
    MAX_REASON_CHARACTERS,
    canonical_name,
    encode_byoc_question,
    encode_query_question,
    encode_question,
    encode_usage_question,
    parse_verdict,
)
from tests.plans import ORCHESTRATOR, PRICE_PER_UNIT, plan_payment

JOB = ByocJob("1", "c", "{}", "{}", 30)


def asked(*headers: tuple[bytes, bytes]) -> dict[str, object]:
    question: dict[str, object] = json.loads(encode_question(Caller(headers), plan_payment(), "r1"))
    return question


def test_headers_are_spelled_and_sorted_as_go_does_and_keep_every_value() -> None:
    question = encode_question(
        Caller(((b"x-b", b"2"), (b"authorization", b"Bearer <abc>"), (b"x-b", b"3"), (b"content-type", b"application/json"))),
        plan_payment(),
        "r1",
    )
    assert question.startswith(
        rb'{"headers":{"Authorization":["Bearer \u003cabc\u003e"],"Content-Type":["application/json"],"X-B":["2","3"]},"state":{'
    )


def test_headers_of_the_connection_are_not_forwarded_and_a_caller_cannot_take_others_away() -> None:
    found = asked(
        (b"host", b"h"),
        (b"content-length", b"5"),
        (b"connection", b"close, signer-auth-id"),
        (b"transfer-encoding", b"chunked"),
        (b"te", b"trailers"),
        (b"proxy-authorization", b"p"),
        (b"signer-auth-id", b"a"),
    )
    assert found["headers"] == {"Content-Length": ["5"], "Signer-Auth-Id": ["a"]}


def test_the_state_is_the_proposed_one_to_the_byte() -> None:
    plan = plan_payment()
    question = encode_question(Caller(), plan, "r1")
    assert b'"state":' + encode_state(plan.state) + b',"request_id":"r1"' in question


def test_our_keys_tell_what_is_about_to_be_paid() -> None:
    question = asked()
    plan = plan_payment()
    ours = "request_id type manifest_id computed_fee num_tickets ticket_ev face_value recipient orchestrator_url price"
    assert question.keys() == {"headers", "state", *ours.split()}
    assert question["recipient"] == "0x" + ORCHESTRATOR.hex()
    assert question["num_tickets"] == plan.num_tickets
    assert question["computed_fee"] == str(10 * PRICE_PER_UNIT)
    assert question["price"] == str(PRICE_PER_UNIT)


def test_a_header_that_is_not_utf8_is_still_json() -> None:
    assert asked((b"x", b"\xff"))["headers"] == {"X": ["\ufffd"]}


def test_headers_that_hold_a_key_of_this_signer_are_withheld_and_no_others() -> None:
    headers = ((b"x-api-key", b"lrs_1"), (b"authorization", b"Bearer theirs"), (b"x-api-keys", b"other"))
    known = Identity("team-a", b"k", withheld=frozenset((b"x-api-key",)))
    assert json.loads(encode_question(Caller(headers), plan_payment(), "r1", known))["headers"] == {
        "Authorization": ["Bearer theirs"],
        "X-Api-Keys": ["other"],
    }
    assert json.loads(encode_byoc_question(Caller(headers), JOB, "r1", known))["headers"].keys() == {"Authorization", "X-Api-Keys"}


def test_a_question_of_sixty_kibibytes_is_asked_and_a_longer_one_is_the_callers_fault() -> None:
    room = MAX_QUESTION_BYTES - len(encode_question(Caller(((b"x", b""),)), plan_payment(), "r1"))
    longest = encode_question(Caller(((b"x", b"a" * room),)), plan_payment(), "r1")
    assert len(longest) == MAX_QUESTION_BYTES == 60 * 1024
    with pytest.raises(BodyTooLarge, match=r"61441 bytes, more than 61440") as caught:
        encode_question(Caller(((b"x", b"a" * (room + 1)),)), plan_payment(), "r1")
    assert (caught.value.values["bytes"], caught.value.values["limit"]) == (61_441, 61_440)
    with pytest.raises(BodyTooLarge):
        encode_byoc_question(Caller(), JOB._replace(capability="é" * 31_000), "r1", ANONYMOUS)


def test_a_byoc_job_is_asked_about_with_a_state_of_zeros() -> None:
    asked = json.loads(encode_byoc_question(Caller(((b"authorization", b"Bearer x"),)), JOB, "r1", ANONYMOUS))
    assert asked.pop("state") == {
        "StateID": "",
        "PMSessionID": "",
        "LastUpdate": "0001-01-01T00:00:00Z",
        "OrchestratorAddress": "0x" + "00" * 20,
        "App": "",
        "AuthExpiry": 0,
        "SenderNonce": 0,
        "Balance": "0",
        "InitialPricePerUnit": 0,
        "InitialPixelsPerUnit": 0,
        "Type": "",
        "SequenceNumber": 0,
        "AuthID": "",
    }
    payment = json.loads(encode_question(Caller(), plan_payment(), "r1"))
    assert asked.keys() == {*payment, "capability"} - {"state"}
    assert (asked["type"], asked["capability"], asked["headers"], asked["num_tickets"]) == ("byoc", "c", {"Authorization": ["Bearer x"]}, 0)
    known = json.loads(encode_byoc_question(Caller(), JOB, "r1", Identity("team-a", b"k")))
    assert known["state"]["AuthID"] == "team-a"


def test_a_query_is_asked_about_with_its_orchestrator_and_nothing_that_is_paid() -> None:
    known = Identity("team-a", b"k", withheld=frozenset((b"x-api-key",)))
    caller = Caller(((b"x-api-key", b"lrs_1"), (b"cookie", b"a=1")))
    assert encode_query_question(caller, "https://o:8935", "r1", known) == (
        b'{"headers":{"Cookie":["a=1"]},"state":{"StateID":"","PMSessionID":"","LastUpdate":"0001-01-01T00:00:00Z",'
        b'"OrchestratorAddress":"0x0000000000000000000000000000000000000000","App":"","AuthExpiry":0,"SenderNonce":0,"Balance":"0",'
        b'"InitialPricePerUnit":0,"InitialPixelsPerUnit":0,"Type":"","SequenceNumber":0,"AuthID":"team-a"},"request_id":"r1",'
        b'"type":"orchestrator_info","manifest_id":"","computed_fee":"0","num_tickets":0,"ticket_ev":"0","face_value":"0","recipient":"",'
        b'"orchestrator_url":"https://o:8935","price":"0"}'
    )
    usage = json.loads(encode_usage_question(caller, "r1", known))
    assert (usage["type"], usage["orchestrator_url"], usage["computed_fee"]) == ("usage", "", "0")
    assert {**usage, "type": "orchestrator_info", "orchestrator_url": "https://o:8935"} == json.loads(
        encode_query_question(caller, "https://o:8935", "r1", known)
    )
    room = MAX_QUESTION_BYTES - len(encode_query_question(Caller(), "", "r1", ANONYMOUS))
    assert len(encode_query_question(Caller(), "u" * room, "r1", ANONYMOUS)) == MAX_QUESTION_BYTES
    with pytest.raises(BodyTooLarge, match=r"61441 bytes, more than 61440"):
        encode_query_question(Caller(), "u" * (room + 1), "r1", ANONYMOUS)


@pytest.mark.parametrize(("name", "spelled"), [(b"x-api-key", "X-Api-Key"), (b"etag", "Etag"), (b"x--3d", "X--3d"), (b"-a", "-A")])
def test_canonical_names(name: bytes, spelled: str) -> None:
    assert canonical_name(name) == spelled


def test_a_whole_answer() -> None:
    body = b'{"STATUS":200,"reason":null,"expiry":5,"auth_id":"a","maxPrice":{"price":1.50,"currency":"wei","unit":"seconds"},"more":[1]}'
    assert parse_verdict(body) == Verdict(200, "", 5, "a", MaxPrice("1.50", "wei", "seconds"))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"ok",
        b"[]",
        b"null",
        b"{}",
        b'{"status":null}',
        b'{"status":0}',
        b'{"status":-1}',
        b'{"status":"200"}',
        b'{"status":200.0}',
        b'{"status":2e2}',
        b'{"status":true}',
        b'{"status":99999999999999999999}',
        b'{"status":403,"Status":200}',
        b'{"status":200} {"status":403}',
        b'{"status":200,"expiry":"5"}',
        b'{"status":200,"expiry":1.5}',
        b'{"status":200,"auth_id":5}',
        b'{"status":200,"reason":[]}',
        b'{"status":200,"auth_id":"%s"}' % (b"x" * 1025),
        b"[" * 60_000,
        b"\xff",
    ],
)
def test_anything_else_is_a_failure(body: bytes) -> None:
    with pytest.raises(AuthFailed):
        parse_verdict(body)


@pytest.mark.parametrize(
    ("price", "said"),
    [
        ("5", "maxPrice must be a JSON object, not a number"),
        ('""', "maxPrice must be a JSON object, not a string"),
        ("[]", "maxPrice must be a JSON object, not an array"),
        ('{"price":true,"currency":"wei","unit":"seconds"}', "maxPrice.price must be a string, not a boolean"),
        ('{"price":1,"currency":5,"unit":"seconds"}', "maxPrice.currency must be a string, not a number"),
        ('{"price":1,"Price":2,"currency":"wei","unit":"seconds"}', "maxPrice: the key 'Price' stands twice"),
    ],
)
def test_a_malformed_max_price_is_told_apart_from_nonsense_in_its_own_words(price: str, said: str) -> None:
    """It is found where the price is looked at: after the status, and with 502."""
    verdict = parse_verdict(b'{"status":200,"maxPrice":%s}' % price.encode())
    with pytest.raises(AuthBadMaxPrice) as caught:
        apply_verdict(plan_payment(), verdict, ANONYMOUS)
    assert caught.value.message == f"signer auth invalid maxPrice: {said}"


def test_a_long_reason_and_a_long_code_are_cut_and_the_refusal_stands() -> None:
    long = "x" * (MAX_REASON_CHARACTERS - 1) + "yz"
    verdict = parse_verdict(json.dumps({"status": 402, "reason": long, "code": long}).encode())
    assert (MAX_REASON_CHARACTERS, verdict.status) == (2048, 402)
    assert verdict.reason == verdict.code == long[:-1]


@given(st.binary(max_size=200))
def test_no_answer_raises_anything_else(body: bytes) -> None:
    try:
        verdict = parse_verdict(body)
    except AuthFailed:
        return
    assert verdict.status > 0
