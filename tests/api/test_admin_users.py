"""The admin listener's routes for users, on a ledger in SQLite."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from livepeer_remote_signer.adapters.ceilings import LiveCeilings
from livepeer_remote_signer.adapters.runtime_prices import RuntimePrices
from livepeer_remote_signer.api.admin import AdminParts, create_admin
from livepeer_remote_signer.api.admin_users import UserParts
from livepeer_remote_signer.core.rules.budgets import Budget
from livepeer_remote_signer.core.rules.ceilings import CeilingAmounts
from tests.ledgers import opened
from tests.plans import NOW_NS

TOKEN = "a-token-of-the-operator"
DEFAULT = Budget("auth_id", "*", "total", "ev", 100)
NEW = "/admin/keys"
ALICE = {"auth_id": "alice", "window": "total"}


class Admin:
    """A client of the routes."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def get(self, path: str, **query: object) -> httpx.Response:
        return await self._client.get(path, params={name: str(value) for name, value in query.items()})

    async def post(self, path: str, body: Any, idempotency_key: str = "") -> httpx.Response:
        headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
        return await self._client.post(path, content=json.dumps(body), headers=headers)


@asynccontextmanager
async def routes(folder: Path, *, may_manage: bool = True, holds_keys: bool = True) -> AsyncIterator[Admin]:
    async with opened(folder / "ledger.db", budgets=[DEFAULT]) as (ledger,):
        ledger.users.holds_keys = holds_keys
        ceilings = LiveCeilings(CeilingAmounts())
        prices = RuntimePrices(ceilings.amounts, ceilings, settings=ledger.controls)
        parts = AdminParts(
            TOKEN, prices, lambda: (), ledger.controls, lambda: b"", users=UserParts(ledger.users, ledger.controls.budgets_of, may_manage)
        )
        transport = httpx.ASGITransport(create_admin(parts), client=("10.0.0.7", 4711))
        async with httpx.AsyncClient(transport=transport, base_url="http://admin", headers={"Authorization": f"Bearer {TOKEN}"}) as client:
            yield Admin(client)


@pytest.fixture
async def admin(tmp_path: Path) -> AsyncIterator[Admin]:
    async with routes(tmp_path) as opened_routes:
        yield opened_routes


@pytest.fixture
async def humble(tmp_path: Path) -> AsyncIterator[Admin]:
    """With a token that may not manage users."""
    async with routes(tmp_path, may_manage=False) as opened_routes:
        yield opened_routes


