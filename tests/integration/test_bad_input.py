"""Hostile bodies over HTTP on both paying routes: each gets a clear 400, at once, and leaves nothing behind in memory."""

from __future__ import annotations

import hmac
import json
import time
from base64 import b64decode, b64encode
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import Any

import pytest

from livepeer_remote_signer.adapters.keys import SigningKey
from livepeer_remote_signer.core.protocol.json_forms import info_to_json
from livepeer_remote_signer.proto import net_pb2
from tests.plans import SECRET, orchestrator_info
from tests.served import Answer, Served, post
from tests.signer import PAY

MAX_SECONDS = 10.0
"""Far more than any of these takes, far less than what a number of a million digits would."""

MANY_LARGE = 300
MAX_GROWTH_BYTES = 140 * 1024 * 1024
"""Some sixty outcomes wait to be counted, each with its request: more than that stays of none."""

NAMES = {
    PAY: {"orchestrator": "orchestrator", "state": "state", "manifest": "ManifestID"},
    "/signTicket": {"orchestrator": "orchestratorInfo", "state": "signerState", "manifest": "manifestId"},
}
Change = Callable[[net_pb2.OrchestratorInfo], None]


def info(change: Change | None = None) -> bytes:
    """A good OrchestratorInfo, then changed."""
    message = net_pb2.OrchestratorInfo.FromString(orchestrator_info(now_ns=time.time_ns()))
    if change is not None:
        change(message)
    return message.SerializeToString()


def fields(path: str, raw_info: bytes | None = None, **more: Any) -> dict[str, Any]:
    """A good first request, with what a case adds under the go-livepeer names."""
    names = NAMES[path]
    body: dict[str, Any] = {
        names["orchestrator"]: b64encode(info() if raw_info is None else raw_info).decode(),
        names["manifest"]: "m1",
        "type": "live",
    }
    state = more.pop("state", None)
    if state is not None:
        raw, sig = (b64encode(part).decode() for part in state)
        body[names["state"]] = {"State": raw, "Sig": sig} if path == PAY else f"{raw}.{sig}"
    return {**body, **more}


def refuse(signer: Served, path: str, body: bytes, code: str, status: int = 400) -> Answer:
    """The refusal, which must come quickly and in the envelope."""
    began = time.monotonic()
    answer = signer.exchange(post(body, path))
    assert time.monotonic() - began < MAX_SECONDS
    assert answer.status == status, answer
    assert answer.error["code"] == code, answer.error
    assert 5 < len(answer.error["message"]) < 600
    assert "Traceback" not in answer.body.decode()
    return answer


paths = pytest.mark.parametrize("path", [PAY, "/signTicket"])

# --- JSON ---

JSON_CASES: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "bad_json"),
    "not JSON": (b"{", "bad_json"),
    "a list": (b"[]", "bad_field"),
    "a number": (b"7", "bad_field"),
    "two values": (b"{}{}", "bad_json"),
    "a byte order mark": (b"\xef\xbb\xbf{}", "bad_json"),
    "not UTF-8": (b'{"type":"\xff\xfe"}', "bad_json"),
    "an overlong encoding": (b'{"type":"\xc0\xae"}', "bad_json"),
    "a surrogate in UTF-8": (b'{"type":"\xed\xa0\x80"}', "bad_json"),
    "UTF-16": ('{"type":"live"}'.encode("utf-16"), "bad_json"),
    "lists to the limit": (b"[" * 1_000_000, "bad_json"),
    "objects to the limit": (b'{"a":' * 200_000, "bad_json"),
    "NaN": (b'{"inPixels":NaN}', "bad_json"),
    "infinity": (b'{"inPixels":-Infinity}', "bad_json"),
    "a key twice": (b'{"type":"live","type":"lv2v"}', "bad_json"),
    "a number of a megabyte": (b'{"inPixels":' + b"9" * 1_000_000 + b"}", "bad_field"),
    "a fraction of a megabyte": (b'{"inPixels":0.' + b"9" * 1_000_000 + b"}", "bad_field"),
    "a huge exponent": (b'{"inPixels":1e999999999}', "bad_field"),
    "a float for an integer": (b'{"inPixels":5.0}', "bad_field"),
    "beyond 64 bits": (b'{"inPixels":9223372036854775808}', "bad_field"),
    "text for an integer": (b'{"inPixels":"5"}', "bad_field"),
    "an integer for text": (b'{"type":5}', "bad_field"),
    "an object for text": (b'{"app":{}}', "bad_field"),
    "a control character": (b'{"app":"a\nb"}', "bad_json"),
    "comments": (b'{"app":"a"} // x', "bad_json"),
    "single quotes": (b"{'app':'a'}", "bad_json"),
}


