"""The signer state: go-livepeer's bytes out, and of anything sealed a state or InvalidState that names the fault."""

from __future__ import annotations

import json
import string
from base64 import b64decode
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from livepeer_remote_signer.core.errors import InvalidSig, InvalidState
from livepeer_remote_signer.core.protocol.state import (
    MAX_SEQUENCE_NUMBER,
    MAX_STATE_BYTES,
    RecentStates,
    SignerState,
    encode_state,
    encode_text,
    no_first_price,
    parse_state,
)
from livepeer_remote_signer.core.rules.limits import TicketLimits
from livepeer_remote_signer.core.rules.sender import LivePaymentSender
from tests.decisions import LATER_NS, STATE, sealed
from tests.outcomes import outcome
from tests.recorded import recorded_cases
from tests.strategies import IDS, NOW_NS, SEAL, go_texts, json_like_bytes, json_values, new_request, new_sender, states

PLAIN = {
    "StateID": "a1b2c3d4",
    "PMSessionID": "0x" + "cc" * 32,
    "LastUpdate": "2026-04-07T20:00:00.123456789Z",
    "OrchestratorAddress": "0x" + "aa" * 20,
    "App": "",
    "AuthExpiry": 0,
    "SenderNonce": 7,
    "Balance": "500",
    "InitialPricePerUnit": 1200,
    "InitialPixelsPerUnit": 1,
    "Type": "live",
    "SequenceNumber": 3,
    "AuthID": "",
}


def state_bytes(**changes: Any) -> bytes:
    """A state with some values changed; None leaves a key out."""
    return json.dumps({key: value for key, value in {**PLAIN, **changes}.items() if value is not None}, separators=(",", ":")).encode()


def test_a_state_is_written_as_go_marshals_it() -> None:
    assert encode_state(parse_state(state_bytes())) == (
        b'{"StateID":"a1b2c3d4","PMSessionID":"0x' + b"cc" * 32 + b'","LastUpdate":"2026-04-07T20:00:00.123456789Z",'
        b'"OrchestratorAddress":"0x' + b"aa" * 20 + b'","App":"","AuthExpiry":0,"SenderNonce":7,"Balance":"500",'
        b'"InitialPricePerUnit":1200,"InitialPixelsPerUnit":1,"Type":"live","SequenceNumber":3,"AuthID":""}'
    )


def test_every_recorded_state_is_read_and_written_to_the_same_bytes() -> None:
    recorded = [case.recorded_reply for case in recorded_cases() if case.recorded_reply and "state" in case.recorded_reply]
    assert len(recorded) > 300
    for reply in recorded:
        raw = b64decode(reply["state"]["State"])
        assert encode_state(parse_state(raw)) == raw


@given(states)
def test_what_is_written_is_read_back_whole(state: SignerState) -> None:
    assert parse_state(encode_state(state)) == state
    assert json.loads(encode_state(state))["App"] == state.app


@given(states)
def test_the_fast_reading_and_the_general_one_agree(state: SignerState) -> None:
    raw = encode_state(state)
    assert parse_state(raw) == parse_state(b" " + raw)  # the space is in no canonical spelling


@given(json_like_bytes | st.dictionaries(st.sampled_from(sorted(PLAIN)), json_values).map(lambda some: state_bytes(**some)))
def test_any_sealed_bytes_are_a_state_that_can_be_written_or_invalid_state(raw: bytes) -> None:
    state = outcome(parse_state, raw)
    assert isinstance(state, SignerState | InvalidState)
    if isinstance(state, SignerState):
        assert parse_state(encode_state(state)) == state
    else:
        assert state.message == "invalid state"


