"""A sink that takes no events: every worker lists it as degraded, with the reason, and payments go on."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from livepeer_remote_signer.adapters.events import forwarder
from livepeer_remote_signer.adapters.metrics import spending
from tests.adapters.events.test_http import Receiver, receiving
from tests.prometheus_text import parse_metrics
from tests.signer import RunningSigner, running_signer


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses that a test can wait for."""
    monkeypatch.setattr(spending, "SETTLE_SECONDS", 0.01)
    monkeypatch.setattr(forwarder, "LONGEST_PAUSE_SECONDS", 0.2)


def sections(folder: Path, receiver: Receiver, backend: str) -> dict[str, Any]:
    """A healthy sink and the receiver."""
    sinks = [{"type": "file", "path": str(folder / "events.jsonl")}, {"type": "http", "url": receiver.url}]
    ledger = {"backend": backend, "path": str(folder / "ledger")} if backend == "sqlite" else {"backend": backend}
    return {"events": {"sinks": sinks}, "ledger": ledger, "limits": {"drain_seconds": 0.2}}


async def sinks_of(worker: RunningSigner) -> list[dict[str, Any]]:
    """The lines of the sinks; the worker is ready."""
    answer = await worker.client.get("/readyz")
    assert answer.status_code == 200
    return [check for check in json.loads(answer.content)["checks"] if check["name"].startswith("events.sinks.")]


async def degraded_at(worker: RunningSigner) -> dict[str, float]:
    """The metric, by the sink's place."""
    read = parse_metrics((await worker.client.get("/metrics")).content)["livepeer_signer_sink_degraded"]
    return {"0": read.value(sink="file", position="0"), "1": read.value(sink="http", position="1")}


async def until_degraded(worker: RunningSigner, degraded: list[bool]) -> list[dict[str, Any]]:
    """Waits until the sinks are so."""
    async with asyncio.timeout(60):
        found = await sinks_of(worker)
        while [check["degraded"] for check in found] != degraded:
            await asyncio.sleep(0.05)
            found = await sinks_of(worker)
    return found


@pytest.mark.parametrize("backend", ["sqlite", "none"])
async def test_a_sink_that_is_away_is_degraded_with_its_reason_until_it_is_back(tmp_path: Path, backend: str) -> None:
    async with receiving() as receiver:
        receiver.statuses = [503] * 1000
        async with running_signer(**sections(tmp_path, receiver, backend)) as first:
            assert [check["reason"] for check in await sinks_of(first)] == ["takes events"] * 2
            assert (await first.pay()).status_code == 200
            file, http = await until_degraded(first, [False, True])
            assert file == {"name": "events.sinks.0", "ok": True, "reason": "takes events", "degraded": False}
            assert http["ok"]
            assert http["reason"] == "the events receiver 127.0.0.1 answered HTTP 503, not 2xx"
            assert await degraded_at(first) == {"0": 0, "1": 1}
            assert (await first.pay()).status_code == 200
            if backend == "sqlite":
                async with running_signer(**sections(tmp_path, receiver, backend)) as second:
                    assert (await until_degraded(second, [False, True]))[1] == http, "whichever of them is asked"
            receiver.statuses.clear()
            receiver.retry_after = "0"
            assert (await until_degraded(first, [False, False]))[1]["reason"] == "takes events"
            assert await degraded_at(first) == {"0": 0, "1": 0}


async def test_losses_and_the_age_of_the_oldest_event_are_figures(tmp_path: Path) -> None:
    async with receiving() as receiver:
        receiver.statuses = [503] * 1000
        options = sections(tmp_path, receiver, "sqlite")
        options["ledger"].update(max_pending_events=1, on_full="drop_oldest")
        async with running_signer(**options) as signer:
            for _ in range(3):
                assert (await signer.pay()).status_code == 200
            read = {}
            async with asyncio.timeout(60):  # a count that was held up is made again after twenty seconds
                while not read or read["livepeer_signer_events_lost_total"].value() != 2:
                    read = parse_metrics((await signer.client.get("/metrics")).content)
                    await asyncio.sleep(0.05)
            assert read["livepeer_signer_outbox_pending"].value() == 1
            assert read["livepeer_signer_outbox_parked"].value() == 0
            before = read["livepeer_signer_outbox_oldest_age_seconds"].value()
            async with asyncio.timeout(60):
                while read["livepeer_signer_outbox_oldest_age_seconds"].value() <= before + 0.15:
                    await asyncio.sleep(0.05)
                    read = parse_metrics((await signer.client.get("/metrics")).content)
            assert read["livepeer_signer_outbox_oldest_age_seconds"].value() < 60
