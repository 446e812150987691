"""Every recorded case through the pure core alone: request bytes, chain, limits and clock in, bytes or an error out."""

from __future__ import annotations

import json

import pytest

from livepeer_remote_signer.api.errors import status_of
from livepeer_remote_signer.api.live_payment import parse_live_payment
from livepeer_remote_signer.core.errors import AuthFailed, RefreshSession, SignerError
from livepeer_remote_signer.core.protocol.eip191 import checksum_address, orchestrator_info_message
from livepeer_remote_signer.core.rules.payment import PaymentPlan, SessionIds
from livepeer_remote_signer.core.rules.policy import Caller, apply_verdict, is_verdict_cached
from livepeer_remote_signer.core.rules.sender import LivePaymentSender
from livepeer_remote_signer.core.rules.webhook import encode_question, parse_verdict
from livepeer_remote_signer.service.signing import PaymentSigner, SignedPayment
from tests.recorded import (
    PAYING_PATH,
    RecordedCase,
    check_message,
    check_payment,
    check_question,
    check_state,
    recorded_cases,
)
from tests.signing import PlainKey, SignatureSeal

CASES = list(recorded_cases())
PAYING = [case for case in CASES if case.step["request"]["path"] == PAYING_PATH]
OTHERS = [case for case in CASES if case.step["request"]["path"] != PAYING_PATH and case.status == 200]
IDS = SessionIds(state_id=lambda: "00" * 16, manifest_id=lambda: "11" * 8)


def answer(case: RecordedCase) -> tuple[SignedPayment, list[bytes]]:
    """The payment, and the questions that the webhook was asked."""
    key = PlainKey(case.key)
    seal = SignatureSeal(key)
    sender = LivePaymentSender(case.ticket_limits(), seal, IDS)
    now_ns = case.step["now_ns"]
    session = sender.open(parse_live_payment(case.step["request"]["body"].encode()), now_ns)
    plan = sender.plan(session, case.chain_view(), case.ceilings(), now_ns)
    questions: list[bytes] = []
    if case.has_webhook and not is_verdict_cached(plan.state, now_ns):
        plan = authorized(case, plan, questions)
    return PaymentSigner(key, seal).sign(plan), questions


def authorized(case: RecordedCase, plan: PaymentPlan, questions: list[bytes]) -> PaymentPlan:
    """The plan under the recorded verdict."""
    headers = tuple((name.lower().encode(), value.encode()) for name, value in case.step["request"]["headers"].items())
    questions.append(encode_question(Caller(headers=headers), plan, "request"))
    webhook = case.step["webhook"]
    if webhook["http_status"] != 200:
        raise AuthFailed(f"HTTP {webhook['http_status']}")
    return apply_verdict(plan, parse_verdict(webhook["body"].encode()))


@pytest.mark.parametrize("case", PAYING, ids=lambda case: case.name)
def test_the_core_answers_as_recorded(case: RecordedCase) -> None:
    if case.status == 200:
        signed, questions = answer(case)
        if (recorded := case.recorded_reply) is not None:
            check_payment(signed.payment, signed.seg_creds, recorded)
            check_state(signed.state, signed.state_sig, recorded)
            assert len(signed.tickets) == case.step["decoded"]["tickets"]
            assert signed.tickets[0].sender_nonce == case.step["decoded"]["first_nonce"]
        if not case.ours:
            assert bool(questions) == (case.recorded_question is not None)
            for question in questions:
                check_question(json.loads(question), case.recorded_question or {})
        return
    with pytest.raises(SignerError) as refusal:
        answer(case)
    assert status_of(refusal.value) == case.status, refusal.value.message
    check_message(case, refusal.value.message)
    if case.step["response"]["status"] == 480:
        assert isinstance(refusal.value, RefreshSession)
        assert refusal.value.orchestrator_url == case.step["response"]["headers"].get("Livepeer-Orchestrator-Url", "")


@pytest.mark.parametrize("case", OTHERS, ids=lambda case: case.name)
def test_the_orchestrator_info_signature_is_the_recorded_one(case: RecordedCase) -> None:
    key = PlainKey(case.key)
    assert json.loads(case.step["response"]["body"]) == {
        "address": checksum_address(key.address),
        "signature": "0x" + key.sign_personal(orchestrator_info_message(key.address)).hex(),
    }


def test_all_recorded_kinds_are_there() -> None:
    assert len(CASES) == 774
    assert {case.status for case in CASES} >= {200, 400, 401, 403, 480, 481, 482, 483, 500, 502, 503}
