"""The ticket recipient inside an orchestrator: makes ticket params and judges tickets, as strictly as the contract would.

Source: sections 2 and 3 of the protocol. Written apart from `core`: hashing and key recovery come from eth-utils and
eth-account, the preimages are put together here.
"""

from __future__ import annotations

import hmac
import os
from dataclasses import dataclass, field
from fractions import Fraction
from hashlib import sha256
from typing import NamedTuple

from eth_account import Account
from eth_account.messages import encode_defunct
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from livepeer_remote_signer.proto import net_pb2

CURVE_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
CERTAIN = 2**256 - 1
"""A win probability of 1."""

MAX_NONCES = 600
"""How many nonces a recipient keeps for one rand hash."""

BLOCKS_TO_LIVE = 40


class PaymentRefused(Exception):
    """The recipient does not take a payment; the message says why."""


@dataclass
class Chain:
    """What orchestrator and signer both see of the chain."""

    l1_block: int = 21_000_000
    round: int = 4012
    block_hash: bytes = bytes.fromhex("a5" * 32)


class Receipt(NamedTuple):
    """What an accepted payment was worth: expected value in wei, the nonces taken, how many tickets won their face value."""

    ev: Fraction
    nonces: tuple[int, ...]
    winners: int


class Winner(NamedTuple):
    """A ticket that won, with everything that redeeming it takes: the draw behind its terms above all."""

    payment: net_pb2.Payment
    nonce: int
    sig: bytes
    rand: bytes


def check_personal_signature(message: bytes, signature: bytes, signer: bytes, what: str) -> None:
    """Raises PaymentRefused unless `signature` is the one strict signature of `signer` over the personal message."""
    if len(signature) != 65:
        raise PaymentRefused(f"{what}: the signature has {len(signature)} bytes")
    if signature[64] not in (27, 28):
        raise PaymentRefused(f"{what}: v is {signature[64]}")
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:64], "big")
    if not 0 < r < CURVE_ORDER or not 0 < s < CURVE_ORDER:
        raise PaymentRefused(f"{what}: r or s is out of range")
    if s > CURVE_ORDER // 2:
        raise PaymentRefused(f"{what}: s is in the upper half, a second encoding of the signature")
    recovered = Account.recover_message(encode_defunct(primitive=message), signature=signature)
    if recovered != to_checksum_address(signer):
        raise PaymentRefused(f"{what}: signed by {recovered}, not by {to_checksum_address(signer)}")


def word(value: int) -> bytes:
    """A uint256 as the contract packs it."""
    return value.to_bytes(32, "big")


