"""A rolling update: signers of release 792b947 and of today on one PostgreSQL, with sessions that go to and fro between them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import time
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from livepeer_remote_signer.core.protocol.state import encode_state, parse_state
from livepeer_remote_signer.core.protocol.timestamps import NS_PER_SECOND
from tests.ledgers import fold_tallies
from tests.plans import SECRET, orchestrator_info, plan_payment
from tests.policy.processes import SignerProcess, UnitSession
from tests.postgres import postgres_databases
from tests.signing import PlainKey, SignatureSeal

pytestmark = pytest.mark.policy

ROOT = Path(__file__).parents[2]
OLD = "792b947"
TICKET_WEI = 10**12
TRUSTING = {"trusted_proxies": ["127.0.0.0/8"]}


@pytest.fixture(scope="module")
def postgres_url() -> Iterator[Callable[[], str]]:
    with postgres_databases() as create:
        yield create


@pytest.fixture(scope="module")
def old_release() -> Path:
    """The sources of the older release, kept in the cache."""
    folder = ROOT / ".cache" / "releases" / OLD
    if not folder.exists():
        archive = subprocess.run(["git", "archive", OLD, "src"], cwd=ROOT, capture_output=True, check=False)
        if archive.returncode != 0:
            if os.environ.get("LRS_REQUIRE_ALL") == "1":
                raise RuntimeError(f"the history does not hold {OLD}: {archive.stderr.decode()}")
            pytest.skip(f"the history does not hold {OLD}")
        making = folder.with_name(f"{OLD}.{os.getpid()}")
        with tarfile.open(fileobj=BytesIO(archive.stdout)) as tar:
            tar.extractall(making, filter="data")
        try:
            making.rename(folder)
        except OSError:  # another run was faster
            shutil.rmtree(making)
    return folder / "src"


def switch(release: Path, signer: SignerProcess, *command: str) -> None:
    """Runs a command of a release on a signer's configuration."""
    subprocess.run(
        [sys.executable, "-m", "livepeer_remote_signer", *command, "--config", str(signer.config)],
        env={**os.environ, "PYTHONPATH": str(release), "PYTHONWARNINGS": "ignore"},
        check=True,
        capture_output=True,
    )


def described(url: str) -> dict[str, Any]:
    """What the ledger holds."""
    fold_tallies(url)
    with psycopg.connect(url) as connection:
        payments = connection.execute("SELECT count(*), count(DISTINCT (state_id, seq)) FROM lrs_payments").fetchone()
        tickets = connection.execute("SELECT sum(tickets) FROM lrs_spend").fetchone()
        usage = connection.execute("SELECT amounts FROM lrs_usage").fetchall()
        meta = dict(connection.execute("SELECT name, value FROM lrs_meta").fetchall())  # type: ignore[arg-type]
    return {"payments": payments, "tickets": tickets, "usage": usage, "meta": meta}


