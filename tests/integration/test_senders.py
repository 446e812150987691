"""Several senders in one signer: each caller's payments, signatures and quotes are its own sender's, to the end of its sessions."""

from __future__ import annotations

import asyncio
import json
import os
import time
from base64 import b64decode, b64encode
from pathlib import Path
from typing import Any

import pytest
import yaml

from livepeer_remote_signer.adapters.keys import SigningKey, SigningKeyError
from livepeer_remote_signer.cli import main
from livepeer_remote_signer.core.protocol.eip191 import (
    checksum_address,
    orchestrator_info_message,
    personal_digest,
    recover_address,
)
from livepeer_remote_signer.core.protocol.wire import OrchestratorInfo, parse_orchestrator_info
from livepeer_remote_signer.proto import net_pb2
from livepeer_remote_signer.wiring import live_payments
from tests.api_keys import create_key
from tests.fake_chain import CHAIN_ID, CONTROLLER, FakeChain
from tests.hooks import reply, running_hook
from tests.plans import CHAIN, orchestrator_info
from tests.rpc_node import RpcNode
from tests.signer import RunningSigner, configuration, running_signer

OURS, TENANTS = b"\x21" * 32, b"\x22" * 32
OUR_ADDRESS, TENANTS_ADDRESS = SigningKey(OURS).address, SigningKey(TENANTS).address
KEYS = {"ours": {"private_key": "0x" + OURS.hex()}, "tenant": {"private_key": "0x" + TENANTS.hex()}}
EVERYBODY, ACME = {"auth_id": "*", "key": "ours"}, {"auth_id": "acme", "key": "tenant"}
MAC = {"mac_key": "0x" + "3f" * 32}


