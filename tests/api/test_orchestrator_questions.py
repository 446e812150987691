"""`/getOrchestratorInfo` makes this signer wait for strangers: callers share the places, and the webhook may be asked first."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from livepeer_remote_signer.adapters.orchestrator_queries import OrchestratorQueries
from livepeer_remote_signer.api.orchestrators import OrchestratorQuery, parse_orchestrator_query
from livepeer_remote_signer.core.errors import BadField, OrchestratorUnreachable
from livepeer_remote_signer.service import queries
from tests.hooks import running_hook, says
from tests.plans import orchestrator_info
from tests.signer import RunningSigner, running_signer

PATH = "/getOrchestratorInfo"
DIALED = {"orchestrators": {"allow_private_addresses": True}}


@asynccontextmanager
async def silent_orchestrator() -> AsyncIterator[tuple[str, list[int]]]:
    """Takes connections and says nothing; its URL, and how often it was dialed."""
    dialed: list[int] = []

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        dialed.append(1)
        await reader.read()
        writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}", dialed
    finally:
        server.close()


async def ask(signer: RunningSigner, url: str, address: str = "192.0.2.1") -> httpx.Response:
    return await signer.client.post(PATH, json={"orchestrator": url}, headers={"X-Forwarded-For": address})


async def test_one_address_cannot_take_every_place_from_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, eight, go_on = [], asyncio.Event(), asyncio.Event()

    async def fetch(_: OrchestratorQueries, url: str, capabilities: bytes) -> bytes:
        asked.append(url)
        if len(asked) == 8:
            eight.set()
        await go_on.wait()
        return orchestrator_info()

    monkeypatch.setattr(OrchestratorQueries, "fetch_info", fetch)
    monkeypatch.setattr(queries, "MAX_ASKING", 8)
    url, auth = "https://orch.example", {"trusted_proxies": ["127.0.0.1/32"], "allow_unauthenticated": True}
    async with running_signer(auth=auth) as signer:
        crowd = [asyncio.create_task(ask(signer, url)) for _ in range(8)]
        await eight.wait()
        other = asyncio.create_task(ask(signer, url, "192.0.2.2"))
        while len(asked) < 9:  # noqa: ASYNC110 - it is in the list as soon as it has a place
            await asyncio.sleep(0.005)
        refused = await ask(signer, url)
        assert (refused.status_code, refused.json()["error"]["code"], refused.headers["retry-after"]) == (429, "share_exceeded", "1")
        go_on.set()
        assert {reply.status_code for reply in await asyncio.gather(*crowd, other)} == {200}


async def test_a_question_gives_its_place_back_however_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[bytes | Exception] = [orchestrator_info(), OrchestratorUnreachable("nobody is there")] * 3

    async def fetch(_: OrchestratorQueries, url: str, capabilities: bytes) -> bytes:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(OrchestratorQueries, "fetch_info", fetch)
    monkeypatch.setattr(queries, "MAX_ASKING", 1)
    async with running_signer(auth={"allow_unauthenticated": True}) as signer:
        statuses = [(await ask(signer, "https://orch.example")).status_code for _ in range(6)]
    assert statuses == [200, 502] * 3


@pytest.mark.parametrize("asks", [True, False])
async def test_the_webhook_is_asked_before_an_orchestrator_is_called_where_that_is_wanted(asks: bool) -> None:
    async with running_hook() as hook, silent_orchestrator() as (url, dialed):
        hook.answer = says({"status": 403, "reason": "not you"})
        auth = {"webhook": {"url": hook.url, "ask_for_orchestrator_info": asks}}
        async with running_signer(auth=auth, **DIALED) as signer:
            own = await signer.client.post(PATH, json={})
            assert (own.status_code, len(hook.questions)) == (200, 0), "its own half asks nobody"
            reply = await ask(signer, url)
    if asks:
        assert (reply.status_code, reply.json()["error"]["message"], len(dialed)) == (403, "not you", 0)
        assert (hook.questions[0]["type"], hook.questions[0]["orchestrator_url"]) == ("orchestrator_info", url)
        assert hook.questions[0]["state"]["StateID"] == ""
    else:
        assert (reply.status_code, len(hook.questions)) == (502, 0)


@pytest.mark.parametrize("capabilities", [b'{"version": "1"}', b'"AQ=="', b'""'])
def test_capabilities_for_nobody_are_refused(capabilities: bytes) -> None:
    with pytest.raises(BadField, match="capabilities without an orchestrator"):
        parse_orchestrator_query(b'{"capabilities": %b}' % capabilities)
    assert parse_orchestrator_query(b'{"capabilities": null}') == OrchestratorQuery("", b"")
