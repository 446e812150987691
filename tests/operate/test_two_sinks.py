"""Two healthy sinks under load: soon after the last payment nothing is unsent, each has each event once, a restart sends nothing again.

`LRS_TWO_SINKS_SECONDS=60 LRS_TWO_SINKS_RATE=400` is the long form.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import time
from pathlib import Path

import httpx
import pytest

from tests.adapters.events.test_http import Receiver, receiving
from tests.plans import orchestrator_info
from tests.prometheus_text import parse_metrics
from tests.served import Served, live_body, served
from tests.signer import PAY

pytestmark = [pytest.mark.operate, pytest.mark.timeout(600)]

SECONDS = float(os.environ.get("LRS_TWO_SINKS_SECONDS", "4"))
RATE = int(os.environ.get("LRS_TWO_SINKS_RATE", "100"))
CLIENTS = 20
SETTLE_SECONDS = 60.0


async def pay_for(signer: Served) -> set[str]:
    """Pays at the rate, as well as this machine can. The request ids."""
    paid: set[str] = set()
    until = time.monotonic() + SECONDS

    async def one(client: httpx.AsyncClient, number: int) -> None:
        due = time.monotonic() + number / RATE
        while due < until:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            due += CLIENTS / RATE
            info = orchestrator_info(now_ns=time.time_ns(), rand_hash=secrets.token_bytes(32))
            answer = await client.post(PAY, content=live_body(info=info))
            assert answer.status_code == 200, answer.text
            paid.add(answer.headers["x-request-id"])

    async with httpx.AsyncClient(base_url=signer.url, timeout=30, trust_env=False) as client:
        await asyncio.gather(*(one(client, number) for number in range(CLIENTS)))
    return paid


def pending_of(signer: Served) -> float:
    """Events that some sink has not got."""
    return parse_metrics(signer.get("/metrics").body)["livepeer_signer_outbox_pending"].value()


def ids_in(path: Path) -> list[str]:
    """Request ids of an events file."""
    return [json.loads(line)["data"]["request_id"] for line in path.read_bytes().splitlines()]


def ids_at(receiver: Receiver) -> list[str]:
    """Request ids that the receiver took."""
    return [event["data"]["request_id"] for batch in receiver.batches for event in batch]


async def test_nothing_is_left_behind_and_a_restart_sends_nothing_again(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    async with receiving() as receiver:
        sections = {
            "ledger": {"backend": "sqlite", "path": str(tmp_path / "ledger")},
            "events": {"sinks": [{"type": "file", "path": str(path)}, {"type": "http", "url": receiver.url}]},
            "log": {"format": "json", "level": "error"},
        }
        with served(tmp_path, **sections) as signer:
            paid = await pay_for(signer)
            settled = time.monotonic() + SETTLE_SECONDS
            while pending := await asyncio.to_thread(pending_of, signer):
                assert time.monotonic() < settled, f"{pending:.0f} of {len(paid)} events are not sent"
                await asyncio.sleep(0.1)
            assert await asyncio.to_thread(signer.end) == 0
        assert len(paid) > RATE * SECONDS / 20, "the load came"
        assert sorted(ids_in(path)) == sorted(ids_at(receiver)) == sorted(paid), "each has each once"
        with served(tmp_path, **sections) as signer:
            await asyncio.sleep(2)
            assert await asyncio.to_thread(signer.end) == 0
        assert len(ids_in(path)) == len(ids_at(receiver)) == len(paid), "a restart sends nothing again"
