"""What operators read when something is wrong names the key, the file and the cause."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import requests
import yaml

from livepeer_remote_signer.adapters.funding import FundingError, _asking
from livepeer_remote_signer.cli import main
from livepeer_remote_signer.commands.funding import _unlock_text
from tests.signer import configuration

ETH = 10**18


def written(folder: Path, **sections: object) -> str:
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(configuration(**sections)))
    return str(file)


@pytest.fixture
def taken() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"


def test_a_busy_address_is_told_by_its_own_key(tmp_path: Path, capsys: pytest.CaptureFixture[str], taken: str) -> None:
    (tmp_path / "token").write_text("t" * 16)
    admin = {"listen": taken, "token_file": str(tmp_path / "token")}
    for sections, key in (({"listen": taken}, "`listen`"), ({"listen": "127.0.0.1:0", "admin": admin}, "`admin.listen`")):
        assert main(["serve", "--config", written(tmp_path, **sections)]) == 1
        assert f"cannot listen on {taken}: Address already in use; {key} in the configuration says where" in capsys.readouterr().err


def test_a_keys_file_that_is_no_json_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "keys.json"
    file.write_text("{")
    for command in ("check-config", "serve"):
        assert main([command, "--config", written(tmp_path, listen="127.0.0.1:0", auth={"api_keys_file": str(file)})]) != 0
        assert f"auth.api_keys_file {file}: not JSON" in capsys.readouterr().err
    assert main(["keys", "list", "--file", str(file)]) == 1
    assert f"error: {file}: not JSON" in capsys.readouterr().err


def test_a_prices_file_that_is_no_json_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "prices").write_text(json.dumps([1])[:-1])
    assert main(["check-config", "--config", written(tmp_path, prices={"runtime_file": str(tmp_path / "prices")})]) == 2
    assert f"prices.runtime_file {tmp_path / 'prices'} holds no prices as the signer writes them" in capsys.readouterr().err


def test_a_ledger_that_is_no_database_is_named_by_every_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "ledger"
    file.write_text("no database " * 100)
    config = written(tmp_path, listen="127.0.0.1:0", ledger={"backend": "sqlite", "path": str(file)})
    for command in (["serve"], ["check-config"], ["budgets"], ["suspend", "--all"]):
        assert main([*command, "--config", config]) != 0
        assert f"ledger.path {file}: the file is not a database (SQLITE_NOTADB)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ConnectionRefusedError(111, "refused"), "nobody listens there"),
        (socket.gaierror(-2, "unknown"), "its name is not known to the resolver"),
        (ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number"), "does not speak TLS"),
    ],
)
def test_the_funding_commands_tell_why_an_endpoint_cannot_be_reached(error: OSError, said: str) -> None:
    if isinstance(error, ssl.SSLError):
        error.reason = "WRONG_VERSION_NUMBER"
    with pytest.raises(FundingError, match=said), _asking("eth_chainId", ()):
        raise requests.ConnectionError("https://secret.example/key") from error


def test_after_a_withdrawal_nothing_is_said_to_be_ready() -> None:
    def text(deposit_wei: int, reserve_wei: int) -> str:
        funds = SimpleNamespace(deposit_wei=deposit_wei, reserve_wei=reserve_wei, is_unlocking=False)
        return _unlock_text(funds)  # type: ignore[arg-type]

    assert text(0, 0) == "no deposit and no reserve: no ticket can be signed until `fund` pays in"
    assert text(ETH, 0) == "no reserve: no ticket can be signed until `fund` pays in"
    assert text(ETH, ETH) == "locked: tickets can be signed"
