"""One RPC endpoint does not lie for all: the whole service over HTTP, three endpoints, and the last one lies."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator
from fractions import Fraction
from pathlib import Path
from typing import Any

from livepeer_remote_signer.adapters.recipients import LOOKUPS_A_SECOND, LOOKUPS_AT_ONCE
from tests.api_keys import create_key
from tests.fake_chain import CONTROLLER, FEED, LiveArbitrum
from tests.hooks import running_hook, says
from tests.plans import ORCHESTRATOR, orchestrator_info
from tests.rpc_node import RpcNode
from tests.signer import RunningSigner, running_signer

CEILING = 10**12
"""Wei for a second: 0.003 USD at 3000 USD for 1 ETH."""

CHAIN_ID = 42161


@contextlib.asynccontextmanager
async def signer_on(*chains: LiveArbitrum, **sections: Any) -> AsyncIterator[tuple[RunningSigner, list[RpcNode]]]:
    """The signer over one endpoint for each chain."""
    async with contextlib.AsyncExitStack() as stack:
        nodes = [await stack.enter_async_context(RpcNode(chain.answer)) for chain in chains]
        rpc = {
            "urls": [node.url for node in nodes],
            "controller": "0x" + CONTROLLER.hex(),
            "chain_id": CHAIN_ID,
            "poll_seconds": 0.1,
            "max_age_seconds": 8,
        }
        prices = {"max_price_per_unit": "0.003usd", "currency_feed": {"address": "0x" + FEED.hex()}}
        signer = await stack.enter_async_context(running_signer(chain={"source": "rpc", "rpc": rpc}, prices=prices, **sections))
        await until_ready(signer)
        yield signer, nodes


async def until_ready(signer: RunningSigner, status: int = 200) -> dict[str, str]:
    """The reasons of `/readyz` once it has that status."""
    async with asyncio.timeout(20):
        while (reply := await signer.client.get("/readyz")).status_code != status:  # noqa: ASYNC110 - asked as from outside
            await asyncio.sleep(0.05)
    return {check["name"]: check["reason"] for check in reply.json()["checks"]}


async def asked_again(nodes: list[RpcNode], times: int = 2) -> None:
    """Waits until every endpoint has answered some more."""
    before = [len(node.batches) for node in nodes]
    async with asyncio.timeout(30):
        while any(len(node.batches) < count + times for node, count in zip(nodes, before, strict=True)):  # noqa: ASYNC110 - plain values
            await asyncio.sleep(0.02)


async def outcomes(signer: RunningSigner, l1_block: int) -> list[int]:
    """A payment at the ceiling, one above it, and one whose ticket params live for two more blocks."""
    statuses = []
    for price, left in ((CEILING, 40), (CEILING + 1, 40), (CEILING, 6)):
        info = orchestrator_info(price_per_unit=price, now_ns=time.time_ns(), expiration_block=l1_block + left)
        statuses.append((await signer.pay(info=info)).status_code)
    return statuses


async def test_the_last_of_three_changes_neither_view_nor_ceilings_nor_payments() -> None:
    chains = [LiveArbitrum(transcoders={ORCHESTRATOR}) for _ in range(3)]
    first = chains[0].first_l1_block
    async with signer_on(*chains) as (signer, nodes):
        assert await outcomes(signer, first) == [200, 481, 200]
        for l1_lie, feed_lie in ((5, Fraction(1)), (5_000_000, Fraction(1, 1_000_000)), (-5_000_000, Fraction(1_000_000))):
            chains[2].l1_lie, chains[2].feed_lie = l1_lie, feed_lie
            await asked_again(nodes)
            assert await outcomes(signer, int(chains[0].l1_block)) == [200, 481, 200]
            reasons = await until_ready(signer)
            assert first <= int(reasons["chain"].split()[2].rstrip(",")) <= int(chains[0].l1_block)
            assert "1 ETH is 3000.00 USD" in reasons["price_feed"]
            assert "2 of 3 RPC endpoints answer and are believed; rpc[2] (127.0.0.1): its L1 block" in reasons["rpc"]


async def test_the_first_of_three_that_lies_about_the_contracts_alone_stops_no_payment() -> None:
    chains = [LiveArbitrum(transcoders={ORCHESTRATOR}) for _ in range(3)]
    async with signer_on(*chains) as (signer, nodes):
        for name, lie, truth in (
            ("paused", True, False),
            ("deposit", 0, chains[1].deposit),
            ("round", chains[1].round + 1, chains[1].round),
        ):
            setattr(chains[0], name, lie)
            await asked_again(nodes)
            assert await outcomes(signer, int(chains[1].l1_block)) == [200, 481, 200], name
            assert "2 of 3 RPC endpoints answer and are believed; rpc[0] (127.0.0.1): its " in (await until_ready(signer))["rpc"]
            setattr(chains[0], name, truth)


async def test_a_lying_feed_alone_does_not_move_the_ceilings_wherever_its_endpoint_stands() -> None:
    chains = [LiveArbitrum(transcoders={ORCHESTRATOR}, feed_lie=lie) for lie in (Fraction(1, 1_000_000), Fraction(1), Fraction(1))]
    async with signer_on(*chains) as (signer, nodes):
        await asked_again(nodes)
        assert await outcomes(signer, int(chains[0].l1_block)) == [200, 481, 200]


async def test_while_the_clock_is_wrong_nothing_is_paid_and_readiness_says_why() -> None:
    chains = [LiveArbitrum(transcoders={ORCHESTRATOR}) for _ in range(2)]
    async with signer_on(*chains) as (signer, _):
        for chain in chains:
            chain.seconds_lie = 3600
        reasons = await until_ready(signer, 503)
        assert "behind the newest blocks of all RPC endpoints" in reasons["clock"]
        assert reasons["chain"].startswith("L1 block")
        reply = await signer.pay(info=orchestrator_info(now_ns=1, expiration_block=chains[0].first_l1_block + 40))
        error = reply.json()["error"]
        assert (reply.status_code, error["code"]) == (503, "clock_wrong"), "not 480 for a token that looks expired by this clock"
        assert reply.headers["retry-after"] == "5"
        assert error["clock_ahead_seconds"] < -3590
        for chain in chains:
            chain.seconds_lie = 0
        assert "agrees with the chain's block times" in (await until_ready(signer))["clock"]
        assert (await outcomes(signer, int(chains[0].l1_block)))[0] == 200


async def test_while_the_clock_is_wrong_no_key_is_refused_for_its_time(tmp_path: Path) -> None:
    """A 401 would end the caller's session for good."""
    file, now = tmp_path / "keys.json", int(time.time())
    key, _ = create_key(file, name="a", auth_id="team", now=now - 7200, expires=now - 1800)
    chains = [LiveArbitrum(transcoders={ORCHESTRATOR}) for _ in range(2)]
    async with signer_on(*chains, auth={"api_keys_file": str(file)}) as (signer, _):
        for seconds_lie, status, ready, code in ((0, 401, 200, "unauthenticated"), (-3600, 503, 503, "clock_wrong")):
            for chain in chains:
                chain.seconds_lie = seconds_lie
            await until_ready(signer, ready)
            reply = await signer.pay({"X-Api-Key": key}, info=orchestrator_info(now_ns=time.time_ns()))
            assert (reply.status_code, reply.json()["error"]["code"]) == (status, code)
            other = await signer.client.post("/sign-orchestrator-info", headers={"X-Api-Key": key})
            assert (other.status_code, other.json()["error"]["code"]) == (status, code)


