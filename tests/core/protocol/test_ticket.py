"""The ticket hash against a preimage packed here, byte by byte, from the contract's description."""

from __future__ import annotations

import struct
from fractions import Fraction

import pytest
from eth_utils import keccak
from hypothesis import given
from hypothesis import strategies as st

from livepeer_remote_signer.core.protocol.ticket import (
    MAX_WIN_PROB,
    TicketParams,
    encode_aux_data,
    seg_creds_message,
    ticket_ev,
    ticket_hash,
    ticket_hash_parts,
)

uint256 = st.integers(0, 2**256 - 1)
address = st.binary(min_size=20, max_size=20)
hash32 = st.binary(min_size=32, max_size=32)
nonces = st.integers(0, 2**32 - 1)


def word(value: int) -> bytes:
    """A uint256, most significant byte first."""
    return struct.pack(">4Q", *(value >> shift & 2**64 - 1 for shift in (192, 128, 64, 0)))


@given(address, address, uint256, uint256, nonces, hash32, st.integers(1, 2**63 - 1), hash32)
def test_the_hash_is_that_of_232_tightly_packed_bytes(
    recipient: bytes, sender: bytes, face_value: int, win_prob: int, nonce: int, rand_hash: bytes, creation_round: int, block_hash: bytes
) -> None:
    params = TicketParams(recipient, face_value, win_prob, rand_hash, b"", 0, creation_round, block_hash)
    aux_data = encode_aux_data(creation_round, block_hash)
    preimage = b"".join((recipient, sender, word(face_value), word(win_prob), word(nonce), rand_hash, word(creation_round), block_hash))
    assert len(preimage) == 232
    assert ticket_hash(params, sender, nonce, aux_data) == keccak(preimage)


def test_without_a_round_the_preimage_is_168_bytes() -> None:
    params = TicketParams(b"\x01" * 20, 1000, 2**255, b"\x02" * 32, b"", 0, 0, bytes(32))
    preimage = b"\x01" * 20 + b"\x03" * 20 + word(1000) + word(2**255) + word(7) + b"\x02" * 32
    assert len(preimage) == 168
    assert ticket_hash(params, b"\x03" * 20, 7, encode_aux_data(0, bytes(32))) == keccak(preimage)


@pytest.mark.parametrize(("creation_round", "block_hash", "length"), [(0, bytes(32), 0), (1, bytes(32), 64), (0, b"\x01" * 32, 64)])
def test_aux_data_is_empty_only_when_neither_round_nor_hash_is_known(creation_round: int, block_hash: bytes, length: int) -> None:
    assert len(encode_aux_data(creation_round, block_hash)) == length


@given(nonces, nonces)
def test_tickets_of_one_batch_differ_in_the_nonce_alone(first: int, second: int) -> None:
    params = TicketParams(b"\x01" * 20, 5, 6, b"\x02" * 32, b"", 0, 0, bytes(32))
    head, tail = ticket_hash_parts(params, b"\x03" * 20, b"\x04" * 64)
    for nonce in (first, second):
        assert ticket_hash(params, b"\x03" * 20, nonce, b"\x04" * 64) == keccak(head + word(nonce) + tail)


@given(uint256, uint256)
def test_the_expected_value_is_exact(face_value: int, win_prob: int) -> None:
    assert ticket_ev(face_value, win_prob) * (2**256 - 1) == face_value * win_prob
    assert ticket_ev(face_value, MAX_WIN_PROB) == Fraction(face_value)


@pytest.mark.parametrize("manifest_id", ["", "manifest", "mänifest\U0001f600"])
def test_segment_credentials_sign_the_manifest_and_an_empty_segment(manifest_id: str) -> None:
    assert seg_creds_message(manifest_id) == keccak(manifest_id.encode("utf-8") + bytes(32) + keccak(b""))
