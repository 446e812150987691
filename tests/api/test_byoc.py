"""`POST /sign-byoc-job`: credentials over an encoding that nothing else can pass as."""

from __future__ import annotations

import json
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from eth_account import Account
from eth_account.messages import encode_defunct
from eth_utils import keccak

from livepeer_remote_signer.app import create_app
from livepeer_remote_signer.config.loading import ConfigError, parse_config
from tests.api_keys import create_key
from tests.hooks import Hook, hang_up, reply, running_hook, says
from tests.signer import counted_signatures, running_signer

KEY = "0x" + "17" * 32
LEAST = f"key: {{private_key: '{KEY}'}}\nchain: {{source: static}}\nauth: {{allow_unauthenticated: true}}\n"
JOB = {"id": "job-1", "capability": "text-reversal", "request": '{"run":"reverse"}', "parameters": "{}", "timeout_seconds": 30}


async def post(body: object, enabled: bool = True) -> httpx.Response:
    config = parse_config(LEAST + f"byoc_jobs: {str(enabled).lower()}\n", {})
    transport = httpx.ASGITransport(create_app(config))  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        return await client.post("/sign-byoc-job", json=body)


def preimage(job: dict[str, object]) -> bytes:
    """Section 14's bytes, put together independently of the signer."""
    out = b"LP_BYOC_JOB_V1" + b"\x00\x00" + struct.pack(">I", job["timeout_seconds"])
    for name in ("id", "capability", "request", "parameters"):
        raw = str(job[name]).encode("utf-8")
        out += struct.pack(">I", len(raw)) + raw
    return out


async def test_the_signature_is_over_the_domain_separated_encoding() -> None:
    job = {**JOB, "parameters": "naïve \u2028"}
    reply = await post(job)
    assert reply.status_code == 200
    signer = Account.recover_message(encode_defunct(primitive=keccak(preimage(job))), signature=reply.json()["signature"])
    assert signer == reply.json()["sender"] == Account.from_key(KEY).address


async def test_the_route_is_off_unless_configured() -> None:
    assert (await post(JOB, enabled=False)).status_code == 404


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"id": ""}, "id"),
        ({"capability": ""}, "capability"),
        ({"timeout_seconds": 0}, "timeout_seconds"),
        ({"timeout_seconds": -1}, "timeout_seconds"),
        ({"timeout_seconds": 2**32}, "timeout_seconds"),
        ({"timeout_seconds": "30"}, "timeout_seconds"),
        ({"timeout_seconds": 1.5}, "timeout_seconds"),
        ({"request": 5}, "request"),
    ],
)
async def test_a_field_out_of_its_range_is_refused_by_name(change: dict[str, object], named: str) -> None:
    reply = await post({**JOB, **change})
    assert reply.status_code == 400
    assert named in reply.json()["error"]["message"]


async def test_fields_cannot_flow_into_each_other() -> None:
    one = await post({**JOB, "id": "ab", "capability": "c"})
    other = await post({**JOB, "id": "a", "capability": "bc"})
    assert one.json()["signature"] != other.json()["signature"]


# --- the same authorities as a payment, and the kill switches ---

PATH = "/sign-byoc-job"
TOKEN = "a-token-of-the-operator"


@pytest.fixture
async def hook() -> AsyncIterator[Hook]:
    async with running_hook() as running:
        yield running


def webhook(hook: Hook) -> dict[str, Any]:
    return {"webhook": {"url": hook.url, "timeout_seconds": 1}}


async def test_where_only_the_webhook_is_asked_it_is_asked_and_a_refusal_signs_nothing(hook: Hook) -> None:
    with counted_signatures() as signatures:
        async with running_signer(byoc_jobs=True, auth=webhook(hook)) as signer:
            before = signatures.made
            hook.answer = says({"status": 402, "reason": "no credit", "code": "broke"})
            refused = await signer.client.post(PATH, json=JOB, headers={"Authorization": "Bearer a"})
            assert (refused.status_code, refused.json()["error"]["message"], refused.json()["error"]["code"]) == (402, "no credit", "broke")
            for answer in (says({"status": 201}), says({"status": 0}), hang_up, reply(b"ok")):
                hook.answer = answer
                assert (await signer.client.post(PATH, json=JOB)).status_code == 500
            assert signatures.made == before
            hook.answer = says({"status": 200, "auth_id": "u1", "expiry": 5, "maxPrice": {"price": "x", "currency": "", "unit": ""}})
            signed = await signer.client.post(PATH, json=JOB, headers={"Authorization": "Bearer a"})
            assert (signed.status_code, signatures.made) == (200, before + 1)
    asked = hook.questions[-1]
    assert (asked["type"], asked["headers"]["Authorization"], asked["state"]["StateID"]) == ("byoc", ["Bearer a"], "")
    assert asked["request_id"] == signed.headers["x-request-id"]


