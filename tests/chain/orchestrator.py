"""An orchestrator as small as redeeming needs: it makes terms, keeps the draw behind them, and reads payments."""

from __future__ import annotations

import base64
import os
import time
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from eth_utils.crypto import keccak

from livepeer_remote_signer.proto import net_pb2

CERTAIN = 2**256 - 1


class Winner(NamedTuple):
    """What redeemWinningTicket takes."""

    ticket: dict[str, Any]
    sig: bytes
    rand: int


def minimal(value: int) -> bytes:
    """Big-endian bytes without leading zeros."""
    return value.to_bytes((value.bit_length() + 7) // 8, "big")


@dataclass
class SmallOrchestrator:
    """Tickets of 1/2 of `face_value`: every other one wins. `round` and `round_hash` None: the signer's own are taken."""

    address: bytes
    l1_block: int
    face_value: int = 4_000_000_000_000
    price_per_second: int = 1_500_000_000_000
    round: int | None = None
    round_hash: bytes = b""
    rand: int = field(default_factory=lambda: int.from_bytes(os.urandom(32), "big"))

    def info(self) -> net_pb2.OrchestratorInfo:
        """Its terms, for anybody."""
        params = net_pb2.TicketParams(
            recipient=self.address,
            face_value=minimal(self.face_value),
            win_prob=minimal(CERTAIN // 2),
            recipient_rand_hash=keccak(self.rand.to_bytes(32, "big")),
            seed=os.urandom(16),
            expiration_block=minimal(self.l1_block + 40),
        )
        if self.round is not None:
            params.expiration_params.creation_round = self.round
            params.expiration_params.creation_round_block_hash = self.round_hash
        token = net_pb2.AuthToken(token=os.urandom(16), session_id=os.urandom(4).hex(), expiration=int(time.time()) + 1800)
        price = net_pb2.PriceInfo(pricePerUnit=self.price_per_second, pixelsPerUnit=1)
        return net_pb2.OrchestratorInfo(
            transcoder="https://127.0.0.1:8935", ticket_params=params, price_info=price, address=self.address, auth_token=token
        )

    def request(self, **more: Any) -> dict[str, Any]:
        """A request body for /generate-live-payment; the first payment of a live session."""
        return {"orchestrator": base64.b64encode(self.info().SerializeToString()).decode(), "type": "live", **more}

    def sign_ticket_request(self, **more: Any) -> dict[str, Any]:
        """The same for /signTicket."""
        return {"orchestratorInfo": self.request()["orchestrator"], "type": "live", **more}

    def tickets(self, payment: str) -> list[Winner]:
        """Every ticket of a payment in the contract's form."""
        message = net_pb2.Payment.FromString(base64.b64decode(payment))
        expiration = message.expiration_params
        aux = expiration.creation_round.to_bytes(32, "big") + expiration.creation_round_block_hash
        return [
            Winner(
                {
                    "recipient": "0x" + message.ticket_params.recipient.hex(),
                    "sender": "0x" + message.sender.hex(),
                    "faceValue": int.from_bytes(message.ticket_params.face_value, "big"),
                    "winProb": int.from_bytes(message.ticket_params.win_prob, "big"),
                    "senderNonce": one.sender_nonce,
                    "recipientRandHash": message.ticket_params.recipient_rand_hash,
                    "auxData": aux,
                },
                one.sig,
                self.rand,
            )
            for one in message.ticket_sender_params
        ]

    def winners(self, payment: str) -> list[Winner]:
        """Those that won."""
        rand = self.rand.to_bytes(32, "big")
        return [t for t in self.tickets(payment) if int.from_bytes(keccak(t.sig + rand), "big") < t.ticket["winProb"]]