class Callers:
    """Two callers with a key each, and the file that knows both."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "api-keys.json"
        self.acme = {"X-Api-Key": create_key(self.file, name="a", auth_id="acme", now=5)[0]}
        self.bob = {"X-Api-Key": create_key(self.file, name="b", auth_id="bob", now=5)[0]}

    def sections(self, **more: Any) -> dict[str, Any]:
        return {"keys": KEYS, "senders": [ACME, EVERYBODY], "state": MAC, "auth": {"api_keys_file": str(self.file)}} | more


@pytest.fixture
def callers(tmp_path: Path) -> Callers:
    return Callers(tmp_path)


def payment_of(reply: dict[str, Any]) -> net_pb2.Payment:
    return net_pb2.Payment.FromString(b64decode(reply["payment"]))


async def paid(signer: RunningSigner, headers: dict[str, str], **fields: Any) -> dict[str, Any]:
    reply = await signer.pay(headers, **fields)
    assert reply.status_code == 200, reply.text
    body: dict[str, Any] = reply.json()
    return body


async def quoted(signer: RunningSigner, headers: dict[str, str], info: bytes, **fields: Any) -> dict[str, Any]:
    body = json.dumps({"orchestratorInfo": b64encode(info).decode(), "type": "live", **fields})
    reply = await signer.client.post("/quoteTicket", headers=headers, content=body)
    assert reply.status_code == 200, reply.text
    quote: dict[str, Any] = reply.json()
    return quote


@pytest.mark.parametrize("backend", ["none", "sqlite"])
async def test_each_callers_sessions_are_paid_by_its_own_sender(callers: Callers, tmp_path: Path, backend: str) -> None:
    ledger = {"backend": backend, **({"path": str(tmp_path / "ledger.sqlite")} if backend == "sqlite" else {})}
    async with running_signer(**callers.sections(ledger=ledger)) as signer:
        for headers, address in ((callers.acme, TENANTS_ADDRESS), (callers.bob, OUR_ADDRESS)):
            info = orchestrator_info(now_ns=time.time_ns(), rand_hash=address[:1] * 32)
            first = await paid(signer, headers, info=info, type="", inPixels=20)
            second = await paid(signer, headers, info=info, type="", inPixels=20, state=first["state"])
            for reply in (first, second):
                payment = payment_of(reply)
                assert payment.sender == address
                assert len(payment.ticket_sender_params) > 0
                seg_data = net_pb2.SegData.FromString(b64decode(reply["segCreds"]))
                assert seg_data.sig != b""
            shown = (await signer.client.post("/sign-orchestrator-info", headers=headers)).json()
            assert shown["address"] == checksum_address(address)
            digest = personal_digest(orchestrator_info_message(address))
            assert recover_address(digest, bytes.fromhex(shown["signature"][2:])) == address
            asked = await signer.client.post("/getOrchestratorInfo", headers=headers, content="{}")
            assert {key: asked.json()[key] for key in shown} == shown


async def test_a_state_of_another_sender_says_that_the_sender_changed(callers: Callers) -> None:
    job = {"type": "", "inPixels": 20}
    async with running_signer(**callers.sections()) as signer:
        info = orchestrator_info(now_ns=time.time_ns())
        acmes = await paid(signer, callers.acme, info=info, **job)
        refused = await signer.pay(callers.bob, info=info, state=acmes["state"], **job)
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "sender_changed")
        assert refused.json()["error"]["sender"] == "0x" + OUR_ADDRESS.hex()
        assert refused.json()["error"]["former_sender"] == "0x" + TENANTS_ADDRESS.hex()
        forged = {**acmes["state"], "Sig": b64encode(bytes(32)).decode()}
        refused = await signer.pay(callers.bob, info=info, state=forged, **job)
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "invalid_sig")
    moved = callers.sections(senders=[{"auth_id": "bob", "key": "tenant"}, EVERYBODY])
    async with running_signer(**moved) as signer:  # gateways are moved one by one: whoever was moved starts anew, the others go on
        refused = await signer.pay(callers.acme, info=info, state=acmes["state"], **job)
        assert refused.json()["error"]["code"] == "sender_changed"
        assert payment_of(await paid(signer, callers.acme, **job)).sender == OUR_ADDRESS
        assert payment_of(await paid(signer, callers.bob, **job)).sender == TENANTS_ADDRESS


@pytest.mark.parametrize("way", ["ledger.senders", "state.previous", "another MAC key"])
async def test_a_state_of_a_key_that_was_taken_away_is_known_while_it_is_named(callers: Callers, tmp_path: Path, way: str) -> None:
    job = {"type": "", "inPixels": 20}
    async with running_signer(**callers.sections()) as signer:
        info = orchestrator_info(now_ns=time.time_ns())
        acmes = await paid(signer, callers.acme, info=info, **job)
    (tmp_path / "secret").write_text(("3f" * 32) if way == "another MAC key" else TENANTS.hex())
    until = {"accept_until": "2100-01-01T00:00:00Z"}
    sections: dict[str, dict[str, Any]] = {
        "ledger.senders": {"ledger": {"senders": ["0x" + TENANTS_ADDRESS.hex()]}},
        "state.previous": {"state": {**MAC, "previous": [{"private_key_file": str(tmp_path / "secret"), **until}]}},
        "another MAC key": {
            "ledger": {"senders": ["0x" + TENANTS_ADDRESS.hex()]},
            "state": {"mac_key": "0x" + "4e" * 32, "previous": [{"mac_key_file": str(tmp_path / "secret"), **until}]},
        },
    }
    left = {"keys": {"ours": KEYS["ours"]}, "senders": [EVERYBODY]}
    async with running_signer(**callers.sections(**left)) as signer:
        refused = await signer.pay(callers.acme, info=info, state=acmes["state"], **job)
        assert refused.json()["error"]["code"] == "invalid_sig", "nobody knows it"
    async with running_signer(**callers.sections(**left, **sections[way])) as signer:
        refused = await signer.pay(callers.acme, info=info, state=acmes["state"], **job)
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "sender_changed")
        assert refused.json()["error"]["former_sender"] == "0x" + TENANTS_ADDRESS.hex()


async def test_what_is_parsed_is_kept_once_for_all_senders(callers: Callers, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[bytes] = []

    def parse(raw: bytes) -> OrchestratorInfo:
        parsed.append(raw)
        return parse_orchestrator_info(raw)

    monkeypatch.setattr(live_payments, "parse_orchestrator_info", parse)
    info = orchestrator_info(now_ns=time.time_ns())
    async with running_signer(**callers.sections()) as signer:
        for headers in (callers.acme, callers.bob):
            await paid(signer, headers, info=info)
            assert (await quoted(signer, headers, info))["refusals"] == []
    assert parsed == [info]


async def test_advice_counts_what_a_signature_of_the_callers_own_key_costs(callers: Callers) -> None:
    costly = {**KEYS, "tenant": {**KEYS["tenant"], "signature_cost_wei": str(10**18)}}
    async with running_signer(**callers.sections(keys=costly)) as signer:
        for headers, costs in ((callers.acme, True), (callers.bob, False)):
            advice = (await quoted(signer, headers, orchestrator_info(now_ns=time.time_ns())))["advice"]
            assert ("signature_cost" in [finding["code"] for finding in advice["findings"]]) is costs


async def test_whoever_has_no_sender_is_refused_everywhere(callers: Callers) -> None:
    sections = callers.sections(keys={"tenant": KEYS["tenant"]}, senders=[ACME], byoc_jobs=True)
    async with running_signer(**sections) as signer:
        assert payment_of(await paid(signer, callers.acme)).sender == TENANTS_ADDRESS
        info = b64encode(orchestrator_info(now_ns=time.time_ns())).decode()
        payment = json.dumps({"orchestrator": info, "ManifestID": "m", "type": "live"})
        for path, body in (
            ("/generate-live-payment", payment),
            ("/signTicket", payment),
            ("/sign-orchestrator-info", ""),
            ("/getOrchestratorInfo", "{}"),
            ("/sign-byoc-job", json.dumps({"request": "{}", "parameters": "{}", "capability": "c", "id": "i", "timeout_seconds": 1})),
        ):
            refused = await signer.client.post(path, headers=callers.bob, content=body)
            assert (path, refused.status_code, refused.json()["error"]["code"]) == (path, 403, "no_sender")


async def test_a_quote_lists_that_nobody_pays_for_the_caller_and_shows_nothing_of_a_senders(callers: Callers, tmp_path: Path) -> None:
    ledger = {"backend": "sqlite", "path": str(tmp_path / "ledger.sqlite")}
    budgets = [{"scope": "sender", "window": "day", "measure": "ev", "limit_wei": "9000000000000"}]
    sections = callers.sections(keys={"tenant": KEYS["tenant"]}, senders=[ACME], ledger=ledger, budgets=budgets)
    info = orchestrator_info(now_ns=time.time_ns())
    async with running_signer(**sections) as signer:
        known = await quoted(signer, callers.acme, info)
        assert known["wouldBePaid"]
        quote = await quoted(signer, callers.bob, info)
        assert not quote["wouldBePaid"]
        (refusal,) = quote["refusals"]
        assert (refusal["code"], refusal["status"]) == ("no_sender", 403)
        assert "no key pays for the auth id bob" in refusal["message"]
        assert (quote["budgets"], quote["funds"], quote["tickets"]) == (None, None, known["tickets"])
        assert quote["faceValue"] == known["faceValue"], "the terms are the orchestrator's"
        broken = await signer.client.post("/quoteTicket", headers=callers.bob, content="{")
        assert (broken.status_code, broken.json()["error"]["code"]) == (400, "bad_json")


async def test_whom_a_webhook_names_too_late_is_not_paid_by_another_sender(callers: Callers) -> None:
    async with running_hook() as hook:
        hook.answer = reply(b'{"status": 200, "auth_id": "acme"}')
        auth = {"trusted_proxies": ["127.0.0.1"], "webhook": {"url": hook.url}}
        job = json.dumps({"request": "{}", "parameters": "{}", "capability": "c", "id": "i", "timeout_seconds": 1})
        async with running_signer(**callers.sections(auth=auth, byoc_jobs=True)) as signer:
            signed = await signer.client.post("/sign-byoc-job", headers={"Signer-Auth-Id": "acme"}, content=job)
            assert signed.json().get("sender") == checksum_address(TENANTS_ADDRESS), signed.text
            for headers in ({}, {"Signer-Auth-Id": "bob"}):
                refused = await signer.client.post("/sign-byoc-job", headers=headers, content=job)
                assert (refused.status_code, refused.json().get("error", {}).get("code")) == (403, "no_sender"), refused.text
                refused = await signer.pay(headers)
                assert (refused.status_code, refused.json()["error"]["code"]) == (403, "no_sender"), refused.text
            assert payment_of(await paid(signer, {"Signer-Auth-Id": "acme"})).sender == TENANTS_ADDRESS
            info = orchestrator_info(now_ns=time.time_ns())
            for headers, asks, codes in (
                ({"Signer-Auth-Id": "bob"}, True, ["no_sender"]),
                ({"Signer-Auth-Id": "bob"}, False, []),
                ({"Signer-Auth-Id": "acme"}, True, []),
            ):
                quote = await quoted(signer, headers, info, authorize=asks)
                assert [refusal["code"] for refusal in quote["refusals"]] == codes, quote
            hook.answer = reply(b'{"status": 200, "auth_id": "corp"}')
            assert payment_of(await paid(signer, {"Signer-Auth-Id": "bob"})).sender == OUR_ADDRESS
            refused = await signer.pay({"Signer-Auth-Id": "acme"})
            assert refused.json()["error"]["code"] == "no_sender"


async def test_jobs_and_quotes_are_of_the_callers_own_sender(callers: Callers) -> None:
    body = json.dumps({"request": "{}", "parameters": "{}", "capability": "c", "id": "i", "timeout_seconds": 1})
    async with running_signer(**callers.sections(byoc_jobs=True)) as signer:
        for headers, address in ((callers.acme, TENANTS_ADDRESS), (callers.bob, OUR_ADDRESS)):
            signed = await signer.client.post("/sign-byoc-job", headers=headers, content=body)
            assert signed.json()["sender"] == checksum_address(address), signed.text


async def test_each_sender_has_its_own_funds_and_one_that_can_pay_is_enough_to_be_ready(callers: Callers) -> None:
    fake = FakeChain(round=CHAIN.last_initialized_round, l1_block=CHAIN.l1_block, funds_of={TENANTS_ADDRESS: (0, 0, 0)})
    async with RpcNode(fake.answer) as node:
        rpc = {"urls": [node.url], "chain_id": CHAIN_ID, "controller": "0x" + CONTROLLER.hex(), "poll_seconds": 0.1}
        chain = {"source": "rpc", "rpc": rpc}
        async with running_signer(**callers.sections(chain=chain, recipients={"require": "any"})) as signer:

            async def ready() -> tuple[int, dict[str, Any]]:
                said = await signer.client.get("/readyz")
                return said.status_code, {check["name"]: check for check in said.json()["checks"]}

            status, checks = await ready()
            while not checks["chain"]["ok"]:
                status, checks = await ready()
            assert (status, checks["senders.ours"]["reason"]) == (200, "can pay")
            assert checks["senders.tenant"]["degraded"]
            assert "no deposit" in checks["senders.tenant"]["reason"]
            refused = await signer.pay(callers.acme)
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "no_deposit")
            assert payment_of(await paid(signer, callers.bob)).sender == OUR_ADDRESS
            quote = await signer.client.post(
                "/quoteTicket",
                headers=callers.acme,
                content=json.dumps({"orchestratorInfo": b64encode(orchestrator_info(now_ns=time.time_ns())).decode(), "type": "live"}),
            )
            assert "no_deposit" in [refusal["code"] for refusal in quote.json()["refusals"]]
            shown = (await signer.client.get("/metrics")).text
            assert 'livepeer_signer_sender_deposit_gwei{key="tenant"} 0' in shown
            assert 'livepeer_signer_sender_deposit_gwei{key="ours"} 1000000000' in shown
            fake.deposit = 0
            while status == 200:
                status, checks = await ready()
            assert not checks["senders.ours"]["ok"]
            assert not checks["senders.tenant"]["ok"]


async def test_two_keys_of_one_address_are_refused_at_start(callers: Callers) -> None:
    keys = {name: {"private_key": "0x" + OURS.hex()} for name in KEYS}
    with pytest.raises(SigningKeyError, match=r"keys\.ours and keys\.tenant are one address"):
        async with running_signer(**callers.sections(keys=keys)):
            pass


@pytest.mark.parametrize("match", ["tenant", checksum_address(TENANTS_ADDRESS)])
async def test_a_senders_budget_holds_for_its_callers_and_for_no_other_sender(
    callers: Callers, tmp_path: Path, match: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(tmp_path / "ledger.sqlite")
    second = {"X-Api-Key": create_key(callers.file, name="c", auth_id="acme-two", now=5)[0]}
    budgets = [
        {"scope": "sender", "match": match, "window": "day", "measure": "ev", "limit_wei": "4500000000000"},
        {"scope": "sender", "window": "day", "measure": "ev", "limit_wei": "8000000000000"},
    ]
    senders = [ACME, {"auth_id": "acme-two", "key": "tenant"}, EVERYBODY]
    sections = callers.sections(senders=senders, budgets=budgets, ledger={"backend": "sqlite", "path": path})

    async def pay(signer: RunningSigner, headers: dict[str, str]) -> str:
        reply = await signer.pay(headers, info=orchestrator_info(now_ns=time.time_ns(), rand_hash=os.urandom(32)), type="", inPixels=10)
        return "" if reply.status_code == 200 else f"{reply.status_code} {reply.json()['error']['code']} {reply.json()['error']['message']}"

    async with running_signer(**sections) as signer:
        assert [await pay(signer, callers.acme), await pay(signer, second)] == ["", ""]
        refused = await pay(signer, callers.acme)
        assert refused.startswith("429 rate_exceeded budget of sender '0x")
        assert TENANTS_ADDRESS.hex() in refused
        assert await pay(signer, second) == refused, "whichever of its callers asks"
        assert [await pay(signer, callers.bob) for _ in range(4)] == [""] * 4
        assert (await pay(signer, callers.bob)).startswith("429 rate_exceeded")
        quote = await quoted(signer, callers.acme, orchestrator_info(now_ns=time.time_ns(), rand_hash=os.urandom(32)))
        (budget,) = quote["budgets"]
        assert (budget["scope"], budget["id"], budget["limitWei"]) == ("sender", "0x" + TENANTS_ADDRESS.hex(), "4500000000000")
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(configuration(**sections)))
    assert await asyncio.to_thread(main, ["budgets", "--config", str(file)]) == 0
    shown = capsys.readouterr().out
    assert "0x" + TENANTS_ADDRESS.hex() in shown
    assert "0x" + OUR_ADDRESS.hex() in shown
