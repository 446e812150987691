"""`recipients` of the configuration reaches the payments."""

from __future__ import annotations

import time

import pytest

from tests.plans import orchestrator_info
from tests.signer import running_signer

OTHER = bytes([5]) * 20
ANOTHER = bytes([6]) * 20


@pytest.mark.parametrize(
    ("recipients", "code"),
    [
        ({}, "recipient_refused"),
        ({"must_be_orchestrator": True}, "recipient_refused"),
        ({"must_be_orchestrator": False}, None),
        ({"must_be_orchestrator": False, "allow": ["0x" + OTHER.hex()]}, None),
        ({"must_be_orchestrator": False, "allow": ["0x" + ANOTHER.hex()]}, "recipient_refused"),
        ({"must_be_orchestrator": False, "deny": ["0x" + OTHER.hex()]}, "recipient_refused"),
        ({"must_be_orchestrator": False, "deny": ["0x" + ANOTHER.hex()]}, None),
    ],
)
async def test_another_recipient_than_the_orchestrator_is_the_operators_choice(recipients: dict[str, object], code: str | None) -> None:
    async with running_signer(recipients=recipients) as signer:
        reply = await signer.pay(info=orchestrator_info(recipient=OTHER, now_ns=time.time_ns()))
    assert reply.status_code == (200 if code is None else 403)
    assert code is None or reply.json()["error"]["code"] == code
