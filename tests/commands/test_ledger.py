"""The ledger's commands, as an operator types them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from livepeer_remote_signer.adapters.ledger.steps import STEPS
from livepeer_remote_signer.cli import main
from livepeer_remote_signer.core.rules.budgets import Budget
from tests.ledgers import Session, opened

BUDGETS = [{"scope": "auth_id", "match": "*", "window": "total", "limit_wei": "0.5eth"}]


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    file = tmp_path / "config.yaml"
    ledger = {"backend": "sqlite", "path": str(tmp_path / "ledger.sqlite")}
    config = {"key": {"private_key": "0x" + "01" * 32}, "chain": {"source": "static"}, "ledger": ledger, "budgets": BUDGETS}
    file.write_text(json.dumps(config))
    return file


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    status = main([str(argument) for argument in arguments])
    return status, *capsys.readouterr()


async def _make(path: Path) -> None:
    async with opened(path):
        pass


def test_a_kill_switch_is_set_shown_and_taken_back(config_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asyncio.run(_make(config_file.parent / "ledger.sqlite"))
    status, out, err = run(capsys, "suspend", "--config", config_file, "--auth-id", "alice")
    assert (status, out) == (0, "suspended: auth id 'alice'\n")
    assert err == "note: this ledger remembers no payment of 'alice': is the name right? `budgets` shows who pays\n"
    assert run(capsys, "suspend", "--config", config_file, "--all")[0] == 0
    status, out, _ = run(capsys, "budgets", "--config", config_file)
    assert status == 0
    assert [line.split(": ")[1] for line in out.splitlines()[:2]] == ["all payments", "auth id 'alice'"]
    assert out.splitlines()[2:] == ["nothing was counted for the configured budgets yet"]
    status, out, err = run(capsys, "resume", "--config", config_file, "--auth-id", "alice")
    assert (status, out) == (0, "resumed: auth id 'alice'\n")
    assert "all payments are still suspended" in err
    assert run(capsys, "resume", "--config", config_file, "--auth-id", "alice")[0] == 1
    assert run(capsys, "resume", "--config", config_file, "--all")[0] == 0
    assert json.loads(run(capsys, "budgets", "--config", config_file, "--json")[1]) == {"budgets": [], "suspended": []}


async def _pay(path: Path) -> None:
    async with opened(path, budgets=[Budget("auth_id", "*", "total", "ev", 10**18)]) as (ledger,):
        assert await ledger.pay(Session(auth_id="alice").next(tickets=3)) is None


def test_budgets_say_how_much_is_left(config_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asyncio.run(_pay(config_file.parent / "ledger.sqlite"))
    status, out, _ = run(capsys, "budgets", "--config", config_file)
    assert status == 0
    assert out == "auth_id 'alice', ev per total: 3000000000000 of 500000000000000000 wei spent, 499997000000000000 left\n"


def test_who_has_paid_is_suspended_without_a_question(config_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asyncio.run(_pay(config_file.parent / "ledger.sqlite"))
    assert run(capsys, "suspend", "--config", config_file, "--auth-id", "alice") == (0, "suspended: auth id 'alice'\n", "")
    assert "no payment of 'alicia'" in run(capsys, "suspend", "--config", config_file, "--auth-id", "alicia")[2]


def test_a_global_budget_is_listed_before_anything_was_spent(config_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = json.loads(config_file.read_text())
    config["budgets"] = [*BUDGETS, {"scope": "global", "window": "day", "limit_wei": "7"}]
    config_file.write_text(json.dumps(config))
    asyncio.run(_make(config_file.parent / "ledger.sqlite"))
    assert run(capsys, "budgets", "--config", config_file)[1] == "global, ev per day: 0 of 7 wei spent, 7 left\n"


COMMANDS = [["suspend", "--all"], ["resume", "--all"], ["budgets"], ["events", "replay", "--since", "1h"]]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
@pytest.mark.parametrize("content", [None, b""], ids=["no file", "an empty file"])
def test_where_no_ledger_is_a_command_fails_and_makes_none(
    config_file: Path, capsys: pytest.CaptureFixture[str], command: list[str], content: bytes | None
) -> None:
    config = json.loads(config_file.read_text())
    config["events"] = {"sinks": [{"type": "file", "path": str(config_file.parent / "events.jsonl")}]}
    config_file.write_text(json.dumps(config))
    path = config_file.parent / "ledger.sqlite"
    if content is not None:
        path.write_bytes(content)
    status, out, err = run(capsys, *command, "--config", config_file)
    assert (status, out) == (1, "")
    assert f"there is no ledger at {path}" in err
    assert sorted(file.name for file in config_file.parent.iterdir()) == ["config.yaml"] + ([] if content is None else ["ledger.sqlite"])
    assert content is None or path.read_bytes() == content


def test_without_a_ledger_the_commands_say_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(json.dumps({"key": {"private_key": "0x" + "01" * 32}, "chain": {"source": "static"}}))
    status, _, err = run(capsys, "suspend", "--config", file, "--all")
    assert status == 2
    assert "there is no ledger" in err


def test_a_ledger_that_cannot_be_opened_is_told_and_fails(config_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (config_file.parent / "ledger.sqlite").mkdir()
    status, _, err = run(capsys, "budgets", "--config", config_file)
    assert status == 1
    assert "ledger.path cannot be opened" in err


def test_somebody_must_be_named(config_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        run(capsys, "suspend", "--config", config_file)
    assert caught.value.code == 2
    assert "--auth-id --all" in capsys.readouterr().err


def fill(path: Path) -> None:
    """What an older release has made, and forgotten most of."""
    with sqlite3.connect(path) as connection:
        connection.executescript(";".join(STEPS[0].sqlite) + "; PRAGMA user_version = 1")
        connection.execute(
            """WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 8000)
            INSERT INTO lrs_outbox (made_ms, sent, payload) SELECT i, 1, randomblob(1000) FROM n"""
        )
        connection.execute("DELETE FROM lrs_outbox")
        connection.execute("INSERT INTO lrs_settings (name, value, set_ms) VALUES ('ceilings', 'x', 1)")
    connection.close()


def test_a_ledger_is_compacted_while_nobody_uses_it_and_keeps_its_rows_and_its_owner(
    config_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = config_file.parent / "ledger.sqlite"
    fill(path)
    path.chmod(0o640)
    before = path.stat().st_size
    status, out, err = run(capsys, "ledger", "compact", "--config", config_file)
    assert (status, err) == (0, "")
    assert out.startswith(f"compacted: {before / 1e6:.1f} MB before, ")
    assert path.stat().st_size < before / 20
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert sorted(file.name for file in path.parent.iterdir()) == ["config.yaml", "ledger.sqlite"]

    async def use() -> None:
        async with opened(path) as (ledger,):
            assert await ledger.controls.settings() == {"ceilings": "x"}
            assert await ledger.pay(Session().next(event=b"e")) is None
            assert ledger.sql("PRAGMA auto_vacuum") == [(2,)]
            assert [event.id for event in await ledger.outbox.unsent(10)] == [8001], "ids go on"

    asyncio.run(use())


def test_a_ledger_that_a_process_has_open_is_not_compacted(config_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = config_file.parent / "ledger.sqlite"
    asyncio.run(_pay(path))
    program = f"""