@paths
@pytest.mark.parametrize("case", JSON_CASES)
def test_json_that_is_none_is_refused(prompt: Served, path: str, case: str) -> None:
    body, code = JSON_CASES[case]
    refuse(prompt, path, body, code)


def test_keys_that_differ_only_in_case_are_one_key(prompt: Served) -> None:
    refuse(prompt, PAY, b'{"manifestID":"a","ManifestID":"b"}', "bad_json")
    refuse(prompt, PAY, '{"type":"live","\u0074ype":"live"}'.encode(), "bad_json")


def test_unknown_keys_are_errors_on_our_own_route_and_passed_over_on_the_other(prompt: Served) -> None:
    refuse(prompt, "/signTicket", json.dumps(fields("/signTicket", manifestID="x")).encode(), "bad_field")
    assert prompt.exchange(post(json.dumps(fields(PAY, whatever=[1, {"a": None}])).encode())).status == 200


@paths
@pytest.mark.parametrize(
    "text",
    ["!!!!", "YQ", "YQ=", "YR==", "YQ==YQ==", "YQ==\n", "Y Q=", "-_-_", "YQ==========", "=", "\u00e9\u00e9==", "A" * 1_000_001],
)
def test_base64_that_is_not_strict_is_refused(prompt: Served, path: str, text: str) -> None:
    refuse(prompt, path, json.dumps(fields(path) | {NAMES[path]["orchestrator"]: text}).encode(), "bad_field")


PRICES = ["1e999999999", "-1", "0", "1/2", "", "+5", "abc", "NaN", "0x10", "1" * 500_000, "1e-101", "1e101", " 1", "1_000", "\u0661"]


@paths
@pytest.mark.parametrize("price", PRICES)
def test_a_ceiling_that_is_no_price_is_refused(prompt: Served, path: str, price: str) -> None:
    body = fields(path, maxPrice={"price": price, "currency": "wei", "unit": "seconds"})
    answer = prompt.exchange(post(json.dumps(body).encode(), path))
    assert answer.status == 400
    assert answer.error["code"] in ("bad_max_price", "bad_field")
    assert len(answer.error["message"]) < 600


@paths
def test_a_ceiling_given_as_a_huge_number_costs_nothing(prompt: Served, path: str) -> None:
    for number in (b"1e999999999", b"9" * 900_000, b"1E+100000", b"-0"):
        body = json.dumps(fields(path, maxPrice={"price": 0, "currency": "wei", "unit": "seconds"})).encode()
        body = body.replace(b'"price": 0', b'"price": ' + number)
        answer = prompt.exchange(post(body, path))
        assert answer.status == 400
        assert answer.error["code"] in ("bad_max_price", "bad_field")


# --- protobuf ---


def deeper(levels: int) -> bytes:
    """A message within a message within ... under a field that nobody knows."""
    nested = b""
    for _ in range(levels):
        length = len(nested)
        varint = bytearray()
        while length > 0x7F:
            varint.append(length & 0x7F | 0x80)
            length >>= 7
        nested = b"\xfa\x07" + bytes([*varint, length]) + nested
    return nested