async def test_replicas_of_two_releases_share_sessions_budgets_and_switches(
    postgres_url: Callable[[], str], old_release: Path, tmp_path: Path
) -> None:
    url = postgres_url()
    budgets = [{"scope": "auth_id", "match": "*", "window": "total", "measure": "ev", "limit_wei": str(14 * TICKET_WEI)}]
    sections: dict[str, Any] = {
        "ledger": {"backend": "postgres", "url": url},
        "budgets": budgets,
        "auth": TRUSTING,
        "events": {"sinks": [{"type": "file", "path": str(tmp_path / "events.jsonl")}]},
    }
    new_release = ROOT / "src"
    old = SignerProcess(tmp_path, "old", source=old_release, **sections)
    others: list[SignerProcess] = []
    try:
        await old.started()
        async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
            sessions = [UnitSession(f"auth-{n}") for n in range(3)]
            answers: dict[int, tuple[bytes, bytes]] = {}
            for n, session in enumerate(sessions):
                for _ in range(3):
                    body = session.body()
                    response = await session.pay(client, old.url)
                    assert response.status_code == 200, response.text
                    answers[n] = body, response.content
            new = SignerProcess(tmp_path, "new", source=new_release, **sections)
            others.append(new)
            await new.started()
            for step in range(8):  # to and fro, both ways round
                for n, session in enumerate(sessions):
                    body, answer = answers[n]
                    repeated = await client.post(
                        [new, old][(step + n) % 2].url + "/generate-live-payment", content=body, headers=session.headers
                    )
                    assert repeated.content == answer, "the identical request has the identical answer, whoever made it"
                    body = session.body()
                    response = await session.pay(client, [old, new][(step + n) % 2].url)
                    assert response.status_code == 200, response.text
                    answers[n] = body, response.content
            switch(old_release, old, "suspend", "--auth-id", "auth-1")
            assert (await sessions[1].pay(client, new.url)).status_code == 403
            switch(new_release, new, "resume", "--auth-id", "auth-1")
            switch(new_release, new, "suspend", "--auth-id", "auth-2")
            assert (await sessions[2].pay(client, old.url)).status_code == 403
            assert (await sessions[1].pay(client, old.url)).status_code == 200
            old.stop()
            again = SignerProcess(tmp_path, "old-again", source=old_release, **sections)
            others.append(again)
            await again.started()  # the older release starts on tables that have taken every step
            for signer in (again, new):
                assert (await sessions[0].pay(client, signer.url)).status_code == 200
            for signer in (again, new, new):
                last = await sessions[0].pay(client, signer.url)
            assert last.status_code == 483, "two releases have counted one budget"
        tickets = [ticket for session in sessions for ticket in session.tickets]
        assert len(tickets) == len(set(tickets)), "no nonce twice"
        found = described(url)
        assert found["payments"] == (36, 36), "3 sessions of 11 payments, and 3 more, each in a place of its own"
        assert found["tickets"] == (len(tickets),)
        assert found["meta"]["schema_version"] == "1"
        assert int(found["meta"]["schema_step"]) > 1
    finally:
        old.stop()
        for signer in others:
            signer.stop()
    events = (tmp_path / "events.jsonl").read_text().splitlines()
    assert len(events) >= 36, "events of both releases went out"


def owing_state(seconds: int) -> dict[str, str]:
    """A session's state that both releases believe, which was paid up so many seconds ago."""
    paid_up_ns = time.time_ns() - seconds * NS_PER_SECOND
    first = plan_payment(orchestrator_info(now_ns=paid_up_ns), now_ns=paid_up_ns)
    raw = encode_state(first.state)
    return {"State": b64encode(raw).decode(), "Sig": b64encode(SignatureSeal(PlainKey(SECRET)).seal(raw)).decode()}


async def test_a_part_that_one_release_paid_is_gone_on_from_by_the_other(
    postgres_url: Callable[[], str], old_release: Path, tmp_path: Path
) -> None:
    sections: dict[str, Any] = {"ledger": {"backend": "postgres", "url": postgres_url()}}
    old = SignerProcess(tmp_path, "old", source=old_release, **sections)
    new = SignerProcess(tmp_path, "new", source=ROOT / "src", **sections, catch_up={"generate_live_payment": True})
    try:
        await old.started()
        await new.started()

        async with httpx.AsyncClient(trust_env=False, timeout=30) as client:

            async def pay(signer: SignerProcess, state: dict[str, str]) -> httpx.Response:
                info = orchestrator_info(now_ns=time.time_ns(), rand_hash=os.urandom(32))
                body = {"orchestrator": b64encode(info).decode(), "state": state, "ManifestID": "36b05700", "type": "live"}
                return await client.post(signer.url + "/generate-live-payment", json=body)

            # 20 tickets, the most that a payment may hold, pay for 200 s
            owed = owing_state(250)
            refused = await pay(old, owed)
            assert refused.json()["error"]["code"] == "total_ev_exceeded"
            part = await pay(new, owed)
            assert part.status_code == 200, part.text
            rest = await pay(old, part.json()["state"])
            assert rest.status_code == 200, rest.text
            states = [parse_state(b64decode(reply.json()["state"]["State"])) for reply in (part, rest)]
            assert [state.sequence_number for state in states] == [1, 2]
            assert 40 < (states[1].last_update_ns - states[0].last_update_ns) / NS_PER_SECOND < 80  # type: ignore[operator]
            for signer in (old, new):  # a branch from before the part: what it would pay is paid
                branch = await pay(signer, owed)
                assert branch.status_code in (200, 482), branch.text
                if branch.status_code == 200:
                    assert parse_state(b64decode(branch.json()["state"]["State"])).sequence_number > 2
    finally:
        old.stop()
        new.stop()
