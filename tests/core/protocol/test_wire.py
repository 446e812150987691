"""Protobuf in and out: echoes to the byte, lengths that are the contract's, and no bytes that break the reader."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livepeer_remote_signer.core.errors import (
    BadCapabilities,
    BadOrchestrator,
    BadPrice,
    BadTicketParams,
    MissingOrchestrator,
    MissingTicketParams,
    SignerError,
)
from livepeer_remote_signer.core.protocol.ticket import MAX_WIN_PROB, Ticket
from livepeer_remote_signer.core.protocol.wire import (
    MAX_AUTH_TOKEN_BYTES,
    MAX_PRICE_INFO_BYTES,
    Capabilities,
    OrchestratorInfo,
    _encode_ticket_sender_params,
    encode_payment,
    encode_seg_data,
    parse_capabilities,
    parse_orchestrator_info,
)
from livepeer_remote_signer.proto import net_pb2
from tests.outcomes import outcome
from tests.plans import orchestrator_info
from tests.strategies import capability_messages, info_bytes, info_message, offers

KECCAK_OF_NOTHING = bytes.fromhex("c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470")
OFFER_CODES = {"missing_orchestrator", "bad_orchestrator", "bad_price", "missing_ticket_params", "bad_ticket_params"}


def varint(value: int) -> bytes:
    """Protobuf's base-128 varint."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*out, value))


