"""The simulated orchestrator judges: honest tickets pass, and each fault of a payment is found."""

from __future__ import annotations

import base64
from collections.abc import Callable
from fractions import Fraction

import pytest
from eth_account import Account
from eth_account.messages import encode_defunct
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from livepeer_remote_signer.proto import net_pb2
from livepeer_remote_signer.simulate.recipient import CURVE_ORDER, big_endian, ticket_digest
from livepeer_remote_signer.simulate.story import spoil
from tests.simulators import Chain, Clock, Offer, Orchestrator, PaymentRefused

KEY = "0x" + "11" * 32
SENDER = bytes.fromhex(Account.from_key(KEY).address[2:])
PRICE = 15_000_000_000


def sign(message: bytes, key: str = KEY) -> bytes:
    return bytes(Account.from_key(key).sign_message(encode_defunct(primitive=message)).signature)


@pytest.fixture
def orchestrator() -> Orchestrator:
    return Orchestrator(Clock(), Chain(), Offer(PRICE))


def info_of(orchestrator: Orchestrator) -> net_pb2.OrchestratorInfo:
    proof = sign(keccak(text=to_checksum_address(SENDER)))
    return orchestrator.get_info(net_pb2.OrchestratorRequest(address=SENDER, sig=proof))


def payment_for(info: net_pb2.OrchestratorInfo, nonces: range = range(1, 4), key: str = KEY) -> net_pb2.Payment:
    payment = net_pb2.Payment(
        ticket_params=info.ticket_params,
        sender=SENDER,
        expiration_params=info.ticket_params.expiration_params,
        expected_price=info.price_info,
    )
    payment.ticket_params.ClearField("expiration_params")
    for nonce in nonces:
        payment.ticket_sender_params.add(sender_nonce=nonce, sig=sign(ticket_digest(payment, nonce), key))
    return payment


def credentials_for(info: net_pb2.OrchestratorInfo) -> net_pb2.SegData:
    manifest = info.auth_token.session_id.encode()
    message = keccak(manifest + bytes(32) + keccak(b""))
    return net_pb2.SegData(manifestId=manifest, hash=keccak(b""), sig=sign(message), auth_token=info.auth_token)


def take(orchestrator: Orchestrator, payment: net_pb2.Payment, credentials: net_pb2.SegData) -> Fraction:
    receipt, _ = orchestrator.take_payment(
        base64.b64encode(payment.SerializeToString()).decode(), base64.b64encode(credentials.SerializeToString()).decode()
    )
    return receipt.ev


def test_honest_tickets_are_taken_and_credited_at_their_expected_value(orchestrator: Orchestrator) -> None:
    info = info_of(orchestrator)
    credited = take(orchestrator, payment_for(info), credentials_for(info))
    face_value = int.from_bytes(info.ticket_params.face_value, "big")
    win_prob = int.from_bytes(info.ticket_params.win_prob, "big")
    assert credited == 3 * Fraction(face_value * win_prob, 2**256 - 1)
    assert orchestrator.accounts[info.auth_token.session_id].balance == credited


def test_work_is_debited_by_the_orchestrators_own_clock(orchestrator: Orchestrator) -> None:
    info = info_of(orchestrator)
    credited = take(orchestrator, payment_for(info), credentials_for(info))
    orchestrator.clock.advance(7)
    orchestrator.meter_all()
    assert orchestrator.accounts[info.auth_token.session_id].balance == credited - 7 * PRICE


def _high_s(payment: net_pb2.Payment) -> None:
    ticket = payment.ticket_sender_params[1]
    s = CURVE_ORDER - int.from_bytes(ticket.sig[32:64], "big")
    ticket.sig = ticket.sig[:32] + s.to_bytes(32, "big") + bytes([55 - ticket.sig[64]])


def _v_of_zero(payment: net_pb2.Payment) -> None:
    ticket = payment.ticket_sender_params[1]
    ticket.sig = ticket.sig[:64] + bytes([ticket.sig[64] - 27])


def _short_signature(payment: net_pb2.Payment) -> None:
    payment.ticket_sender_params[1].sig = payment.ticket_sender_params[1].sig[:64]


def _other_nonce(payment: net_pb2.Payment) -> None:
    payment.ticket_sender_params[1].sender_nonce = 9


def _nonce_zero(payment: net_pb2.Payment) -> None:
    payment.ticket_sender_params[1].sender_nonce = 0


def _nonce_twice(payment: net_pb2.Payment) -> None:
    payment.ticket_sender_params[1].CopyFrom(payment.ticket_sender_params[0])


def _face_value(payment: net_pb2.Payment) -> None:
    payment.ticket_params.face_value = big_endian(10**18)


def _win_prob(payment: net_pb2.Payment) -> None:
    payment.ticket_params.win_prob = big_endian(2**255)


def _seed(payment: net_pb2.Payment) -> None:
    payment.ticket_params.seed = big_endian(5)


def _expiration(payment: net_pb2.Payment) -> None:
    payment.ticket_params.expiration_block = big_endian(10**9)


def _price(payment: net_pb2.Payment) -> None:
    payment.expected_price.pricePerUnit -= 1


def _no_price(payment: net_pb2.Payment) -> None:
    payment.ClearField("expected_price")


def _recipient(payment: net_pb2.Payment) -> None:
    payment.ticket_params.recipient = bytes(20)


def _rand_hash(payment: net_pb2.Payment) -> None:
    payment.ticket_params.recipient_rand_hash = bytes(32)


