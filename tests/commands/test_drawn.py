"""`drawn` names redeemed tickets that the ledger never signed, and ends their alarm."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
import yaml

from livepeer_remote_signer.adapters.ledger.redeemed import RedeemedChange, RedeemedRow
from livepeer_remote_signer.adapters.ledger.sqlite import SqliteStore
from livepeer_remote_signer.cli import main
from livepeer_remote_signer.core.rules.redeemed import Verdict
from tests.ledgers import Session, opened
from tests.plans import CHAIN, ORCHESTRATOR
from tests.signer import configuration

TX = "0x" + "ab" * 32


def row(number: int, verdict: Verdict) -> RedeemedRow:
    return RedeemedRow(
        ticket=number.to_bytes(32, "big"),
        sender=b"\x5e" * 20,
        block=number,
        block_hash="0x" + "00" * 32,
        transaction=TX,
        log_index=0,
        recipient=b"\x0a" * 20,
        round=7,
        terms=1,
        nonce=3,
        rand_hash=b"\1" * 32,
        face_value_wei=10**15,
        paid_wei=10**15,
        win_prob=2**255,
        payer=b"",
        verdict=verdict,
        found_ms=1_800_000_000_000,
    )


@pytest.fixture
def config(tmp_path: Path) -> str:
    async def lay() -> None:
        store = SqliteStore(tmp_path / "ledger.sqlite", writer="w")
        await store.open()
        await store.change_redeemed(RedeemedChange({"x": "{}"}, [row(1, "ours"), row(2, "ours"), row(3, "foreign")]))
        await store.close()

    asyncio.run(lay())
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(configuration(ledger={"backend": "sqlite", "path": str(tmp_path / "ledger.sqlite")})))
    return str(path)


def test_a_foreign_ticket_is_named_until_it_is_acknowledged(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["drawn", "--config", config]) == 1
    said = capsys.readouterr()
    assert "2 signed by this ledger" in said.out
    assert f"foreign: 2027-01-15T08:00:00Z transaction {TX}" in said.err
    assert main(["drawn", "--config", config, "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["redeemed"] == {"foreign": 1, "ours": 2}
    assert document["not_signed_here"][0]["face_value_wei"] == str(10**15)
    assert main(["drawn", "--config", config, "--acknowledge"]) == 0
    assert "acknowledged: 1 tickets" in capsys.readouterr().out
    assert main(["drawn", "--config", config]) == 0


def test_what_was_drawn_stands_beside_what_was_expected(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def lay() -> None:
        async with opened(tmp_path / "ledger.sqlite") as (ledger,):
            for _ in range(5):
                await ledger.pay(Session().next(tickets=40))
            ours = row(9, "ours")._replace(round=CHAIN.last_initialized_round, face_value_wei=1_200_000_000_000_000, recipient=ORCHESTRATOR)
            await ledger.store.change_redeemed(RedeemedChange({"x": "{}"}, [ours]))  # type: ignore[attr-defined] # both stores have it

    asyncio.run(lay())
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(configuration(ledger={"backend": "sqlite", "path": str(tmp_path / "ledger.sqlite")})))
    assert main(["drawn", "--config", str(path), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    everything, one = document["draws"]
    assert everything["recipient"] is None
    assert (one["tickets"], one["winners"], one["drawn_wei"]) == (200, 1, "1200000000000000")
    assert int(one["expected_wei"]) == pytest.approx(200 * 10**12, abs=10)
    assert one["chance"] == pytest.approx(1 - (1 - 1 / 1200) ** 200, rel=1e-6)
    assert document["outstanding"]["worst_wei"] == str(199 * 1_200_000_000_000_000)
    assert [loss["hours"] for loss in document["ahead"]] == [1, 24]
    for loss in document["ahead"]:  # nothing was signed within the last hour
        assert {name: loss[name] for name in ("worst_wei", "safe_wei")} == {
            name: document["outstanding"][name] for name in ("worst_wei", "safe_wei")
        }
        assert (loss["new_worst_wei"], loss["new_safe_wei"]) == ("0", "0")
    assert main(["drawn", "--config", str(path)]) == 0
    printed = capsys.readouterr().out
    assert "can still be redeemed: 199 tickets" in printed
    assert "next hour: these and what is signed meanwhile take 0.2388 ETH at worst" in printed
    assert "next 24 hours: these" in printed