import sqlite3, sys
connection = sqlite3.connect({str(path)!r}, isolation_level=None)
connection.execute("PRAGMA journal_mode = WAL")
connection.execute("SELECT count(*) FROM lrs_payments").fetchone()
print("open", flush=True)
sys.stdin.read()
"""
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"open\n"
        inode = path.stat().st_ino
        status, out, err = run(capsys, "ledger", "compact", "--config", config_file)
        assert (status, out) == (1, "")
        assert "the ledger is in use: stop the signer" in err
        assert path.stat().st_ino == inode
        holder.communicate()
    assert run(capsys, "ledger", "compact", "--config", config_file)[0] == 0
    assert asyncio.run(_count(path)) == 1


async def _count(path: Path) -> int:
    async with opened(path) as (ledger,):
        return await ledger.count("lrs_payments")


def test_what_is_no_ledger_in_a_file_is_not_compacted(config_file: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = config_file.parent / "ledger.sqlite"
    assert "there is no ledger at" in run(capsys, "ledger", "compact", "--config", config_file)[2]
    assert not path.exists()
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE other (a integer)")
    connection.close()
    content = path.read_bytes()
    assert "there is no ledger at" in run(capsys, "ledger", "compact", "--config", config_file)[2]
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 7")
    connection.close()
    assert "schema version 7" in run(capsys, "ledger", "compact", "--config", config_file)[2]
    path.write_bytes(content[:100] + bytes(2000))
    assert run(capsys, "ledger", "compact", "--config", config_file)[0] == 1
    other = tmp_path / "postgres.yaml"
    other.write_text(config_file.read_text().replace('"backend": "sqlite"', '"backend": "postgres", "url": "postgresql:///x"'))
    status, _, err = run(capsys, "ledger", "compact", "--config", other)
    assert (status, "only a ledger in SQLite is compacted" in err) == (2, True)


async def _pay_while(path: Path, work: Callable[[], object]) -> tuple[int, object]:
    """How many payments were recorded while `work` ran in a thread, and what it gave."""
    async with opened(path, budgets=[Budget("auth_id", "*", "total", "ev", 10**18)]) as (ledger,):
        session, paid = Session(auth_id="alice"), 0
        for _ in range(50):
            assert await ledger.pay(session.next()) is None
        task = asyncio.create_task(asyncio.to_thread(work))
        while not task.done():
            assert await ledger.pay(session.next()) is None
            paid += 1
        return paid, await task


def test_a_backup_is_made_while_payments_go_on_and_is_whole(
    config_file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("livepeer_remote_signer.adapters.ledger.backup.PAGES_AT_ONCE", 1)
    path, to = config_file.parent / "ledger.sqlite", config_file.parent / "copy.sqlite"
    words = [str(word) for word in ("ledger", "backup", "--config", config_file, "--to", to)]
    paid, status = asyncio.run(_pay_while(path, lambda: main(words)))
    assert status == 0
    assert paid > 0
    assert stat.S_IMODE(to.stat().st_mode) == 0o600
    assert capsys.readouterr().out == f"backed up: {to.stat().st_size / 1e6:.1f} MB in {to}\n"
    with contextlib.closing(sqlite3.connect(to)) as copy:
        assert copy.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        (recorded,) = copy.execute("SELECT count(*) FROM lrs_payments").fetchone()
    assert 50 <= recorded <= 50 + paid
    assert sorted(found.name for found in config_file.parent.iterdir() if "copy" in found.name) == ["copy.sqlite"]

    async def opens() -> None:
        async with opened(to):
            pass

    asyncio.run(opens())


def test_a_backup_replaces_nothing_and_leaves_nothing_half_made(config_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    to = config_file.parent / "copy.sqlite"
    assert run(capsys, "ledger", "backup", "--config", config_file, "--to", to)[0] == 1, "there is no ledger yet"
    asyncio.run(_make(config_file.parent / "ledger.sqlite"))
    to.write_text("mine")
    status, _, err = run(capsys, "ledger", "backup", "--config", config_file, "--to", to)
    assert (status, to.read_text()) == (1, "mine")
    assert "is there already: a backup replaces nothing" in err
    assert run(capsys, "ledger", "backup", "--config", config_file, "--to", config_file.parent / "nowhere" / "copy")[0] == 1
    (config_file.parent / "ledger.sqlite").write_bytes(b"no database" * 100)
    other = config_file.parent / "other.sqlite"
    assert run(capsys, "ledger", "backup", "--config", config_file, "--to", other)[0] == 1
    assert not [found for found in config_file.parent.iterdir() if "other" in found.name]


def test_for_postgresql_the_line_that_does_it_is_printed_without_the_password(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "config.yaml"
    ledger = {"backend": "postgres", "url": "postgresql://u:planted@db/x"}
    config.write_text(json.dumps({"key": {"private_key": "0x" + "01" * 32}, "chain": {"source": "static"}, "ledger": ledger}))
    status, out, _ = run(capsys, "ledger", "backup", "--config", config, "--to", tmp_path / "a copy")
    assert status == 0
    assert out.startswith("pg_dump --format=custom --table='lrs_*' ")
    assert f"--file='{tmp_path}/a copy'" in out
    assert "planted" not in out
