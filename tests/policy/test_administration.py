"""Over real HTTP: what an operator changes reaches every signer on the same ledger within a second."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.plans import PRICE_PER_UNIT
from tests.signer import RunningSigner, counted_signatures, running_signer

pytestmark = pytest.mark.policy
TOKEN = "a-token-of-the-operator"


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    file = tmp_path / "token"
    file.write_text(TOKEN + "\n")
    return file


async def admin(signer: RunningSigner, path: str, **body: object) -> int:
    assert signer.admin is not None
    return (await signer.admin.post(path, json=body, headers={"Authorization": f"Bearer {TOKEN}"})).status_code


async def until_paid_with(signer: RunningSigner, status: int) -> None:
    """Asks until a payment is answered so: within a second, where the machine is quiet."""
    async with asyncio.timeout(30):
        while (await signer.pay()).status_code != status:  # noqa: ASYNC110 - asked as from outside
            await asyncio.sleep(0.05)


async def test_prices_and_switches_reach_all_signers_on_one_ledger(token_file: Path, tmp_path: Path) -> None:
    ledger = {"backend": "sqlite", "path": str(tmp_path / "ledger.db")}
    with counted_signatures() as signatures:
        async with AsyncExitStack() as stack:
            one = await stack.enter_async_context(running_signer(admin_token_file=token_file, ledger=ledger))
            two = await stack.enter_async_context(running_signer(ledger=ledger))
            assert {(await s.pay()).status_code for s in (one, two)} == {200}
            steps = [
                ("/admin/prices", {"price_per_unit": str(PRICE_PER_UNIT - 1)}, 481),
                ("/admin/prices/reset", {}, 200),
                ("/admin/suspend", {"all": True}, 403),
                ("/admin/resume", {"all": True}, 200),
            ]
            for path, body, status in steps:
                assert await admin(one, path, **body) == 200
                for each in (one, two):
                    await until_paid_with(each, status)
                before = signatures.made
                assert {(await s.pay()).status_code for s in (one, two)} == {status}
                assert (signatures.made > before) is (status == 200)
            await admin(one, "/admin/prices", price_per_unit=str(PRICE_PER_UNIT - 1))
        async with running_signer(ledger=ledger) as restarted:
            assert (await restarted.pay()).status_code == 481


async def test_metrics_move_to_the_admin_listener_which_wants_its_token(token_file: Path) -> None:
    async with running_signer(admin_token_file=token_file) as signer:
        assert signer.admin is not None
        assert (await signer.client.get("/metrics")).status_code == 404
        assert (await signer.client.get("/admin/prices")).status_code == 404
        assert (await signer.admin.get("/metrics")).status_code == 401
        assert (await signer.admin.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"})).status_code == 200
        assert (await signer.admin.post("/generate-live-payment", headers={"Authorization": f"Bearer {TOKEN}"})).status_code == 404
    async with running_signer() as signer:
        assert (await signer.client.get("/metrics")).status_code == 200