INFO_CASES: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", "missing_orchestrator"),
    "noise": (lambda: b"\xff" * 40, "bad_orchestrator"),
    "truncated": (lambda: info()[:-3], "bad_orchestrator"),
    "groups without an end": (lambda: info() + b"\x0b" * 5000, "bad_orchestrator"),
    "a length beyond the end": (lambda: b"\x0a\xff\xff\xff\xff\x0f", "bad_orchestrator"),
    "text that is not UTF-8": (lambda: info() + b"\x0a\x02\xff\xfe", "bad_orchestrator"),
    "an address of 19 bytes": (lambda: info(lambda m: setattr(m, "address", b"\1" * 19)), "bad_orchestrator"),
    "an address of 21 bytes": (lambda: info(lambda m: setattr(m, "address", b"\1" * 21)), "bad_orchestrator"),
    "no address": (lambda: info(lambda m: m.ClearField("address")), "bad_orchestrator"),
    "a recipient of 19 bytes": (lambda: info(lambda m: setattr(m.ticket_params, "recipient", b"\1" * 19)), "bad_ticket_params"),
    "a recipient of 21 bytes": (lambda: info(lambda m: setattr(m.ticket_params, "recipient", b"\1" * 21)), "bad_ticket_params"),
    "a rand hash of 31 bytes": (lambda: info(lambda m: setattr(m.ticket_params, "recipient_rand_hash", b"\1" * 31)), "bad_ticket_params"),
    "a face value of 33 bytes": (lambda: info(lambda m: setattr(m.ticket_params, "face_value", b"\1" * 33)), "bad_ticket_params"),
    "a win prob of 33 bytes": (lambda: info(lambda m: setattr(m.ticket_params, "win_prob", b"\1" * 33)), "bad_ticket_params"),
    "a megabyte of face value": (lambda: info(lambda m: setattr(m.ticket_params, "face_value", b"\1" * 700_000)), "bad_ticket_params"),
    "an expiration block of 33 bytes": (
        lambda: info(lambda m: setattr(m.ticket_params, "expiration_block", b"\1" * 33)),
        "bad_ticket_params",
    ),
    "no expiration block": (lambda: info(lambda m: m.ticket_params.ClearField("expiration_block")), "bad_ticket_params"),
    "a block hash of 31 bytes": (
        lambda: info(lambda m: setattr(m.ticket_params.expiration_params, "creation_round_block_hash", b"\1" * 31)),
        "bad_ticket_params",
    ),
    "a negative round": (lambda: info(lambda m: setattr(m.ticket_params.expiration_params, "creation_round", -1)), "bad_ticket_params"),
    "no price": (lambda: info(lambda m: m.ClearField("price_info")), "bad_price"),
    "a negative price": (lambda: info(lambda m: setattr(m.price_info, "pricePerUnit", -1)), "bad_price"),
    "negative pixels": (lambda: info(lambda m: setattr(m.price_info, "pixelsPerUnit", -1)), "bad_price"),
    "two negatives": (
        lambda: info(lambda m: m.price_info.CopyFrom(net_pb2.PriceInfo(pricePerUnit=-(2**63), pixelsPerUnit=-(2**63)))),
        "bad_price",
    ),
    "no ticket params": (lambda: info(lambda m: m.ClearField("ticket_params")), "missing_ticket_params"),
    "no auth token": (lambda: info(lambda m: m.ClearField("auth_token")), "missing_auth_token"),
    "a ticket that is always won": (lambda: info(lambda m: setattr(m.ticket_params, "win_prob", b"\xff" * 32)), "face_value_too_low"),
}


@paths
@pytest.mark.parametrize("case", INFO_CASES)
def test_an_orchestrator_info_that_is_none_is_refused(prompt: Served, path: str, case: str) -> None:
    make, code = INFO_CASES[case]
    refuse(prompt, path, json.dumps(fields(path, make())).encode(), code)


@paths
def test_unknown_fields_may_nest_as_deep_as_they_like(prompt: Served, path: str) -> None:
    """Nobody reads them, so they cost what their bytes cost."""
    assert prompt.exchange(post(json.dumps(fields(path, info() + deeper(20_000))).encode(), path)).status == 200