async def test_who_is_denied_causes_no_request_to_an_endpoint_and_a_flood_of_strangers_does_not_stop_the_poll() -> None:
    chains = [LiveArbitrum(transcoders={ORCHESTRATOR}) for _ in range(2)]
    first = chains[0].first_l1_block

    def payment(number: int) -> dict[str, Any]:
        stranger = number.to_bytes(20, "big")
        return {"info": orchestrator_info(address=stranger, price_per_unit=1, now_ns=time.time_ns(), expiration_block=first + 40)}

    async with running_hook() as hook:
        hook.answer = says({"status": 403, "reason": "no"})
        async with signer_on(*chains, auth={"webhook": {"url": hook.url}}, limits={"answer_seconds": 30}) as (signer, _):
            before = [chain.transcoder_questions for chain in chains]
            replies = await asyncio.gather(*(signer.pay(**payment(1 + number)) for number in range(20)))
            assert {reply.status_code for reply in replies} == {403}
            assert [chain.transcoder_questions for chain in chains] == before

            hook.answer = says({"status": 200})
            started = time.monotonic()
            replies = await asyncio.gather(*(signer.pay(**payment(100 + number)) for number in range(300)))
            codes = Counter(reply.json()["error"]["code"] for reply in replies)
            assert set(codes) == {"recipient_refused", "chain_stale"}
            allowed = LOOKUPS_AT_ONCE + LOOKUPS_A_SECOND * (time.monotonic() - started)
            assert sum(chain.transcoder_questions for chain in chains) <= 2 * allowed
            assert (await signer.client.get("/readyz")).status_code == 200
