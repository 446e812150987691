"""Budgets over real HTTP: two processes on one PostgreSQL never sign more than a budget, whatever happens to one of them."""

from __future__ import annotations

import asyncio
import json
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psycopg
import pytest

from tests.ledgers import fold_tallies
from tests.policy.processes import SignerProcess, UnitSession, signer_processes
from tests.postgres import postgres_databases

pytestmark = pytest.mark.policy

TICKET_WEI = 10**12
TRUSTING = {"trusted_proxies": ["127.0.0.0/8"]}


@pytest.fixture(scope="module")
def postgres_url() -> Iterator[Callable[[], str]]:
    with postgres_databases() as create:
        yield create


def budget(tickets: int, window: str = "total") -> list[dict[str, str]]:
    return [{"scope": "auth_id", "match": "*", "window": window, "measure": "ev", "limit_wei": str(tickets * TICKET_WEI)}]


def recorded_tickets(url: str) -> tuple[int, int]:
    """What the ledger counted (wei), and the tickets of all payments that it holds."""
    fold_tallies(url)
    with psycopg.connect(url) as connection:
        usage = connection.execute("SELECT amounts FROM lrs_usage").fetchall()
        tickets = connection.execute("SELECT sum(tickets) FROM lrs_spend").fetchone()
    assert tickets is not None
    return sum(amount for (amounts,) in usage for _, amount in json.loads(amounts)), int(tickets[0])


class Spending:
    """Sessions that pay until the budget is used up; a signer that died is left for the other one, with the same request."""

    def __init__(self, signers: list[SignerProcess], client: httpx.AsyncClient) -> None:
        self.signers = signers
        self.client = client
        self.statuses: Counter[int] = Counter()
        self.is_under_way = asyncio.Event()

    async def spend_all(self, session: UnitSession, turn: int) -> None:
        while True:
            turn += 1
            signer = self.signers[turn % 2] if self.signers[turn % 2].process.poll() is None else self.signers[(turn + 1) % 2]
            try:
                response = await session.pay(self.client, signer.url)
            except httpx.TransportError:
                continue
            self.statuses[response.status_code] += 1
            if self.statuses[200] > 400:
                self.is_under_way.set()
            if response.status_code == 483 or (response.status_code == 429 and response.json()["error"]["code"] == "rate_exceeded"):
                return
            assert response.status_code in (200, 409, 429, 503), response.text


@pytest.mark.parametrize("with_kill", [False, True], ids=["both live", "one is killed"])
async def test_sixty_four_sessions_under_one_auth_id_never_spend_more_than_its_budget(
    with_kill: bool, postgres_url: Callable[[], str], tmp_path: Path
) -> None:
    tickets, url = 1000, postgres_url()
    async with (
        signer_processes(tmp_path, 2, ledger={"backend": "postgres", "url": url}, budgets=budget(tickets), auth=TRUSTING) as signers,
        httpx.AsyncClient(timeout=30, trust_env=False, limits=httpx.Limits(max_connections=64)) as client,
    ):
        spending = Spending(signers, client)
        sessions = [UnitSession("alice") for _ in range(64)]
        ended = asyncio.gather(*(spending.spend_all(session, n) for n, session in enumerate(sessions)))
        if with_kill:
            await spending.is_under_way.wait()
            signers[0].process.send_signal(signal.SIGKILL)
        await ended
        counted, recorded = recorded_tickets(url)
        assert counted == recorded * TICKET_WEI <= tickets * TICKET_WEI
        assert recorded == tickets, "what was set aside and not signed must come back"
        given_out = [ticket for session in sessions for ticket in session.tickets]
        assert len(given_out) == len(set(given_out)) == recorded, "what a killed process had recorded is given out by the other one"
        assert spending.statuses[483] == 64
        assert (await UnitSession("bob").pay(client, signers[1].url)).status_code == 200
        refused = (await sessions[0].pay(client, signers[1].url)).json()["error"]
        assert refused["code"] == "budget_exceeded"
        assert (refused["scope"], refused["id"], refused["left_wei"]) == ("auth_id", "alice", "0")


async def test_a_window_that_is_used_up_says_when_to_come_back(postgres_url: Callable[[], str], tmp_path: Path) -> None:
    ledger = {"backend": "postgres", "url": postgres_url()}
    async with (
        signer_processes(tmp_path, 1, ledger=ledger, budgets=budget(3, "hour"), auth=TRUSTING) as (signer,),
        httpx.AsyncClient(timeout=30, trust_env=False) as client,
    ):
        session = UnitSession("alice")
        while (refused := await session.pay(client, signer.url)).status_code == 200:
            assert len(session.tickets) <= 3
        assert refused.status_code == 429
        assert 3500 < int(refused.headers["retry-after"]) <= 3660
        error = refused.json()["error"]
        assert error["code"] == "rate_exceeded"
        assert error["frees_up_in_seconds"] == int(refused.headers["retry-after"])


async def until_answered(session: UnitSession, client: httpx.AsyncClient, url: str, status: int) -> None:
    """Pays until it is answered so: within a second, where the machine is quiet."""
    async with asyncio.timeout(30):
        while (await session.pay(client, url)).status_code != status:  # noqa: ASYNC110 - asked as from outside
            await asyncio.sleep(0.05)


async def test_a_kill_switch_reaches_both_processes_within_a_second(postgres_url: Callable[[], str], tmp_path: Path) -> None:
    from livepeer_remote_signer.cli import main

    ledger = {"backend": "postgres", "url": postgres_url()}
    async with (
        signer_processes(tmp_path, 2, ledger=ledger, auth=TRUSTING) as signers,
        httpx.AsyncClient(timeout=30, trust_env=False) as client,
    ):
        alice, bob = UnitSession("alice"), UnitSession("bob")
        for signer in signers:
            assert (await alice.pay(client, signer.url)).status_code == 200
        config = str(tmp_path / "signer-0.yaml")
        assert await asyncio.to_thread(main, ["suspend", "--config", config, "--auth-id", "alice"]) == 0
        for signer in signers:
            await until_answered(alice, client, signer.url, 403)
            refused = await alice.pay(client, signer.url)
            assert (refused.status_code, refused.json()["error"]["code"]) == (403, "suspended")
            assert (await bob.pay(client, signer.url)).status_code == 200
        assert await asyncio.to_thread(main, ["resume", "--config", config, "--auth-id", "alice"]) == 0
        await until_answered(alice, client, signers[0].url, 200)
