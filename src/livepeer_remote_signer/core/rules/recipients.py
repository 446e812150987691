"""Who may be paid, as far as it can be told without asking anybody.

A ticket's recipient must be the orchestrator that OrchestratorInfo names: otherwise a price could be agreed with one and
paid to another. A go-livepeer node that was started with `-ethOrchAddr` names its own account and is paid at the other,
so the operator can allow that. His lists come next; what the chain says of a recipient is asked in `adapters.recipients`.
"""

from __future__ import annotations

from typing import NamedTuple

from livepeer_remote_signer.core.errors import RecipientRefused
from livepeer_remote_signer.core.protocol.wire import OrchestratorInfo


class RecipientRules(NamedTuple):
    """The operator's lists of 20-byte addresses. `deny` wins; a list `allow` that is not empty admits nobody else."""

    allow: frozenset[bytes] = frozenset()
    deny: frozenset[bytes] = frozenset()


def not_the_orchestrator(info: OrchestratorInfo) -> RecipientRefused:
    """The refusal of tickets that would pay another than the orchestrator."""
    return RecipientRefused(
        "the ticket's recipient is not the orchestrator's address",
        hint="choose another orchestrator; the operator can allow nodes with a separate account: recipients.must_be_orchestrator",
        recipient="0x" + info.ticket_params.recipient.hex(),
        address="0x" + info.address.hex(),
    )


def check_lists(recipient: bytes, rules: RecipientRules) -> None:
    """Raises RecipientRefused when the operator's lists exclude the recipient."""
    if recipient in rules.deny:
        raise RecipientRefused("this recipient is on the signer's deny list", recipient="0x" + recipient.hex())
    if rules.allow and recipient not in rules.allow:
        raise RecipientRefused(
            "this recipient is not on the signer's allow list",
            hint="the operator can add it to recipients.allow",
            recipient="0x" + recipient.hex(),
        )


def not_a_transcoder(recipient: bytes, require: str) -> RecipientRefused:
    """The refusal of a recipient that the chain does not know as `require` (`registered` or `active`) says."""
    state = "a registered" if require == "registered" else "an active"
    return RecipientRefused(
        f"the recipient is not {state} transcoder in BondingManager",
        hint="choose another orchestrator; the operator can change recipients.require",
        recipient="0x" + recipient.hex(),
        require=require,
    )
