"""What the environment says of certificates and proxies: never a traceback, always the variable's name."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from livepeer_remote_signer.cli import main
from tests.served import served
from tests.signer import configuration

PROXIES = {"https_proxy": "http://user:p#ss@127.0.0.1:9", "ALL_PROXY": "socks://127.0.0.1:9", "NO_PROXY": "::1/128,[::1]"}


def write_config(folder: Path, **sections: object) -> Path:
    """One that signs, asks a receiver of events, and reads an RPC endpoint where nobody listens."""
    path = folder / "signer.yaml"
    path.write_text(yaml.safe_dump(configuration(events={"sinks": [{"type": "http", "url": "https://127.0.0.1:9"}]}, **sections)))
    return path


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE"])
@pytest.mark.parametrize("command", ["check-config", "serve"])
def test_what_cannot_be_used_ends_the_start_with_the_variables_name(tmp_path: Path, name: str, command: str) -> None:
    path = str(tmp_path / "none" / "such")
    arguments = [sys.executable, "-m", "livepeer_remote_signer", command, "--config", str(write_config(tmp_path))]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=60, env=os.environ | {name: path})
    assert done.returncode == (1 if command == "serve" else 2)
    assert f"{name} {path}" in done.stderr
    assert "Traceback" not in done.stderr


def test_check_config_names_the_proxies_that_are_not_obeyed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in PROXIES.items():
        monkeypatch.setenv(name, value)
    config = write_config(tmp_path, outbound={"proxy": "http://name:planted@proxy.example:3128"})
    assert main(["check-config", "--config", str(config)]) == 0
    out, err = capsys.readouterr()
    for name in PROXIES:
        assert f"note: {name} is set and not obeyed" in err
    assert "planted" not in out + err
    assert "http://proxy.example:3128" in out


def test_serve_names_them_and_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in PROXIES.items():
        monkeypatch.setenv(name, value)
    with served(tmp_path) as signer:
        assert signer.pay().status == 200
        for name in PROXIES:
            assert signer.log.count(f"{name} is set and not obeyed") == 1
        assert "p#ss" not in signer.log


@pytest.mark.parametrize(
    "proxy", ["socks5://127.0.0.1:9", "127.0.0.1:9", "http://proxy/path", "http://user:planted#1@proxy:3128", "http://"]
)
def test_what_is_no_proxy_is_named_with_its_key(tmp_path: Path, proxy: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check-config", "--config", str(write_config(tmp_path, outbound={"proxy": proxy}))]) == 2
    err = capsys.readouterr().err
    assert "outbound.proxy" in err
    assert "planted" not in err


@pytest.mark.parametrize("proxy", [None, "none"])
def test_none_is_none(tmp_path: Path, proxy: str | None, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check-config", "--config", str(write_config(tmp_path, outbound={"proxy": proxy}))]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["outbound"] == {"proxy": None, "ca_file": None, "idle_seconds": 1.5}
