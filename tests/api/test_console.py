"""The console over real HTTP: who may look, what they see, and that looking changes nothing."""

from __future__ import annotations

import asyncio
import re
import secrets
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest

from livepeer_remote_signer.api.console import (
    COOKIE,
    MAX_FAILED_LOGINS_A_MINUTE,
    MAX_WATCHED_ADDRESSES,
    SESSION_SECONDS,
    Sessions,
    load_page,
)
from livepeer_remote_signer.core.errors import RateExceeded
from tests.signer import RunningSigner, running_signer

TOKEN = secrets.token_hex(32)


@asynccontextmanager
async def console(tmp_path: Path, **sections: Any) -> AsyncIterator[tuple[RunningSigner, httpx.AsyncClient]]:
    token_file = tmp_path / "token"
    token_file.write_text(TOKEN + "\n")
    sections.setdefault("ledger", {"backend": "sqlite", "path": str(tmp_path / "ledger.sqlite")})
    async with running_signer(admin_token_file=token_file, **sections) as signer:
        assert signer.admin is not None
        yield signer, signer.admin


async def log_in(admin: httpx.AsyncClient) -> httpx.Response:
    return await admin.post("/console/login", data={"token": TOKEN})


async def test_the_page_is_shown_to_anybody_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    async with console(tmp_path) as (_, admin):
        page = await admin.get("/console")
    assert page.status_code == 200
    _, policy = load_page()
    told = {
        "cache-control": "no-store",
        "content-security-policy": policy,
        "cross-origin-opener-policy": "same-origin",
        "referrer-policy": "same-origin",
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
    }
    assert {name: page.headers.get(name) for name in told} == told
    assert TOKEN not in page.text
    assert re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?(?!data:)([a-z]+:|//|/)""", page.text) == []
    assert re.search(r"\son[a-z]+\s*=", re.sub(r"<script>.*?</script>", "", page.text, flags=re.DOTALL)) is None
    assert " style=" not in page.text


def test_the_policy_allows_exactly_the_pages_own_style_and_script() -> None:
    page, policy = load_page()
    for kind in ("style", "script"):
        bodies = re.findall(rf"<{kind}[^>]*>(.*?)</{kind}>", page.decode(), re.DOTALL)
        assert len(bodies) == 1
        assert f"{kind}-src 'sha256-{b64encode(sha256(bodies[0].encode()).digest()).decode()}'" in policy
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy


async def test_figures_need_a_login_and_the_cookie_is_kept_from_scripts_and_other_sites(tmp_path: Path) -> None:
    async with console(tmp_path) as (_, admin):
        for figures in ("/console/data", "/console/budgets"):
            before = await admin.get(figures)
            assert (before.status_code, before.json()["error"]["code"]) == (401, "unauthenticated")
        done = await log_in(admin)
        assert (done.status_code, done.headers["location"]) == (303, "../console")
        cookie = done.headers["set-cookie"]
        for word in ("HttpOnly", "SameSite=strict", f"Max-Age={SESSION_SECONDS}"):
            assert word in cookie
        assert "path=" not in cookie.lower(), "for the folder that was asked, /console, whatever a proxy puts before it"
        assert "Secure" not in cookie, "nobody said that the browser came over TLS"
        assert TOKEN not in cookie
        assert (await admin.get("/console/data")).status_code == 200
        await admin.post("/console/logout")
        assert (await admin.get("/console/data")).status_code == 401


async def test_a_wrong_token_opens_nothing_and_guessing_is_slowed(tmp_path: Path) -> None:
    async with console(tmp_path) as (_, admin):
        for _ in range(MAX_FAILED_LOGINS_A_MINUTE):
            refused = await admin.post("/console/login", data={"token": "guess"})
            assert refused.headers["location"] == "../console?refused"
            assert "set-cookie" not in refused.headers
        slowed = await log_in(admin)
        assert (slowed.status_code, slowed.headers["retry-after"]) == (429, "60")
        for content in (b"\xff", b"a=1&" * 100, b""):
            assert (await admin.post("/console/login", content=content)).status_code in (400, 429)
        assert (await admin.post("/console/login", content=b"token=" + b"x" * 10_000)).status_code == 413


async def test_the_cookie_lets_look_and_never_change(tmp_path: Path) -> None:
    async with console(tmp_path) as (signer, admin):
        await log_in(admin)
        for path in ("/admin/suspend", "/admin/prices", "/setBroadcastConfig"):
            assert (await admin.post(path, json={"all": True}, headers={"cookie": str(admin.cookies)})).status_code == 401
        assert (await admin.get("/metrics")).status_code == 401
        assert (await signer.pay()).status_code == 200


async def test_forms_of_another_site_are_refused(tmp_path: Path) -> None:
    async with console(tmp_path) as (_, admin):
        foreign = await admin.post("/console/login", data={"token": TOKEN}, headers={"origin": "https://elsewhere.example"})
        assert foreign.status_code == 403
        broken = await admin.post("/console/login", data={"token": TOKEN}, headers={"origin": "http://["})
        assert broken.status_code == 403
        own = await admin.post("/console/login", data={"token": TOKEN}, headers={"origin": str(admin.base_url).rstrip("/")})
        assert own.status_code == 303


async def when_added_up(admin: httpx.AsyncClient) -> dict[str, Any]:
    """The figures of a day: on a busy machine the first poll may come before the ledger's sums."""
    async with asyncio.timeout(20):
        while (data := (await admin.get("/console/data?hours=24")).json())["spend"] is None:
            assert data["faults"] == ["ledger: its figures are being added up, which takes more than a moment"]
    return dict(data)


async def test_the_figures_are_those_of_the_ledger_the_chain_and_the_configuration(tmp_path: Path) -> None:
    budget = {"scope": "global", "window": "day", "measure": "ev", "limit_wei": "30000000000000"}
    async with console(tmp_path, budgets=[budget], auth={"trusted_proxies": ["127.0.0.1/32"]}) as (signer, admin):
        await log_in(admin)
        for _ in range(2):
            assert (await signer.pay({"signer-auth-id": "acme"})).status_code == 200
        assert signer.admin is not None
        await admin.post("/admin/suspend", json={"auth_id": "other"}, headers={"authorization": f"Bearer {TOKEN}"})
        data = await when_added_up(admin)
        async with asyncio.timeout(30):
            while data["funding"]["runway"] is None:  # worked out in turn
                data = await when_added_up(admin)
    assert data["ready"]["ready"] is True
    assert data["funding"]["deposit_wei"] == str(10**18)
    spent = int(data["spend"]["total"]["ev_wei"])
    assert spent > 0
    assert [part["name"] for part in data["spend"]["by_auth_id"]] == ["acme"]
    assert sum(map(int, data["spend"]["by_auth_id"][0]["ev_wei_by_bucket"])) == spent
    assert data["spend"]["total"]["payments"] == 2
    assert data["sessions"] == {"started_last_hour": 2, "started_last_minute": 2}
    assert data["budgets"][0]["spent_wei"] == str(spent)
    assert data["switches"] == {"all": False, "count": 1, "auth_ids": ["other"]}
    assert data["funding"]["runway_hours"] == pytest.approx(10**18 / spent, rel=0.01)
    cases = data["funding"]["runway"]["deposit_hours"]
    assert cases["0.01"] < cases["0.05"] < cases["0.5"] == data["funding"]["runway_hours"]
    assert [point["hours"] for point in data["funding"]["runway"]["fan"]][-1] == 168
    assert data["faults"] == []


async def test_without_a_ledger_the_console_says_what_it_cannot_know(tmp_path: Path) -> None:
    async with console(tmp_path, ledger={"backend": "none"}) as (_, admin):
        await log_in(admin)
        data = (await admin.get("/console/data")).json()
        assert (await admin.get("/console/data?hours=7")).status_code == 400
    assert [data[name] for name in ("spend", "sessions", "budgets", "switches")] == [None] * 4
    assert data["funding"]["runway_hours"] is None
    assert data["chain"]["source"] == "static"
    assert data["drawn"] is None


async def test_what_is_drawn_is_shown_where_it_is_followed(tmp_path: Path) -> None:
    live = {"source": "rpc", "rpc": {"urls": ["http://127.0.0.1:1/a", "http://127.0.0.1:1/b"]}}
    async with console(tmp_path, chain=live, drawn={"poll_seconds": 60}) as (_, admin):
        await log_in(admin)
        data = (await admin.get("/console/data")).json()
    assert data["drawn"] is not None
    assert data["chain"]["source"] == "rpc"


def test_a_session_ends_with_its_time_and_with_the_token() -> None:
    now = 1_000.0
    sessions = Sessions(TOKEN, lambda: now)
    cookie = sessions.open(TOKEN, "a")
    assert cookie is not None
    assert sessions.is_open(cookie)
    assert Sessions(TOKEN, lambda: now).is_open(cookie)  # another worker
    assert not Sessions(TOKEN + "1", lambda: now).is_open(cookie)
    later, nonce, mac = cookie.split(".")
    assert not sessions.is_open(f"{int(later) + 1}.{nonce}.{mac}")
    for broken in ("", ".", "..", "é.é", cookie[:-1]):
        assert not sessions.is_open(broken)
    now += SESSION_SECONDS
    assert not sessions.is_open(cookie)


def test_guessing_may_go_on_after_a_minute_and_keeps_nobody_else_out() -> None:
    now = 0.0
    sessions = Sessions(TOKEN, lambda: now)
    for _ in range(MAX_FAILED_LOGINS_A_MINUTE):
        assert sessions.open("guess", "a") is None
    with pytest.raises(RateExceeded):
        sessions.open(TOKEN, "a")
    assert sessions.open(TOKEN, "b") is not None
    now = 60.0
    assert sessions.open(TOKEN, "a") is not None


def test_addresses_that_guess_are_watched_in_bounded_number() -> None:
    sessions = Sessions(TOKEN, lambda: 0.0)
    for _ in range(MAX_FAILED_LOGINS_A_MINUTE):
        sessions.open("guess", "first")
    for number in range(MAX_WATCHED_ADDRESSES - 1):
        sessions.open("guess", str(number))
    with pytest.raises(RateExceeded):
        sessions.open(TOKEN, "first")
    sessions.open("guess", "one more")
    assert sessions.open(TOKEN, "first") is not None


def test_the_cookies_name_is_fixed() -> None:
    assert COOKIE == "lrs_console"


@pytest.mark.parametrize(
    ("origin", "host", "extra", "is_taken"),
    [
        ("https://ops.example", "127.0.0.1:8937", {}, False),
        ("https://ops.example", "127.0.0.1:8937", {"sec-fetch-site": "same-origin"}, True),
        ("https://ops.example", "127.0.0.1:8937", {"sec-fetch-site": "same-site"}, False),
        ("https://ops.example", "ops.example:443", {}, True),
        ("https://ops.example", "OPS.Example", {}, True),
        ("http://ops.example", "ops.example:80", {}, True),
        ("https://ops.example:8443", "ops.example", {}, False),
        ("https://ops.example", "ops.example:80", {}, False),
        ("https://public.example:8443", "anything", {}, True),
        ("https://PUBLIC.example:8443", "anything", {}, True),
        ("http://public.example:8443", "anything", {}, False),
        ("https://public.example", "anything", {}, False),
        ("null", "null", {}, False),
        ("https://[", "[", {}, False),
    ],
)
async def test_a_page_is_ours_by_the_browsers_word_the_public_url_or_the_host(
    tmp_path: Path, origin: str, host: str, extra: dict[str, str], is_taken: bool
) -> None:
    async with console(tmp_path, admin={"public_url": "https://public.example:8443/ops"}) as (_, admin):
        headers = {"origin": origin, "host": host, **extra}
        answer = await admin.post("/console/login", data={"token": TOKEN}, headers=headers)
        assert answer.status_code == (303 if is_taken else 403)
        if is_taken:
            assert ("Secure" in answer.headers["set-cookie"]) == origin.startswith("https:")
        else:
            assert "admin.public_url" in answer.json()["error"]["hint"]


async def test_who_guesses_from_all_addresses_of_a_subscriber_is_shut_out(tmp_path: Path) -> None:
    async with console(tmp_path, admin={"trusted_proxies": ["127.0.0.1/32"]}) as (_, admin):
        for number in range(MAX_FAILED_LOGINS_A_MINUTE):
            await admin.post("/console/login", data={"token": "guess"}, headers={"x-forwarded-for": f"2001:db8::{number}"})
        slowed = await admin.post("/console/login", data={"token": TOKEN}, headers={"x-forwarded-for": "2001:db8::ffff"})
        assert slowed.status_code == 429


async def test_behind_a_trusted_proxy_guessing_shuts_out_the_guesser_alone(tmp_path: Path) -> None:
    async with console(tmp_path, admin={"trusted_proxies": ["127.0.0.1/32"]}) as (_, admin):
        for _ in range(MAX_FAILED_LOGINS_A_MINUTE):
            await admin.post("/console/login", data={"token": "guess"}, headers={"x-forwarded-for": "203.0.113.1"})
        slowed = await admin.post("/console/login", data={"token": TOKEN}, headers={"x-forwarded-for": "203.0.113.1"})
        assert slowed.status_code == 429
        assert "admin.trusted_proxies" in slowed.json()["error"]["hint"]
        other = await admin.post("/console/login", data={"token": TOKEN}, headers={"x-forwarded-for": "203.0.113.2"})
        assert other.status_code == 303
