"""Whom a payment is counted for where only the webhook knows who is calling."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from livepeer_remote_signer.adapters.ledger.engine import GroupCommitLedger
from livepeer_remote_signer.core.rules.ledger import RequestKey
from tests.hooks import running_hook, says
from tests.signer import running_signer

TICKET_WEI = 10**12


async def test_budgets_count_for_the_auth_id_that_the_webhook_names(tmp_path: Path) -> None:
    ledger = {"backend": "sqlite", "path": str(tmp_path / "ledger")}
    budget = {"scope": "auth_id", "window": "total", "limit_wei": str(7 * TICKET_WEI // 2)}
    async with running_hook() as hook, running_signer(auth={"webhook": {"url": hook.url}}, ledger=ledger, budgets=[budget]) as signer:
        statuses = []
        for auth_id in ("alice", "alice", "bob", "bob"):
            hook.answer = says({"status": 200, "auth_id": auth_id})
            statuses.append((auth_id, (await signer.pay()).status_code))
    assert statuses == [("alice", 200), ("alice", 483), ("bob", 200), ("bob", 483)]


async def test_a_payment_of_nobody_is_refused_where_an_auth_id_is_required(tmp_path: Path) -> None:
    ledger = {"backend": "sqlite", "path": str(tmp_path / "ledger")}
    for sections in ({}, {"ledger": ledger}):
        async with (
            running_hook() as hook,
            running_signer(auth={"webhook": {"url": hook.url}, "require_auth_id": True}, **sections) as signer,
        ):
            hook.answer = says({"status": 200})
            refused = await signer.pay()
            assert (refused.status_code, refused.json()["error"]["code"]) == (403, "denied")
            assert "auth.require_auth_id" in refused.json()["error"]["message"]
            hook.answer = says({"status": 200, "auth_id": "alice"})
            assert (await signer.pay()).status_code == 200


async def test_batches_are_filled_in_turn_between_those_who_prove_a_name_and_else_between_addresses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served: list[str] = []
    pay = GroupCommitLedger.pay

    async def noted(ledger: GroupCommitLedger, key: RequestKey, *rest: Any) -> Any:
        served.append(key.served)
        return await pay(ledger, key, *rest)

    monkeypatch.setattr(GroupCommitLedger, "pay", noted)
    ledger = {"backend": "sqlite", "path": str(tmp_path / "ledger")}
    auth = {"trusted_proxies": ["127.0.0.1/32"], "allow_unauthenticated": True}
    async with running_signer(auth=auth, ledger=ledger) as signer:
        for headers in ({"Signer-Auth-Id": "alice"}, {}, {"X-Forwarded-For": "10.9.8.7"}):
            assert (await signer.pay(headers)).status_code == 200
    assert served == ["auth id alice", "127.0.0.1", "10.9.8.7"]
