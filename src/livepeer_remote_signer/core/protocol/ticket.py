"""Tickets: the hash that is signed, and the aux data in it.

Source: section 3 of the protocol and TicketBroker's `getTicketHash`. Packed tightly, integers big endian:
recipient(20) sender(20) face_value(32) win_prob(32) sender_nonce(32) recipient_rand_hash(32) aux_data(64),
aux_data = creation_round(32) creation_round_block_hash(32).
"""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache

from msgspec import Struct

from livepeer_remote_signer.core.protocol.eip191 import keccak256

MAX_WIN_PROB = 2**256 - 1
REFRESH_AT_NONCE = 500
"""From this nonce on fresh params are asked for: with at most 100 tickets a call the 600 that a recipient accepts are never passed."""


class TicketParams(Struct, frozen=True, gc=False):
    """What the orchestrator asks a ticket to be. Face value in wei; addresses 20 bytes, the hash 32."""

    recipient: bytes
    face_value: int
    win_prob: int
    recipient_rand_hash: bytes
    seed: bytes
    expiration_block: int
    creation_round: int
    creation_round_block_hash: bytes


class Ticket(Struct, frozen=True, gc=False):
    """One signed ticket: its hash has 32 bytes, the signature over it 65."""

    sender_nonce: int
    hash: bytes
    sig: bytes


def ticket_ev(face_value: int, win_prob: int) -> Fraction:
    """Expected value of one ticket in wei: face_value * win_prob / (2^256 - 1)."""
    return Fraction(face_value * win_prob, MAX_WIN_PROB)


@lru_cache(64)
def encode_aux_data(creation_round: int, creation_round_block_hash: bytes) -> bytes:
    """64 bytes; empty when neither round nor hash is known (such a ticket can never be redeemed)."""
    if creation_round == 0 and not any(creation_round_block_hash):
        return b""
    return creation_round.to_bytes(32, "big") + creation_round_block_hash


def ticket_hash_parts(params: TicketParams, sender: bytes, aux_data: bytes) -> tuple[bytes, bytes]:
    """The preimage before and after the nonce: tickets of one batch differ in nothing else."""
    head = params.recipient + sender + params.face_value.to_bytes(32, "big") + params.win_prob.to_bytes(32, "big")
    return head, params.recipient_rand_hash + aux_data


def ticket_hash(params: TicketParams, sender: bytes, sender_nonce: int, aux_data: bytes) -> bytes:
    """The 32 bytes of TicketBroker's `getTicketHash`."""
    head, tail = ticket_hash_parts(params, sender, aux_data)
    return keccak256(head + sender_nonce.to_bytes(32, "big") + tail)


def seg_creds_message(manifest_id: str) -> bytes:
    """What is signed for segment credentials: keccak256(manifest id, seq 0 as 32 bytes, keccak256 of the empty segment)."""
    return keccak256(manifest_id.encode() + bytes(32) + keccak256(b""))
