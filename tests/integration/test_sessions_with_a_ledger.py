"""Recorded sessions, replayed in order through a signer with a ledger: it changes no byte of an honest session."""

from __future__ import annotations

import json
from base64 import b64decode
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from livepeer_remote_signer.app import create_app
from livepeer_remote_signer.config.loading import parse_config
from livepeer_remote_signer.wiring import live_payments
from tests.asgi import call, running
from tests.recorded import RecordedCase, check_payment, recorded_cases

SESSIONS = {
    name: list(cases)
    for name, cases in groupby(
        (case for case in recorded_cases() if case.name.startswith("random/")), key=lambda case: case.name.rsplit("/", 1)[0]
    )
}


def configuration(case: RecordedCase, ledger: dict[str, Any]) -> str:
    limits = case.limits
    return json.dumps(
        {
            "key": {"private_key": case.key.hex()},
            "state": {"seal": "signature"},
            "chain": {"source": "static", "static": case.chain},
            "limits": {name: limits[name] for name in ("max_ticket_ev_wei", "max_total_ev_wei", "deposit_multiplier")},
            "prices": {
                "max_price_per_unit": limits["max_price_per_unit"],
                "pixels_per_unit": limits["pixels_per_unit"],
                "max_price_per_capability": limits["capabilities_prices"],
            },
            "ledger": ledger,
        }
    )


def recorded_state_ids(cases: list[RecordedCase]) -> list[str]:
    """The ids that the recorded signer made up for new sessions."""
    ids = []
    for case in cases:
        if not json.loads(case.step["request"]["body"]).get("state") and case.step["response"]["status"] == 200:
            ids.append(json.loads(b64decode(json.loads(case.step["response"]["body"])["state"]["State"]))["StateID"])
    return ids


def test_the_recorded_sessions_are_many() -> None:
    assert len(SESSIONS) == 60


@pytest.mark.parametrize("name", SESSIONS)
async def test_a_session_in_order_gives_the_recorded_bytes(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cases = SESSIONS[name]
    names = iter(recorded_state_ids(cases))
    monkeypatch.setattr(live_payments, "token_hex", lambda _: next(names, "beyond"))
    now = [cases[0].step["now_ns"]]
    ledger = {"backend": "sqlite", "path": str(tmp_path / "ledger.sqlite")}
    app = create_app(parse_config(configuration(cases[0], ledger), {}), clock_ns=lambda: now[0])
    async with running(app):
        for case in cases:
            now[0] = case.step["now_ns"]
            request = case.step["request"]
            answer = await call(app, request["method"], request["path"], request["headers"], request["body"].encode())
            assert answer.status == case.status, answer.body
            if answer.status != 200 or case.recorded_reply is None:
                continue
            reply = json.loads(answer.body)
            check_payment(b64decode(reply["payment"]), b64decode(reply["segCreds"]), case.recorded_reply)
            assert reply["state"] == case.recorded_reply["state"]
            if json.loads(request["body"]).get("state"):
                again = await call(app, request["method"], request["path"], request["headers"], request["body"].encode())
                assert again.body == answer.body