@given(st.text(alphabet=string.printable, max_size=40).flatmap(lambda text: st.tuples(st.just(text), st.integers(0, 400))))
def test_a_state_changed_anywhere_is_a_state_or_invalid_state(change: tuple[str, int]) -> None:
    text, at = change
    raw = state_bytes()
    state = outcome(parse_state, raw[:at] + text.encode() + raw[at + len(text) :])
    assert isinstance(state, SignerState | InvalidState)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"StateID": "x" * 65}, "StateID"),
        ({"StateID": 5}, "StateID"),
        ({"PMSessionID": []}, "PMSessionID"),
        ({"LastUpdate": ""}, "LastUpdate"),
        ({"LastUpdate": "yesterday"}, "LastUpdate"),
        ({"LastUpdate": 5}, "LastUpdate"),
        ({"LastUpdate": "2026-02-30T00:00:00Z"}, "LastUpdate"),
        ({"LastUpdate": "2026-04-07T20:00:00,5Z"}, "LastUpdate"),
        ({"OrchestratorAddress": "0x" + "aa" * 19}, "OrchestratorAddress"),
        ({"OrchestratorAddress": "aa" * 20}, "OrchestratorAddress"),
        ({"OrchestratorAddress": ""}, "OrchestratorAddress"),
        ({"App": 5}, "App"),
        ({"AuthExpiry": "5"}, "AuthExpiry"),
        ({"AuthExpiry": 2**63}, "AuthExpiry"),
        ({"AuthExpiry": 1.5}, "AuthExpiry"),
        ({"SenderNonce": -1}, "SenderNonce"),
        ({"SenderNonce": -0.0}, "SenderNonce"),
        ({"SenderNonce": 2**32}, "SenderNonce"),
        ({"SenderNonce": True}, "SenderNonce"),
        ({"SenderNonce": int("9" * 40)}, "SenderNonce"),
        ({"Balance": "1/0"}, "Balance"),
        ({"Balance": "-1"}, "Balance"),
        ({"Balance": "1.5"}, "Balance"),
        ({"Balance": "1e3"}, "Balance"),
        ({"Balance": "+1"}, "Balance"),
        ({"Balance": " 1"}, "Balance"),
        ({"Balance": "1/2/3"}, "Balance"),
        ({"Balance": "1/"}, "Balance"),
        ({"Balance": "1/-2"}, "Balance"),
        ({"Balance": "٣"}, "Balance"),
        ({"Balance": 500}, "Balance"),
        ({"Balance": "9" * 401}, "Balance"),
        ({"Balance": "9" * 200 + "/" + "7" * 201}, "Balance"),
        ({"InitialPricePerUnit": "1"}, "InitialPricePerUnit"),
        ({"InitialPricePerUnit": -(2**63) - 1}, "InitialPricePerUnit"),
        ({"InitialPixelsPerUnit": 2**63}, "InitialPixelsPerUnit"),
        ({"Type": {}}, "Type"),
        ({"SequenceNumber": -1}, "SequenceNumber"),
        ({"SequenceNumber": 2**64 - 1}, "SequenceNumber"),
        ({"AuthID": False}, "AuthID"),
        ({"ManifestID": 1}, "ManifestID"),
    ],
    ids=lambda value: json.dumps(value)[:60] if isinstance(value, dict) else value,
)
def test_a_value_out_of_its_type_or_range_is_named(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidState, match=r"^invalid state$") as refusal:
        parse_state(state_bytes(**changes))
    fault = str(refusal.value.values["fault"])
    assert fault.startswith(f"{named} ")
    assert len(fault) < 200


@pytest.mark.parametrize("raw", [b"", b"null", b"[]", b'"x"', b"5", b"{}{}", b"\xff", b"{", b"[" * 100_000, b'{"SenderNonce":01}'])
def test_what_is_not_the_states_object_is_invalid(raw: bytes) -> None:
    with pytest.raises(InvalidState, match=r"^invalid state$"):
        parse_state(raw)


def test_go_livepeers_largest_sequence_number_but_one_is_read_and_a_minus_before_it_is_not() -> None:
    assert parse_state(state_bytes(SequenceNumber=MAX_SEQUENCE_NUMBER)).sequence_number == 2**64 - 2
    with pytest.raises(InvalidState):
        parse_state(state_bytes(SequenceNumber=77).replace(b":77,", b":-0,"))


@pytest.mark.parametrize("absent", [{"OrchestratorAddress": None}, {}])
def test_an_absent_address_is_the_zero_address_which_no_orchestrator_has(absent: dict[str, Any]) -> None:
    raw = state_bytes(**absent) if absent else b'{"StateID":"s"}'
    assert parse_state(raw).orchestrator_address == bytes(20)


