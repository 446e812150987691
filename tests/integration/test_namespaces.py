"""`auth.namespaces`, turned on where a ledger and sessions are: spending counts on, sessions go on, names do not meet."""

from __future__ import annotations

import json
import time
from base64 import b64decode
from pathlib import Path

from tests.api_keys import create_key
from tests.hooks import running_hook, says
from tests.issuer import AUDIENCE, running_issuer
from tests.plans import orchestrator_info
from tests.signer import running_signer

TICKET_WEI = 10**12
JOB = {"type": "", "inPixels": 20}
"""Two tickets' worth, and a hair more: a first payment is three, the one after it two."""


def auth_id_of(reply: dict[str, dict[str, str]]) -> str:
    name: str = json.loads(b64decode(reply["state"]["State"]))["AuthID"]
    return name


async def test_sessions_and_spending_of_bare_ids_go_on_and_a_tokens_subject_is_not_the_key(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    key, _ = create_key(file, name="a", auth_id="alice", now=5)
    by_key = {"X-Api-Key": key}
    common = {
        "ledger": {"backend": "sqlite", "path": str(tmp_path / "ledger.sqlite")},
        "budgets": [{"scope": "auth_id", "window": "total", "limit_wei": str(10 * TICKET_WEI)}],
    }
    async with running_issuer() as issuer, running_hook() as hook:
        hook.answer = says({"status": 200})
        auth = {
            "api_keys_file": str(file),
            "jwt": {"issuer": issuer.url, "audience": AUDIENCE},
            "webhook": {"url": hook.url},
        }
        async with running_signer(auth=auth, **common) as signer:
            before = (await signer.pay(by_key, **JOB)).json()
            assert auth_id_of(before) == "alice"
        async with running_signer(auth={**auth, "namespaces": True}, **common) as signer:
            info = orchestrator_info(now_ns=time.time_ns(), rand_hash=b"\x08" * 32)
            by_token = {"Authorization": f"Bearer {issuer.token()}"}
            hook.answer = says({"status": 200, "auth_id": "alice"})
            went_on = await signer.pay(by_key, state=before["state"], info=info, **JOB)
            assert went_on.status_code == 200, went_on.text
            assert auth_id_of(went_on.json()) == "key:alice"
            assert hook.questions[-1]["state"]["AuthID"] == "key:alice"
            refused = await signer.pay(by_token, state=went_on.json()["state"], info=info, **JOB)
            assert (refused.status_code, refused.json()["error"]["code"]) == (403, "auth_id_changed")
            assert auth_id_of((await signer.pay(by_token, **JOB)).json()) == "jwt:alice"
            statuses = [(await signer.pay(by_key, **JOB)).status_code for _ in range(3)]
            assert statuses == [200, 483, 483], "the three tickets of the bare id count"
