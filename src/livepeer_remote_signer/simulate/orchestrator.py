"""A simulated orchestrator: answers GetOrchestrator, takes payments, meters the work and keeps its own books.

It is told the time by a clock and the chain by a `Chain`; how it is reached (in process, gRPC, HTTP) is not its concern.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import os
from dataclasses import dataclass, field
from fractions import Fraction
from hashlib import sha256
from typing import Any, NamedTuple

from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak
from google.protobuf.message import DecodeError

from livepeer_remote_signer.proto import net_pb2
from livepeer_remote_signer.simulate.clock import NS_PER_SECOND, Clock
from livepeer_remote_signer.simulate.recipient import (
    CERTAIN,
    Chain,
    PaymentRefused,
    Receipt,
    Recipient,
    check_personal_signature,
)

PIXELS_A_SECOND = 1280 * 720 * 30
LIVE_VIDEO_TO_VIDEO = 35


class Offer(NamedTuple):
    """What the orchestrator asks: wei per unit, units a second of work, and the size of a ticket in wei."""

    price_per_unit: int
    units_a_second: int = 1
    ticket_ev: int = 200_000_000_000
    face_value: int = 1_200_000_000_000_000
    token_seconds: int = 1800

    @property
    def wei_a_second(self) -> int:
        """The price of a second of work."""
        return self.price_per_unit * self.units_a_second


@dataclass
class Account:
    """One session's books: credited by tickets' expected value, debited by the orchestrator's own metering."""

    sender: bytes
    wei_a_second: int
    metered_until_ns: int
    balance: Fraction = Fraction(0)
    lowest: Fraction = Fraction(0)
    payments: int = 0

    def meter(self, now_ns: int) -> None:
        """Debits the work done since the last time."""
        self.balance -= Fraction((now_ns - self.metered_until_ns) * self.wei_a_second, NS_PER_SECOND)
        self.metered_until_ns = now_ns
        self.lowest = min(self.lowest, self.balance)


@dataclass
class Orchestrator:
    """`url` is what it advertises as its transcoder; `offer` may be changed while it runs."""

    clock: Clock
    chain: Chain
    offer: Offer
    url: str = "https://127.0.0.1:8935"
    address: bytes = field(default_factory=lambda: os.urandom(20))
    model: str = "streamdiffusion"
    runners: list[dict[str, Any]] = field(default_factory=list)
    secret: bytes = field(default_factory=lambda: os.urandom(32))
    accounts: dict[str, Account] = field(default_factory=dict)
    sessions: dict[str, bytes] = field(default_factory=dict)
    refusals: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        win_prob = self.offer.ticket_ev * CERTAIN // self.offer.face_value + 1
        self.recipient = Recipient(self.address, self.chain, self.offer.face_value, win_prob)

    def get_info(self, request: net_pb2.OrchestratorRequest) -> net_pb2.OrchestratorInfo:
        """GetOrchestrator: terms for a sender that proves its address. Raises PaymentRefused."""
        sender = bytes(request.address)
        if len(sender) != 20:
            raise PaymentRefused(f"the sender's address has {len(sender)} bytes")
        check_personal_signature(keccak(text=to_checksum_address(sender)), request.sig, sender, "orchestrator-info request")
        session_id = os.urandom(4).hex()
        self.sessions[session_id] = sender
        return self._info(sender, session_id)

    def _info(self, sender: bytes, session_id: str) -> net_pb2.OrchestratorInfo:
        price = net_pb2.PriceInfo(pricePerUnit=self.offer.price_per_unit, pixelsPerUnit=1)
        info = net_pb2.OrchestratorInfo(
            transcoder=self.url,
            address=self.address,
            price_info=price,
            ticket_params=self.recipient.make_params(sender, price),
            auth_token=self._token(session_id, self.clock() // NS_PER_SECOND + self.offer.token_seconds),
        )
        models = info.capabilities.constraints.PerCapability[LIVE_VIDEO_TO_VIDEO].models
        models[self.model].warm = True
        info.capabilities.bitstring.append(1 << LIVE_VIDEO_TO_VIDEO)
        return info

    def _token(self, session_id: str, expiration: int) -> net_pb2.AuthToken:
        proof = hmac.digest(self.secret, f"{session_id}|{expiration}".encode(), sha256)
        return net_pb2.AuthToken(token=proof, session_id=session_id, expiration=expiration)

    def take_payment(self, payment_header: str, segment_header: str) -> tuple[Receipt, bytes]:
        """`POST /payment`: what was credited, and the serialized PaymentResult with fresh terms. Raises PaymentRefused."""
        try:
            payment = net_pb2.Payment.FromString(base64.b64decode(payment_header, validate=True))
            segment = net_pb2.SegData.FromString(base64.b64decode(segment_header, validate=True))
        except (binascii.Error, DecodeError) as error:
            self.refusals.append("not protobuf in base64")
            raise PaymentRefused(f"headers that are not protobuf in base64: {error}") from None
        try:
            manifest_id = self._check_credentials(segment, bytes(payment.sender))
            receipt = self.recipient.receive(payment, bytes(payment.sender))
        except PaymentRefused as error:
            self.refusals.append(str(error))
            raise
        now_ns = self.clock()
        account = self.accounts.get(manifest_id)
        if account is None:
            per_second = payment.expected_price.pricePerUnit * self.offer.units_a_second
            account = self.accounts[manifest_id] = Account(bytes(payment.sender), per_second, now_ns)
        account.meter(now_ns)
        account.balance += receipt.ev
        account.payments += 1
        result = net_pb2.PaymentResult(info=self._info(account.sender, segment.auth_token.session_id))
        return receipt, result.SerializeToString()

    def _check_credentials(self, segment: net_pb2.SegData, sender: bytes) -> str:
        """That the segment credentials are the sender's and name a session of ours; the manifest id."""
        manifest_id = segment.manifestId.decode("utf-8", "replace")
        token = segment.auth_token
        if token != self._token(token.session_id, token.expiration):
            raise PaymentRefused("the auth token is not ours")
        if token.expiration * NS_PER_SECOND <= self.clock():
            raise PaymentRefused("the auth token has expired")
        if self.sessions.get(token.session_id) != sender or self.sessions.get(manifest_id) != sender:
            raise PaymentRefused(f"the manifest id {manifest_id!r} is no session of this sender")
        if segment.hash != keccak(b"") or segment.seq != 0:
            raise PaymentRefused("the credentials are for a segment")
        message = keccak(segment.manifestId + bytes(32) + segment.hash)
        check_personal_signature(message, segment.sig, sender, "segment credentials")
        return manifest_id

    def meter_all(self) -> None:
        """Debits every session up to now."""
        for account in self.accounts.values():
            account.meter(self.clock())

    def discovery(self) -> list[dict[str, Any]]:
        """`GET /discovery`: the runners behind this orchestrator."""
        return [{"address": self.url, "runners": self.runners}]