def test_a_json_form_that_nests_without_end_is_refused(prompt: Served) -> None:
    form = json.dumps(fields("/signTicket") | {"orchestratorInfo": info_to_json(info())})
    deep = form.replace('"priceInfo": {', '"priceInfo": {"constraint": ' + '{"a":' * 5000 + "1" + "}" * 5000 + ", ", 1)
    assert deep != form
    refuse(prompt, "/signTicket", deep.encode(), "bad_json")


@pytest.mark.parametrize(
    ("key", "value", "code"),
    [
        ("address", "0x" + "11" * 19, "bad_orchestrator"),
        ("address", "0x" + "11" * 21, "bad_orchestrator"),
        ("address", "11" * 20, "bad_field"),
        ("address", "0x1", "bad_field"),
        ("transcoder", "http://a\r\nX: y", "bad_orchestrator"),
        ("nonsense", 1, "bad_orchestrator"),
        ("priceInfo", {"pricePerUnit": "-1", "pixelsPerUnit": 1}, "bad_price"),
        ("priceInfo", {"pricePerUnit": "1e3", "pixelsPerUnit": 1}, "bad_field"),
        ("priceInfo", {"pricePerUnit": "9" * 500_000, "pixelsPerUnit": 1}, "bad_field"),
        ("priceInfo", [], "bad_field"),
    ],
)
def test_a_json_form_out_of_its_form_is_refused(prompt: Served, key: str, value: Any, code: str) -> None:
    form = info_to_json(info()) | {key: value}
    answer = prompt.exchange(post(json.dumps(fields("/signTicket") | {"orchestratorInfo": form}).encode(), "/signTicket"))
    assert answer.status == 400
    assert answer.error["code"] in (code, "bad_field", "bad_orchestrator")


@paths
def test_tickets_without_number_are_refused_by_their_number(prompt: Served, path: str) -> None:
    def dust(message: net_pb2.OrchestratorInfo) -> None:
        message.ticket_params.face_value = b"\1"
        message.ticket_params.win_prob = b"\1"

    refuse(prompt, path, json.dumps(fields(path, info(dust))).encode(), "too_many_tickets")


@paths
@pytest.mark.parametrize(
    "capabilities",
    [
        net_pb2.Capabilities(bitstring=[1] * 500_000).SerializeToString(),
        net_pb2.Capabilities(mandatories=[2**64 - 1] * 33).SerializeToString(),
        net_pb2.Capabilities(capacities=dict.fromkeys(range(50_000), 1)).SerializeToString(),
        net_pb2.Capabilities(
            constraints=net_pb2.Capabilities.Constraints(
                PerCapability={35: net_pb2.Capabilities.CapabilityConstraints(models={str(n): {} for n in range(2000)})}
            )
        ).SerializeToString(),
        b"\xff\xff\xff",
        b"\x0a\x05",
    ],
    ids=["bitstring", "mandatories", "capacities", "models", "noise", "truncated"],
)
def test_capabilities_that_would_blow_up_are_refused(prompt: Served, path: str, capabilities: bytes) -> None:
    body = fields(path, capabilities=b64encode(capabilities).decode())
    refuse(prompt, path, json.dumps(body).encode(), "bad_capabilities")


# --- states ---


def good_state(signer: Served) -> tuple[bytes, bytes]:
    """A state that the signer made, and its seal."""
    state = json.loads(signer.exchange(post(json.dumps(fields(PAY)).encode())).body)["state"]
    return b64decode(state["State"]), b64decode(state["Sig"])


def sealed(state: bytes) -> tuple[bytes, bytes]:
    """Any bytes, sealed with the signer's own key: what only a leaked or mistaken key could make."""
    return state, blake2b(state, key=SigningKey(SECRET).derive_mac_key(), digest_size=32).digest()


