"""The JSON form of OrchestratorInfo and Capabilities: what is taken, what is refused, and that it round trips."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from livepeer_remote_signer.core.errors import BadCapabilities, BadField, BadOrchestrator, SignerError
from livepeer_remote_signer.core.protocol.json_forms import capabilities_from_json, info_from_json, info_to_json
from livepeer_remote_signer.core.protocol.strict_json import parse_json
from livepeer_remote_signer.core.protocol.wire import parse_orchestrator_info
from livepeer_remote_signer.proto import net_pb2

INFO: dict[str, Any] = {
    "transcoder": "https://127.0.0.1:8935",
    "address": "0x" + "aa" * 20,
    "priceInfo": {"pricePerUnit": "1200", "pixelsPerUnit": 1},
    "ticketParams": {
        "recipient": "0x" + "bb" * 20,
        "faceValue": "1000000",
        "winProb": str(2**255),
        "recipientRandHash": "0x" + "cc" * 32,
        "seed": "0x0102",
        "expirationBlock": 123456,
        "expirationParams": {"creationRound": 4012, "creationRoundBlockHash": "0x" + "dd" * 32},
    },
    "authToken": {"token": "0xee", "sessionId": "session", "expiration": 1775593800},
}


def read(value: Any) -> Any:
    return parse_json(json.dumps(value).encode())


def changed(path: str, value: Any) -> dict[str, Any]:
    copy: dict[str, Any] = json.loads(json.dumps(INFO))
    *parents, last = path.split(".")
    at = copy
    for parent in parents:
        at = at[parent]
    at[last] = value
    return copy


def test_the_form_of_the_protocol_page_becomes_the_message() -> None:
    info = parse_orchestrator_info(info_from_json(read(INFO)))
    assert info.transcoder == "https://127.0.0.1:8935"
    assert info.address == b"\xaa" * 20
    assert (info.price_per_unit, info.pixels_per_unit) == (1200, 1)
    params = info.ticket_params
    assert (params.recipient, params.face_value, params.win_prob) == (b"\xbb" * 20, 1_000_000, 2**255)
    assert (params.recipient_rand_hash, params.seed, params.expiration_block) == (b"\xcc" * 32, b"\x01\x02", 123456)
    assert (params.creation_round, params.creation_round_block_hash) == (4012, b"\xdd" * 32)
    assert info.auth_token is not None
    assert (info.auth_token.session_id, info.auth_token.expiration) == ("session", 1775593800)


def test_original_field_names_mean_the_same() -> None:
    original = {
        "transcoder": INFO["transcoder"],
        "address": INFO["address"],
        "price_info": INFO["priceInfo"],
        "ticket_params": {
            "recipient": INFO["ticketParams"]["recipient"],
            "face_value": "1000000",
            "win_prob": str(2**255),
            "recipient_rand_hash": INFO["ticketParams"]["recipientRandHash"],
            "seed": "0x0102",
            "expiration_block": "123456",
            "expiration_params": {"creation_round": "4012", "creation_round_block_hash": "0x" + "dd" * 32},
        },
        "auth_token": {"token": "0xee", "session_id": "session", "expiration": "1775593800"},
    }
    assert info_from_json(read(original)) == info_from_json(read(INFO))


@pytest.mark.parametrize("spelled", ["1000000", 1000000, "0xf4240", "0x0F4240"])
def test_face_value_is_decimal_number_or_hex(spelled: Any) -> None:
    assert info_from_json(read(changed("ticketParams.faceValue", spelled))) == info_from_json(read(INFO))


@pytest.mark.parametrize("spelled", ["0", 0, "0x0", "0x"])
def test_a_face_value_of_nothing_may_be_spelled_in_any_way(spelled: Any) -> None:
    raw = info_from_json(read(changed("ticketParams.faceValue", spelled)))
    assert net_pb2.OrchestratorInfo.FromString(raw).ticket_params.face_value == b""


def test_null_counts_as_absent_and_an_empty_object_is_an_empty_message() -> None:
    message = net_pb2.OrchestratorInfo.FromString(info_from_json(read({"authToken": None, "ticketParams": {}})))
    assert message.HasField("ticket_params")
    assert not message.HasField("auth_token")


@pytest.mark.parametrize(
    ("path", "value", "names"),
    [
        ("ticketParams.faceValue", "-1", "faceValue"),
        ("ticketParams.faceValue", "1.5", "faceValue"),
        ("ticketParams.faceValue", 1.5, "faceValue"),
        ("ticketParams.faceValue", True, "faceValue"),
        ("ticketParams.faceValue", "9" * 5000, "faceValue"),
        ("ticketParams.winProb", str(2**256), "winProb"),
        ("ticketParams.winProb", "0x1" + "0" * 64, "winProb"),
        ("ticketParams.seed", "0102", "seed"),
        ("ticketParams.seed", "0x012", "seed"),
        ("ticketParams.seed", 12, "seed"),
        ("ticketParams.recipient", "0xzz", "recipient"),
        ("ticketParams.expirationParams.creationRound", "9223372036854775808", "creationRound"),
        ("priceInfo.pricePerUnit", 1e3, "pricePerUnit"),
        ("priceInfo.capability", -1, "capability"),
        ("priceInfo.constraint", 7, "constraint"),
        ("transcoder", 5, "transcoder"),
        ("nodes", "x", "nodes"),
        ("nodes", {"a": "b"}, "nodes"),
        ("nodes", ["x"] * 5000, "nodes"),
        ("nodes", [1], "nodes[0]"),
        ("storage", [{"storageType": "TAPE"}], "storageType"),
        ("storage", [{"storageType": []}], "storageType"),
        ("hardware", [{"gpuInfo": []}], "gpuInfo"),
        ("capabilities", {"bitstring": [str(2**64)]}, "bitstring[0]"),
        ("capabilities", {"capacities": {"x": 1}}, "capacities"),
        ("capabilities", {"constraints": {"PerCapability": {"35": {"models": {"m": {"warm": 1}}}}}}, "warm"),
    ],
)
def test_a_value_out_of_type_or_range_is_refused_by_its_place(path: str, value: Any, names: str) -> None:
    with pytest.raises(BadField, match=names.replace("[", r"\[")):
        info_from_json(read(changed(path, value)))


@pytest.mark.parametrize("path", ["colour", "ticketParams.colour", "authToken.colour"])
def test_an_unknown_name_is_refused_by_name_with_the_known_ones(path: str) -> None:
    with pytest.raises(BadOrchestrator, match="'colour'") as caught:
        info_from_json(read(changed(path, 1)))
    assert "known fields: " in (caught.value.hint or "")


def test_a_field_under_both_of_its_names_is_refused() -> None:
    both = read(INFO)
    both.append(("ticket_params", read({})))
    with pytest.raises(BadOrchestrator, match="stands twice"):
        info_from_json(both)
    with pytest.raises(BadCapabilities, match="stands twice"):
        capabilities_from_json(parse_json(b'{"capacities": {"1": 1, "1": 2}}'))


@pytest.mark.parametrize("value", [[], "x", 5, None, True])
def test_anything_but_an_object_is_refused(value: Any) -> None:
    with pytest.raises(BadOrchestrator, match="must be a JSON object"):
        info_from_json(read(value))
    with pytest.raises(BadCapabilities, match="must be a JSON object"):
        capabilities_from_json(read(value))


def test_capabilities_take_maps_lists_and_nested_models() -> None:
    form = {
        "bitstring": ["34359738368", 1],
        "capacities": {"35": 2},
        "version": "0.9",
        "constraints": {
            "minVersion": "0.8",
            "PerCapability": {"35": {"models": {"streamdiffusion": {"warm": True, "runnerVersion": "1"}}}},
        },
    }
    message = net_pb2.Capabilities.FromString(capabilities_from_json(read(form)))
    assert list(message.bitstring) == [34359738368, 1]
    assert dict(message.capacities) == {35: 2}
    model = message.constraints.PerCapability[35].models["streamdiffusion"]
    assert (model.warm, model.runnerVersion) == (True, "1")


def test_enums_go_by_name_or_number() -> None:
    by_name = info_from_json(read({"storage": [{"storageType": "S3", "s3info": {"host": "h"}}]}))
    assert by_name == info_from_json(read({"storage": [{"storageType": 1, "s3info": {"host": "h"}}]}))


def test_the_form_round_trips_whole() -> None:
    full = json.loads(json.dumps(INFO)) | {
        "capabilities": {"bitstring": ["1"], "capacities": {"35": 2}, "constraints": {"PerCapability": {"35": {"models": {"m": {}}}}}},
        "hardware": [{"pipeline": "p", "modelId": "m", "gpuInfo": {"0": {"id": "g", "major": 8, "memoryFree": "1"}}}],
        "storage": [{"storageType": 1}],
        "capabilitiesPrices": [{"pricePerUnit": "5", "pixelsPerUnit": "1", "capability": 35, "constraint": "m"}],
        "nodes": ["a", "b"],
    }
    raw = info_from_json(read(full))
    assert info_from_json(read(info_to_json(raw))) == raw
    assert info_to_json(raw)["ticketParams"]["faceValue"] == "1000000"


def test_fields_without_a_value_are_left_out() -> None:
    assert info_to_json(info_from_json(read({"capabilities": {}, "transcoder": "", "nodes": []}))) == {"capabilities": {}}


def test_an_integer_longer_than_any_real_one_is_shown_as_hex_and_refused_when_sent() -> None:
    raw = net_pb2.OrchestratorInfo(ticket_params=net_pb2.TicketParams(face_value=b"\xff" * 10_000)).SerializeToString()
    shown = info_to_json(raw)
    assert shown["ticketParams"]["faceValue"] == "0x" + "ff" * 10_000
    with pytest.raises(BadField, match="faceValue"):
        info_from_json(read(shown))


def test_bytes_that_are_no_message_are_refused() -> None:
    with pytest.raises(BadOrchestrator):
        info_to_json(b"\xff\xff")


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["ticketParams", "faceValue", "capabilities", "constraints", "35", "models", "x"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@given(JSON_VALUES)
@settings(max_examples=200)
def test_any_json_is_a_message_or_an_error_of_the_tree(value: Any) -> None:
    for parse in (info_from_json, capabilities_from_json):
        try:
            raw = parse(read(value))
        except SignerError:
            continue
        assert isinstance(raw, bytes)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_form_that_reads_back_or_an_error_of_the_tree(raw: bytes) -> None:
    try:
        form = info_to_json(raw)
        again = info_from_json(read(form))
    except SignerError:
        return
    assert info_to_json(again) == form


@pytest.mark.parametrize("number", [2**31, -(2**31) - 1, 2**63, 2**64])
def test_a_number_that_no_enum_can_hold_is_the_callers_fault(number: int) -> None:
    with pytest.raises(BadField, match="storageType"):
        info_from_json(read({**INFO, "storage": [{"storageType": number}]}))


@pytest.mark.parametrize("number", [2**31 - 1, -(2**31), 0])
def test_a_number_at_the_end_of_an_enums_range_is_carried(number: int) -> None:
    raw = info_from_json(read({**INFO, "storage": [{"storageType": number}]}))
    assert net_pb2.OrchestratorInfo.FromString(raw).storage[0].storageType == number


def test_integers_of_64_bits_go_out_as_text_so_that_no_reader_rounds_them() -> None:
    """JavaScript reads 9007199254740993 as 9007199254740992."""
    info = net_pb2.OrchestratorInfo.FromString(info_from_json(read(INFO)))
    info.price_info.pricePerUnit = 2**53 + 1
    info.ticket_params.expiration_params.creation_round = 2**62 + 1
    info.auth_token.expiration = 1775593801
    info.capabilities.bitstring.append(2**63 + 1)
    info.capabilities.capacities[27] = 2**32 - 1
    gpu = info.hardware.add(pipeline="p").gpu_info["0"]
    gpu.memory_total, gpu.major = 2**53 + 3, 9
    out = json.loads(json.dumps(info_to_json(info.SerializeToString())))
    assert out["priceInfo"]["pricePerUnit"] == "9007199254740993"
    assert out["ticketParams"]["expirationParams"]["creationRound"] == str(2**62 + 1)
    assert out["authToken"]["expiration"] == "1775593801"
    assert out["capabilities"]["bitstring"] == [str(2**63 + 1)]
    assert out["capabilities"]["capacities"] == {"27": 2**32 - 1}
    assert out["hardware"][0]["gpuInfo"]["0"]["memoryTotal"] == "9007199254740995"
    assert out["hardware"][0]["gpuInfo"]["0"]["major"] == 9
    assert info_from_json(read(out)) == info.SerializeToString(deterministic=True)
