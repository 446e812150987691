"""SIGKILL under load, twenty times: whatever a client was paid has its billing event, and nothing else has one."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import secrets
import signal
import time
from base64 import b64decode
from collections import defaultdict
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.plans import orchestrator_info
from tests.served import Served, live_body, served
from tests.signer import PAY

pytestmark = [pytest.mark.operate, pytest.mark.timeout(900)]

ROUNDS = 20
SESSIONS_AT_ONCE = 12
SEED = 20_260_407


class Clients:
    """Gateways that pay session after session, remember every reply, and ask again where the signer died on them."""

    def __init__(self) -> None:
        self.paid: set[tuple[str, int]] = set()
        """Payments that a client received, by session and sequence number."""
        self.refused: set[str] = set()
        """Our ids of requests that were refused."""
        self.unanswered = 0
        self._open: list[tuple[bytes, dict[str, str] | None]] = []

    async def run(self, signer: Served) -> None:
        """Pays until the signer is gone."""
        async with httpx.AsyncClient(base_url=signer.url, timeout=10, trust_env=False) as client:
            await asyncio.gather(*(self._pay_sessions(client) for _ in range(SESSIONS_AT_ONCE)))

    async def _pay_sessions(self, client: httpx.AsyncClient) -> None:
        while True:
            info, state = self._open.pop() if self._open else (fresh_info(), None)
            for _ in range(4):
                fields: dict[str, Any] = {"info": info} | ({"state": state} if state else {})
                try:
                    answer = await client.post(PAY, content=live_body(**fields))
                except httpx.HTTPError:
                    self.unanswered += 1
                    if state is not None:
                        self._open.append((info, state))
                    return
                if answer.status_code != 200:
                    self.refused.add(answer.headers["x-request-id"])
                    break
                state = answer.json()["state"]
                told = json.loads(b64decode(state["State"]))
                self.paid.add((told["StateID"], told["SequenceNumber"]))
            await self._ask_for_too_much(client)

    async def _ask_for_too_much(self, client: httpx.AsyncClient) -> None:
        with contextlib.suppress(httpx.HTTPError):
            answer = await client.post(PAY, content=live_body(maxPrice={"price": "1", "currency": "wei", "unit": "seconds"}))
            assert answer.status_code == 481
            self.refused.add(answer.headers["x-request-id"])


def fresh_info() -> bytes:
    """An orchestrator whose second costs a ticket, so that nearly every call is a payment."""
    return orchestrator_info(now_ns=time.time_ns(), price_per_unit=10**12, rand_hash=secrets.token_bytes(32))


def events_of(path: Path) -> dict[tuple[str, int], set[str]]:
    """Event ids by payment; every line of the file is whole."""
    found: dict[tuple[str, int], set[str]] = defaultdict(set)
    for line in path.read_bytes().splitlines():
        record = json.loads(line)
        found[record["data"]["session_id"], record["data"]["sequence_number"]].add(record["id"])
    return found


def test_every_payment_that_was_received_has_one_event_after_twenty_kills(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    sections = {
        "ledger": {"backend": "sqlite", "path": str(tmp_path / "ledger")},
        "events": {"sinks": [{"type": "file", "path": str(path)}]},
        "log": {"format": "json", "level": "error"},
    }
    clients, chance = Clients(), random.Random(SEED)

    async def kill_after(signer: Served, seconds: float) -> None:
        load = asyncio.create_task(clients.run(signer))
        await asyncio.sleep(seconds)
        signer.process.send_signal(signal.SIGKILL)
        await asyncio.to_thread(signer.process.wait)
        await load

    for _ in range(ROUNDS):
        with served(tmp_path, **sections) as signer:
            asyncio.run(kill_after(signer, chance.uniform(0.3, 5.0)))
    with served(tmp_path, **sections) as signer:
        give_up = time.monotonic() + 60
        while missing := clients.paid - events_of(path).keys():
            assert time.monotonic() < give_up, f"{len(missing)} of {len(clients.paid)} payments have no event"
            time.sleep(0.2)
        signer.end()
    events = events_of(path)
    assert len(clients.paid) > ROUNDS * 5
    assert len(clients.refused) > ROUNDS / 4
    assert clients.unanswered >= ROUNDS / 4, "the kills came under load"
    doubled = {payment: ids for payment, ids in events.items() if len(ids) != 1}
    assert not doubled, "a payment has one event"
    request_ids = {json.loads(line)["data"]["request_id"] for line in path.read_bytes().splitlines()}
    assert not request_ids & clients.refused, "a refused payment has none"
