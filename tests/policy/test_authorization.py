"""Over real HTTP: whoever is denied causes no signature, and a webhook that misbehaves never yields a payment."""

from __future__ import annotations

import asyncio
import json
import time
from base64 import b64decode
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from livepeer_remote_signer.adapters.auth.breaker import OPEN_SECONDS
from tests.api_keys import create_key, revoke_key
from tests.hooks import Answer, Hook, die, drip, flood, hang_up, reply, running_hook, says, silence
from tests.issuer import AUDIENCE, OTHER_RSA_KEY, running_issuer
from tests.plans import orchestrator_info
from tests.signer import Signatures, counted_signatures, running_signer

pytestmark = pytest.mark.policy


@pytest.fixture
def signatures() -> Signatures:
    with counted_signatures() as count:
        yield count  # type: ignore[misc]


@pytest.fixture
async def hook() -> AsyncIterator[Hook]:
    async with running_hook() as running:
        yield running


def webhook(hook: Hook, **options: object) -> dict[str, object]:
    return {"webhook": {"url": hook.url, "timeout_seconds": 20, **options}}


@pytest.mark.parametrize("status", [400, 401, 402, 403, 429, 483, 503, 599])
async def test_a_denied_caller_causes_no_signature(hook: Hook, signatures: Signatures, status: int) -> None:
    hook.answer = says({"status": status, "reason": "no credit left"})
    async with running_signer(auth=webhook(hook)) as signer:
        before = signatures.made
        replies = await asyncio.gather(*(signer.pay() for _ in range(20)))
        assert {r.status_code for r in replies} == {status}
        assert {r.json()["error"]["message"] for r in replies} == {"no credit left"}
        assert signatures.made == before
        assert len(hook.questions) == 20


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (silence, 500),
        (drip, 500),
        (flood, 500),
        (die, 500),
        (hang_up, 500),
        (reply(b'{"status":200}', "302 Found", "Location: http://127.0.0.1:1/\r\n"), 500),
        (reply(b'{"status":200}', "500 Internal Server Error"), 500),
        (reply(b'{"status":200}', "201 Created"), 500),
        (reply(b"OK"), 500),
        (reply(b""), 500),
        (says({"status": "200"}), 500),
        (says({"status": 0}), 500),
        (says({"status": 201}), 500),
        (says({"status": 200, "expiry": "tomorrow"}), 500),
        (reply(b'{"status":200}{"status":200}'), 500),
        (reply(b'{"status":403,"status":200}'), 500),
        (reply(b'{"status":200' + b" " * 70_000 + b"}"), 500),
        (says({"status": 200, "maxPrice": {"price": "1e999999999", "currency": "wei", "unit": "seconds"}}), 502),
        (says({"status": 200, "maxPrice": {"price": 1, "currency": "wei", "unit": "seconds"}}), 481),
    ],
)
async def test_a_webhook_that_misbehaves_never_yields_a_payment(hook: Hook, signatures: Signatures, answer: Answer, status: int) -> None:
    hook.answer = answer
    never_ends = answer in (silence, drip)
    async with running_signer(auth=webhook(hook, timeout_seconds=0.5 if never_ends else 20)) as signer:
        before = signatures.made
        started = time.monotonic()
        replies = await asyncio.gather(*(signer.pay() for _ in range(3)))
        assert {r.status_code for r in replies} == {status}
        assert all("payment" not in r.json() for r in replies)
        assert signatures.made == before
        assert time.monotonic() - started < 20


async def test_a_redirect_leads_nowhere(hook: Hook, signatures: Signatures) -> None:
    async with running_hook() as elsewhere, running_signer(auth=webhook(hook)) as signer:
        hook.answer = reply(b"", "307 Temporary Redirect", f"Location: {elsewhere.url}\r\n")
        before = signatures.made
        assert (await signer.pay()).status_code == 500
        assert elsewhere.questions == []
        assert signatures.made == before


async def test_a_webhook_that_dies_and_comes_back_is_asked_again(hook: Hook, signatures: Signatures) -> None:
    async with running_signer(auth=webhook(hook)) as signer:
        assert (await signer.pay()).status_code == 200
        hook.answer = hang_up
        before = signatures.made
        for _ in range(10):
            assert (await signer.pay()).status_code == 500
        assert signatures.made == before
        hook.answer = says({"status": 200})
        await asyncio.sleep(OPEN_SECONDS + 0.1)
        assert (await signer.pay()).status_code == 200


async def test_a_verdict_is_not_asked_for_while_it_is_cached_and_a_bound_one_only_counts_for_its_credential(hook: Hook) -> None:
    hook.answer = says({"status": 200, "expiry": int(time.time()) + 600, "auth_id": "client:alice"})
    alice, mallory = {"Authorization": "Bearer alice"}, {"Authorization": "Bearer mallory"}
    for options, asked_again in (({}, False), ({"bind_verdicts": True}, True)):
        async with running_signer(auth=webhook(hook, **options)) as signer:
            first = (await signer.pay(alice)).json()
            asked = len(hook.questions)
            assert (await signer.pay(alice, state=first["state"])).status_code in (200, 482)
            assert len(hook.questions) == asked
            info = orchestrator_info(now_ns=time.time_ns())
            await signer.pay(mallory, state=first["state"], info=info, type="live")
            await asyncio.sleep(1.1)
            await signer.pay(mallory, state=first["state"], info=info)
            assert (len(hook.questions) > asked) is asked_again


