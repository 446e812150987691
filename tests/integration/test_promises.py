"""What callers and operators were promised, where a small wrong change would break it and nothing else would notice."""

from __future__ import annotations

import json
import os
import time
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from livepeer_remote_signer.adapters.logs import LogWriter
from livepeer_remote_signer.app import create_app
from livepeer_remote_signer.config.loading import parse_config
from livepeer_remote_signer.core.rules.guard import ABANDONED_AFTER_NS
from livepeer_remote_signer.proto import net_pb2
from tests.api_keys import create_key
from tests.asgi import Answer, call, running
from tests.hooks import running_hook, says
from tests.plans import NOW_NS, orchestrator_info
from tests.prometheus_text import parse_metrics
from tests.signer import PAY, configuration, counted_signatures, running_signer

MS = 10**6


class Signer:
    """A signer that is asked at times of the test's own."""

    def __init__(self, app: Any, clock: list[int]) -> None:
        self.app = app
        self.clock = clock

    async def pay(self, after_ms: int, info: bytes, **headers: str) -> Answer:
        self.clock[0] = NOW_NS + after_ms * MS
        body = {"orchestrator": b64encode(info).decode(), "ManifestID": "m", "type": "live"}
        return await call(self.app, "POST", PAY, headers, json.dumps(body).encode())


@asynccontextmanager
async def signing(logs: LogWriter | None = None, **sections: Any) -> AsyncIterator[Signer]:
    clock = [NOW_NS]
    config = parse_config(json.dumps(configuration(**sections)), {})
    async with running(create_app(config, clock_ns=lambda: clock[0], logs=logs)) as app:
        yield Signer(app, clock)


async def test_a_retry_with_a_refreshed_token_is_the_same_callers_and_pays_once(tmp_path: Path) -> None:
    file, now = tmp_path / "keys.json", int(time.time())
    keys = [create_key(file, name=name, auth_id=owner, now=now)[0] for name, owner in (("a", "team"), ("b", "team"), ("c", "others"))]
    ledger = {"backend": "sqlite", "path": str(tmp_path / "ledger.sqlite")}
    info = orchestrator_info(now_ns=time.time_ns())
    with counted_signatures() as signatures:
        async with running_signer(ledger=ledger, auth={"api_keys_file": str(file)}) as signer:
            first, again, others = [
                await signer.pay({"Authorization": f"Bearer {key}", "Idempotency-Key": "k"}, info=info)
                for key in (keys[0], keys[1], keys[2])
            ]
            made = signatures.made
            assert first.status_code == again.status_code == others.status_code == 200
            assert first.content == again.content
            assert others.content != first.content
            assert (await signer.pay({"Authorization": f"Bearer {keys[1]}", "Idempotency-Key": "k"}, info=info)).content == first.content
            assert signatures.made == made


