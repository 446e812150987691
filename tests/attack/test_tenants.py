"""A tenant with a credential of its own, and another beside it who notices next to nothing."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from livepeer_remote_signer.adapters.auth.api_keys import create_key
from tests.attack import tenants
from tests.attack.rig import attacked
from tests.plans import orchestrator_info
from tests.served import live_body, post, served

pytestmark = [pytest.mark.attack, pytest.mark.timeout(120)]


def keys_of(folder: Path) -> tuple[dict[str, Any], str, str]:
    """`auth` of the configuration, and the credentials of two tenants as headers."""
    file = folder / "keys.json"
    headers = [f"X-Api-Key: {create_key(file, name=name, auth_id=name, now=5)[0]}\r\n" for name in ("mallory", "alice")]
    return {"api_keys_file": str(file)}, headers[0], headers[1]


def honest_payment(headers: str) -> bytes:
    """A first payment, with params of its own: a ledger gives no nonce twice."""
    return post(live_body(info=orchestrator_info(now_ns=time.time_ns(), rand_hash=os.urandom(32))), headers=headers)


@pytest.mark.parametrize("backend", ["none", "sqlite"])
def test_many_connections_with_many_tickets(tmp_path: Path, backend: str) -> None:
    auth, mallory, alice = keys_of(tmp_path)
    ledger = {"backend": backend, "path": str(tmp_path / "ledger.sqlite")}
    with served(tmp_path, auth=auth, ledger=ledger) as signer:
        report = attacked(signer, tenants.many_connections_with_many_tickets, told=mallory, request=lambda: honest_payment(alice))
    assert report.said.get("200", 0) >= 20, report.said
    report.check()
