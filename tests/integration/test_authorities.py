"""Those who say who may spend: one that cannot be asked is a fault that `/readyz` and the log name, on every route."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tests.api_keys import create_key
from tests.served import Served, post, served

ROUTES = ("/generate-live-payment", "/signTicket", "/sign-orchestrator-info", "/getOrchestratorInfo")


def wait_for_check(signer: Served, name: str, ok: bool) -> str:
    """The reason of a check, when it is so."""
    give_up = time.monotonic() + 30
    while True:
        answer = signer.get("/readyz")
        (check,) = (check for check in json.loads(answer.body)["checks"] if check["name"] == name)
        if check["ok"] is ok:
            assert answer.status == (200 if ok else 503)
            reason: str = check["reason"]
            return reason
        assert time.monotonic() < give_up, answer.body
        time.sleep(0.1)


def test_a_keys_file_that_cannot_be_used_is_named_by_readiness_and_in_the_log_of_every_route(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    key, _ = create_key(file, name="a", auth_id="team-a", now=int(time.time()))
    credential = f"X-Api-Key: {key}\r\n"
    with served(tmp_path, auth={"api_keys_file": str(file)}) as signer:
        wait_for_check(signer, "auth.api_keys_file", True)
        file.chmod(0o666)
        reason = "can be written by everybody: chmod 600 it"
        assert reason in wait_for_check(signer, "auth.api_keys_file", False)
        for path in ROUTES:
            told = signer.log.count(reason)
            answer = signer.exchange(post(b"{}", path, credential))
            assert (answer.status, answer.error["code"]) == (500, "auth_failed")
            assert reason not in answer.body.decode()
            signer.wait_for_log(reason, told + 1)
        file.chmod(0o600)
        wait_for_check(signer, "auth.api_keys_file", True)
        assert signer.exchange(post(b"{}", ROUTES[2], credential)).status == 200


@pytest.mark.parametrize("section", [{"jwt": {"issuer": "http://127.0.0.1:1", "audience": "signer"}}])
def test_an_issuer_whose_keys_were_never_fetched_is_not_ready(tmp_path: Path, section: dict[str, object]) -> None:
    with served(tmp_path, auth=section) as signer:
        reason = wait_for_check(signer, "auth.jwt", False)
        assert "issuer's keys" in reason
