"""An orchestrator's info, and payments planned for it, as values for tests."""

from __future__ import annotations

import os
from dataclasses import replace
from fractions import Fraction

from msgspec import structs

from livepeer_remote_signer.core.protocol.state import SignerState, encode_state
from livepeer_remote_signer.core.rules.chain import ChainView
from livepeer_remote_signer.core.rules.limits import TicketLimits
from livepeer_remote_signer.core.rules.payment import PaymentPlan, PaymentRequest, SessionIds
from livepeer_remote_signer.core.rules.pricing import Ceilings
from livepeer_remote_signer.core.rules.sender import LivePaymentSender
from livepeer_remote_signer.proto import net_pb2
from tests.signing import PlainKey, SignatureSeal

NOW_NS = 1_775_592_000_123_456_789
ORCHESTRATOR = bytes.fromhex("caf7d2090f491f13b703f75d7f9a527563103224")
PRICE_PER_UNIT = 100_000_000_000
SECRET = bytes.fromhex("0b" * 32)
CHAIN = ChainView(
    l1_block=24_000_000,
    last_initialized_round=4012,
    last_initialized_round_block_hash=bytes([7]) * 32,
    deposit_wei=10**18,
    reserve_wei=10**18,
)
SEAL = SignatureSeal(PlainKey(SECRET))
PAYER = bytes.fromhex("5e" * 20)


def costing(plan: PaymentPlan, fee: Fraction) -> PaymentPlan:
    """The payment with another fee (wei), of one unit."""
    return structs.replace(plan, price=fee, billed=structs.replace(plan.billed, units=1))


def orchestrator_info(
    *,
    address: bytes = ORCHESTRATOR,
    recipient: bytes | None = None,
    price_per_unit: int = PRICE_PER_UNIT,
    now_ns: int = NOW_NS,
    expiration_block: int = CHAIN.l1_block + 40,
    rand_hash: bytes = bytes([9]) * 32,
    transcoder: str = "https://orch.example:8935",
) -> bytes:
    """A serialized OrchestratorInfo: tickets of 1e12 wei expected value at a face value of 1.2e15 wei."""
    face_value = 1_200_000_000_000_000
    win_prob = 10**12 * (2**256 - 1) // face_value
    return net_pb2.OrchestratorInfo(
        transcoder=transcoder,
        address=address,
        price_info=net_pb2.PriceInfo(pricePerUnit=price_per_unit, pixelsPerUnit=1),
        ticket_params=net_pb2.TicketParams(
            recipient=address if recipient is None else recipient,
            face_value=face_value.to_bytes(7, "big"),
            win_prob=win_prob.to_bytes(32, "big"),
            recipient_rand_hash=rand_hash,
            seed=b"\1",
            expiration_block=expiration_block.to_bytes(4, "big"),
            expiration_params=net_pb2.TicketExpirationParams(creation_round=4012, creation_round_block_hash=bytes([7]) * 32),
        ),
        auth_token=net_pb2.AuthToken(token=b"\2" * 32, session_id="36b05700", expiration=now_ns // 10**9 + 1800),
    ).SerializeToString()


def payment_sender(*, must_be_orchestrator: bool = True) -> LivePaymentSender:
    """Decides payments with default limits and random session names."""
    ids = SessionIds(lambda: os.urandom(16).hex(), lambda: os.urandom(4).hex())
    return LivePaymentSender(TicketLimits(), SEAL, ids, must_be_orchestrator=must_be_orchestrator, sender=PAYER)


def plan_payment(
    info: bytes | None = None,
    *,
    state: SignerState | None = None,
    now_ns: int = NOW_NS,
    job_type: str = "live",
    catch_up_seconds: int = 0,
    clock_agrees: bool | None = None,
) -> PaymentPlan:
    """A payment as planned: the first of a session, or the one after `state`."""
    raw = encode_state(state) if state is not None else b""
    request = PaymentRequest(
        orchestrator=orchestrator_info(now_ns=now_ns) if info is None else info,
        state=raw,
        state_sig=SEAL.seal(raw) if raw else b"",
        manifest_id="36b05700",
        type=job_type,
    )
    sender = payment_sender()
    chain = replace(CHAIN, clock_agrees=clock_agrees)
    return sender.plan(sender.open(request, now_ns), chain, Ceilings(), now_ns, catch_up_seconds=catch_up_seconds)
