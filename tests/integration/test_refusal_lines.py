"""A refused payment's line names who asked, for which orchestrator and session, as far as that is known."""

from __future__ import annotations

import json
import time
from base64 import b64encode
from pathlib import Path
from typing import Any

from livepeer_remote_signer.core.protocol.eip191 import checksum_address
from tests.api_keys import create_key
from tests.plans import ORCHESTRATOR, orchestrator_info
from tests.served import Served, live_body, post, served

ORCH = checksum_address(ORCHESTRATOR)


def lines_of(signer: Served, request_ids: list[str]) -> list[dict[str, Any]]:
    """The lines of these requests, in order, once all are there."""
    for request_id in request_ids:
        signer.wait_for_log(request_id)
    lines = [json.loads(line) for line in signer.log.splitlines() if line.startswith("{")]
    return [next(line for line in lines if line.get("request_id") == request_id) for request_id in request_ids]


def test_a_refusals_line_names_caller_orchestrator_and_session(tmp_path: Path) -> None:
    key, _ = create_key(tmp_path / "keys", name="a", auth_id="team-a", now=int(time.time()))
    headers = f"Authorization: Bearer {key}\r\n"
    info = orchestrator_info(now_ns=time.time_ns())
    dear = orchestrator_info(now_ns=time.time_ns(), price_per_unit=10**12)
    stale = orchestrator_info(now_ns=time.time_ns() - 10**13)
    auth = {"api_keys_file": str(tmp_path / "keys")}
    with served(tmp_path, auth=auth, log={"format": "json"}, prices={"max_price_per_unit": "200000000000"}) as signer:
        paid = json.loads(signer.exchange(post(live_body(info=info), headers=headers)).body)
        forged = {"State": paid["state"]["State"], "Sig": b64encode(bytes(32)).decode()}
        asked: list[tuple[int, bytes]] = [
            (481, live_body(info=dear)),
            (480, live_body(info=stale, state=paid["state"])),
            (400, live_body(info=info, state=paid["state"], type="lv2v")),
            (400, live_body(info=info, state=forged)),
            (400, live_body(info=b"\xff")),
            (400, b"{"),
        ]
        ids = []
        for status, body in asked:
            answer = signer.exchange(post(body, headers=headers))
            assert answer.status == status, answer
            ids.append(answer.headers["x-request-id"])
        dear_line, late, changed, forged_line, broken, nothing = lines_of(signer, ids)
    session = lines_session(signer)
    assert [line.get("auth_id") for line in (dear_line, late, changed, forged_line, broken, nothing)] == ["team-a"] * 6
    assert [line.get("orch_address") for line in (dear_line, late, changed, forged_line, broken, nothing)] == [ORCH] * 4 + [None] * 2
    assert [line.get("manifest_id") for line in (late, changed, forged_line, broken, nothing)] == ["m1"] * 4 + [None]
    assert (late["session_id"], changed["session_id"]) == (session, session)
    assert "session_id" not in forged_line, "a state that is not ours names no session"
    assert key not in signer.log


def lines_session(signer: Served) -> str:
    """The session of the payment that was made."""
    lines = [json.loads(line) for line in signer.log.splitlines() if line.startswith("{")]
    return str(next(line["session_id"] for line in lines if line["message"] == "payment"))
