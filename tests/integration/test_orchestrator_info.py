"""`/getOrchestratorInfo` and `/discover-orchestrators` over real HTTP, with real gRPC behind them."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from livepeer_remote_signer.proto import net_pb2
from tests.plans import CHAIN
from tests.signer import running_signer
from tests.simulators import Chain, Clock, Network, Offer, Orchestrator

GRANTED = {"allow_private_addresses": True}
INFO = "/getOrchestratorInfo"
DISCOVER = "/discover-orchestrators"


@pytest.fixture
async def orchestrator() -> AsyncIterator[Orchestrator]:
    chain = Chain(CHAIN.l1_block, CHAIN.last_initialized_round, CHAIN.last_initialized_round_block_hash)
    async with Network() as network:
        node = Orchestrator(Clock(time.time_ns()), chain, Offer(15_000_000_000))
        await network.host_orchestrator(node)
        yield node


async def test_both_forms_of_the_answer_pay(orchestrator: Orchestrator) -> None:
    async with running_signer(orchestrators=GRANTED) as signer:
        reply = await signer.client.post(INFO, json={"orchestrator": orchestrator.url + "/"})
        assert reply.status_code == 200, reply.text
        body = reply.json()
        assert set(body) == {"address", "signature", "orchestrator", "orchestratorInfo"}
        info = net_pb2.OrchestratorInfo.FromString(base64.b64decode(body["orchestrator"]))
        assert info.address == orchestrator.address
        assert body["orchestratorInfo"]["transcoder"] == orchestrator.url
        for form in (body["orchestrator"], body["orchestratorInfo"]):
            paid = await signer.client.post("/signTicket", json={"orchestratorInfo": form, "type": "live"})
            assert paid.status_code == 200, paid.text
            payment = net_pb2.Payment.FromString(base64.b64decode(paid.json()["payment"]))
            assert payment.ticket_params.recipient_rand_hash == info.ticket_params.recipient_rand_hash
        receipt, _ = orchestrator.take_payment(paid.json()["payment"], paid.json()["segCreds"])
        assert receipt.nonces == (1,)


async def test_capabilities_go_along_as_base64_or_json(orchestrator: Orchestrator) -> None:
    seen: list[Any] = []
    answer = orchestrator.get_info

    def get_info(request: net_pb2.OrchestratorRequest) -> net_pb2.OrchestratorInfo:
        seen.append(request.capabilities)
        return answer(request)

    orchestrator.get_info = get_info  # type: ignore[method-assign]
    wanted = net_pb2.Capabilities(bitstring=[1], version="0.9")
    async with running_signer(orchestrators=GRANTED) as signer:
        for form in (base64.b64encode(wanted.SerializeToString()).decode(), {"bitstring": ["1"], "version": "0.9"}):
            reply = await signer.client.post(INFO, json={"orchestrator": orchestrator.url, "capabilities": form})
            assert reply.status_code == 200, reply.text
    assert seen == [wanted, wanted]


async def test_without_a_url_it_is_the_signers_half() -> None:
    async with running_signer() as signer:
        half = (await signer.client.post("/sign-orchestrator-info")).json()
        for body in ("", "{}", '{"orchestrator": null}', '{"orchestrator": ""}'):
            reply = await signer.client.post(INFO, content=body)
            assert (reply.status_code, reply.json()) == (200, half), body


BAD_REQUESTS = [
    ("[]", 400, "bad_field"),
    ("null", 400, "bad_field"),
    ("{", 400, "bad_json"),
    ('{"orchestrator": 5}', 400, "bad_field"),
    ('{"url": "https://x"}', 400, "bad_field"),
    ('{"orchestrator": "https://x", "orchestrator": "https://y"}', 400, "bad_json"),
    ('{"orchestrator": "http://x.example"}', 400, "bad_field"),
    ('{"orchestrator": "https://x.example/?a=b"}', 400, "bad_field"),
    ('{"capabilities": {}}', 400, "bad_field"),
    ('{"orchestrator": "https://127.0.0.1:1", "capabilities": "%%"}', 400, "bad_field"),
    ('{"orchestrator": "https://127.0.0.1:1", "capabilities": "/w=="}', 400, "bad_capabilities"),
    ('{"orchestrator": "https://127.0.0.1:1", "capabilities": {"colour": 1}}', 400, "bad_capabilities"),
    ('{"orchestrator": "https://127.0.0.1:1"}', 403, "address_refused"),
    ('{"orchestrator": "https://[::ffff:169.254.169.254]"}', 403, "address_refused"),
    ('{"orchestrator": "https://localhost:1"}', 403, "address_refused"),
]


async def test_bad_requests_are_told_apart() -> None:
    async with running_signer() as signer:
        for body, status, code in BAD_REQUESTS:
            reply = await signer.client.post(INFO, content=body)
            assert (reply.status_code, reply.json()["error"]["code"]) == (status, code), body


async def test_an_orchestrator_that_does_not_answer_is_502() -> None:
    async with running_signer(orchestrators=GRANTED) as signer:
        reply = await signer.client.post(INFO, json={"orchestrator": "https://127.0.0.1:1"})
    assert reply.status_code == 502
    assert reply.json()["error"]["code"] == "orchestrator_unreachable"


async def test_only_so_many_orchestrators_are_asked_at_one_time(orchestrator: Orchestrator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("livepeer_remote_signer.service.queries.MAX_ASKING", 2)
    async with running_signer(orchestrators=GRANTED) as signer:
        replies = await asyncio.gather(*(signer.client.post(INFO, json={"orchestrator": orchestrator.url}) for _ in range(8)))
        statuses = [reply.status_code for reply in replies]
        assert set(statuses) == {200, 503}
        assert (await signer.client.post(INFO, json={"orchestrator": orchestrator.url})).status_code == 200


async def test_discovery_says_when_it_is_off() -> None:
    async with running_signer() as signer:
        reply = await signer.client.get(DISCOVER)
    assert reply.status_code == 404
    assert "discovery.enabled" in reply.json()["error"]["hint"]


async def test_the_list_is_there_as_soon_as_somebody_answered(orchestrator: Orchestrator) -> None:
    discovery = {"enabled": True, "static": [orchestrator.url, "https://127.0.0.1:1"], "allow_private_addresses": True}
    async with running_signer(discovery=discovery) as signer:
        reply = await signer.client.get(DISCOVER)
        assert reply.status_code == 503
        assert reply.headers["retry-after"]
        assert not (await signer.client.get("/readyz")).json()["ready"]
        async with asyncio.timeout(20):
            while (reply := await signer.client.get(DISCOVER)).status_code == 503:  # noqa: ASYNC110 - asked as a client would
                await asyncio.sleep(0.05)
        (line,) = reply.json()
        assert line["address"] == orchestrator.url
        assert line["capabilities"] == ["live-video-to-video/streamdiffusion"]
        filtered = await signer.client.get(DISCOVER, params={"caps": ["x", "live-video-to-video/streamdiffusion"]})
        assert json.loads(filtered.content) == [line]
        assert (await signer.client.get(DISCOVER, params={"caps": "live-video-to-video"})).json() == []
        assert (await signer.client.post(DISCOVER)).status_code == 405