async def test_three_hundred_keys_are_made_listed_in_pages_and_revoked(admin: Admin) -> None:
    made = await admin.post(NEW, {"keys": [{"auth_id": f"user-{n}", "name": f"User {n}"} for n in range(300)]})
    assert made.status_code == 201
    assert made.headers["cache-control"] == "no-store"
    keys = made.json()["keys"]
    assert len({key["key"] for key in keys}) == 300
    assert keys[7]["auth_id"] == "user-7"
    listed, after = [], ""
    while after is not None:
        page = (await admin.get(NEW, after=after, limit=70)).json()
        listed += page["keys"]
        after = page["next"]
    assert sorted(key["id"] for key in listed) == sorted(key["id"] for key in keys)
    assert listed[0]["state"] == "active"
    assert listed[0]["last_used"] is None
    assert listed[0]["created"] == datetime.fromtimestamp(NOW_NS // 10**9, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert all(key["key"].split("_", 2)[2] not in json.dumps(listed) for key in keys)
    revoked = (await admin.post(NEW + "/revoke", {"ids": [keys[0]["key"], keys[1]["id"], "0" * 16]})).json()
    assert sorted(revoked["revoked"]) == sorted(key["id"] for key in keys[:2])
    assert revoked["unknown"] == ["0" * 16]
    (key,) = (await admin.get(NEW, auth_id="user-0")).json()["keys"]
    assert key["state"].startswith("revoked")
    assert (await admin.post(NEW + "/revoke", {"auth_id": "user-5"})).json()["revoked"] == [keys[5]["id"]]


async def test_a_bulk_that_is_retried_makes_no_doubles(admin: Admin) -> None:
    body = {"count": 20, "name": "batch"}
    first, again = [(await admin.post(NEW, body, "batch-1")).json() for _ in range(2)]
    assert (first["repeated"], again["repeated"]) == (False, True)
    assert [key["id"] for key in again["keys"]] == [key["id"] for key in first["keys"]]
    assert {key["key"] for key in again["keys"]} == {None}
    assert len((await admin.get(NEW, limit=1000)).json()["keys"]) == 20
    other = await admin.post(NEW, {"count": 21, "name": "batch"}, "batch-1")
    assert (other.status_code, other.json()["error"]["code"]) == (400, "bad_field")
    assert (await admin.post(NEW, body, "x" * 201)).status_code == 400


async def test_budgets_are_set_topped_up_and_taken_back(admin: Admin) -> None:
    assert (await admin.post("/admin/budgets", {"budgets": [ALICE | {"limit_wei": "1gwei"}]})).json() == {
        "budgets": [ALICE | {"measure": "ev", "limit_wei": "1000000000"}]
    }
    without = await admin.post("/admin/budgets/top-up", {"budgets": [ALICE | {"add_wei": 5}]})
    assert (without.status_code, "Idempotency-Key" in without.json()["error"]["message"]) == (400, True)
    for _ in range(2):
        topped = await admin.post("/admin/budgets/top-up", {"budgets": [ALICE | {"add_wei": 5}]}, "invoice-1")
        assert topped.json()["budgets"][0]["limit_wei"] == "1000000005"
    (shown,) = (await admin.get("/admin/budgets", auth_id="alice")).json()["budgets"]
    assert (shown["limit_wei"], shown["left_wei"], shown["source"]) == ("1000000005", "1000000005", "runtime")
    assert (await admin.post("/admin/budgets/reset", {"budgets": [ALICE]})).json()["budgets"][0]["limit_wei"] is None
    (shown,) = (await admin.get("/admin/budgets", auth_id="alice")).json()["budgets"]
    assert (shown["limit_wei"], shown["source"]) == ("100", "default")


async def test_budgets_are_listed_in_pages(admin: Admin) -> None:
    await admin.post("/admin/budgets", {"budgets": [{"auth_id": f"ü {n:02}", "window": "day", "limit_wei": n} for n in range(25)]})
    found: list[str] = []
    page = (await admin.get("/admin/budgets", limit=10)).json()
    while True:
        found += [budget["limit_wei"] for budget in page["budgets"]]
        if page["next"] is None:
            break
        page = (await admin.get("/admin/budgets", limit=10, after=page["next"])).json()
    assert found == [str(n) for n in range(25)]
    assert (await admin.get("/admin/budgets", after="nonsense")).status_code == 400


async def test_a_token_that_may_not_manage_users_can_look_lower_and_stop(humble: Admin) -> None:
    refused = [
        await humble.post(NEW, {"count": 1}),
        await humble.post("/admin/budgets", {"budgets": [ALICE | {"limit_wei": 101}]}),
        await humble.post("/admin/budgets/top-up", {"budgets": [ALICE | {"add_wei": 1}]}, "k"),
    ]
    for reply in refused:
        assert (reply.status_code, reply.json()["error"]["code"]) == (403, "denied")
        assert "admin.manage_users" in reply.json()["error"]["hint"]
    assert (await humble.post("/admin/budgets", {"budgets": [ALICE | {"limit_wei": 99}]})).status_code == 200
    assert (await humble.post("/admin/budgets/reset", {"budgets": [ALICE]})).status_code == 403
    assert (await humble.post(NEW + "/revoke", {"auth_id": "alice"})).json() == {"revoked": [], "unknown": []}
    assert (await humble.post("/admin/suspend", {"auth_id": "alice"})).status_code == 200
    assert [e["action"] for e in (await humble.get("/admin/audit")).json()["entries"]] == ["suspend", "budget.set"]


async def test_the_log_tells_of_all_that_was_changed_and_by_whom(admin: Admin) -> None:
    await admin.post(NEW, {"keys": [{"auth_id": "alice"}]})
    await admin.post("/admin/suspend", {"all": True})
    await admin.post("/admin/prices", {"price_per_unit": 5})
    await admin.post("/admin/budgets", {"budgets": [ALICE | {"limit_wei": 7}]})
    log = (await admin.get("/admin/audit")).json()
    assert [entry["action"] for entry in log["entries"]] == ["budget.set", "setting.set", "suspend", "key.create"]
    assert {entry["by"] for entry in log["entries"]} == {"admin token from 10.0.0.7"}
    assert log["next"] is None
    page = (await admin.get("/admin/audit", limit=3)).json()
    rest = (await admin.get("/admin/audit", before=page["next"])).json()["entries"]
    assert [entry["action"] for entry in rest] == ["key.create"]
    assert len((await admin.get("/admin/audit", auth_id="alice")).json()["entries"]) == 2


@pytest.mark.parametrize(
    ("path", "query"),
    [
        (NEW, "limit=0"),
        (NEW, "limit=1001"),
        (NEW, "limit=5&limit=5"),
        (NEW, "page=1"),
        ("/admin/audit", "before=x"),
        ("/admin/audit", "before=-1"),
        ("/admin/budgets", "limit=1e3"),
    ],
)
async def test_what_a_query_cannot_mean_is_refused(admin: Admin, path: str, query: str) -> None:
    reply = await admin._client.get(f"{path}?{query}")
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "bad_field")


