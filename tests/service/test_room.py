"""The room that a payment is said to need on the disk is never less than what is kept of it, whatever its names are."""

from __future__ import annotations

from fractions import Fraction

import pytest
from msgspec import structs

from livepeer_remote_signer.api.live_payment import keep_live_payment
from livepeer_remote_signer.api.sign_ticket import encode_sign_ticket
from livepeer_remote_signer.core.protocol.wire import parse_capabilities
from livepeer_remote_signer.core.rules.events import EventSource, encode_event
from livepeer_remote_signer.core.rules.room import INDEX_BYTES, most_bytes
from livepeer_remote_signer.proto import net_pb2
from livepeer_remote_signer.service.signing import PaymentSigner
from tests.plans import SEAL, SECRET, orchestrator_info, plan_payment
from tests.signing import PlainKey

SIGNER = PaymentSigner(PlainKey(SECRET), SEAL)


@pytest.mark.parametrize("character", ["a", "\x01", "é", "<", '"', "\U0001f4b8"])
@pytest.mark.parametrize("length", [0, 3000, 60_000])
def test_what_is_kept_takes_no_more_room_than_was_asked_for(character: str, length: int) -> None:
    offer = net_pb2.OrchestratorInfo.FromString(orchestrator_info(transcoder="https://" + "o" * 2040))
    offer.auth_token.token = b"t" * 4000
    offer.price_info.constraint = "c" * 1000
    names = net_pb2.Capabilities(bitstring=[2**64 - 1] * 32)
    names.constraints.PerCapability[35].models[character * length].warm = True
    raw = names.SerializeToString()
    plan = plan_payment(offer.SerializeToString())
    session = structs.replace(
        plan.session,
        manifest_id=character * length,
        capabilities=parse_capabilities(raw),
        request=structs.replace(plan.session.request, capabilities=raw),
    )
    few = min(length, 2000)
    state = structs.replace(
        plan.state, app=character * few, auth_id=character * few, manifest_id=character * few, balance=Fraction(10**199 + 1, 10**198)
    )
    plan = structs.replace(plan, session=session, state=state, num_tickets=40)
    signed = SIGNER.sign(plan)
    event = encode_event(plan, EventSource(bytes(20), "i" * 200), "0" * 32, character * 5000)
    for kept in (keep_live_payment(signed, b""), encode_sign_ticket(signed, 5)):
        assert len(signed.state) + len(kept) + len(event) + INDEX_BYTES <= most_bytes(plan)
