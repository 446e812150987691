"""Three hundred users by API alone: no file is touched after the start, and every process obeys within a second."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.ledgers import fold_tallies, run_sql
from tests.policy.processes import SignerProcess, UnitSession
from tests.ports import free_port
from tests.postgres import postgres_databases

pytestmark = pytest.mark.policy

TOKEN = "a-token-of-the-operator"
PAYMENT_WEI = 2 * 10**12
"""A new session's first payment: two tickets of 10^12 wei."""

USERS = 300
AT_ONCE = 12
EVERYBODY_FOLLOWS_SECONDS = 60
"""A second on a quiet machine."""


@pytest.fixture(scope="module")
def postgres_url() -> Iterator[Callable[[], str]]:
    with postgres_databases() as create:
        yield create


class Fleet:
    """Signers on one ledger, and the admin listener of each."""

    def __init__(self, signers: list[SignerProcess], admins: list[str], client: httpx.AsyncClient, place: Path | str) -> None:
        self.signers = signers
        self.admins = admins
        self.client = client
        self.place = place
        self._turn = 0

    async def admin(self, method: str, path: str, body: object = None, *, idempotency_key: str = "", status: int = 200) -> httpx.Response:
        """A call of the admin API, of one replica after the other."""
        self._turn += 1
        headers = {"Authorization": f"Bearer {TOKEN}", **({"Idempotency-Key": idempotency_key} if idempotency_key else {})}
        content = None if body is None else json.dumps(body)
        response = await self.client.request(method, self.admins[self._turn % len(self.admins)] + path, content=content, headers=headers)
        assert response.status_code == status, response.text
        return response


@asynccontextmanager
async def fleet(folder: Path, place: Path | str) -> AsyncIterator[Fleet]:
    """Two workers on a SQLite file, or two replicas on PostgreSQL. Nobody may spend whom nobody gave a budget."""
    token = folder / "token"
    token.write_text(TOKEN)
    is_file = isinstance(place, Path)
    ledger = {"backend": "sqlite", "path": str(place)} if is_file else {"backend": "postgres", "url": place}
    ports = [free_port() for _ in range(1 if is_file else 2)]
    signers = [
        SignerProcess(
            folder,
            f"signer-{index}",
            workers=2 if is_file else 1,
            ledger=ledger,
            auth={"api_keys_in_ledger": True},
            admin={"listen": f"127.0.0.1:{port}", "token_file": str(token), "manage_users": True},
            budgets=[
                {"scope": "auth_id", "match": "*", "window": "total", "limit_wei": 0},
                {"scope": "global", "window": "day", "limit_wei": 10**18},
            ],
        )
        for index, port in enumerate(ports)
    ]
    try:
        await asyncio.gather(*(signer.started() for signer in signers))
        async with httpx.AsyncClient(timeout=30, trust_env=False) as client:
            yield Fleet(signers, [f"http://127.0.0.1:{port}" for port in ports], client, place)
    finally:
        for signer in signers:
            signer.stop()


class User:
    """Who holds a key, and what was signed for it."""

    def __init__(self, key: dict[str, Any]) -> None:
        self.id, self.auth_id = key["id"], key["auth_id"]
        self._headers = {"X-Api-Key": key["key"]}
        self.payments = self.tickets = 0

    async def pay(self, client: httpx.AsyncClient, url: str) -> int:
        """The status of a new session's first payment."""
        session = UnitSession("")
        session.headers = self._headers
        response = await session.pay(client, url)
        self.payments += response.status_code == 200
        self.tickets += len(session.tickets)
        return response.status_code


async def until(check: Callable[[], Awaitable[bool]], what: str) -> None:
    give_up = time.monotonic() + EVERYBODY_FOLLOWS_SECONDS
    while not await check():
        assert time.monotonic() < give_up, what
        await asyncio.sleep(0.1)


async def answers(fleet: Fleet, user: User) -> set[int]:
    """What every process says to a user: each call on a connection of its own, which any worker may take."""
    found = set()
    for signer in fleet.signers * 4:
        async with httpx.AsyncClient(timeout=30, trust_env=False) as client:
            found.add(await user.pay(client, signer.url))
    return found


def budget(user: User, **amount: int) -> dict[str, Any]:
    return {"budgets": [{"auth_id": user.auth_id, "window": "total", **amount}]}


async def everybody(users: list[User], act: Callable[[User, int], Awaitable[None]]) -> None:
    places = asyncio.Semaphore(AT_ONCE)

    async def one(user: User, number: int) -> None:
        async with places:
            await act(user, number)

    await asyncio.gather(*(one(user, number) for number, user in enumerate(users)))


