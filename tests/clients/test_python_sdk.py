"""Livepeer's Python SDK as it is published: `call_runner` through discovery, challenge, payments and refreshes, and a BYOC job."""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from eth_utils.crypto import keccak

from livepeer_remote_signer.simulate.recipient import check_personal_signature
from tests.clients.live_runner import LiveRunner
from tests.clients.surroundings import surroundings
from tests.operate.test_python_sdk import sdk_python  # noqa: F401 - a fixture
from tests.simulators import Answers, Chain, Clock, HttpRequest, Network, Offer, Orchestrator, answers_of

pytestmark = [pytest.mark.clients, pytest.mark.timeout(600)]

PROGRAM = Path(__file__).parent / "call_runner.py"
WEI_A_SECOND = 200_000_000_000
PIXELS_A_SECOND = 1280 * 720 * 30
WORK_SECONDS = 10.0
"""Three intervals of the SDK's payment loop."""

BYOC_GRPC_PORT = 8935
"""Where the SDK asks for the terms of BYOC jobs, whatever the job's own port: tests that run at once have an address each."""

OFFERS = {
    "seconds": Offer(WEI_A_SECOND, ticket_ev=2 * WEI_A_SECOND, token_seconds=184),
    "720p-pixel-seconds": Offer(WEI_A_SECOND // PIXELS_A_SECOND, PIXELS_A_SECOND, ticket_ev=2 * WEI_A_SECOND, token_seconds=184),
    "fixed": Offer(WEI_A_SECOND, ticket_ev=2 * WEI_A_SECOND, token_seconds=184),
}
"""Tokens of 184 s: the signer asks for a refresh from the fourth second on."""


class ByocOrchestrator(Orchestrator):
    """Takes BYOC jobs whose credentials and payment hold."""

    jobs: list[dict[str, Any]]

    def take_job(self, request: HttpRequest) -> tuple[int, bytes]:
        job = json.loads(base64.b64decode(request.headers["livepeer"]))
        parts = (job[name].encode() for name in ("id", "capability", "request"))
        texts = b"".join(len(part).to_bytes(4, "big") + part for part in (*parts, job.get("parameters", "").encode()))
        message = keccak(b"LP_BYOC_JOB_V1\0\0" + job["timeout_seconds"].to_bytes(4, "big") + texts)
        check_personal_signature(message, bytes.fromhex(job["sig"][2:]), bytes.fromhex(job["sender"][2:]), "BYOC job")
        self.take_payment(request.headers["livepeer-payment"], request.headers["livepeer-segment"])
        self.jobs.append(job)
        return 200, b'{"upscaled": true}'

    def answers(self) -> Answers:
        honest = answers_of(self)

        async def http(request: HttpRequest) -> tuple[int, bytes]:
            return self.take_job(request) if request.path.startswith("/process/request/") else await honest.http(request)

        return Answers(honest.grpc, http)


@pytest.mark.parametrize(
    ("view", "backend", "unit", "byoc_address"),
    [
        ("static", "none", "seconds", "127.0.0.2"),
        ("static", "sqlite", "720p-pixel-seconds", "127.0.0.3"),
        ("rpc", "none", "fixed", "127.0.0.4"),
        ("rpc", "sqlite", "seconds", "127.0.0.5"),
    ],
)
async def test_work_is_found_paid_and_done(
    sdk_python: Path,  # noqa: F811
    tmp_path: Path,
    view: str,
    backend: str,
    unit: str,
    byoc_address: str,
) -> None:
    offer = OFFERS[unit]
    node = Orchestrator(Clock(), Chain(), offer)
    byoc = ByocOrchestrator(Clock(), Chain(), OFFERS["720p-pixel-seconds"])
    byoc.jobs = []
    async with Network() as network, LiveRunner(node, WORK_SECONDS) as runner:
        await network.host_orchestrator(node)
        price = {"price": offer.price_per_unit, "currency": "wei", "unit": unit}
        node.runners = [{"url": runner.url, "app": "me/app", "gpu": {"name": "H100"}, "price_info": price}]
        async with surroundings(tmp_path, view, backend, [node.url], byoc_jobs=True) as around:
            for one in (node, byoc):
                one.clock, one.chain = around.clock, around.chain
                one.recipient.chain = around.chain
            await network.host(byoc.answers(), name=byoc_address, address=byoc_address, port=BYOC_GRPC_PORT)
            told = {"signer": around.signer.url, "headers": around.headers, "byoc": [f"https://{byoc_address}:{BYOC_GRPC_PORT}"]}
            command = [str(sdk_python), str(PROGRAM), json.dumps(told)]
            done = await asyncio.to_thread(lambda: subprocess.run(command, capture_output=True, text=True, timeout=90, check=False))
            assert done.returncode == 0, done.stderr[-3000:] + around.signer.log[-3000:]
    assert json.loads(done.stdout) == {"work": {"done": True}, "job": {"upscaled": True}}
    assert node.refusals == byoc.refusals == []
    (account,) = node.accounts.values()
    if unit == "fixed":
        assert (account.payments, runner.refreshed) == (1, 0)
    else:
        assert account.payments >= (2 if unit == "seconds" else 1), done.stderr
        assert runner.refreshed >= 1, "a token of 184 seconds is renewed after four"
    assert len(byoc.jobs) == 1
