"""Hypothesis strategies, and the plain values they vary: an orchestrator's offer, a chain reading, a session's requests."""

from __future__ import annotations

import json
from fractions import Fraction
from typing import Any

from hypothesis import strategies as st

from livepeer_remote_signer.core.protocol.amounts import encode_uint
from livepeer_remote_signer.core.protocol.state import SignerState
from livepeer_remote_signer.core.protocol.ticket import MAX_WIN_PROB
from livepeer_remote_signer.core.rules.chain import ChainView
from livepeer_remote_signer.core.rules.limits import TicketLimits
from livepeer_remote_signer.core.rules.payment import PaymentRequest, SessionIds
from livepeer_remote_signer.core.rules.sender import LivePaymentSender
from livepeer_remote_signer.proto import net_pb2
from tests.signing import PlainKey, SignatureSeal

NOW_NS = 1_775_592_000_123_456_789
ETHER = 10**18
KEY = PlainKey(bytes.fromhex("1f" * 32))
SEAL = SignatureSeal(KEY)
CHAIN = ChainView(
    l1_block=23_400_000,
    last_initialized_round=4012,
    last_initialized_round_block_hash=b"\xab" * 32,
    deposit_wei=ETHER // 4,
    reserve_wei=ETHER // 3,
)
PAYER = bytes([5]) * 20
IDS = SessionIds(state_id=lambda: "5e" * 16, manifest_id=lambda: "invented")


def new_sender(limits: TicketLimits | None = None) -> LivePaymentSender:
    """A sender with the test key's seal."""
    return LivePaymentSender(limits or TicketLimits(), SEAL, IDS, sender=PAYER)


def win_prob_for(face_value: int, ev: int | Fraction) -> int:
    """The largest win probability whose expected value is at most `ev`."""
    return int(Fraction(ev) * MAX_WIN_PROB / face_value)