def test_an_address_that_is_null_is_none() -> None:
    with pytest.raises(InvalidState):
        parse_state(state_bytes().replace(b'"0x' + b"aa" * 20 + b'"', b"null"))


def test_an_address_may_spell_its_prefix_as_go_lets_it() -> None:
    upper = state_bytes().replace(b'"OrchestratorAddress":"0x', b'"OrchestratorAddress":"0X')
    assert parse_state(upper) == parse_state(state_bytes())


@pytest.mark.parametrize(
    "changes", [{"InitialPricePerUnit": 0}, {"InitialPricePerUnit": None}, {"InitialPixelsPerUnit": -1}, {"InitialPixelsPerUnit": 0}]
)
def test_a_state_without_the_price_it_began_with_is_invalid(changes: dict[str, Any]) -> None:
    refusal = no_first_price(parse_state(state_bytes(**changes)))
    assert str(refusal) == "invalid state"
    assert next(iter(changes)) in str(refusal.values["fault"])


@pytest.mark.parametrize("changes", [{"initial_price_per_unit": 0}, {"initial_pixels_per_unit": -1}, {"initial_pixels_per_unit": 0}])
def test_a_session_is_not_continued_without_the_price_it_began_with(changes: dict[str, int]) -> None:
    request = new_request(**sealed(replace(STATE, **changes)))
    with pytest.raises(InvalidState):
        new_sender().open(request, LATER_NS)
    assert new_sender().open(new_request(**sealed(STATE)), NOW_NS)


def test_numbers_that_json_does_not_spell_are_invalid_in_the_fast_reading_too() -> None:
    for number in ("00", "007"):
        with pytest.raises(InvalidState):
            parse_state(state_bytes().replace(b'"SenderNonce":7', f'"SenderNonce":{number}'.encode()))


@pytest.mark.parametrize(
    ("changes", "field", "value"),
    [
        ({"Balance": ""}, "balance", Fraction(0)),
        ({"Balance": None}, "balance", Fraction(0)),
        ({"Balance": "0/7"}, "balance", Fraction(0)),
        ({"Balance": "4/6"}, "balance", Fraction(2, 3)),
        ({"Balance": "007"}, "balance", Fraction(7)),
        ({"Balance": "9" * 400}, "balance", Fraction(int("9" * 400))),
        ({"Balance": "9" * 200 + "/" + "7" * 200}, "balance", Fraction(int("9" * 200), int("7" * 200))),
        ({"LastUpdate": None}, "last_update_ns", None),
        ({"LastUpdate": "0001-01-01T00:00:00Z"}, "last_update_ns", None),
        ({"LastUpdate": "2026-04-07T22:00:00.5+02:00"}, "last_update_ns", 1_775_592_000_500_000_000),
        ({"OrchestratorAddress": "0x" + "Aa" * 20}, "orchestrator_address", b"\xaa" * 20),
        ({"AuthExpiry": -5}, "auth_expiry", -5),
        ({"SenderNonce": 2**32 - 1}, "sender_nonce", 2**32 - 1),
        ({"StateID": "x" * 64}, "state_id", "x" * 64),
        ({"Type": None}, "type", ""),
        ({"Unknown": [1]}, "app", ""),
        ({"ManifestID": "m"}, "manifest_id", "m"),
    ],
    ids=lambda value: json.dumps(value)[:60] if isinstance(value, dict) else "",
)
def test_other_spellings_of_a_good_state_are_read(changes: dict[str, Any], field: str, value: object) -> None:
    assert getattr(parse_state(state_bytes(**changes)), field) == value


def test_keys_match_in_any_case_and_null_counts_as_absent() -> None:
    state = parse_state(state_bytes().replace(b'"SenderNonce"', b'"senderNONCE"').replace(b'"Type":"live"', b'"Type":null'))
    assert (state.sender_nonce, state.type) == (7, "")