@pytest.mark.parametrize(
    "body", [{}, {"ids": []}, {"ids": "x"}, {"auth_id": ""}, {"ids": ["a"], "auth_id": "b"}, {"ids": ["a"] * 1001}, {"ids": [5]}, []]
)
async def test_what_cannot_be_revoked_is_refused(admin: Admin, body: Any) -> None:
    assert (await admin.post(NEW + "/revoke", body)).status_code == 400


async def test_a_body_may_be_a_megabyte_and_no_more(admin: Admin) -> None:
    keys = [{"auth_id": f"{n:03}" + "x" * 700} for n in range(1000)]
    assert (await admin.post(NEW, {"keys": keys})).status_code == 201
    assert (await admin.post(NEW, {"keys": [{"auth_id": "x" * 1024, "name": "x" * 100}] * 1000})).status_code == 413


async def test_no_key_is_made_that_would_open_nothing(tmp_path: Path) -> None:
    async with routes(tmp_path, holds_keys=False) as admin:
        reply = await admin.post(NEW, {"count": 1})
        assert (reply.status_code, reply.json()["error"]["hint"]) == (403, "set auth.api_keys_in_ledger: true")


async def test_without_a_ledger_the_routes_say_that_they_need_one() -> None:
    ceilings = LiveCeilings(CeilingAmounts())
    parts = AdminParts(TOKEN, RuntimePrices(ceilings.amounts, ceilings), lambda: (), None, lambda: b"")
    transport = httpx.ASGITransport(create_admin(parts))
    async with httpx.AsyncClient(transport=transport, base_url="http://admin", headers={"Authorization": f"Bearer {TOKEN}"}) as client:
        for path in (NEW, "/admin/budgets", "/admin/audit"):
            reply = await client.get(path)
            assert (reply.status_code, "ledger.backend" in reply.json()["error"]["message"]) == (503, True)
        assert (await client.post(NEW, content=b"{}")).status_code == 503


@pytest.mark.parametrize(("days", "status"), [(-10, 400), (10, 201)])
async def test_a_key_ends_after_now_by_the_services_clock(admin: Admin, days: int, status: int) -> None:
    ends = datetime.fromtimestamp(NOW_NS // 10**9 + days * 86_400, UTC).strftime("%Y-%m-%d")
    made = await admin.post(NEW, {"keys": [{"auth_id": "alice", "expires": ends}]})
    assert made.status_code == status, made.text
