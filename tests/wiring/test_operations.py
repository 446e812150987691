"""What any one of several workers answers to a scrape."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from livepeer_remote_signer.adapters.metrics import spending
from tests.prometheus_text import Metric, parse_metrics
from tests.signer import RunningSigner, running_signer

NOBODY_LISTENS = {"events": {"sinks": [{"type": "http", "url": "http://127.0.0.1:9/"}]}, "limits": {"drain_seconds": 0.1}}


async def scrape(worker: RunningSigner) -> dict[str, Metric]:
    """What Prometheus reads from this one."""
    return parse_metrics((await worker.client.get("/metrics")).content)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What workers share; they look at each other often."""
    monkeypatch.setattr(spending, "SETTLE_SECONDS", 0.01)
    return tmp_path


async def test_no_number_depends_on_the_worker_that_is_asked_nor_goes_back_when_one_ends(folder: Path) -> None:
    async with running_signer(workers_folder=folder, **NOBODY_LISTENS) as first:
        async with running_signer(workers_folder=folder, **NOBODY_LISTENS) as second:
            for worker in (first, first, second):
                assert (await worker.pay()).status_code == 200
            async with asyncio.timeout(30):
                while (read := await scrape(first))["livepeer_signer_payments_total"].value(type="live") != 3:  # noqa: ASYNC110 - as a scraper
                    await asyncio.sleep(spending.SETTLE_SECONDS)
            tickets = read["livepeer_tickets_sent"].value()
            cpu = 0.0
            for worker in (first, second, first):
                read = await scrape(worker)
                assert read["livepeer_signer_signatures_total"].value() == tickets
                assert read["livepeer_signer_signatures_total"].kind == "counter"
                assert read["process_cpu_seconds_total"].value() >= cpu
                cpu = read["process_cpu_seconds_total"].value()
            assert [(await scrape(worker))["process_start_time_seconds"].value() for worker in (first, second)] == [
                read["process_start_time_seconds"].value()
            ] * 2
            assert await pending_of(first, 3) == await pending_of(second, 3) == 3
        read = await scrape(first)
        assert read["livepeer_signer_signatures_total"].value() == tickets
        assert read["process_cpu_seconds_total"].value() >= cpu
        assert read["livepeer_signer_events_lost_total"].value() == 1, "the last numbers of a worker that ended count"


async def pending_of(worker: RunningSigner, expected: int) -> float:
    """What this worker says waits, once it has been measured."""
    async with asyncio.timeout(30):
        while (pending := (await scrape(worker))["livepeer_signer_outbox_pending"].value()) != expected:  # noqa: ASYNC110 - as a scraper
            await asyncio.sleep(spending.SETTLE_SECONDS)
    return pending


async def test_how_long_the_funds_last_is_a_figure_of_the_running_service() -> None:
    async with running_signer() as signer:
        async with asyncio.timeout(30):
            while "livepeer_signer_runway_seconds" not in (read := await scrape(signer)):  # noqa: ASYNC110 - as a scraper
                await asyncio.sleep(0.05)
        assert "livepeer_signer_funds_runway_seconds" in read
