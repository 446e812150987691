"""Funds and runway of several senders, as metrics and the console tell them: each sender's by its own address."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from livepeer_remote_signer.core.protocol.eip191 import checksum_address
from tests.browser import open_browser
from tests.fake_chain import CHAIN_ID, CONTROLLER, FakeChain
from tests.integration.test_console_page import PICTURES, log_in
from tests.integration.test_senders import OUR_ADDRESS, TENANTS_ADDRESS, Callers, callers, paid
from tests.plans import CHAIN, orchestrator_info
from tests.prometheus_text import Metric, parse_metrics
from tests.rpc_node import RpcNode
from tests.signer import RunningSigner, running_signer

__all__ = ["callers"]
TOKEN = secrets.token_hex(32)
OURS = {"key": "ours", "sender": checksum_address(OUR_ADDRESS)}
TENANTS = {"key": "tenant", "sender": checksum_address(TENANTS_ADDRESS)}
TENANTS_WEI = 5 * 10**17
SIGNED = {"ours": 3, "tenant": 1}
"""Payments of each, all alike."""


@asynccontextmanager
async def signer_of_two(callers: Callers, folder: Path, *, has_ledger: bool) -> AsyncIterator[RunningSigner]:
    """Each sender has signed."""
    token_file = folder / "token"
    token_file.write_text(TOKEN)
    token_file.chmod(0o600)
    funds = {TENANTS_ADDRESS: (TENANTS_WEI, 0, 10**17)}
    fake = FakeChain(round=CHAIN.last_initialized_round, l1_block=CHAIN.l1_block, funds_of=funds)
    async with RpcNode(fake.answer) as node:
        rpc = {"urls": [node.url], "chain_id": CHAIN_ID, "controller": "0x" + CONTROLLER.hex(), "poll_seconds": 0.1}
        sections: dict[str, Any] = {"chain": {"source": "rpc", "rpc": rpc}, "recipients": {"require": "any"}}
        if has_ledger:
            sections["ledger"] = {"backend": "sqlite", "path": str(folder / "ledger.sqlite")}
        async with running_signer(**callers.sections(**sections), admin_token_file=token_file) as signer:
            async with asyncio.timeout(30):
                while (await signer.client.get("/readyz")).status_code != 200:  # noqa: ASYNC110 - asked as a client would
                    await asyncio.sleep(0.05)
            for name, headers in (("ours", callers.bob), ("tenant", callers.acme)):
                for _ in range(SIGNED[name]):
                    info = orchestrator_info(now_ns=time.time_ns(), rand_hash=secrets.token_bytes(32))
                    await paid(signer, headers, info=info, type="", inPixels=20)
            yield signer


async def scraped(signer: RunningSigner) -> dict[str, Metric]:
    assert signer.admin is not None
    return parse_metrics((await signer.admin.get("/metrics", headers={"authorization": f"Bearer {TOKEN}"})).content)


@pytest.mark.parametrize("has_ledger", [True, False])
async def test_metrics_and_console_tell_each_senders_funds_and_runway(callers: Callers, tmp_path: Path, has_ledger: bool) -> None:
    async with signer_of_two(callers, tmp_path, has_ledger=has_ledger) as signer:
        assert signer.admin is not None
        await signer.admin.post("/console/login", data={"token": TOKEN})
        async with asyncio.timeout(30):
            while True:  # worked out in turn
                data = (await signer.admin.get("/console/data?hours=1")).json()
                ours, tenant = (one["funding"] for one in data["senders"])
                if ours["runway"] and tenant["runway"]:
                    break
                await asyncio.sleep(0.2)
        read = await scraped(signer)
    assert [(one["key"], one["address"]) for one in data["senders"]] == [("ours", OURS["sender"]), ("tenant", TENANTS["sender"])]
    assert (data["address"], data["funding"]) == (OURS["sender"], ours)
    assert (ours["deposit_wei"], tenant["deposit_wei"]) == (str(CHAIN.deposit_wei), str(TENANTS_WEI))
    burn = [int(one["burn_wei_per_hour"]) for one in (ours, tenant)]
    if has_ledger:
        assert burn[0] == 3 * burn[1] > 0
    hours = [CHAIN.deposit_wei / burn[0], TENANTS_WEI / burn[1]]
    assert [one["runway_hours"] for one in (ours, tenant)] == pytest.approx(hours, rel=0.01)
    for amount in ("deposit", "reserve"):
        shown = [read[f"livepeer_gateway_{amount}"].value(**own) * 10**9 for own in (OURS, TENANTS)]
        assert shown == [int(one[f"{amount}_wei"]) for one in (ours, tenant)]
        assert shown[0] != shown[1]
    assert min(read["livepeer_signer_runway_seconds"].value(**own, quantile="0.01") for own in (OURS, TENANTS)) > 0
    spent = [read["livepeer_signer_sender_ev_gwei_total"].value(**own) for own in (OURS, TENANTS)]
    assert spent[0] == 3 * spent[1] == pytest.approx(read["livepeer_signer_ev_gwei_total"].value(type="pixels") * 3 / 4)


@pytest.mark.operate
@pytest.mark.timeout(600)
async def test_an_operator_chooses_whose_funds_are_shown(callers: Callers, tmp_path: Path) -> None:
    async with signer_of_two(callers, tmp_path, has_ledger=True) as signer, open_browser(tmp_path / "profile") as page:
        assert signer.admin is not None
        await page.show_as(1280, 900)
        await log_in(page, str(signer.admin.base_url).rstrip("/"), TOKEN)
        await page.until("!document.getElementById('app').hidden")
        assert await page.run("[...document.getElementById('sender').options].map((one) => one.textContent)") == ["ours", "tenant"]
        shown = "document.getElementById('address').title + ' ' + document.getElementById('funding').textContent"
        assert OURS["sender"] in (text := await page.run(shown))
        assert "Deposit1 ETH" in text
        await page.run(
            "const chosen = document.getElementById('sender'); chosen.selectedIndex = 1; chosen.dispatchEvent(new Event('change'))"
        )
        for _ in range(2):  # at once, and with the next figures
            assert TENANTS["sender"] in (text := await page.run(shown))
            assert "Deposit0.5 ETH" in text
            await page.run("poll()")
        await page.take_picture(PICTURES / "senders.png")
        drawn = "{...one.drawn, redeemed: {foreign: one.key === 'tenant' ? 1 : 0}}"
        stolen = f"show({{...latest, senders: latest.senders.map((one) => ({{...one, drawn: {drawn}}}))}})"
        await page.run(f"choice.sender = '{OURS['sender']}'; {stolen}")
        told = await page.run("document.getElementById('alerts').textContent")
        assert told.count("not signed here") == 1
        assert f"the key of {TENANTS['sender']} (keys.tenant)" in told
        assert [line for line in page.console if "401" not in line] == []