async def csv_rows(fleet: Fleet) -> list[dict[str, str]]:
    """The usage of all auth ids, page by page."""
    rows, path = list[dict[str, str]](), "/admin/usage?group=auth_id&format=csv&limit=100"
    while path:
        response = await fleet.admin("GET", path)
        rows += csv.DictReader(io.StringIO(response.text))
        path = response.links.get("next", {}).get("url", "")
    return rows


@pytest.mark.parametrize("backend", ["sqlite", "postgres"])
async def test_three_hundred_users_by_api_alone(backend: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    place = tmp_path / "ledger.sqlite" if backend == "sqlite" else request.getfixturevalue("postgres_url")()
    async with fleet(tmp_path, place) as signers:
        body = {"count": USERS, "name": "user"}
        made = (await signers.admin("POST", "/admin/keys", body, idempotency_key="batch", status=201)).json()
        again = (await signers.admin("POST", "/admin/keys", body, idempotency_key="batch", status=201)).json()
        assert [key["id"] for key in again["keys"]] == [key["id"] for key in made["keys"]]
        users = [User(key) for key in made["keys"]]
        assert len({user.id for user in users}) == USERS
        limits = [{"auth_id": user.auth_id, "window": "total", "limit_wei": PAYMENT_WEI} for user in users]
        await signers.admin("POST", "/admin/budgets", {"budgets": limits})

        async def pays(user: User, number: int) -> None:
            """One payment. A process that has not read this budget yet refuses, and a refusal changes nothing."""
            url = signers.signers[number % len(signers.signers)].url

            async def is_paid() -> bool:
                status = await user.pay(signers.client, url)
                assert status in (200, 401, 483), "a key or a budget that is not known yet, and nothing else"
                return status == 200

            await until(is_paid, f"{user.auth_id} cannot pay")

        await everybody(users, pays)

        async def is_spent() -> bool:
            return await answers(signers, users[-1]) == {483}

        await until(is_spent, "not every process knows the last key")
        poor, bad, lost = users[:3]
        await answers(signers, poor)
        assert [user.payments for user in users] == [1] * USERS, "two processes never sign more than a budget"
        for _ in range(2):
            topped = await signers.admin("POST", "/admin/budgets/top-up", budget(poor, add_wei=PAYMENT_WEI), idempotency_key="invoice-1")
            assert topped.json()["budgets"][0]["limit_wei"] == str(2 * PAYMENT_WEI)

        async def pays_again() -> bool:
            return await poor.pay(signers.client, signers.signers[0].url) == 200

        await until(pays_again, "the top-up is not followed")
        assert await answers(signers, poor) == {483}
        assert poor.payments == 2

        await signers.admin("POST", "/admin/budgets", budget(bad, limit_wei=5 * PAYMENT_WEI))
        await signers.admin("POST", "/admin/suspend", {"auth_id": bad.auth_id})

        async def is_refused() -> bool:
            return await answers(signers, bad) == {403}

        await until(is_refused, "the kill switch is not followed")

        await signers.admin("POST", "/admin/keys/revoke", {"ids": [lost.id]})

        async def is_unknown() -> bool:
            return await answers(signers, lost) == {401}

        await until(is_unknown, "the revocation is not followed")

        rows = {row["auth_id"]: row for row in await csv_rows(signers)}
        assert {row_id: int(row["tickets"]) for row_id, row in rows.items()} == {user.auth_id: user.tickets for user in users}
        summed = sum(int(row["total_ev_wei"]) for row in rows.values())
        fold_tallies(place)
        recorded = run_sql(place, "SELECT ev_wei FROM lrs_spend")
        assert summed == sum(int(wei) for (wei,) in recorded) == PAYMENT_WEI * sum(user.payments for user in users)
        spent = run_sql(place, "SELECT amounts FROM lrs_usage WHERE key LIKE '%auth_id%'")
        assert sum(amount for (amounts,) in spent for _, amount in json.loads(amounts)) == summed

        log = (await signers.admin("GET", "/admin/audit?limit=1000")).json()["entries"]
        actions = [entry["action"] for entry in log]
        assert {action: actions.count(action) for action in set(actions)} == {
            "key.create": USERS,
            "budget.set": USERS + 1,
            "budget.top-up": 1,
            "suspend": 1,
            "key.revoke": 1,
        }
        config = signers.signers[0].config
    command = (sys.executable, "-m", "livepeer_remote_signer", "keys", "list", "--config", str(config), "--json")
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    listed, _ = await process.communicate()
    keys = json.loads(listed)
    assert len(keys) == USERS
    assert all(key["last_used"] for key in keys), "written when the service ended, at the latest"
