"""`keys`, `budgets` and `audit` on a ledger, as a person uses them."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from livepeer_remote_signer.cli import main
from livepeer_remote_signer.core.rules.budgets import Budget
from tests.ledgers import Session, opened, run_sql

Captured = pytest.CaptureFixture[str]

CONFIG = """
key: {private_key: "0x%s"}
chain: {source: static}
auth: {api_keys_in_ledger: true%s}
ledger: {backend: sqlite, path: %s}
budgets:
  - {scope: auth_id, match: "*", window: total, limit_wei: 100}
  - {scope: auth_id, match: fixed, window: total, limit_wei: 50}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration whose ledger is there."""
    return written(tmp_path)


def written(folder: Path, auth: str = "") -> Path:
    path = folder / "ledger.sqlite"

    async def make() -> None:
        async with opened(path):
            pass

    asyncio.run(make())
    config = folder / "config.yaml"
    config.write_text(CONFIG % ("01" * 32, auth, path))
    return config


def run(config: Path, *words: str) -> int:
    return main([*words, "--config", str(config)])


def shown(capsys: Captured) -> Any:
    return json.loads(capsys.readouterr().out)


def test_three_hundred_keys_are_made_listed_and_revoked(config: Path, capsys: Captured) -> None:
    assert run(config, "keys", "create", "--name", "user", "--count", "300", "--json", "--expires", "30d") == 0
    made = shown(capsys)
    assert len({key["key"] for key in made}) == 300
    assert {key["auth_id"] for key in made} == {f"key:{key['id']}" for key in made}
    assert run(config, "keys", "revoke", made[0]["id"], made[1]["key"]) == 0
    assert capsys.readouterr().out.count("revoked") == 2
    assert run(config, "keys", "list", "--json") == 0
    listed = {key["id"]: key for key in shown(capsys)}
    assert len(listed) == 300
    assert [listed[key["id"]]["state"][:7] for key in made[:3]] == ["revoked", "revoked", "active "]
    assert run(config, "keys", "list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 300
    assert "user 300" in "\n".join(lines)
    assert run(config, "keys", "revoke", "f" * 16) == 1
    assert "no key 'ffffffffffffffff'" in capsys.readouterr().err


def test_one_key_is_printed_alone_and_never_again(config: Path, capsys: Captured) -> None:
    words = ("keys", "create", "--name", "bob", "--auth-id", "team", "--idempotency-key", "once")
    assert run(config, *words) == 0
    key = capsys.readouterr().out.strip()
    assert key.startswith("lrs_")
    assert run(config, *words) == 0
    again = capsys.readouterr()
    assert again.out == ""
    assert "was made and shown before" in again.err
    assert run(config, "keys", "create", "--name", "other", "--idempotency-key", "once") == 1
    assert "sent with another request" in capsys.readouterr().err
    path = config.with_name("ledger.sqlite")
    assert run_sql(path, "SELECT count(*) FROM lrs_api_keys") == [(1,)]


def test_how_many_are_made_at_once_is_bounded(config: Path, capsys: Captured) -> None:
    assert run(config, "keys", "create", "--name", "bob", "--count", "1001") == 2
    assert "more than the 1000" in capsys.readouterr().err


def test_several_keys_go_into_a_file_too_and_an_idempotency_key_does_not(tmp_path: Path, capsys: Captured) -> None:
    file = tmp_path / "keys.json"
    place = ("--file", str(file))
    assert main(["keys", "create", "--name", "user", "--count", "3", "--json", *place]) == 0
    made = shown(capsys)
    assert main(["keys", "revoke", made[0]["id"], made[2]["id"], *place]) == 0
    assert main(["keys", "revoke", made[1]["id"], "f" * 16, *place]) == 1
    capsys.readouterr()
    assert main(["keys", "list", "--json", *place]) == 0
    assert [key["state"][:7] for key in shown(capsys)] == ["revoked", "active", "revoked"]
    assert main(["keys", "create", "--name", "user", "--idempotency-key", "x", *place]) == 2
    assert "auth.api_keys_in_ledger" in capsys.readouterr().err


def test_the_file_is_named_where_both_are_configured(tmp_path: Path, capsys: Captured) -> None:
    file = tmp_path / "keys.json"
    assert main(["keys", "create", "--name", "filed", "--file", str(file)]) == 0
    config = written(tmp_path, f", api_keys_file: {file}")
    assert run(config, "keys", "create", "--name", "kept") == 0
    capsys.readouterr()
    assert run(config, "keys", "list", "--json") == 0
    assert [key["name"] for key in shown(capsys)] == ["kept"]
    assert main(["keys", "list", "--json", "--file", str(file)]) == 0
    assert [key["name"] for key in shown(capsys)] == ["filed"]


def test_budgets_of_one_id_are_set_topped_up_shown_and_taken_back(config: Path, capsys: Captured) -> None:
    alice = ("--auth-id", "alice", "--window", "total")
    assert run(config, "budgets", "set", *alice, "--amount", "1gwei") == 0
    assert "0 of 1000000000 wei spent, 1000000000 left (runtime)" in capsys.readouterr().out
    for _ in range(2):
        assert run(config, "budgets", "top-up", *alice, "--amount", "5", "--idempotency-key", "invoice") == 0
    capsys.readouterr()
    assert run(config, "budgets", "--auth-id", "alice", "--json") == 0
    (use,) = shown(capsys)["budgets"]
    assert (use["limit_wei"], use["source"]) == ("1000000005", "runtime")
    assert run(config, "budgets", "reset", *alice) == 0
    assert "100 left (default)" in capsys.readouterr().out


def test_what_the_configuration_fixes_can_only_be_tightened(config: Path, capsys: Captured) -> None:
    fixed = ("--auth-id", "fixed", "--window", "total")
    assert run(config, "budgets", "set", *fixed, "--amount", "51") == 1
    assert "50 wei, which 51 wei would pass" in capsys.readouterr().err
    assert run(config, "budgets", "set", *fixed, "--amount", "49") == 0
    assert run(config, "budgets", "top-up", *fixed, "--amount", "2") == 1


@pytest.mark.parametrize(("auth_id", "amount"), [("*", "5"), ("", "5"), ("alice", "many"), ("alice", "-1"), ("alice", "1.5")])
def test_what_no_budget_can_be_is_refused(config: Path, capsys: Captured, auth_id: str, amount: str) -> None:
    assert run(config, "budgets", "set", "--auth-id", auth_id, "--window", "total", f"--amount={amount}") == 1
    assert "error: --a" in capsys.readouterr().err


def test_budgets_without_a_configuration_say_that_they_need_one(capsys: Captured) -> None:
    with pytest.raises(SystemExit):
        main(["budgets"])
    assert "--config" in capsys.readouterr().err


def test_with_namespaces_a_budget_names_whose_the_id_is(tmp_path: Path, capsys: Captured) -> None:
    config = tmp_path / "config.yaml"
    text = written(tmp_path, ", namespaces: true").read_text()
    config.write_text(text.replace("match: fixed", "match: key:fixed"))
    words = ("budgets", "set", "--window", "total", "--amount", "5")
    assert run(config, *words, "--auth-id", "alice") == 1
    assert "key:alice" in capsys.readouterr().err
    assert run(config, *words, "--auth-id", "key:alice") == 0
    assert run(config, "keys", "create", "--name", "a", "--auth-id", "alice", "--json") == 0
    capsys.readouterr()
    assert run(config, "budgets", "--auth-id", "key:alice", "--json") == 0
    assert [use["limit_wei"] for use in shown(capsys)["budgets"]] == ["5"]


def test_a_user_without_a_name_can_suspend_all_the_same(config: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> str:
        raise OSError("no username set in the environment")

    monkeypatch.setattr("getpass.getuser", nobody)
    assert run(config, "suspend", "--all") == 0
    capsys.readouterr()
    assert run(config, "audit", "--json") == 0
    assert shown(capsys)[0]["by"].startswith("command of user ")


def test_the_log_names_who_gave_the_command(config: Path, capsys: Captured) -> None:
    assert run(config, "suspend", "--auth-id", "alice") == 0
    assert run(config, "budgets", "set", "--auth-id", "bob", "--window", "day", "--amount", "7") == 0
    capsys.readouterr()
    assert run(config, "audit", "--json") == 0
    entries = shown(capsys)
    assert [entry["action"] for entry in entries] == ["budget.set", "suspend"]
    assert all(entry["by"].startswith("command of ") for entry in entries)
    assert run(config, "audit", "--auth-id", "bob") == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.endswith("budget.set ev per day of 'bob': nothing -> 7")
    assert run(config, "audit", "--limit", "1") == 0
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_spending_under_a_runtime_budget_is_shown_with_the_others(config: Path, capsys: Captured) -> None:
    assert run(config, "budgets", "set", "--auth-id", "alice", "--window", "day", "--amount", "1eth") == 0

    async def pay() -> None:
        async with opened(config.with_name("ledger.sqlite"), budgets=[Budget("auth_id", "bob", "total", "ev", 10**18)]) as (ledger,):
            assert await ledger.pay(Session(auth_id="alice").next()) is None

    asyncio.run(pay())
    capsys.readouterr()
    assert run(config, "budgets", "--json") == 0
    assert [(use["id"], use["window"], use["limit_wei"]) for use in shown(capsys)["budgets"]] == [("alice", "day", str(10**18))]
