"""The ledger's commands, as an operator types them."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

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
    assert run(capsys, "suspend", "--config", config_file, "--auth-id", "alice") == (0, "suspended: auth id 'alice'\n", "")
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
