"""The console as a person sees it: in Chromium, against a signer with a day of payments in its ledger."""

from __future__ import annotations

import secrets
import time
from pathlib import Path
from typing import Any

import pytest

from tests.browser import Page, open_browser
from tests.plans import orchestrator_info
from tests.signer import RunningSigner, running_signer

pytestmark = [pytest.mark.operate, pytest.mark.timeout(600)]

TOKEN = secrets.token_hex(32)
PICTURES = Path(__file__).parents[2] / "build" / "console"
MARKUP = "<img src=x onerror=alert(1)>"
AUTH_IDS = ("studio:stream", "gateway-eu", "gateway-us", "gateway-ap", "browser:7", "batch", "trial", MARKUP)
WIDTHS = ((1280, 1400, False), (390, 844, True))


class Clock:
    """The signer's clock, which a test sets back to pay in the past."""

    def __init__(self) -> None:
        self.back_ns = 0

    def __call__(self) -> int:
        return time.time_ns() - self.back_ns


async def pay_for_an_hour(signer: RunningSigner, clock: Clock) -> None:
    """Sessions of several callers with several orchestrators, spread over the last hour."""
    for minute in range(58, -1, -1):
        clock.back_ns = minute * 60 * 10**9
        for index, auth_id in enumerate(AUTH_IDS):
            if (minute * 7 + index * 13) % (index + 2) > 1:
                continue
            info = orchestrator_info(address=bytes([index % 5 + 1]) * 20, now_ns=clock(), rand_hash=secrets.token_bytes(32))
            reply = await signer.pay({"signer-auth-id": auth_id}, info=info)
            assert reply.status_code == 200, reply.text
    dear = orchestrator_info(now_ns=clock(), price_per_unit=10**12)
    assert (await signer.pay(info=dear)).status_code == 481
    old = orchestrator_info(now_ns=clock() - 1800 * 10**9)
    for _ in range(3):
        assert (await signer.pay(info=old)).status_code == 480


def sections(tmp_path: Path) -> dict[str, Any]:
    token_file = tmp_path / "token"
    token_file.write_text(TOKEN)
    return {
        "admin_token_file": token_file,
        "ledger": {"backend": "sqlite", "path": str(tmp_path / "ledger.sqlite")},
        "auth": {"trusted_proxies": ["127.0.0.1/32"]},
        "prices": {
            "max_price_per_unit": "500000000000",
            "max_price_per_capability": [
                {"pipeline": "live-video-to-video", "model_id": "streamdiffusion", "price_per_unit": "0.0000003eth"},
            ],
        },
        "budgets": [
            {"scope": "global", "window": "day", "measure": "ev", "limit_wei": "1000000000000000"},
            {"scope": "auth_id", "match": "*", "window": "hour", "measure": "ev", "limit_wei": "130000000000000"},
        ],
    }


async def log_in(page: Page, base: str, token: str) -> None:
    await page.open(f"{base}/console")
    await page.until("!document.getElementById('login').hidden")
    await page.run(f"document.getElementById('token').value = '{token}'; document.querySelector('#login form').requestSubmit()")


async def confirm(page: Page, token: str) -> None:
    await page.until("document.getElementById('confirm').open")
    await page.run(f"document.getElementById('confirm-token').value = '{token}'; document.getElementById('confirm-yes').click()")


async def test_an_operator_logs_in_looks_suspends_and_resumes(tmp_path: Path) -> None:
    clock = Clock()
    async with running_signer(clock_ns=clock, **sections(tmp_path)) as signer, open_browser(tmp_path / "profile") as page:
        assert signer.admin is not None
        base = str(signer.admin.base_url).rstrip("/")
        await pay_for_an_hour(signer, clock)
        await page.show_as(900, 640)
        await log_in(page, base, "not the token at all")
        await page.until("!document.getElementById('refused').hidden")
        await page.take_picture(PICTURES / "login.png")
        await page.show_as(1280, 1400)
        await log_in(page, base, TOKEN)
        await page.until("!document.getElementById('app').hidden")
        await check_figures(page)
        await check_drawn(page)
        await take_pictures(page)
        await check_switches(page, signer)
        assert [line for line in page.console if "401" not in line] == []


