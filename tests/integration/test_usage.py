"""`GET /usage`: a caller sees its own figures, the operator the same ones, the events say them, and nobody else sees any."""

from __future__ import annotations

import asyncio
import json
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from livepeer_remote_signer.api.schemas import CallerUsage
from tests.api_keys import create_key
from tests.hooks import running_hook, says
from tests.ledgers import run_sql
from tests.plans import orchestrator_info
from tests.signer import running_signer

TICKET_WEI = 10**12
BUDGETS = [
    {"scope": "auth_id", "window": "day", "limit_wei": str(100 * TICKET_WEI)},
    {"scope": "auth_id", "match": "alice", "window": "day", "limit_wei": str(200 * TICKET_WEI)},
    {"scope": "global", "window": "day", "limit_wei": str(10**18)},
]


def sums_of_events(events: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "payments": len(events),
        "sessions": sum(event["session_status"] == "new" for event in events),
        "tickets": sum(event["num_tickets"] for event in events),
        "total_ev_wei": str(sum(int(event["total_ev"]) for event in events)),
        "fee_wei": str(sum(int(event["computed_fee"]) for event in events)),
        "fee_usd": None,
        "payments_without_usd": len(events),
    }


def is_same(figures: dict[str, Any], expected: dict[str, Any]) -> bool:
    return {name: figures[name] for name in expected} == expected


async def test_caller_operator_and_events_agree_to_the_wei_and_callers_see_themselves_alone(tmp_path: Path) -> None:
    file, token = tmp_path / "keys.json", tmp_path / "token"
    token.write_text("t" * 32)
    by_key = {name: {"X-Api-Key": create_key(file, name=name, auth_id=name, now=5)[0]} for name in ("alice", "bob")}
    ledger = {"backend": "sqlite", "path": str(tmp_path / "ledger.sqlite")}
    sinks = [{"type": "file", "path": str(tmp_path / "events.jsonl")}]
    sections: dict[str, Any] = {"auth": {"api_keys_file": str(file)}, "ledger": ledger, "budgets": BUDGETS, "events": {"sinks": sinks}}
    async with running_signer(admin_token_file=token, **sections) as signer:
        assert signer.admin is not None
        signer.admin.headers["Authorization"] = f"Bearer {'t' * 32}"
        for turn, name in enumerate(("alice", "alice", "bob")):
            info = orchestrator_info(now_ns=time.time_ns(), rand_hash=bytes([turn + 1]) * 32, price_per_unit=100_000_000_001)
            begun = (await signer.pay(by_key[name], info=info, type="", inPixels=33)).json()
            again = await signer.pay(by_key[name], info=info, state=begun["state"], type="", inPixels=7 + turn)
            assert again.status_code == 200, again.text
        payloads = [bytes(payload) for (payload,) in run_sql(tmp_path / "ledger.sqlite", "SELECT payload FROM lrs_outbox")]
        events = [json.loads(payload)["data"] for payload in payloads]
        for name, limit in (("alice", 200), ("bob", 100)):
            own = [event for event in events if event["auth_id"] == name]
            answer = await signer.client.get("/usage", headers=by_key[name])
            assert answer.status_code == 200, answer.text
            assert answer.headers["cache-control"] == "no-store"
            told = answer.json()
            CallerUsage.model_validate(told)
            assert told["auth_id"] == name
            assert is_same(told["total"], sums_of_events(own))
            assert is_same(told["rows"][0], sums_of_events(own))
            assert Fraction(told["total"]["seconds"]) == sum(Fraction(str(event["billable_secs"])) for event in own)
            (row,) = (await signer.admin.get("/admin/usage", params={"auth_id": name})).json()["rows"]
            assert {**row, "auth_id": None} == {**told["total"], "auth_id": None}
            spent = sum(event["num_tickets"] for event in own) * TICKET_WEI
            (budget,) = told["budgets"]
            assert (int(budget["limit_wei"]), int(budget["spent_wei"])) == (limit * TICKET_WEI, spent)
            assert int(budget["left_wei"]) == limit * TICKET_WEI - spent
            sessions = {session["session_id"]: session for session in told["open_sessions"]}
            assert sessions.keys() == {event["session_id"] for event in own}
            for session_id, session in sessions.items():
                last = max((event for event in own if event["session_id"] == session_id), key=lambda event: event["sequence_number"])
                assert session["payments"] == last["sequence_number"] + 1
                assert session["session_balance_wei"] == last["session_balance"]
        assert "bob" not in (await signer.client.get("/usage", headers=by_key["alice"])).text
        for question in ("?auth_id=bob", "?group=auth_id"):
            refused = await signer.client.get(f"/usage{question}", headers=by_key["alice"])
            assert (refused.status_code, refused.json()["error"]["code"]) == (400, "bad_field")
        assert (await signer.client.get("/usage")).status_code == 401
        assert (await signer.client.get("/usage", headers={"X-Api-Key": "x"})).status_code == 401
        assert (await signer.client.post("/usage", headers=by_key["alice"])).status_code == 405


