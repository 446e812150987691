"""`keys create | list | revoke` as a person uses them."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from livepeer_remote_signer.adapters.auth.api_keys import ApiKeys, read_keys
from livepeer_remote_signer.cli import main
from livepeer_remote_signer.core.errors import Unauthenticated

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


def keys(file: Path, *arguments: str) -> int:
    return main(["keys", *arguments, "--file", str(file)])


def test_a_key_is_printed_once_and_works(file: Path, capsys: Captured) -> None:
    assert keys(file, "create", "--name", "bob", "--auth-id", "team-a") == 0
    key = capsys.readouterr().out.strip()
    assert ApiKeys(file).verify(key, "/signTicket").auth_id == "team-a"
    assert keys(file, "list") == 0
    listed = capsys.readouterr().out
    assert "bob" in listed
    assert "team-a" in listed
    assert key.rpartition("_")[2] not in listed
    assert read_keys(file)[0].hash.hex() not in listed


def test_a_revoked_key_stops_working_named_by_its_id_or_whole(file: Path, capsys: Captured) -> None:
    for _ in range(2):
        keys(file, "create", "--name", "bob")
        key = capsys.readouterr().out.strip()
        assert keys(file, "revoke", key if "a" in key else key.split("_")[1]) == 0
        assert "revoked" in capsys.readouterr().out
        with pytest.raises(Unauthenticated):
            ApiKeys(file).verify(key, "/signTicket")


def test_limits_are_kept_and_shown(file: Path, capsys: Captured) -> None:
    arguments = ["--route", "signTicket", "--route", "signTicket", "--expires", "30d", "--requests-per-minute", "60"]
    assert keys(file, "create", "--name", "bob", *arguments) == 0
    record = read_keys(file)[0]
    assert (record.routes, record.requests_per_minute) == (("signTicket",), 60)
    assert abs((record.expires or 0) - time.time() - 30 * 86_400) < 60
    capsys.readouterr()
    assert keys(file, "list", "--json") == 0
    row = json.loads(capsys.readouterr().out)[0]
    assert (row["routes"], row["requests_per_minute"]) == (["signTicket"], 60)
    assert row["state"].startswith("active until ")


@pytest.mark.parametrize(
    ("when", "meant"),
    [
        ("2999-01-31", 32_474_736_000),
        ("2999-01-31T12:30:00", 32_474_781_000),
        ("2999-01-31T12:30:00Z", 32_474_781_000),
        ("2999-01-31T12:30:00+02:00", 32_474_773_800),
    ],
)
def test_a_date_is_utc_wherever_the_command_runs_unless_it_names_its_zone(
    file: Path, monkeypatch: pytest.MonkeyPatch, when: str, meant: int
) -> None:
    monkeypatch.setenv("TZ", "Asia/Kathmandu")
    time.tzset()
    try:
        assert keys(file, "create", "--name", "bob", "--expires", when) == 0
    finally:
        monkeypatch.undo()
        time.tzset()
    assert read_keys(file)[0].expires == meant


@pytest.mark.parametrize("when", ["yesterday", "2001-01-01", "0d", "5y", "-1d"])
def test_an_expiry_that_cannot_be_meant_makes_no_key(file: Path, capsys: Captured, when: str) -> None:
    assert keys(file, "create", "--name", "bob", f"--expires={when}") == 2
    assert "--expires" in capsys.readouterr().err
    assert not file.exists()


@pytest.mark.parametrize("name", ["", " ", "x" * 201, "a\nb"])
def test_a_name_that_cannot_be_shown_makes_no_key(file: Path, capsys: Captured, name: str) -> None:
    assert keys(file, "create", "--name", name) == 2
    assert "--name" in capsys.readouterr().err
    assert not file.exists()


def test_an_auth_id_that_is_nobodys_makes_no_key(file: Path, capsys: Captured) -> None:
    assert keys(file, "create", "--name", "bob", "--auth-id", "") == 2
    assert "1 to 1024 characters" in capsys.readouterr().err
    assert not file.exists()


def test_what_cannot_be_done_says_so_with_exit_status_1(file: Path, capsys: Captured) -> None:
    assert keys(file, "list") == 1
    assert keys(file.parent / "missing" / "keys.json", "create", "--name", "bob") == 1
    keys(file, "create", "--name", "bob")
    assert keys(file, "revoke", "0" * 16) == 1
    assert "no key" in capsys.readouterr().err


def test_the_file_can_be_the_configurations(file: Path, tmp_path: Path, capsys: Captured) -> None:
    config = tmp_path / "config.yaml"
    text = "key: {private_key: '0x%s'}\nchain: {source: static}\n" % ("01" * 32)
    config.write_text(text)
    assert main(["keys", "create", "--config", str(config), "--name", "bob"]) == 2
    assert "auth.api_keys_file" in capsys.readouterr().err
    config.write_text(text + f"auth: {{api_keys_file: {file}}}\n")
    assert main(["keys", "create", "--config", str(config), "--name", "bob"]) == 0
    assert len(read_keys(file)) == 1
