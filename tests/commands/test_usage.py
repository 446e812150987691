"""The command `usage`, as an operator types it."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import stat
from pathlib import Path

import pytest

from livepeer_remote_signer.core.rules.usage import day_text
from tests.commands.test_ledger import config_file, run
from tests.ledgers import Session, opened
from tests.plans import NOW_NS

__all__ = ["config_file"]

DAY = day_text(NOW_NS // (86_400 * 10**9))


async def _pay(path: Path) -> None:
    async with opened(path) as (ledger,):
        for auth_id in ("alice", "alice", "bob", ""):
            assert await ledger.pay(Session(auth_id=auth_id).next()) is None


def test_usage_is_shown_in_words_and_in_tables(config_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asyncio.run(_pay(config_file.parent / "ledger.sqlite"))
    days = ("--config", config_file, "--from", DAY, "--to", DAY)
    status, out, _ = run(capsys, "usage", *days)
    assert status == 0
    assert out.splitlines() == [
        "'': 1 payments of 1 new sessions, 1 tickets, EV 1000000000000 wei, fee 1000000000000 wei, 10 s",
        "'alice': 2 payments of 2 new sessions, 2 tickets, EV 2000000000000 wei, fee 2000000000000 wei, 20 s",
        "'bob': 1 payments of 1 new sessions, 1 tickets, EV 1000000000000 wei, fee 1000000000000 wei, 10 s",
    ]
    table = list(csv.DictReader(io.StringIO(run(capsys, "usage", *days, "--format", "csv")[1])))
    told = json.loads(run(capsys, "usage", *days, "--format", "json")[1])
    assert (
        [row["total_ev_wei"] for row in told["rows"]]
        == [row["total_ev_wei"] for row in table]
        == ["1" + "0" * 12, "2" + "0" * 12, "1" + "0" * 12]
    )
    (alone,) = json.loads(run(capsys, "usage", *days, "--auth-id", "alice", "--group", "day", "--format", "json")[1])["rows"]
    assert (alone["day"], alone["payments"]) == (DAY, 2)
    assert run(capsys, "usage", *days, "--auth-id", "carol") == (0, "nothing was paid in these days\n", "")


def test_a_question_that_cannot_be_answered_is_refused_with_its_name(config_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asyncio.run(_pay(config_file.parent / "ledger.sqlite"))
    status, out, err = run(capsys, "usage", "--config", config_file, "--from", "2026-02-31")
    assert (status, out) == (2, "")
    assert "from must be a day of UTC" in err


def test_a_statement_is_printed_in_three_forms(config_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asyncio.run(_pay(config_file.parent / "ledger.sqlite"))
    asked = ("statement", "--config", config_file, "--auth-id", "alice", "--month", DAY[:7])
    told = json.loads(run(capsys, *asked)[1])
    assert (told["total"]["payments"], told["total"]["total_ev_wei"]) == (2, "2" + "0" * 12)
    (line,) = csv.DictReader(io.StringIO(run(capsys, *asked, "--format", "csv")[1]))
    assert (line["day"], line["total_ev_wei"]) == (DAY, "2" + "0" * 12)
    assert run(capsys, *asked, "--format", "html")[1].startswith("<!doctype html>")
    status, out, err = run(capsys, *asked[:-1], "2026-13")
    assert (status, out) == (2, "")
    assert "month must be YYYY-MM" in err


async def _close(path: Path) -> None:
    async with opened(path) as (ledger,):
        ledger.now_ns = NOW_NS + 3600 * 10**9
        await ledger.housekeeping.close_minutes()


async def _forget(path: Path) -> None:
    async with opened(path, retention_seconds=3600) as (ledger,):
        ledger.now_ns = NOW_NS + 86_400 * 10**9
        await ledger.housekeeping.prune()


def test_a_statement_is_proven_by_an_export_when_its_payments_are_forgotten(
    config_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger, export = tmp_path / "ledger.sqlite", tmp_path / "export.jsonl"
    asyncio.run(_pay(ledger))
    proving = ("ledger", "verify", "--config", config_file, "--auth-id", "alice", "--month", DAY[:7])
    status, out, err = run(capsys, *proving)
    assert (status, out.splitlines()[0]) == (1, "checked: 0 payments of 0 closed minutes")
    assert "not proven: the statement has 2 payments" in err
    asyncio.run(_close(ledger))
    assert run(capsys, *proving)[0] == 0
    assert run(capsys, "ledger", "verify", "--config", config_file) == (
        0,
        "checked: 4 payments of 1 closed minutes\nthe ledger keeps 1 closings\n",
        "",
    )
    made = run(capsys, "ledger", "export", "--config", config_file, "--to", export)
    assert made == (0, "exported: 4 payments of 1 closed minutes\n", "")
    assert stat.S_IMODE(export.stat().st_mode) == 0o600
    status, _, err = run(capsys, "ledger", "export", "--config", config_file, "--to", export)
    assert (status, "File exists" in err) == (1, True)
    asyncio.run(_forget(ledger))
    assert run(capsys, *proving)[0] == 1
    status, out, _ = run(capsys, *proving, "--export", export, "--export", export)
    assert status == 0
    assert out.splitlines()[-1] == f"proven: the statement of 'alice' for {DAY[:7]}, 2 payments"
    lines = export.read_text().splitlines()
    altered = tmp_path / "altered.jsonl"
    altered.write_text("\n".join(lines).replace('"auth_id": "bob"', '"auth_id": "alice"'))
    status, _, err = run(capsys, *proving, "--export", altered)
    assert status == 1
    assert "wrong: the payments of line" in err
    altered.write_text("{}\n")
    status, _, err = run(capsys, *proving, "--export", altered)
    assert (status, f"{altered}:1: not a line of an export" in err) == (2, True)
    status, _, err = run(capsys, *proving, "--export", tmp_path / "none")
    assert (status, "cannot be read" in err) == (2, True)
    assert run(capsys, *proving[:-1], "2026", "--export", export)[0] == 2