@pytest.mark.parametrize("by", ["auth_id", "all"])
async def test_a_reply_that_was_kept_is_not_given_to_who_was_suspended_since(by: str, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("t" * 32)
    ledger = {"backend": "sqlite", "path": str(tmp_path / "ledger.sqlite")}
    async with running_hook() as hook:
        hook.answer = says({"status": 200, "auth_id": "team"})
        async with running_signer(ledger=ledger, auth={"webhook": {"url": hook.url}}, admin_token_file=token) as signer:
            assert signer.admin is not None
            signer.admin.headers["authorization"] = f"Bearer {token.read_text()}"
            info = orchestrator_info(now_ns=time.time_ns())
            key = {"Idempotency-Key": "k"}
            paid = await signer.pay(key, info=info)
            assert (await signer.pay(key, info=info)).content == paid.content
            switch = {"all": True} if by == "all" else {"auth_id": "team"}
            assert (await signer.admin.post("/admin/suspend", json=switch)).status_code == 200
            refused = await signer.pay(key, info=info)
            assert (refused.status_code, refused.json()["error"]["code"]) == (403, "suspended")
            assert len(hook.questions) == 1, "the webhook was not asked about a reply that was kept"
            assert (await signer.admin.post("/admin/resume", json=switch)).status_code == 200
            assert (await signer.pay(key, info=info)).content == paid.content


async def test_nor_to_a_suspended_caller_whose_session_was_nobodys(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("t" * 32)
    ledger = {"backend": "sqlite", "path": str(tmp_path / "ledger.sqlite")}
    info, job = orchestrator_info(now_ns=time.time_ns()), {"type": "", "inPixels": 100}
    async with running_signer(ledger=ledger) as signer:
        state = (await signer.pay(info=info, **job)).json()["state"]
        assert (await signer.pay(info=info, state=state, **job)).status_code == 200
    auth = {"trusted_proxies": ["127.0.0.0/8"]}
    async with running_signer(ledger=ledger, auth=auth, admin_token_file=token) as signer:
        assert signer.admin is not None
        signer.admin.headers["authorization"] = f"Bearer {token.read_text()}"
        mallory = {"Signer-Auth-Id": "mallory"}
        assert (await signer.admin.post("/admin/suspend", json={"auth_id": "mallory"})).status_code == 200
        for state_sent in (state, None):
            refused = await signer.pay(mallory, info=info, state=state_sent, **job)
            assert (refused.status_code, refused.json()["error"]["code"]) == (403, "suspended")
        alice = {"Signer-Auth-Id": "alice"}
        assert (await signer.pay(alice, info=info, state=state, **job)).status_code == 200, "it was kept"


async def test_with_the_guard_on_a_payment_is_told_of_once(tmp_path: Path) -> None:
    guard = {"window_seconds": 600, "max_abandoned_sessions": 100, "max_spend_wei": "1eth"}
    with (tmp_path / "log").open("wb") as log:
        logs = LogWriter(descriptor=log.fileno())
        async with signing(logs, recipients={"guard": guard}) as signer:
            paid = await signer.pay(0, orchestrator_info())
            refused = await call(signer.app, "POST", PAY, {}, b"{}")
            read = parse_metrics((await call(signer.app, "GET", "/metrics", {}, b"")).body)
        logs.close()
    assert (paid.status, refused.status) == (200, 400)
    requests = read["livepeer_signer_requests_total"]
    assert requests.value(route=PAY, status="200", code="ok", type="live") == 1
    assert requests.value(route=PAY, status="400", code="missing_orchestrator", type="unknown") == 1
    assert read["livepeer_signer_payments_total"].value(type="live") == 1
    assert read["livepeer_signer_request_seconds"].value("_count", route=PAY) == 2
    for answer, message in ((paid, "payment"), (refused, "payment refused")):
        lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
        assert [line["message"] for line in lines if line.get("request_id") == answer.headers["x-request-id"]] == [message]


@pytest.mark.parametrize("path", [PAY, "/signTicket"])
async def test_a_new_session_with_neither_manifest_nor_token_is_told_what_is_missing(path: str) -> None:
    offer = net_pb2.OrchestratorInfo.FromString(orchestrator_info())
    offer.ClearField("auth_token")
    info = b64encode(offer.SerializeToString()).decode()
    body = {"orchestrator" if path == PAY else "orchestratorInfo": info, "type": "live"}
    async with signing() as signer:
        refused = await call(signer.app, "POST", path, {}, json.dumps(body).encode())
    assert (refused.status, json.loads(refused.body)["error"]["code"]) == (400, "missing_auth_token")


async def test_the_guards_retry_after_is_never_a_moment_too_early() -> None:
    async with signing(recipients={"guard": {"window_seconds": 600, "pause_seconds": 10, "max_abandoned_sessions": 1}}) as signer:
        for _ in range(2):
            assert (await signer.pay(0, orchestrator_info(rand_hash=os.urandom(32)))).status == 200
        late_ms = ABANDONED_AFTER_NS // MS
        for after_ms, seconds in ((0, 10), (1, 10), (999, 10), (1000, 9), (9001, 1), (9999, 1)):
            refused = await signer.pay(late_ms + after_ms, orchestrator_info(rand_hash=os.urandom(32)))
            assert (refused.status, refused.headers["retry-after"]) == (429, str(seconds)), after_ms
            assert json.loads(refused.body)["error"]["code"] == "orchestrator_paused"
        assert (await signer.pay(late_ms + 10_000, orchestrator_info(rand_hash=os.urandom(32)))).status == 200