def big_endian(value: int) -> bytes:
    """A big integer as it travels: no leading zero bytes, zero is empty."""
    return value.to_bytes((value.bit_length() + 7) // 8, "big")


@dataclass
class Recipient:
    """One orchestrator's till. `secret` makes its random draws repeatable to itself and to nobody else."""

    address: bytes
    chain: Chain
    face_value: int
    win_prob: int
    secret: bytes = field(default_factory=lambda: os.urandom(32))
    seen: dict[bytes, set[int]] = field(default_factory=dict)
    winning: list[Winner] = field(default_factory=list)

    def make_params(self, sender: bytes, price: net_pb2.PriceInfo) -> net_pb2.TicketParams:
        """Fresh params for this sender at this price."""
        params = net_pb2.TicketParams(
            recipient=self.address,
            face_value=big_endian(self.face_value),
            win_prob=big_endian(self.win_prob),
            seed=big_endian(int.from_bytes(os.urandom(32), "big")),
            expiration_block=big_endian(self.chain.l1_block + BLOCKS_TO_LIVE),
        )
        params.expiration_params.creation_round = self.chain.round
        params.expiration_params.creation_round_block_hash = self.chain.block_hash
        params.recipient_rand_hash = keccak(self._rand(params, sender, price, params.expiration_params))
        return params

    def _rand(
        self, params: net_pb2.TicketParams, sender: bytes, price: net_pb2.PriceInfo, expiration: net_pb2.TicketExpirationParams
    ) -> bytes:
        """The draw that belongs to these terms: whoever changes one of them, the price included, gets another."""
        terms = (
            *(word(int.from_bytes(part, "big")) for part in (params.seed, params.face_value, params.win_prob, params.expiration_block)),
            sender,
            word(price.pricePerUnit),
            word(price.pixelsPerUnit),
            word(expiration.creation_round),
            expiration.creation_round_block_hash,
        )
        return hmac.digest(self.secret, b"".join(terms), sha256)

    def receive(self, payment: net_pb2.Payment, sender: bytes) -> Receipt:
        """Takes all tickets of a payment, or none: raises PaymentRefused and keeps nothing."""
        params = payment.ticket_params
        rand = self._check_params(payment, sender)
        taken = self.seen.get(params.recipient_rand_hash, set())
        nonces: list[int] = []
        winners: list[Winner] = []
        for ticket in payment.ticket_sender_params:
            nonce = ticket.sender_nonce
            if nonce < 1:
                raise PaymentRefused("a nonce of 0: nonces start at 1")
            if nonce in taken or nonce in nonces:
                raise PaymentRefused(f"nonce {nonce} already seen")
            nonces.append(nonce)
            if len(taken) + len(nonces) > MAX_NONCES:
                raise PaymentRefused(f"more than {MAX_NONCES} nonces for one rand hash")
            check_personal_signature(ticket_digest(payment, nonce), ticket.sig, sender, f"ticket {nonce}")
            if int.from_bytes(keccak(ticket.sig + rand), "big") < int.from_bytes(params.win_prob, "big"):
                winners.append(Winner(payment, nonce, ticket.sig, rand))
        if not nonces:
            raise PaymentRefused("no tickets in the payment")
        self.seen[params.recipient_rand_hash] = taken | set(nonces)
        self.winning += winners
        ev = Fraction(int.from_bytes(params.face_value, "big") * int.from_bytes(params.win_prob, "big"), CERTAIN)
        return Receipt(ev * len(nonces), tuple(nonces), len(winners))

    def _check_params(self, payment: net_pb2.Payment, sender: bytes) -> bytes:
        """That the terms are ours, unchanged and alive; the draw that belongs to them."""
        params, expiration = payment.ticket_params, payment.expiration_params
        if params.recipient != self.address:
            raise PaymentRefused(f"tickets for {params.recipient.hex()}, not for us")
        if payment.sender != sender:
            raise PaymentRefused("the payment names another sender than the caller")
        if not payment.HasField("expected_price"):
            raise PaymentRefused("no expected price")
        rand = self._rand(params, sender, payment.expected_price, expiration)
        if keccak(rand) != params.recipient_rand_hash:
            raise PaymentRefused("invalid recipientRand: face value, win prob, price, expiry or sender are not the ones we offered")
        expires = int.from_bytes(params.expiration_block, "big")
        if expires <= self.chain.l1_block:
            raise PaymentRefused(f"ticket params expired at L1 block {expires}, the chain is at {self.chain.l1_block}")
        if not 0 <= self.chain.round - expiration.creation_round <= 1:
            raise PaymentRefused(f"creation round {expiration.creation_round} cannot be redeemed in round {self.chain.round}")
        return rand


def ticket_digest(payment: net_pb2.Payment, nonce: int) -> bytes:
    """The 32 bytes a ticket's signature is over: everything in the order and width in which the contract packs it."""
    params, expiration = payment.ticket_params, payment.expiration_params
    packed = bytearray()
    packed += params.recipient
    packed += payment.sender
    packed += word(int.from_bytes(params.face_value, "big"))
    packed += word(int.from_bytes(params.win_prob, "big"))
    packed += word(nonce)
    packed += params.recipient_rand_hash
    packed += word(expiration.creation_round)
    packed += expiration.creation_round_block_hash
    if len(packed) != 232:
        raise PaymentRefused(f"the ticket packs to {len(packed)} bytes, not 232")
    return keccak(bytes(packed))
