"""What orchestrators can do to others in the list that clients choose from: attacks for `rig.attacked` and `rig.attacking`."""

from __future__ import annotations

import asyncio
import json
import time
import urllib.request
from typing import Any, NamedTuple

from tests.attack.rig import Target, is_due
from tests.simulators import Answers, Chain, Clock, HttpRequest, Network, Offer, Orchestrator, answers_of

STOLEN_APP = "stolen/app"


class Liar(NamedTuple):
    """What it is told: the port that discovery asks it at, the one of an orchestrator whose address is denied, and a victim's URL."""

    port: int
    denied_port: int
    denied_address: bytes
    victim: str


def an_orchestrator_that_answers(target: Target, seconds: float) -> None:
    """No attack: an honest orchestrator at the port it is told, until it is ended."""
    asyncio.run(_answer(target.told, seconds))


async def _answer(port: int, seconds: float) -> None:
    async with Network() as network:
        node = Orchestrator(Clock(), Chain(), Offer(1000), url=f"https://127.0.0.1:{port}")
        await network.host(answers_of(node), port=port)
        await asyncio.sleep(seconds)


def runners_under_anothers_address(target: Target, seconds: float) -> None:
    """Answers discovery with runners under a victim's address, until it is ended."""
    asyncio.run(_lie(target.told, seconds))


async def _lie(told: Liar, seconds: float) -> None:
    stolen = {"url": "https://evil.example/", "app": STOLEN_APP, "capacity": 1}
    lie = {"address": told.victim, "runners": [stolen | {"price_info": {"price": 1, "currency": "wei", "unit": "seconds"}}]}
    async with Network() as network:
        for port, address in ((told.port, bytes(19) + b"\1"), (told.denied_port, told.denied_address)):
            node = Orchestrator(Clock(), Chain(), Offer(1000), url=f"https://127.0.0.1:{port}", address=address)
            await network.host(_answers(node, [lie, {"address": node.url, "runners": []}]), port=port)
        await asyncio.sleep(seconds)


def _answers(node: Orchestrator, discovery: list[dict[str, Any]]) -> Answers:
    async def http(_: HttpRequest) -> tuple[int, bytes]:
        return 200, json.dumps(discovery).encode()

    return Answers(answers_of(node).grpc, http)


def lists_asked_for(target: Target, seconds: float) -> dict[str, Any]:
    """All that was listed while it asked, by address."""
    listed: dict[str, Any] = {}
    going, patient = is_due(seconds), is_due(seconds + 60)
    while going() or (not listed and patient()):
        listed |= {entry["address"]: entry for entry in _list(target.port)}
        time.sleep(0.05)
    return listed


def _list(port: int) -> list[dict[str, Any]]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/discover-orchestrators", timeout=10) as reply:
            found: list[dict[str, Any]] = json.loads(reply.read())
            return found
    except OSError:  # 503: there is no list yet
        return []