async def test_who_asks_too_often_waits_and_nobody_else_does(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    by_key = {name: {"X-Api-Key": create_key(file, name=name, auth_id=name, now=5)[0]} for name in ("alice", "bob")}
    ledger = {"backend": "sqlite", "path": str(tmp_path / "ledger.sqlite")}
    async with running_signer(auth={"api_keys_file": str(file)}, ledger=ledger) as signer:
        answers = [await signer.client.get("/usage", headers=by_key["alice"]) for _ in range(40)]
        refused = [answer for answer in answers if answer.status_code == 429]
        assert refused
        assert refused[0].json()["error"]["code"] == "rate_exceeded"
        assert int(refused[0].headers["retry-after"]) >= 1
        assert (await signer.client.get("/usage", headers=by_key["bob"])).status_code == 200
        assert (await signer.pay(by_key["alice"])).status_code == 200, "payments are not counted with it"


async def test_with_a_webhook_alone_it_names_the_caller(tmp_path: Path) -> None:
    ledger = {"backend": "sqlite", "path": str(tmp_path / "ledger.sqlite")}
    async with running_hook() as hook, running_signer(auth={"webhook": {"url": hook.url}}, ledger=ledger) as signer:
        hook.answer = says({"status": 200, "auth_id": "carol"})
        assert (await signer.pay({"Authorization": "Bearer of-carol"})).status_code == 200
        told = (await signer.client.get("/usage", headers={"Authorization": "Bearer of-carol"})).json()
        assert (told["auth_id"], told["total"]["payments"]) == ("carol", 1)
        assert hook.questions[-1]["type"] == "usage"
        assert hook.questions[-1]["headers"]["Authorization"] == ["Bearer of-carol"]
        hook.answer = says({"status": 200, "auth_id": "dave"})
        told = (await signer.client.get("/usage")).json()
        assert (told["auth_id"], told["total"]["payments"], told["open_sessions"]) == ("dave", 0, [])
        hook.answer = says({"status": 403, "reason": "no"})
        assert (await signer.client.get("/usage")).status_code == 403
        hook.answer = says({"status": 200})
        unnamed = await signer.client.get("/usage")
        assert (unnamed.status_code, unnamed.json()["error"]["code"]) == (401, "unauthenticated")


@pytest.mark.parametrize("has_ledger", [True, False])
async def test_where_nobody_is_asked_or_nothing_is_kept_there_is_no_usage(tmp_path: Path, has_ledger: bool) -> None:
    sections: dict[str, Any] = {}
    if has_ledger:
        sections["ledger"] = {"backend": "sqlite", "path": str(tmp_path / "ledger.sqlite")}
    else:
        file = tmp_path / "keys.json"
        create_key(file, name="a", auth_id="a", now=5)
        sections["auth"] = {"api_keys_file": str(file)}
    async with running_signer(**sections) as signer:
        refused = await signer.client.get("/usage")
        assert (refused.status_code, refused.json()["error"]["code"]) == (404, "not_found")


async def test_payments_do_not_wait_while_callers_ask(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    by_key = [{"X-Api-Key": create_key(file, name=f"n{n}", auth_id=f"n{n}", now=5)[0]} for n in range(20)]
    ledger = {"backend": "sqlite", "path": str(tmp_path / "ledger.sqlite")}
    async with running_signer(auth={"api_keys_file": str(file)}, ledger=ledger) as signer:
        asked = [signer.client.get("/usage", headers=headers) for headers in by_key]
        paid = [signer.pay(headers) for headers in by_key]
        answers = await asyncio.gather(*asked, *paid)
        assert {answer.status_code for answer in answers} <= {200, 429, 503}
        assert all(answer.status_code == 200 for answer in answers[len(asked) :])


async def test_a_caller_whom_a_trusted_proxy_names_sees_its_own_figures_and_who_comes_past_it_none(tmp_path: Path) -> None:
    ledger = {"backend": "sqlite", "path": str(tmp_path / "ledger.sqlite")}
    named = {"Signer-Auth-Id": "alice"}
    for proxy, status in (("127.0.0.1/32", 200), ("192.0.2.0/24", 401)):
        auth = {"trusted_proxies": [proxy], "allow_unauthenticated": True}
        async with running_signer(auth=auth, ledger=ledger) as signer:
            answer = await signer.client.get("/usage", headers=named)
            assert answer.status_code == status, answer.text
            if status == 200:
                assert answer.json()["auth_id"] == "alice"