async def check_figures(page: Page) -> None:
    assert await page.run("document.getElementById('ready').textContent") == "ready to sign"
    assert await page.run("document.querySelectorAll('#chart rect').length") > 60
    names = await page.run("[...document.querySelectorAll('#spend td.name')].map((cell) => cell.title)")
    assert len(names) == 7
    assert names[-1] == "all others"
    assert "img src" in await page.run("document.getElementById('budgets').textContent")
    assert await page.run("document.querySelectorAll('main img').length") == 0
    await page.run("document.querySelector('[data-by=orchestrator]').click()")
    assert await page.run("document.querySelectorAll('#spend td.name').length") == 5
    await page.run("document.querySelector('[data-hours=\"24\"]').click()")
    await page.until("document.querySelector('[data-hours=\"24\"]').getAttribute('aria-pressed') === 'true'")
    await page.run("document.querySelector('[data-hours=\"1\"]').click(); document.querySelector('[data-by=auth_id]').click()")
    await page.until("document.getElementById('runway').textContent.includes('days')")  # worked out in turn
    heights = await page.run("[...document.querySelectorAll('#funding dd')].map((value) => value.clientHeight)")
    assert len(heights) == 9
    assert max(heights) < 70, "no figure is broken into letters beside a long name"


DRAWN = """{redeemed: {ours: 5, foreign: 1}, behind_blocks: 0, fault: "",
    outstanding: {tickets: 90, worst_wei: "9000000000000000", safe_wei: "5"},
    draws: [null, "0x00000000000000000000000000000000000000A1"].map((recipient) => ({recipient, tickets: 100, winners: 5,
        expected_wei: "1000000000000000", drawn_wei: "5000000000000000", chance: 1e-12})),
    ahead: [1, 24].map((hours) => ({hours, worst_wei: "9000000000000000", safe_wei: "7", new_worst_wei: "3", new_safe_wei: "2"}))}"""


async def check_drawn(page: Page) -> None:
    """A chain that is not read has nothing drawn; a ticket that was not signed here stands at the top, with what ends it. What is shown
    is read at once, before the next poll shows something else."""
    assert await page.run("document.getElementById('drawn-card').hidden")
    texts = "['alerts', 'drawn', 'drawn-facts', 'draws'].map((id) => document.getElementById(id).textContent)"
    alarm, drawn, facts, table = await page.run(f"(show({{...latest, drawn: {DRAWN}}}), {texts})")
    assert "1 redeemed ticket was not signed here" in alarm
    assert "drawn --config FILE --acknowledge" in alarm
    assert "0.005 ETH drawn of 0.001 ETH expected" in drawn
    assert "at most 0.009 ETH" in facts
    assert "1.0e-12" in table
    unknown = f"{{...{DRAWN}, redeemed: {{ours: 5}}, draws: null, outstanding: null, ahead: null}}"
    alarm, drawn, _, table = await page.run(f"(show({{...latest, drawn: {unknown}}}), {texts})")
    assert ("not worked out yet" in drawn, alarm, table) == (True, "", "")


async def take_pictures(page: Page) -> None:
    """Kept by whoever runs the tests; on every size nothing may stick out."""
    for width, height, is_phone in WIDTHS:
        for dark in (False, True):
            await page.show_as(width, height, dark=dark, is_phone=is_phone)
            await page.until("document.documentElement.scrollWidth <= window.innerWidth && document.querySelector('.chart').clientWidth")
            await page.take_picture(PICTURES / f"{'phone' if is_phone else 'desktop'}-{'dark' if dark else 'light'}.png")
    await page.show_as(1280, 1400)


async def check_switches(page: Page, signer: RunningSigner) -> None:
    info = orchestrator_info(now_ns=time.time_ns(), rand_hash=secrets.token_bytes(32))
    await page.run("[...document.querySelectorAll('#switches button')].find((b) => b.textContent === 'Suspend all').click()")
    await confirm(page, "wrong")
    await page.until("!document.getElementById('confirm-error').hidden")
    assert "admin token" in await page.run("document.getElementById('confirm-error').textContent")
    assert (await signer.pay(info=info)).status_code == 200
    await confirm(page, TOKEN)
    await page.until("document.getElementById('ready').textContent === 'suspended'")
    assert (await signer.pay(info=info)).json()["error"]["code"] == "suspended"
    assert await page.run("document.getElementById('confirm-token').value") == ""
    await page.run("[...document.querySelectorAll('#switches button')].find((b) => b.textContent === 'Resume all').click()")
    await confirm(page, TOKEN)
    await page.until("document.getElementById('ready').textContent === 'ready to sign'")
    assert (await signer.pay(info=info)).status_code == 200
