"""The console at the widths of a phone, a tablet and a desk: with 300 users, empty, and while the chain is down."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from pathlib import Path

import pytest

from tests.browser import Page, open_browser
from tests.integration.test_console_page import PICTURES, TOKEN, log_in
from tests.plans import orchestrator_info
from tests.signer import RunningSigner, running_signer

pytestmark = [pytest.mark.operate, pytest.mark.timeout(600)]

WIDTHS = (320, 768, 1440)
USERS = 300
BUDGETS = [
    {"scope": "global", "window": "day", "measure": "ev", "limit_wei": "1eth"},
    {"scope": "auth_id", "match": "*", "window": "day", "measure": "ev", "limit_wei": "0.001eth"},
]


async def shown(signer: RunningSigner, page: Page, name: str) -> None:
    """Opens the bare address, and takes the pictures; on no width anything sticks out."""
    assert signer.admin is not None
    base = str(signer.admin.base_url).rstrip("/")
    await log_in(page, base, TOKEN)
    await page.until("!document.getElementById('app').hidden && document.getElementById('checks').rows.length > 1")
    for width in WIDTHS:
        await page.show_as(width, 900, is_phone=width < 400)
        await page.until("document.documentElement.scrollWidth <= window.innerWidth")
        await page.take_picture(PICTURES / f"{name}-{width}.png")


async def test_with_300_users_each_budget_can_be_found(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN)
    sections = {
        "ledger": {"backend": "sqlite", "path": str(tmp_path / "l")},
        "auth": {"trusted_proxies": ["127.0.0.1/32"]},
        "budgets": BUDGETS,
    }
    async with (
        running_signer(admin_token_file=tmp_path / "token", **sections) as signer,
        open_browser(tmp_path / "profile") as page,
    ):
        turns = asyncio.Semaphore(16)

        async def pay(number: int) -> int:
            info = orchestrator_info(now_ns=time.time_ns(), rand_hash=secrets.token_bytes(32))
            async with turns:
                return (await signer.pay({"signer-auth-id": f"user-{number:03}"}, info=info)).status_code

        assert set(await asyncio.gather(*map(pay, range(USERS)))) == {200}
        dear = await signer.pay(
            {"signer-auth-id": "user-007"},
            info=orchestrator_info(now_ns=time.time_ns()),
            maxPrice={"price": "1", "currency": "wei", "unit": "seconds"},
        )
        assert dear.status_code == 481
        await shown(signer, page, "users")
        assert "1 to 50 of 301, the fullest first" in await page.run("document.getElementById('budget-place').textContent")
        await page.run("document.getElementById('budget-on').click()")
        await page.until("document.getElementById('budget-place').textContent.startsWith('51 to 100 of 301')")
        await page.run("const s = document.getElementById('budget-search'); s.value = 'user-29'; s.dispatchEvent(new Event('input'))")
        await page.until("document.getElementById('budget-place').textContent.startsWith('1 to 10 of 10')")
        assert "user-299" in await page.run("document.getElementById('budgets').textContent")
        refusals = await page.run("document.getElementById('refusals').textContent")
        assert "481 price_exceeded" in refusals
        assert "user-007" in refusals
        assert [line for line in page.console if "401" not in line] == []


async def test_empty_it_says_so(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN)
    ledger = {"backend": "sqlite", "path": str(tmp_path / "l")}
    async with running_signer(admin_token_file=tmp_path / "token", ledger=ledger) as signer, open_browser(tmp_path / "profile") as page:
        await shown(signer, page, "empty")
        text = await page.run("document.body.innerText")
        assert "Nothing was signed in this span." in text
        assert "None since it started." in text
        assert signer.admin is not None
        door = await signer.admin.get("/", follow_redirects=True)
        assert (door.url.path, door.status_code) == ("/console", 200)
        assert (await signer.admin.get("/console/budgets")).status_code == 401


async def test_a_chain_that_was_never_read_is_unknown_and_not_0(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN)
    chain = {"source": "rpc", "rpc": {"urls": ["http://127.0.0.1:1/"], "timeout_seconds": 1}}
    async with running_signer(admin_token_file=tmp_path / "token", chain=chain) as signer, open_browser(tmp_path / "profile") as page:
        await shown(signer, page, "chain-down")
        funding = await page.run("document.getElementById('funding').textContent")
        assert "Deposit" in funding
        assert "unknown: the chain was never read" in funding
        assert "0 ETH" not in funding
        assert "never read" in await page.run("document.getElementById('chain').textContent")
        cookies = json.dumps(await page.run("document.getElementById('chain-facts').textContent"))
        assert "unknown" in cookies
