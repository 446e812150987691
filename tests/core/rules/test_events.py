"""The billing event: section 12's record, the same for the same payment, valid under its published schema."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from livepeer_remote_signer.core.protocol.timestamps import parse_rfc3339_ns
from livepeer_remote_signer.core.protocol.wire import Capabilities, parse_capabilities
from livepeer_remote_signer.core.rules.events import (
    Backlog,
    EventSource,
    encode_event,
    event_data,
    event_id,
    event_id_of,
    event_session,
    event_time_ms,
    event_type,
)
from livepeer_remote_signer.core.rules.payment import PaymentPlan
from livepeer_remote_signer.proto import net_pb2
from tests.plans import NOW_NS, costing, orchestrator_info, plan_payment

SCHEMA = json.loads((Path(__file__).parents[3] / "docs" / "event.schema.json").read_text("utf-8"))
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
SOURCE = EventSource(bytes.fromhex("4a9b6c3d2e1f0a8b7c6d5e4f3a2b1c0d9e8f7a6b"), "signer-1")
REQUEST_ID = "0123456789abcdef0123456789abcdef"
KEYS_OF_GO_LIVEPEER = [
    "session_id",
    "session_status",
    "app",
    "pipeline",
    "request_id",
    "orch_address",
    "orch_url",
    "manifest_id",
    "pm_session_id",
    "current_time",
    "previous_time",
    "current_time_unix",
    "previous_time_unix",
    "billable_secs",
    "pixels",
    "session_balance",
    "computed_fee",
    "cost",
    "sequence_number",
    "num_tickets",
    "auth_id",
]


def record(plan: PaymentPlan, **others: Any) -> dict[str, Any]:
    """The decoded event, after the schema allowed it."""
    decoded: dict[str, Any] = json.loads(encode_event(plan, SOURCE, REQUEST_ID, **others))
    VALIDATOR.validate(decoded)
    return decoded


def with_texts(plan: PaymentPlan, **texts: str) -> PaymentPlan:
    """The plan with other texts in its state."""
    return structs.replace(plan, state=structs.replace(plan.state, **texts))


def test_the_record_has_the_keys_that_consumers_know_in_their_order() -> None:
    event = record(plan_payment())
    assert list(event) == ["id", "type", "timestamp", "gateway", "data"]
    assert list(event["data"])[: len(KEYS_OF_GO_LIVEPEER)] == KEYS_OF_GO_LIVEPEER
    assert list(event["data"]) == SCHEMA["properties"]["data"]["required"]


def test_the_first_payment_of_a_live_session_is_new_and_bills_ten_seconds() -> None:
    plan = plan_payment()
    event = record(plan)
    data = event["data"]
    assert event["timestamp"] == str(NOW_NS // 1_000_000)
    assert (data["session_status"], data["sequence_number"], data["billable_secs"], data["billable_units"]) == ("new", 0, 10, 10)
    assert (data["pipeline"], data["unit"], data["pixels"]) == ("live", "seconds", 0)
    assert data["current_time"] == data["previous_time"] == "2026-04-07T20:00:00.123456789Z"
    assert data["orch_address"].lower() == "0xcaf7d2090f491f13b703f75d7f9a527563103224"
    assert data["orch_address"] != data["orch_address"].lower(), "EIP-55 has capitals"
    assert data["computed_fee"] == str(10 * 100_000_000_000)
    assert data["cost"] == "100000000000.0000000000"
    assert int(data["total_ev"]) >= int(data["computed_fee"])
    assert data["payer_address"].lower() == "0x" + SOURCE.payer.hex()


def test_a_continuing_payment_names_the_previous_one() -> None:
    first = plan_payment()
    data = record(plan_payment(state=first.state, now_ns=NOW_NS + 61_250_000_000))["data"]
    assert (data["session_status"], data["sequence_number"]) == ("continuing", 1)
    assert data["session_id"] == first.state.state_id
    assert data["previous_time"] == "2026-04-07T20:00:00.123456789Z"
    assert data["current_time_unix"] - data["previous_time_unix"] == 61_250
    assert (data["billable_secs"], data["billable_units"]) == (61.25, 62)


@pytest.mark.parametrize(("job_type", "price"), [("live", 10**11), ("lv2v", 3617)])
def test_the_events_of_a_backlog_bill_its_time_piece_by_piece(job_type: str, price: int) -> None:
    offer = orchestrator_info(price_per_unit=price, now_ns=NOW_NS + 500 * 10**9)
    state, now_ns, events = plan_payment(offer, job_type=job_type).state, NOW_NS + 500 * 10**9 + 7, []
    while not events or events[-1]["current_time_unix"] < now_ns // 10**6:
        now_ns += 10**9
        plan = plan_payment(offer, state=state, now_ns=now_ns, job_type=job_type, catch_up_seconds=900)
        event, state = record(plan), plan.state
        assert event["timestamp"] == str(now_ns // 10**6)
        events.append(event["data"])
    assert len(events) > 2
    assert events[0]["previous_time"] == "2026-04-07T20:00:00.123456789Z"
    for event, later in pairwise(events):
        assert event["current_time"] == later["previous_time"]
        assert parse_rfc3339_ns(event["current_time"]) - parse_rfc3339_ns(event["previous_time"]) == round(event["billable_secs"] * 10**9)
    assert sum(Fraction(str(event["billable_secs"])) for event in events) * 10**9 == now_ns - NOW_NS
    assert sum(int(event["computed_fee"]) for event in events) <= -(-(now_ns - NOW_NS) * 10**11 // 10**9) + 10**11


def test_a_session_dated_ahead_bills_the_second_before_now() -> None:
    ahead = plan_payment(now_ns=NOW_NS + 3600 * 10**9).state
    plan = plan_payment(state=ahead, clock_agrees=True)
    data = record(plan)["data"]
    assert (data["current_time"], data["previous_time"]) == ("2026-04-07T20:00:00.123456789Z", "2026-04-07T19:59:59.123456789Z")
    assert (data["billable_secs"], data["billable_units"]) == (1, 1)
    assert plan.state.last_update_ns == NOW_NS


def test_lv2v_counts_pixels_under_go_livepeers_name_of_the_pipeline() -> None:
    data = record(plan_payment(orchestrator_info(price_per_unit=1200), job_type="lv2v"))["data"]
    assert data["pipeline"] == "live-video-to-video"
    assert data["pixels"] == data["billable_units"] == 60 * 1280 * 720 * 30
    assert data["unit"] == "720p-pixel-seconds"


def test_a_fixed_payment_bills_one_unit_and_tells_the_time_since_the_last() -> None:
    first = plan_payment(orchestrator_info(price_per_unit=10**12), job_type="fixed")
    assert (record(first)["data"]["billable_units"], record(first)["data"]["billable_secs"]) == (1, 0)
    later = plan_payment(
        orchestrator_info(price_per_unit=10**12, now_ns=NOW_NS + 10**10), state=first.state, job_type="fixed", now_ns=NOW_NS + 10**10
    )
    assert record(later)["data"]["billable_secs"] == 10


def test_figures_in_usd_stand_only_where_the_price_is_known() -> None:
    plan = plan_payment()
    without = record(plan)["data"]
    assert (without["computed_fee_usd"], without["eth_usd_price"]) == (None, None)
    data = record(plan, eth_usd=Fraction(3123_45678901, 10**8))["data"]
    assert data["eth_usd_price"] == "3123.45678901"
    assert data["computed_fee_usd"] == "0.00312345678901", "10^12 wei are a millionth of an ETH"


@pytest.mark.parametrize(
    ("fee", "usd", "text"),
    [
        (Fraction(10**18), Fraction(2000), "2000"),
        (Fraction(10**18), Fraction(5, 2), "2.5"),
        (Fraction(0), Fraction(2000), "0"),
        (Fraction(1), Fraction(2000), "0.000000000000002"),
        (Fraction(1), Fraction(1), "0.000000000000000001"),
        (Fraction(1), Fraction(49, 100), "0"),
        (Fraction(1), Fraction(1, 2), "0.000000000000000001"),
        (Fraction(10**19), Fraction(2000), "20000"),
        (Fraction(10**18), Fraction(1, 3), "0.333333333333333333"),
    ],
)
def test_a_fee_in_usd_has_at_most_18_places_and_no_zeros_at_its_end(fee: Fraction, usd: Fraction, text: str) -> None:
    assert record(costing(plan_payment(), fee), eth_usd=usd)["data"]["computed_fee_usd"] == text


@pytest.mark.parametrize(("pipeline", "model"), [("", ""), ("comfy/é", ""), ("", "sdxl"), ("x" * 128, "y" * 128)])
def test_a_jobs_labels_are_its_pipeline_and_model(pipeline: str, model: str) -> None:
    plan = plan_payment(orchestrator_info(price_per_unit=1), job_type="lv2v")
    request = structs.replace(plan.session.request, pipeline_label=pipeline, model_label=model)
    capabilities = Capabilities(((35, "streamdiffusion"),), net_pb2.Capabilities())
    session = structs.replace(plan.session, request=request, capabilities=capabilities)
    data = record(structs.replace(plan, session=session))["data"]
    assert data["pipeline"] == (pipeline or "live-video-to-video")
    assert (data["model_id"], data["capability"]) == (model or "streamdiffusion", "live-video-to-video")


def test_amounts_are_rounded_half_away_from_zero() -> None:
    plan = plan_payment()
    half = costing(structs.replace(plan, state=structs.replace(plan.state, balance=Fraction(1, 2))), Fraction(5, 2))
    data = record(half)["data"]
    assert (data["computed_fee"], data["session_balance"]) == ("3", "1")


def test_capabilities_give_the_names_of_pipeline_and_model() -> None:
    plan = plan_payment()
    pairs = ((35, "streamdiffusion"), (35, "comfyui"), (99, "x"))
    session = structs.replace(plan.session, capabilities=Capabilities(pairs, net_pb2.Capabilities()))
    data = record(structs.replace(plan, session=session))["data"]
    assert (data["capability"], data["model_id"]) == ("live-video-to-video,99", "streamdiffusion,comfyui,x")
    assert (record(plan)["data"]["capability"], record(plan)["data"]["model_id"]) == ("", "")


def test_a_callers_request_id_stands_beside_ours() -> None:
    data = record(plan_payment(), client_request_id='trace "7"\n' + "x" * 400)["data"]
    assert data["request_id"] == REQUEST_ID
    assert data["client_request_id"].startswith('trace "7"\n')
    assert len(data["client_request_id"]) == 256


def test_long_texts_of_a_client_cannot_make_an_event_that_no_sink_takes() -> None:
    plan = with_texts(plan_payment(), app="\x01" * 300_000, auth_id="é" * 300_000)
    plan = structs.replace(plan, session=structs.replace(plan.session, manifest_id="<" * 900_000))
    assert len(encode_event(plan, SOURCE, REQUEST_ID)) <= 16 * 1024
    record(plan)


@pytest.mark.parametrize("character", ["a", "\x01", "é", "<", "\u2028", "\U0001f4b8", '"'])
def test_an_event_has_at_most_sixteen_kibibytes_and_its_auth_id_whole(character: str) -> None:
    auth_id = "webhook:" + character * 1024
    names = net_pb2.Capabilities()
    names.constraints.PerCapability[35].models[character * 9000].warm = True
    for number in range(1000, 1250):
        names.constraints.PerCapability[number].models[character * 9000].warm = True
    balance = Fraction(10**399 + 1, 7)
    plan = plan_payment(orchestrator_info(transcoder="https://" + "o" * 2040))
    plan = with_texts(plan, app=character * 20_000, auth_id=auth_id)
    session = structs.replace(plan.session, manifest_id=character * 20_000, capabilities=parse_capabilities(names.SerializeToString()))
    plan = structs.replace(plan, session=session, state=structs.replace(plan.state, balance=balance, state_id="s" * 64))
    event = encode_event(plan, SOURCE, REQUEST_ID, character * 9000, Fraction(10**6))
    assert len(event) <= 16 * 1024
    data = json.loads(event)["data"]
    assert data["auth_id"] == auth_id
    for key in ("app", "manifest_id", "model_id"):
        assert data[key] == character * len(data[key]), "cut between characters"
        assert len(data[key]) >= 1024 // 6
    assert encode_event(with_texts(plan_payment(), app="a" * 2048), SOURCE, REQUEST_ID).count(b"a" * 2048) == 1


@given(
    app=st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
    auth_id=st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
)
def test_any_text_survives_encoding(app: str, auth_id: str) -> None:
    raw = encode_event(with_texts(PLAN, app=app, auth_id=auth_id), SOURCE, REQUEST_ID)
    assert b"\n" not in raw, "one record is one line"
    decoded = json.loads(raw)["data"]
    assert (decoded["app"], decoded["auth_id"]) == (app, auth_id)


PLAN = plan_payment()


@given(st.binary(min_size=16, max_size=16))
def test_the_events_id_is_a_uuid_made_of_the_request_id(bits: bytes) -> None:
    request_id = bits.hex()
    raw = encode_event(PLAN, SOURCE, request_id)
    decoded = json.loads(raw)
    VALIDATOR.validate(decoded)
    assert event_id(raw) == decoded["id"] == event_id_of(request_id)
    differing = [a for a, b in zip(request_id, decoded["id"].replace("-", ""), strict=True) if a != b]
    assert len(differing) <= 2, "only the digits that mark version and variant"


def test_parts_are_read_from_the_bytes() -> None:
    raw = encode_event(PLAN, SOURCE, REQUEST_ID)
    decoded = json.loads(raw)
    assert json.loads(event_data(raw)) == decoded["data"]
    assert event_session(raw).decode() == decoded["data"]["session_id"]
    assert event_time_ms(raw) == int(decoded["timestamp"])


def test_parts_are_not_confused_by_a_client_that_writes_them_into_its_texts() -> None:
    trap = ',"data":{"session_id":"other","timestamp":"1"'
    raw = encode_event(with_texts(PLAN, app=trap, auth_id=trap), SOURCE, REQUEST_ID)
    assert event_session(raw).decode() == PLAN.state.state_id
    assert event_time_ms(raw) == NOW_NS // 1_000_000
    assert json.loads(event_data(raw))["app"] == trap


def test_a_price_is_the_orchestrators_present_one_not_the_sessions_first() -> None:
    plan = plan_payment()
    cheaper = replace(plan.session.info, price_per_unit=7, pixels_per_unit=3)
    data = record(structs.replace(plan, session=structs.replace(plan.session, info=cheaper)))["data"]
    assert data["cost"] == "2.3333333333"


@pytest.mark.parametrize("field", ["num_tickets", "request_id", "auth_id", "computed_fee", "instance"])
def test_the_schema_refuses_a_record_without_a_field(field: str) -> None:
    event = record(plan_payment())
    del event["data"][field]
    with pytest.raises(jsonschema.ValidationError):
        VALIDATOR.validate(event)


def test_the_age_of_a_backlog_is_that_of_its_oldest_event_and_never_negative() -> None:
    assert Backlog(0, None, 0, 0).oldest_age_seconds(10_000) == 0
    assert Backlog(2, 4_000, 0, 0).oldest_age_seconds(10_000) == 6
    assert Backlog(2, 14_000, 0, 0).oldest_age_seconds(10_000) == 0, "made by a clock that was ahead"


def test_the_type_of_an_event_is_read_from_its_bytes() -> None:
    name = "0" * 36
    assert event_type(f'{{"id":"{name}","type":"foreign_ticket_redeemed","timestamp":"1"}}'.encode()) == b"foreign_ticket_redeemed"