async def test_a_job_of_nobody_is_not_signed_where_an_auth_id_is_required(hook: Hook) -> None:
    async with running_signer(byoc_jobs=True, auth={**webhook(hook), "require_auth_id": True}) as signer:
        hook.answer = says({"status": 200})
        assert (await signer.client.post(PATH, json=JOB)).status_code == 403
        hook.answer = says({"status": 200, "auth_id": "u1"})
        assert (await signer.client.post(PATH, json=JOB)).status_code == 200


async def test_questions_that_one_caller_leaves_unanswered_count_for_no_other(hook: Hook) -> None:
    """By whom a proxy speaks for; the caller whose questions the webhook hangs up on is not asked about for a moment."""
    async with running_signer(byoc_jobs=True, auth={**webhook(hook), "trusted_proxies": ["127.0.0.1/32"]}) as signer:

        async def ask(address: str) -> int:
            return (await signer.client.post(PATH, json=JOB, headers={"X-Forwarded-For": address})).status_code

        assert await ask("192.0.2.7") == 200
        hook.answer = hang_up
        for _ in range(5):
            assert await ask("192.0.2.66") == 500
        hook.answer = says({"status": 200})
        asked = len(hook.questions)
        assert await ask("192.0.2.66") == 500
        assert len(hook.questions) == asked
        assert await ask("192.0.2.7") == 200


async def test_a_job_that_is_none_is_not_asked_about(hook: Hook) -> None:
    async with running_signer(byoc_jobs=True, auth=webhook(hook)) as signer:
        assert (await signer.client.post(PATH, json={**JOB, "id": ""})).status_code == 400
        assert (await signer.client.post(PATH, json={**JOB, "capability": "c" * 62_000})).status_code == 413
    assert hook.questions == []


async def test_a_key_and_the_webhook_must_agree_and_the_key_is_not_sent_on(hook: Hook, tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    key, _ = create_key(file, name="a", auth_id="team-a", now=5)
    async with running_signer(byoc_jobs=True, auth={"api_keys_file": str(file), **webhook(hook)}) as signer:
        assert (await signer.client.post(PATH, json=JOB)).status_code == 401
        assert hook.questions == []
        hook.answer = says({"status": 200, "auth_id": "team-b"})
        assert (await signer.client.post(PATH, json=JOB, headers={"X-Api-Key": key})).status_code == 403
        hook.answer = says({"status": 200})
        assert (await signer.client.post(PATH, json=JOB, headers={"Authorization": f"Bearer {key}"})).status_code == 200
    assert {question["state"]["AuthID"] for question in hook.questions} == {"team-a"}
    assert key not in json.dumps(hook.questions)


async def test_kill_switches_hold_for_all_and_for_whom_the_webhook_names(hook: Hook, tmp_path: Path) -> None:
    token_file = tmp_path / "token"
    token_file.write_text(TOKEN)
    ledger = {"backend": "sqlite", "path": str(tmp_path / "ledger.sqlite")}
    hook.answer = says({"status": 200, "auth_id": "u1"})
    with counted_signatures() as signatures:
        async with running_signer(byoc_jobs=True, auth=webhook(hook), ledger=ledger, admin_token_file=token_file) as signer:

            async def ask() -> int:
                return (await signer.client.post(PATH, json=JOB)).status_code

            async def switch(path: str, **target: object) -> None:
                assert signer.admin is not None
                done = await signer.admin.post(path, json=target, headers={"Authorization": f"Bearer {TOKEN}"})
                assert done.status_code == 200

            assert await ask() == 200
            before, asked = signatures.made, len(hook.questions)
            await switch("/admin/suspend", all=True)
            refused = await signer.client.post(PATH, json=JOB)
            assert (refused.status_code, refused.json()["error"]["code"]) == (403, "suspended")
            assert len(hook.questions) == asked, "nobody needs to be asked"
            await switch("/admin/resume", all=True)
            await switch("/admin/suspend", auth_id="u1")
            assert await ask() == 403
            assert signatures.made == before
            await switch("/admin/resume", auth_id="u1")
            assert await ask() == 200


def test_where_nobody_would_be_asked_the_route_is_not_opened_unless_that_is_wanted() -> None:
    text = f"key: {{private_key: '{KEY}'}}\nchain: {{source: static}}\nbyoc_jobs: true\n"
    for nobody in ("", "auth: {trusted_proxies: [10.0.0.0/8]}\n"):
        with pytest.raises(ConfigError, match=r"byoc_jobs: true would sign jobs for whoever asks.*auth\.allow_unauthenticated: true"):
            parse_config(text + nobody, {})
    parse_config(text + "auth: {allow_unauthenticated: true}\n", {})
    parse_config(text + "auth: {webhook: {url: 'https://h'}}\n", {})
