"""docs/examples/session.sh pays a simulated orchestrator with curl and jq alone."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.discovery.service import running_signer
from tests.simulators import Chain, Clock, Network, Offer, Orchestrator

SCRIPT = Path(__file__).parents[2] / "docs" / "examples" / "session.sh"
SPEED = 30
OVERDUE_SECONDS = 40

pytestmark = pytest.mark.discovery


class FastClock(Clock):
    """A clock that runs SPEED times as fast as life, but stands still where a payment is overdue: the script waits for the machine."""

    def __init__(self) -> None:
        super().__init__()
        self.node: Orchestrator | None = None
        self._paid = 0
        self._paid_ns = self.start_ns
        self._since = time.monotonic_ns()

    def __call__(self) -> int:
        paid = sum(account.payments for account in self.node.accounts.values()) if self.node else 0
        if paid != self._paid:
            self._paid, self._paid_ns, self._since = paid, self.now_ns, time.monotonic_ns()
        self.now_ns = self._paid_ns + min((time.monotonic_ns() - self._since) * SPEED, OVERDUE_SECONDS * 10**9)
        return self.now_ns


@pytest.fixture
async def orchestrator() -> AsyncIterator[Orchestrator]:
    missing = [tool for tool in ("curl", "jq") if shutil.which(tool) is None]
    if missing:
        if os.environ.get("LRS_REQUIRE_ALL") == "1":
            pytest.fail(f"{missing} must be installed here")
        pytest.skip(f"needs {missing}")
    async with Network() as network:
        clock = FastClock()
        node = clock.node = Orchestrator(clock, Chain(), Offer(15_000_000_000, token_seconds=240))
        await network.host_orchestrator(node)
        yield node


async def run_script(orchestrator: Orchestrator, signer: str, **environment: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        "sh",
        str(SCRIPT),
        env={"PATH": os.environ["PATH"], "SIGNER": signer, "ORCHESTRATOR": orchestrator.url, "PAUSE": "0.3", **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode()


async def test_a_whole_session_with_refreshes(orchestrator: Orchestrator) -> None:
    granted = {"allow_private_addresses": True}
    async with running_signer(orchestrator.chain, orchestrator.clock, orchestrators=granted) as signer:
        status, said = await run_script(orchestrator, signer, PAYMENTS="12")
    assert status == 0, said
    assert said.count("payment ") == 12, said
    assert "480: " in said, said
    assert sum(account.payments for account in orchestrator.accounts.values()) == 12
    assert not orchestrator.refusals


async def test_a_price_above_the_ceiling_ends_it_with_status_3(orchestrator: Orchestrator) -> None:
    granted = {"allow_private_addresses": True}
    prices = {"max_price_per_unit": "1gwei"}
    async with running_signer(orchestrator.chain, orchestrator.clock, orchestrators=granted, prices=prices) as signer:
        status, said = await run_script(orchestrator, signer)
    assert status == 3, said
    assert "too dear: status 481" in said


async def test_a_refusal_is_told_in_words(orchestrator: Orchestrator) -> None:
    async with running_signer(orchestrator.chain, orchestrator.clock) as signer:
        status, said = await run_script(orchestrator, signer)
    assert status == 1, said
    assert "address_refused" in said
    assert "allowed_networks" in said


async def test_terms_that_never_last_end_it_instead_of_being_fetched_for_ever(orchestrator: Orchestrator) -> None:
    orchestrator.offer = orchestrator.offer._replace(token_seconds=60)
    async with running_signer(orchestrator.chain, orchestrator.clock, orchestrators={"allow_private_addresses": True}) as signer:
        status, said = await run_script(orchestrator, signer)
    assert status == 1, said
    assert said.count("480: the terms are used up") == 2, said
    assert "480 three times in a row" in said
