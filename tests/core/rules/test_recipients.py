"""Who may be paid, without asking anybody."""

from __future__ import annotations

import pytest

from livepeer_remote_signer.core.errors import RecipientRefused
from livepeer_remote_signer.core.rules.payment import PaymentRequest
from livepeer_remote_signer.core.rules.pricing import Ceilings
from livepeer_remote_signer.core.rules.recipients import RecipientRules, check_lists, not_a_transcoder
from tests.plans import CHAIN, NOW_NS, ORCHESTRATOR, orchestrator_info, payment_sender, plan_payment

OTHER = bytes([5]) * 20


def test_tickets_that_would_pay_another_than_the_orchestrator_are_refused() -> None:
    with pytest.raises(RecipientRefused) as caught:
        plan_payment(orchestrator_info(recipient=OTHER))
    assert caught.value.values == {"recipient": "0x" + OTHER.hex(), "address": "0x" + ORCHESTRATOR.hex()}
    assert "recipients.must_be_orchestrator" in (caught.value.hint or "")
    plan_payment(orchestrator_info())


def test_a_node_with_a_separate_account_is_paid_where_the_operator_allows_it() -> None:
    sender = payment_sender(must_be_orchestrator=False)
    session = sender.open(PaymentRequest(orchestrator=orchestrator_info(recipient=OTHER), type="live"), NOW_NS)
    plan = sender.plan(session, CHAIN, Ceilings(), NOW_NS)
    assert (plan.session.info.ticket_params.recipient, plan.session.info.address) == (OTHER, ORCHESTRATOR)


@pytest.mark.parametrize(
    ("rules", "is_allowed"),
    [
        (RecipientRules(), True),
        (RecipientRules(allow=frozenset((ORCHESTRATOR,))), True),
        (RecipientRules(allow=frozenset((OTHER,))), False),
        (RecipientRules(deny=frozenset((OTHER,))), True),
        (RecipientRules(deny=frozenset((ORCHESTRATOR,))), False),
        (RecipientRules(frozenset((ORCHESTRATOR,)), frozenset((ORCHESTRATOR,))), False),
    ],
)
def test_the_deny_list_wins_and_an_allow_list_admits_nobody_else(rules: RecipientRules, is_allowed: bool) -> None:
    if is_allowed:
        check_lists(ORCHESTRATOR, rules)
    else:
        with pytest.raises(RecipientRefused):
            check_lists(ORCHESTRATOR, rules)


@pytest.mark.parametrize(("require", "said"), [("registered", "not a registered transcoder"), ("active", "not an active transcoder")])
def test_a_stranger_to_the_chain_is_told_what_was_required(require: str, said: str) -> None:
    refusal = not_a_transcoder(OTHER, require)
    assert said in refusal.message
    assert refusal.values == {"recipient": "0x" + OTHER.hex(), "require": require}