def field(number: int, value: int | bytes) -> bytes:
    """One field as it stands on the wire."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


unknown_fields = st.one_of(
    st.builds(field, st.integers(40, 2**20), st.integers(0, 2**64 - 1) | st.binary(max_size=6)),
    st.builds(lambda n, raw: varint(n << 3 | 1) + raw, st.integers(40, 2**20), st.binary(min_size=8, max_size=8)),
    st.builds(lambda n, raw: varint(n << 3 | 5) + raw, st.integers(40, 2**20), st.binary(min_size=4, max_size=4)),
    st.builds(
        lambda n, inner: varint(n << 3 | 3) + inner + varint(n << 3 | 4), st.integers(40, 2**20), st.builds(field, st.just(9), st.just(1))
    ),
)


@given(st.binary(max_size=300))
def test_any_bytes_are_an_offer_or_a_refusal(raw: bytes) -> None:
    offer = outcome(parse_orchestrator_info, raw)
    assert isinstance(offer, OrchestratorInfo) or offer.code in OFFER_CODES


@given(offers)
def test_any_offer_is_taken_whole_or_refused(message: net_pb2.OrchestratorInfo) -> None:
    offer = outcome(parse_orchestrator_info, message.SerializeToString())
    if isinstance(offer, SignerError):
        assert offer.code in OFFER_CODES
        return
    assert (len(offer.address), len(offer.ticket_params.recipient), len(offer.ticket_params.recipient_rand_hash)) == (20, 20, 32)
    assert len(offer.ticket_params.creation_round_block_hash) == 32
    assert 0 <= offer.ticket_params.win_prob <= MAX_WIN_PROB
    assert offer.price > 0
    assert offer.transcoder == "" or (offer.transcoder.isascii() and offer.transcoder.isprintable())


@given(st.data())
def test_an_offer_changed_or_cut_anywhere_is_an_offer_or_a_refusal(data: st.DataObject) -> None:
    raw = bytearray(info_bytes())
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    for body in (bytes(raw), bytes(raw[:at])):
        offer = outcome(parse_orchestrator_info, body)
        assert isinstance(offer, OrchestratorInfo) or offer.code in OFFER_CODES


@pytest.mark.parametrize(
    "raw",
    [
        b"\x0a\x05abc",
        b"\x0a\xff\xff\xff\xff\x7f",
        b"\x80",
        b"\x00\x00",
        b"\x0c",
        b"\x0b",
        b"\x0e",
        b"\x0a\x02\xff\xfe",
        info_bytes()[:-1],
        field(32, field(16, field(1, b"\xff"))),
        b"\x0b" * 200_000 + b"\x0c" * 200_000,
    ],
    ids=lambda raw: raw[:8].hex(),
)
def test_what_is_no_message_is_refused(raw: bytes) -> None:
    with pytest.raises(BadOrchestrator, match="not a serialized"):
        parse_orchestrator_info(raw)


def test_no_bytes_at_all_are_a_missing_orchestrator() -> None:
    with pytest.raises(MissingOrchestrator, match="missing orchestrator"):
        parse_orchestrator_info(b"")


@pytest.mark.parametrize("changes", [{"price": 0}, {"pixels": 0}])
def test_a_price_of_nothing_is_missing(changes: dict[str, int]) -> None:
    with pytest.raises(BadPrice, match="missing or zero priceInfo"):
        parse_orchestrator_info(info_bytes(**changes))


@pytest.mark.parametrize("changes", [{"price": -5}, {"pixels": -240}, {"price": -(2**63), "pixels": -1}])
def test_negative_prices_are_refused(changes: dict[str, int]) -> None:
    with pytest.raises(BadPrice, match="negative priceInfo"):
        parse_orchestrator_info(info_bytes(**changes))


def test_the_order_is_price_then_params_then_lengths() -> None:
    message = info_message(address=b"short", price=0)
    message.ClearField("ticket_params")
    with pytest.raises(BadPrice):
        parse_orchestrator_info(message.SerializeToString())
    message.price_info.pricePerUnit = 1
    with pytest.raises(MissingTicketParams, match="missing ticketParams in OrchestratorInfo"):
        parse_orchestrator_info(message.SerializeToString())
    message.ticket_params.SetInParent()
    with pytest.raises(BadOrchestrator, match="address has 5 bytes, not 20"):
        parse_orchestrator_info(message.SerializeToString())


@pytest.mark.parametrize("transcoder", ["https://a\r\nX-Injected: 1", "https://a\x00", "https://ä", "\x7f", "x" * 2049, "\u2028"])
def test_a_transcoder_that_could_not_stand_in_a_header_is_refused(transcoder: str) -> None:
    with pytest.raises(BadOrchestrator, match="transcoder is not printable ASCII"):
        parse_orchestrator_info(info_bytes(transcoder=transcoder))


@pytest.mark.parametrize("transcoder", ["", "https://a:8935", "x" * 2048, "not a URL"])
def test_other_transcoders_are_taken(transcoder: str) -> None:
    assert parse_orchestrator_info(info_bytes(transcoder=transcoder)).transcoder == transcoder


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("recipient", b"\x01" * 19),
        ("recipient", b"\x01" * 21),
        ("recipient", b""),
        ("recipient_rand_hash", b"\x01" * 31),
        ("recipient_rand_hash", b"\x01" * 33),
        ("face_value", b"\x01" * 33),
        ("face_value", b"\x00" * 33),
        ("win_prob", b"\x01" * 33),
        ("seed", b"\x01" * 33),
        ("expiration_block", b"\x01" * 33),
    ],
)
def test_params_of_another_length_are_named(name: str, value: bytes) -> None:
    message = info_message()
    setattr(message.ticket_params, name, value)
    with pytest.raises(BadTicketParams, match=f"ticket params: {name} has {len(value)} bytes"):
        parse_orchestrator_info(message.SerializeToString())


@pytest.mark.parametrize(
    ("changes", "said"), [({"block_hash": b"\x01" * 31}, "has 31 bytes, not 0 or 32"), ({"creation_round": -1}, "-1 is negative")]
)
def test_expiration_params_out_of_range_are_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(BadTicketParams, match=said):
        parse_orchestrator_info(info_bytes(**changes))


def test_a_missing_block_hash_reads_as_zeros() -> None:
    assert parse_orchestrator_info(info_bytes(block_hash=b"")).ticket_params.creation_round_block_hash == bytes(32)


def test_integers_lose_leading_zeros_and_every_other_value_is_kept() -> None:
    message = info_message()
    message.ticket_params.face_value = b"\0\0\x05"
    message.ticket_params.seed = b"\0\x07"
    offer = parse_orchestrator_info(message.SerializeToString())
    assert (offer.ticket_params.face_value, offer.ticket_params.seed) == (5, b"\x07")
    paid = net_pb2.Payment.FromString(encode_payment(offer, b"\x01" * 20, 5, b"\x02" * 32, [Ticket(1, bytes(32), b"s" * 65)]))
    assert paid.ticket_params.face_value == b"\x05"
    assert not paid.ticket_params.HasField("expiration_params")


def test_what_people_read_of_an_offer() -> None:
    offer = parse_orchestrator_info(info_bytes(price=7, pixels=3, face_value=3, win_prob=MAX_WIN_PROB // 3))
    assert (offer.pm_session_id, offer.ev) == ("0x" + "cc" * 32, Fraction(1))


@given(st.lists(unknown_fields, max_size=3), st.lists(unknown_fields, max_size=3))
def test_price_and_token_are_echoed_whole_unknown_fields_included(in_price: list[bytes], in_token: list[bytes]) -> None:
    message = info_message()
    price = message.price_info.SerializeToString() + b"".join(in_price)
    token = message.auth_token.SerializeToString() + b"".join(in_token)
    message.ClearField("price_info")
    message.ClearField("auth_token")
    offer = parse_orchestrator_info(message.SerializeToString() + field(3, price) + field(6, token))
    assert offer.auth_token is not None
    payment = encode_payment(offer, b"\x01" * 20, 1, b"\x02" * 32, [Ticket(1, bytes(32), b"s" * 65), Ticket(2, bytes(32), b"t" * 65)])
    assert payment.endswith(field(5, price))
    assert encode_seg_data("m", b"s" * 65, None, offer.auth_token).endswith(field(8, token))
    paid = net_pb2.Payment.FromString(payment)
    assert [(t.sender_nonce, t.sig) for t in paid.ticket_sender_params] == [(1, b"s" * 65), (2, b"t" * 65)]
    assert (paid.sender, paid.expiration_params.creation_round) == (b"\x01" * 20, 1)
    assert paid.SerializeToString() == payment


def test_a_price_sent_twice_is_merged_and_the_last_value_wins() -> None:
    raw = info_bytes(price=5, pixels=2) + field(3, field(1, 9))
    offer = parse_orchestrator_info(raw)
    assert (offer.price_per_unit, offer.pixels_per_unit) == (9, 2)


def test_segment_credentials_hold_these_fields_and_no_others() -> None:
    offer = parse_orchestrator_info(info_bytes())
    assert offer.auth_token is not None
    raw = encode_seg_data("mänifest", b"s" * 65, None, offer.auth_token)
    assert raw == b"".join(
        (
            field(1, "mänifest".encode()),
            field(3, KECCAK_OF_NOTHING),
            field(4, b"invalid"),
            field(5, b"s" * 65),
            field(8, info_message().auth_token.SerializeToString()),
        )
    )


def test_without_a_token_there_is_none() -> None:
    message = info_message()
    message.ClearField("auth_token")
    assert parse_orchestrator_info(message.SerializeToString()).auth_token is None


# --- capabilities ---


def models(*names: str) -> net_pb2.Capabilities.CapabilityConstraints:
    """Constraints that name these models."""
    return net_pb2.Capabilities.CapabilityConstraints(models={name: net_pb2.Capabilities.ModelConstraint() for name in names})


@given(st.binary(max_size=200))
def test_any_bytes_are_capabilities_or_a_refusal(raw: bytes) -> None:
    assert isinstance(outcome(parse_capabilities, raw), Capabilities | BadCapabilities | None)


@given(capability_messages)
def test_capabilities_are_normalised_as_go_livepeer_does(given_message: net_pb2.Capabilities) -> None:
    raw = given_message.SerializeToString()
    parsed = outcome(parse_capabilities, raw)
    if not raw:
        assert parsed is None
        return
    assert isinstance(parsed, Capabilities)
    kept = parsed.message
    assert list(kept.bitstring) == list(given_message.bitstring)
    assert list(kept.mandatories) == list(given_message.mandatories)
    assert (kept.version, kept.constraints.minVersion) == (given_message.version, given_message.constraints.minVersion)
    assert kept.HasField("constraints")
    if given_message.capacities:
        assert dict(kept.capacities) == dict(given_message.capacities)
    else:
        bits = sum(word << 64 * index for index, word in enumerate(given_message.bitstring))
        assert dict(kept.capacities) == {bit: 1 for bit in range(bits.bit_length()) if bits >> bit & 1}
    asked = given_message.constraints.PerCapability
    assert set(parsed.pairs) == {(number, name) for number, of in asked.items() for name in of.models}
    assert set(kept.constraints.PerCapability) == set(asked)
    for number, name in parsed.pairs:
        expected = asked[number].models[name]
        expected.ClearField("capacityInUse")
        assert kept.constraints.PerCapability[number].models[name] == expected


@given(unknown_fields, unknown_fields, unknown_fields)
def test_an_entry_with_unknown_fields_still_counts(in_capacity: bytes, in_capability: bytes, in_model: bytes) -> None:
    model = field(1, b"sd") + in_model + field(2, field(1, 1) + in_model)
    capability = in_capability + field(1, 35) + field(2, field(1, model) + in_capability)
    raw = field(3, field(1, 35) + field(2, 4) + in_capacity) + field(5, field(2, capability))
    parsed = parse_capabilities(raw)
    assert parsed is not None
    assert parsed.pairs == ((35, "sd"),)
    assert dict(parsed.message.capacities) == {35: 4}
    assert parsed.message.constraints.PerCapability[35].models["sd"].warm
    assert in_model not in parsed.message.SerializeToString()


def test_of_two_entries_with_one_key_the_last_stands() -> None:
    first, second = field(1, field(1, b"a")), field(1, field(1, b"b"))
    raw = field(5, field(2, field(1, 35) + field(2, first)) + field(2, field(1, 35) + field(2, second)))
    parsed = parse_capabilities(raw)
    assert parsed is not None
    assert parsed.pairs == ((35, "b"),)


@pytest.mark.parametrize("raw", [b"\xff\xff\xff", b"\x22\x01\xff", field(5, field(2, field(2, field(1, field(1, b"\xff")))))])
def test_what_is_no_capabilities_message_is_refused(raw: bytes) -> None:
    with pytest.raises(BadCapabilities, match="not a serialized"):
        parse_capabilities(raw)


@pytest.mark.parametrize("words", [33, 1_000_000])
@pytest.mark.parametrize("name", ["bitstring", "mandatories"])
def test_a_bitstring_larger_than_any_real_one_is_refused(name: str, words: int) -> None:
    with pytest.raises(BadCapabilities, match=f"{words} words"):
        parse_capabilities(net_pb2.Capabilities(**{name: [1] * words}).SerializeToString())


def test_32_words_pass_and_fill_their_capacities() -> None:
    parsed = parse_capabilities(net_pb2.Capabilities(bitstring=[2**64 - 1] * 32).SerializeToString())
    assert parsed is not None
    assert dict(parsed.message.capacities) == dict.fromkeys(range(2048), 1)


@pytest.mark.parametrize(("count", "passes"), [(256, True), (257, False)])
def test_at_most_256_pairs_pass(count: int, passes: bool) -> None:
    spread = net_pb2.Capabilities()
    for number in range(count):
        spread.constraints.PerCapability[number].CopyFrom(models("m"))
    one = net_pb2.Capabilities()
    one.constraints.PerCapability[35].CopyFrom(models(*(str(n) for n in range(count))))
    for message in (spread, one):
        parsed = outcome(parse_capabilities, message.SerializeToString())
        assert isinstance(parsed, Capabilities if passes else BadCapabilities)


@pytest.mark.parametrize(("count", "passes"), [(4096, True), (4097, False)])
def test_capacities_and_constraints_without_models_are_bounded_too(count: int, passes: bool) -> None:
    constraints = net_pb2.Capabilities()
    for number in range(count):
        constraints.constraints.PerCapability[number].SetInParent()
    for message in (net_pb2.Capabilities(capacities=dict.fromkeys(range(count), 1)), constraints):
        parsed = outcome(parse_capabilities, message.SerializeToString())
        assert isinstance(parsed, Capabilities if passes else BadCapabilities)


def test_what_is_kept_of_an_info_does_not_keep_the_rest_of_it() -> None:
    """A part of a protobuf message holds on to the memory of the whole."""

    def resident_bytes() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    raw = info_bytes() + b"\x8a\x02\x00" * 5000  # so many empty capabilities_prices: 15 KB that become half a megabyte
    before = resident_bytes()
    kept = [parse_orchestrator_info(raw) for _ in range(300)]
    assert resident_bytes() - before < 300 * 100_000
    assert all(info.price_message.pricePerUnit == info.price_per_unit for info in kept)


@pytest.mark.parametrize("nonce", [0, 1, 2, 127, 128, 129, 255, 256, 500, 600, 16383, 16384, 2**32 - 1])
@pytest.mark.parametrize("length", [0, 64, 65, 66])
def test_ticket_sender_params_are_the_runtimes_bytes(nonce: int, length: int) -> None:
    sig = bytes(range(256))[:length]
    runtime = net_pb2.Payment(ticket_sender_params=[net_pb2.TicketSenderParams(sender_nonce=nonce, sig=sig)])
    assert _encode_ticket_sender_params(nonce, sig) == runtime.SerializeToString()


@pytest.mark.parametrize(
    ("name", "most", "error"), [("auth_token", MAX_AUTH_TOKEN_BYTES, BadOrchestrator), ("price_info", MAX_PRICE_INFO_BYTES, BadPrice)]
)
@pytest.mark.parametrize("is_unknown", [False, True])
def test_what_is_echoed_is_bounded_unknown_fields_included(name: str, most: int, error: type[SignerError], is_unknown: bool) -> None:
    assert (MAX_AUTH_TOKEN_BYTES, MAX_PRICE_INFO_BYTES) == (4096, 1024)
    number = 40 if is_unknown else {"auth_token": 1, "price_info": 4}[name]

    def padded(size: int) -> bytes:
        """An offer whose part has so many bytes: its text, or a field that nobody knows, is as long as it takes."""
        offer = net_pb2.OrchestratorInfo.FromString(orchestrator_info())
        part = getattr(offer, name)
        part.ClearField({"auth_token": "token", "price_info": "constraint"}[name])
        length = size - part.ByteSize()
        while len(field(number, b"x" * length)) > size - part.ByteSize():
            length -= 1
        part.MergeFromString(field(number, b"x" * length))
        assert part.ByteSize() == size
        return offer.SerializeToString()

    parse_orchestrator_info(padded(most))
    with pytest.raises(error, match=f"{name} has {most + 1} bytes, more than {most}"):
        parse_orchestrator_info(padded(most + 1))
