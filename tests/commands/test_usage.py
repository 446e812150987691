"""The command `usage`, as an operator types it."""

from __future__ import annotations

import asyncio
import csv
import io
import json
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