def test_a_lone_surrogate_in_a_sealed_state_reads_as_the_replacement_character() -> None:
    state = parse_state(state_bytes().replace(b'"App":""', b'"App":"\\ud800"'))
    assert state.app == "\ufffd"
    assert parse_state(encode_state(state)) == state


@pytest.mark.parametrize(
    ("text", "spelled"),
    [
        ("daydream/sd-turbo", '"daydream/sd-turbo"'),
        ("a<b>&c", '"a\\u003cb\\u003e\\u0026c"'),
        ('quote"back\\slash', '"quote\\"back\\\\slash"'),
        ("naïve \u2028\u2029 \U0001f600", '"naïve \\u2028\\u2029 \U0001f600"'),
        ("\b\f\n\r\t", '"\\b\\f\\n\\r\\t"'),
        ("\x00\x01\x1f\x7f", '"\\u0000\\u0001\\u001f\x7f"'),
        ("\ufffd'/", '"\ufffd\'/"'),
    ],
)
def test_texts_are_escaped_as_go_escapes_them(text: str, spelled: str) -> None:
    assert encode_text(text) == spelled


@given(go_texts)
def test_escaped_text_is_json_without_html(text: str) -> None:
    spelled = encode_text(text)
    assert json.loads(spelled) == text
    assert not set(spelled) & set("<>&\u2028\u2029")


def test_extra_keys_come_last_and_only_when_they_hold_a_value() -> None:
    state = parse_state(state_bytes())
    longer = replace(state, manifest_id="m", auth_max_price="5", auth_binding="b")
    assert encode_state(longer) == encode_state(state)[:-1] + b',"ManifestID":"m","AuthMaxPrice":"5","AuthBinding":"b"}'


SEALED = (state_bytes(), SEAL.seal(state_bytes()))


@given(st.integers(0, 8 * (len(SEALED[0]) + len(SEALED[1])) - 1))
def test_any_flipped_bit_of_state_or_seal_is_refused(bit: int) -> None:
    both = bytearray(SEALED[0] + SEALED[1])
    both[bit // 8] ^= 1 << bit % 8
    state, sig = bytes(both[: len(SEALED[0])]), bytes(both[len(SEALED[0]) :])
    with pytest.raises(InvalidSig, match="invalid sig"):
        new_sender().open(new_request(state=state, state_sig=sig), NOW_NS)


@given(st.binary(max_size=100), st.binary(max_size=100))
def test_what_was_not_sealed_by_us_is_refused(state: bytes, sig: bytes) -> None:
    if state or sig:
        with pytest.raises(InvalidSig, match="invalid sig"):
            new_sender().open(new_request(state=state, state_sig=sig), NOW_NS)


def test_a_state_of_a_megabyte_is_refused_before_its_seal_is_looked_at() -> None:
    class Unasked:
        def seal(self, state: bytes) -> bytes:
            raise AssertionError(state)

        def verify(self, state: bytes, sig: bytes) -> bool:
            raise AssertionError((state, sig))

    sender = LivePaymentSender(TicketLimits(), Unasked(), IDS)
    with pytest.raises(InvalidSig, match=r"^invalid sig$") as refusal:
        sender.open(new_request(state=b"x" * (MAX_STATE_BYTES + 1), state_sig=b"y" * 65), NOW_NS)
    assert "longer than" in str(refusal.value.hint)


@settings(max_examples=20)
@given(st.lists(states, min_size=1, max_size=5), st.integers(1, 3))
def test_known_states_are_what_parsing_gives(made: list[SignerState], size: int) -> None:
    known = RecentStates(size)
    for state in made:
        raw = encode_state(state)
        known.remember(raw, state)
        assert known.parse(raw) == parse_state(raw)
    for state in made:
        assert known.parse(encode_state(state)) == state


def test_a_state_that_was_parsed_is_known_from_then_on() -> None:
    known = RecentStates(2)
    first = known.parse(state_bytes())
    assert first == parse_state(state_bytes())
    assert known.parse(state_bytes()) is first


def test_an_unknown_state_that_is_invalid_is_not_remembered() -> None:
    known = RecentStates(2)
    for _ in range(2):
        with pytest.raises(InvalidState):
            known.parse(b"[]")