def info_message(**changes: Any) -> net_pb2.OrchestratorInfo:
    """An honest offer: 1e9 wei a second, tickets of 1e12 wei EV, params and token good for minutes."""
    face_value = changes.pop("face_value", ETHER // 1000)
    win_prob = changes.pop("win_prob") if "win_prob" in changes else win_prob_for(face_value, changes.pop("ev", 10**12))
    message = net_pb2.OrchestratorInfo(
        transcoder=changes.pop("transcoder", "https://orchestrator.example:8935"),
        address=changes.pop("address", b"\xaa" * 20),
        price_info=net_pb2.PriceInfo(pricePerUnit=changes.pop("price", 10**9), pixelsPerUnit=changes.pop("pixels", 1)),
        ticket_params=net_pb2.TicketParams(
            recipient=changes.pop("recipient", b"\xaa" * 20),
            face_value=encode_uint(face_value),
            win_prob=encode_uint(win_prob),
            recipient_rand_hash=changes.pop("rand_hash", b"\xcc" * 32),
            seed=b"\x01" * 32,
            expiration_block=encode_uint(changes.pop("expiration_block", 23_400_040)),
            expiration_params=net_pb2.TicketExpirationParams(
                creation_round=changes.pop("creation_round", 4012), creation_round_block_hash=changes.pop("block_hash", b"\xab" * 32)
            ),
        ),
        auth_token=net_pb2.AuthToken(
            token=b"\x01" * 32, session_id=changes.pop("session_id", "session"), expiration=changes.pop("expiration", 1_775_593_800)
        ),
    )
    assert not changes, f"no such part of an offer: {changes}"
    return message


def info_bytes(**changes: Any) -> bytes:
    """`info_message` as an orchestrator sends it."""
    return info_message(**changes).SerializeToString()


def new_request(**changes: Any) -> PaymentRequest:
    """A first request of a live session."""
    return PaymentRequest(**{"orchestrator": info_bytes(), "manifest_id": "manifest", "type": "live", **changes})


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
"""Any JSON value, small."""

json_like_bytes = (
    st.binary(max_size=200)
    | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass"))
    | json_values.map(lambda value: json.dumps(value).encode())
    | st.text(alphabet='{}[]":,\\u0123456789.eE+-nulltrfas \n', max_size=60).map(str.encode)
)
"""Bytes of every kind, many of them nearly JSON."""

go_texts = st.text(max_size=24) | st.text(alphabet='<>&"\\\b\f\n\r\t\x00\x1f\x7f\u2028\u2029é😀a', max_size=24)
"""Texts without lone surrogates, many of them in need of escaping."""

positive_int64 = st.integers(1, 2**63 - 1)

states = st.builds(
    SignerState,
    state_id=go_texts.filter(lambda text: len(text) <= 64),
    pm_session_id=go_texts,
    last_update_ns=st.none() | st.integers(-62_135_596_800 * 10**9 + 1, 253_402_300_800 * 10**9 - 1),
    orchestrator_address=st.binary(min_size=20, max_size=20),
    app=go_texts,
    auth_expiry=st.integers(-(2**63), 2**63 - 1),
    sender_nonce=st.integers(0, 2**32 - 1),
    balance=st.builds(Fraction, st.integers(0, 10**180), st.integers(1, 10**180)),
    initial_price_per_unit=positive_int64,
    initial_pixels_per_unit=positive_int64,
    type=st.sampled_from(["", "live", "lv2v", "fixed"]) | go_texts,
    sequence_number=st.integers(0, 2**63 - 2),
    auth_id=go_texts,
    manifest_id=go_texts,
    auth_max_price=go_texts,
    auth_binding=go_texts,
)
"""Every state that can be written."""

capability_messages = st.builds(
    net_pb2.Capabilities,
    bitstring=st.lists(st.integers(0, 2**64 - 1), max_size=4),
    mandatories=st.lists(st.integers(0, 2**64 - 1), max_size=4),
    capacities=st.dictionaries(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), max_size=4),
    version=go_texts,
    constraints=st.none()
    | st.builds(
        net_pb2.Capabilities.Constraints,
        minVersion=go_texts,
        PerCapability=st.dictionaries(
            st.integers(0, 2**32 - 1),
            st.builds(
                net_pb2.Capabilities.CapabilityConstraints,
                models=st.dictionaries(
                    go_texts,
                    st.builds(
                        net_pb2.Capabilities.ModelConstraint,
                        warm=st.booleans(),
                        capacity=st.integers(0, 2**32 - 1),
                        runnerVersion=go_texts,
                        capacityInUse=st.integers(0, 2**32 - 1),
                    ),
                    max_size=3,
                ),
            ),
            max_size=3,
        ),
    ),
)
"""Capabilities of any shape."""

short_bytes = st.binary(max_size=40)

offers = st.builds(
    net_pb2.OrchestratorInfo,
    transcoder=st.just("https://orchestrator.example:8935") | go_texts,
    address=st.binary(min_size=20, max_size=20) | short_bytes,
    price_info=st.none()
    | st.builds(net_pb2.PriceInfo, pricePerUnit=st.integers(-(2**63), 2**63 - 1), pixelsPerUnit=st.integers(-(2**63), 2**63 - 1)),
    ticket_params=st.none()
    | st.builds(
        net_pb2.TicketParams,
        recipient=st.binary(min_size=20, max_size=20) | short_bytes,
        face_value=short_bytes,
        win_prob=short_bytes,
        recipient_rand_hash=st.binary(min_size=32, max_size=32) | short_bytes,
        seed=short_bytes,
        expiration_block=short_bytes,
        expiration_params=st.none()
        | st.builds(
            net_pb2.TicketExpirationParams,
            creation_round=st.integers(-(2**63), 2**63 - 1),
            creation_round_block_hash=st.binary(min_size=32, max_size=32) | short_bytes,
        ),
    ),
    auth_token=st.none()
    | st.builds(net_pb2.AuthToken, token=short_bytes, session_id=go_texts, expiration=st.integers(-(2**63), 2**63 - 1)),
    capabilities=st.none() | capability_messages,
)
"""Offers with anything in them."""
