"""Who may be paid, without asking anybody."""

from __future__ import annotations

import pytest

from livepeer_remote_signer.core.errors import RecipientRefused
from livepeer_remote_signer.core.recipients import RecipientRules, check_lists, not_a_transcoder
from tests.plans import ORCHESTRATOR, orchestrator_info, plan_payment

OTHER = bytes([5]) * 20


def test_tickets_that_would_pay_another_than_the_orchestrator_are_refused() -> None:
    with pytest.raises(RecipientRefused) as caught:
        plan_payment(orchestrator_info(recipient=OTHER))
    assert caught.value.values == {"recipient": "0x" + OTHER.hex(), "address": "0x" + ORCHESTRATOR.hex()}
    plan_payment(orchestrator_info())


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