@paths
def test_a_state_that_is_not_ours_is_refused(prompt: Served, path: str) -> None:
    state, sig = good_state(prompt)
    other = SigningKey(hmac.digest(b"another", b"key", "sha256"))
    cases = {
        "flipped": (state, bytes([sig[0] ^ 1]) + sig[1:]),
        "changed": (state.replace(b'"Balance":"', b'"Balance":"9'), sig),
        "short": (state, sig[:31]),
        "long": (state, sig + b"\0"),
        "none": (state, b""),
        "only a seal": (b"", sig),
        "a megabyte of seal": (state, b"\1" * 500_000),
        "another key's MAC": (state, blake2b(state, key=other.derive_mac_key(), digest_size=32).digest()),
        "another key's signature": (state, other.sign_personal(state)),
        "a second spelling": (state, high_s(SigningKey(SECRET).sign_personal(state))),
        "v of 0": (state, SigningKey(SECRET).sign_personal(state)[:64] + b"\0"),
        "a megabyte": (b'{"a":"' + b"x" * 400_000 + b'"}', sig),
    }
    for name, case in cases.items():
        body = json.dumps(fields(path, state=case)).encode()
        answer = prompt.exchange(post(body, path))
        assert answer.status == 400, name
        assert answer.error["code"] in ("invalid_sig", "invalid_state", "bad_field"), name


def high_s(sig: bytes) -> bytes:
    """The other signature that the same key and message have."""
    order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
    return sig[:32] + (order - int.from_bytes(sig[32:64], "big")).to_bytes(32, "big") + bytes([55 - sig[64]])


@paths
@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b'"Balance":"', b'"Balance":"1/0","X":"'),
        (b'"Balance":"', b'"Balance":"-5","X":"'),
        (b'"Balance":"', b'"Balance":"' + b"9" * 200_000 + b'","X":"'),
        (b'"Balance":"', b'"Balance":"1e9","X":"'),
        (b'"SenderNonce":', b'"SenderNonce":-1,"X":'),
        (b'"SenderNonce":', b'"SenderNonce":4294967296,"X":'),
        (b'"SequenceNumber":', b'"SequenceNumber":"1","X":'),
        (b'"LastUpdate":"', b'"LastUpdate":"yesterday","X":"'),
        (b'"OrchestratorAddress":"0x', b'"OrchestratorAddress":"0x00'),
        (b'"InitialPixelsPerUnit":', b'"InitialPixelsPerUnit":0,"X":'),
        (b'"StateID":"', b'"StateID":"' + b"x" * 65),
        (b"{", b"[{"),
        (b"}", b"}}"),
    ],
)
def test_a_sealed_state_out_of_its_form_is_refused(prompt: Served, path: str, before: bytes, after: bytes) -> None:
    state, _ = good_state(prompt)
    changed = state.replace(before, after, 1)
    assert changed != state
    refuse(prompt, path, json.dumps(fields(path, state=sealed(changed))).encode(), "invalid_state")


def resident_bytes(signer: Served) -> int:
    line = next(line for line in Path(f"/proc/{signer.process.pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024


def test_none_of_it_stays_in_memory(prompt: Served) -> None:
    """After all of the above, and forty of the largest bodies more."""
    prompt.pay()
    before = resident_bytes(prompt)
    for index in range(40):
        filler = "A" * (4 * (200_000 + index))
        body = json.dumps(fields(PAY) | {"orchestrator": filler}).encode()
        assert prompt.exchange(post(body)).status == 400
        prompt.exchange(post(json.dumps(fields(PAY, info() + b"\xfa\x07\xa0\xc2\x1e" + bytes(500_000 + index)))[:1_000_000].encode()))
    assert resident_bytes(prompt) - before < MAX_GROWTH_BYTES
    assert "Traceback" not in prompt.log


@pytest.mark.parametrize(
    "large",
    [
        lambda index: {"raw_info": info(lambda message: message.nodes.append(f"{index}" + "x" * 600_000))},
        lambda index: {"ManifestID": f"{index}" + "x" * 600_000},
    ],
    ids=["orchestrator", "manifest id"],
)
def test_large_requests_that_are_paid_do_not_pile_up(prompt: Served, large: Callable[[int], dict[str, Any]]) -> None:
    """What is remembered to be faster is bounded in bytes too, not only in number."""
    before = resident_bytes(prompt)
    for index in range(MANY_LARGE):
        assert prompt.exchange(post(json.dumps(fields(PAY, **large(index))).encode())).status == 200
    assert resident_bytes(prompt) - before < MAX_GROWTH_BYTES