async def test_without_a_known_credential_nothing_is_signed_on_any_route(signatures: Signatures, tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    key, record = create_key(file, name="a", auth_id="team-a", now=5)
    narrow, _ = create_key(file, name="b", auth_id="team-b", now=5, routes=("sign-orchestrator-info",))
    good, bad = {"Authorization": f"Bearer {key}"}, {"X-Api-Key": key[:-2] + "xx"}
    async with running_signer(auth={"api_keys_file": str(file)}) as signer:
        before = signatures.made
        for headers in ({}, bad, {"Signer-Auth-Id": "team-a"}, {"Authorization": "Basic abc"}):
            for path in ("/generate-live-payment", "/signTicket", "/sign-orchestrator-info", "/getOrchestratorInfo"):
                refused = await signer.client.post(path, content=b"{}", headers=headers)
                assert refused.status_code == 401
                assert refused.json()["error"]["code"] == "unauthenticated"
                assert refused.headers["www-authenticate"].startswith("Bearer")
        for path in ("/generate-live-payment", "/signTicket"):
            refused = await signer.client.post(path, content=b"{", headers=bad)
            assert refused.status_code == 401, "a stranger's body is not looked at"
        assert (await signer.pay({"X-Api-Key": narrow})).status_code == 403
        assert signatures.made == before
        assert (await signer.client.post("/sign-orchestrator-info", headers={"X-Api-Key": narrow})).status_code == 200
        paid = await signer.pay(good)
        assert paid.status_code == 200
        assert signatures.made > before
        revoke_key(file, record.id, int(time.time()))
        await asyncio.sleep(1.1)
        before = signatures.made
        assert (await signer.pay(good)).status_code == 401
        assert signatures.made == before


async def test_a_token_of_the_configured_issuer_is_enough_and_another_is_not(signatures: Signatures) -> None:
    async with running_issuer() as issuer, running_signer(auth={"jwt": {"issuer": issuer.url, "audience": AUDIENCE}}) as signer:
        before = signatures.made
        for token in (issuer.token(OTHER_RSA_KEY), issuer.token(aud="another"), issuer.token(exp=5), "x"):
            assert (await signer.pay({"Authorization": f"Bearer {token}"})).status_code == 401
        assert signatures.made == before
        paid = await signer.pay({"Authorization": f"Bearer {issuer.token()}"})
        assert paid.status_code == 200
        state = json.loads(b64decode(paid.json()["state"]["State"]))
        assert state["AuthID"] == "alice"


async def test_an_issuer_that_is_down_lets_nobody_in(signatures: Signatures) -> None:
    async with running_issuer() as issuer:
        token = issuer.token()
    async with running_signer(auth={"jwt": {"issuer": issuer.url, "audience": AUDIENCE}}) as signer:
        before = signatures.made
        assert (await signer.pay({"Authorization": f"Bearer {token}"})).status_code == 500
        assert signatures.made == before


async def test_a_key_and_the_webhook_must_agree(hook: Hook, signatures: Signatures, tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    key, _ = create_key(file, name="a", auth_id="team-a", now=5)
    async with running_signer(auth={"api_keys_file": str(file), **webhook(hook)}) as signer:
        before = signatures.made
        assert (await signer.pay()).status_code == 401
        assert hook.questions == []
        hook.answer = says({"status": 402, "reason": "pay first"})
        assert (await signer.pay({"X-Api-Key": key})).status_code == 402
        hook.answer = says({"status": 200, "auth_id": "team-b"})
        assert (await signer.pay({"X-Api-Key": key})).status_code == 403
        assert signatures.made == before
        hook.answer = says({"status": 200})
        assert (await signer.pay({"X-Api-Key": key})).status_code == 200
        assert hook.questions[-1]["state"]["AuthID"] == "team-a"


async def test_a_recipient_that_may_not_be_paid_causes_no_signature(hook: Hook, signatures: Signatures) -> None:
    denied = bytes([6]) * 20
    async with running_signer(auth=webhook(hook), recipients={"deny": ["0x" + denied.hex()]}) as signer:
        before = signatures.made
        now_ns = time.time_ns()
        for info in (orchestrator_info(address=denied, now_ns=now_ns), orchestrator_info(recipient=denied, now_ns=now_ns)):
            refused = await signer.pay(info=info)
            assert (refused.status_code, refused.json()["error"]["code"]) == (403, "recipient_refused")
        assert signatures.made == before
        assert hook.questions == []


async def test_an_orchestrator_that_earns_too_fast_is_not_paid_and_others_are(signatures: Signatures) -> None:
    guard = {"window_seconds": 60, "pause_seconds": 30, "max_spend_wei": "4000000000000"}
    async with running_signer(recipients={"guard": guard}) as signer:
        statuses = [(await signer.pay()).status_code for _ in range(4)]
        assert statuses[0] == 200
        before = signatures.made
        refused = await signer.pay()
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "orchestrator_paused")
        assert 58 <= int(refused.headers["retry-after"]) <= 61
        assert signatures.made == before
        other = orchestrator_info(address=bytes([6]) * 20, now_ns=time.time_ns())
        assert (await signer.pay(info=other)).status_code == 200


async def test_a_denied_caller_pauses_no_orchestrator(hook: Hook, signatures: Signatures) -> None:
    hook.answer = says({"status": 403, "reason": "nobody"})
    guard = {"window_seconds": 60, "pause_seconds": 30, "max_spend_wei": "4000000000000"}
    async with running_signer(auth=webhook(hook), recipients={"guard": guard}) as signer:
        before = signatures.made
        for _ in range(3):
            assert (await signer.pay()).status_code == 403
        assert len(hook.questions) == 3, "denied by the webhook, not by the guard"
        assert signatures.made == before
        hook.answer = says({"status": 200})
        assert (await signer.pay()).status_code == 200