def _round(payment: net_pb2.Payment) -> None:
    payment.expiration_params.creation_round += 1


def _no_tickets(payment: net_pb2.Payment) -> None:
    payment.ClearField("ticket_sender_params")


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (_high_s, "upper half"),
        (_v_of_zero, "v is"),
        (_short_signature, "64 bytes"),
        (_other_nonce, "signed by"),
        (_nonce_zero, "start at 1"),
        (_nonce_twice, "already seen"),
        (_face_value, "invalid recipientRand"),
        (_win_prob, "invalid recipientRand"),
        (_seed, "invalid recipientRand"),
        (_expiration, "invalid recipientRand"),
        (_price, "invalid recipientRand"),
        (_no_price, "no expected price"),
        (_recipient, "not for us"),
        (_rand_hash, "invalid recipientRand"),
        (_round, "invalid recipientRand"),
        (_no_tickets, "no tickets"),
    ],
)
def test_a_fault_is_found_and_nothing_is_kept(orchestrator: Orchestrator, fault: Callable[[net_pb2.Payment], None], reason: str) -> None:
    info = info_of(orchestrator)
    payment = payment_for(info)
    fault(payment)
    with pytest.raises(PaymentRefused, match=reason):
        take(orchestrator, payment, credentials_for(info))
    assert not orchestrator.accounts
    assert take(orchestrator, payment_for(info), credentials_for(info)) > 0


def test_a_nonce_is_taken_once_ever(orchestrator: Orchestrator) -> None:
    info = info_of(orchestrator)
    take(orchestrator, payment_for(info, range(1, 3)), credentials_for(info))
    with pytest.raises(PaymentRefused, match="nonce 2 already seen"):
        take(orchestrator, payment_for(info, range(2, 4)), credentials_for(info))


def test_no_more_than_600_nonces_are_kept_for_one_rand_hash(orchestrator: Orchestrator) -> None:
    info = info_of(orchestrator)
    orchestrator.recipient.seen[info.ticket_params.recipient_rand_hash] = set(range(1, 600))
    take(orchestrator, payment_for(info, range(600, 601)), credentials_for(info))
    with pytest.raises(PaymentRefused, match="more than 600"):
        take(orchestrator, payment_for(info, range(601, 602)), credentials_for(info))


def test_params_expire_with_their_l1_block(orchestrator: Orchestrator) -> None:
    info = info_of(orchestrator)
    orchestrator.chain.l1_block += 40
    with pytest.raises(PaymentRefused, match="expired at L1 block"):
        take(orchestrator, payment_for(info), credentials_for(info))


def test_a_ticket_of_two_rounds_ago_cannot_be_redeemed(orchestrator: Orchestrator) -> None:
    info = info_of(orchestrator)
    orchestrator.chain.round += 2
    with pytest.raises(PaymentRefused, match="creation round"):
        take(orchestrator, payment_for(info), credentials_for(info))


def test_tickets_of_another_key_are_refused(orchestrator: Orchestrator) -> None:
    info = info_of(orchestrator)
    with pytest.raises(PaymentRefused, match="signed by"):
        take(orchestrator, payment_for(info, key="0x" + "22" * 32), credentials_for(info))


def test_a_certain_ticket_wins(orchestrator: Orchestrator) -> None:
    orchestrator.recipient.win_prob = 2**256 - 1
    info = info_of(orchestrator)
    take(orchestrator, payment_for(info), credentials_for(info))
    winning = orchestrator.recipient.winning
    assert [w.nonce for w in winning] == [1, 2, 3]
    assert {keccak(w.rand) for w in winning} == {info.ticket_params.recipient_rand_hash}


def test_a_tampered_or_old_auth_token_is_refused(orchestrator: Orchestrator) -> None:
    info = info_of(orchestrator)
    credentials = credentials_for(info)
    credentials.auth_token.expiration += 1
    with pytest.raises(PaymentRefused, match="not ours"):
        take(orchestrator, payment_for(info), credentials)
    orchestrator.clock.advance(1800)
    with pytest.raises(PaymentRefused, match="expired"):
        take(orchestrator, payment_for(info), credentials_for(info))


def test_a_manifest_of_nobody_is_refused(orchestrator: Orchestrator) -> None:
    info = info_of(orchestrator)
    credentials = credentials_for(info)
    credentials.manifestId = b"elsewhere"
    with pytest.raises(PaymentRefused, match="no session of this sender"):
        take(orchestrator, payment_for(info), credentials)


def test_terms_are_given_to_senders_that_prove_their_address(orchestrator: Orchestrator) -> None:
    other = sign(keccak(text=to_checksum_address(SENDER)), "0x" + "22" * 32)
    with pytest.raises(PaymentRefused, match="signed by"):
        orchestrator.get_info(net_pb2.OrchestratorRequest(address=SENDER, sig=other))


def test_headers_that_are_no_payment_are_refused(orchestrator: Orchestrator) -> None:
    for header in ("%%%", base64.b64encode(b"\xff\xff\xff").decode()):
        with pytest.raises(PaymentRefused, match="not protobuf"):
            orchestrator.take_payment(header, header)


def test_every_spoiled_copy_of_a_payment_is_refused(orchestrator: Orchestrator) -> None:
    info = info_of(orchestrator)
    spoiled = spoil(payment_for(info).SerializeToString())
    assert len(spoiled) == 4
    for _, payment in spoiled:
        with pytest.raises(PaymentRefused):
            take(orchestrator, net_pb2.Payment.FromString(payment), credentials_for(info))
