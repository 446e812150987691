"""What `serve` needs to start, and what it says when it cannot."""

from __future__ import annotations

import os
import re
import resource
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.served import Served, served
from tests.signer import configuration

MAX_RESIDENT_KIB = 120 * 1024
MAX_START_SECONDS = 1.0
OPTIONAL = (
    "web3",
    "grpc",
    "psycopg",
    "aiokafka",
    "jwt",
    "eth_account",
    "httpx",
    "opentelemetry.sdk",
    "opentelemetry.exporter",
    "sqlite3",
    "boto3",
    "pkcs11",
)
"""Imported only where the configuration asks for them. (FastAPI itself looks for OpenTelemetry's API.)"""


def resident_kib(signer: Served, field: str = "VmHWM") -> int:
    line = next(line for line in Path(f"/proc/{signer.process.pid}/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1])


def run_serve(folder: Path, text: str, *options: str) -> subprocess.CompletedProcess[str]:
    """`serve` with this configuration, which must end by itself."""
    config = folder / "config.yaml"
    config.write_text(text)
    command = [sys.executable, "-m", "livepeer_remote_signer", "serve", "--config", str(config), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env={**os.environ, "PYTHONUNBUFFERED": "1"}, check=False)


def refusal(folder: Path, status: int = 1, **sections: Any) -> str:
    """What `serve` says before it ends with this status: one line for each fault, no traceback."""
    done = run_serve(folder, yaml.safe_dump(configuration(**sections)))
    assert done.returncode == status, done
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    return done.stderr


def test_a_small_configuration_imports_no_optional_part_and_needs_little_memory(tmp_path: Path) -> None:
    with served(tmp_path) as signer:
        assert signer.pay().status == 200
        assert resident_kib(signer) <= MAX_RESIDENT_KIB

    command = [sys.executable, "-X", "importtime", "-m", "livepeer_remote_signer", "serve", "--config", str(signer.config)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    imported = set()
    try:
        assert process.stderr is not None
        for line in process.stderr:
            if match := re.match(r"import time:\s+\d+ \|\s+\d+ \|\s+(\S+)", line):
                imported.add(match[1])
            if "listening on" in line:
                break
    finally:
        process.terminate()
        process.communicate(timeout=60)
    assert "livepeer_remote_signer.app" in imported
    assert not [name for name in imported for part in OPTIONAL if name == part or name.startswith(part + ".")]


@pytest.mark.operate
def test_from_start_to_ready_takes_a_second_at_most(tmp_path: Path) -> None:
    """The best of several. Where the machine is busy or slow: not much more than its web framework alone takes there."""
    taken, framework = [], []
    for _ in range(6):
        began = time.monotonic()
        with served(tmp_path) as signer:
            taken.append(time.monotonic() - began)
            assert signer.end() == 0
        began = time.monotonic()
        subprocess.run([sys.executable, "-c", "import fastapi, uvicorn"], check=True)
        framework.append(time.monotonic() - began)
    assert min(taken) <= max(MAX_START_SECONDS, 2.2 * min(framework)), (taken, framework)


def test_the_supervisor_itself_needs_little_memory(tmp_path: Path) -> None:
    with served(tmp_path, workers=2) as signer:
        assert resident_kib(signer) <= MAX_RESIDENT_KIB // 2


# --- what it says ---


def test_an_address_in_use_is_named(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        said = refusal(tmp_path, listen=f"127.0.0.1:{port}")
    assert f"cannot start: cannot listen on 127.0.0.1:{port}: Address already in use" in said


def test_an_address_of_another_machine_is_named(tmp_path: Path) -> None:
    said = refusal(tmp_path, listen="203.0.113.7:8936", auth={"allow_unauthenticated": True})
    assert "cannot listen on 203.0.113.7:8936: Cannot assign requested address" in said
    assert "`listen`" in said


def test_a_missing_configuration_is_named(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "livepeer_remote_signer", "serve", "--config", str(tmp_path / "none.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "none.yaml" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("sections", "status", "words"),
    [
        ({"limitz": {}}, 2, ("limitz", "limits")),
        ({"key": {}}, 2, ("key", "exactly one of private_key")),
        ({"key": {"private_key_file": "/nowhere/key"}}, 1, ("key.private_key_file /nowhere/key cannot be read", "No such file")),
        ({"key": {"private_key": "0x" + "00" * 32}}, 1, ("key.private_key is not a private key", "range")),
        (
            {"key": {"private_key": "0b" * 32, "address": "0x" + "11" * 20}},
            1,
            ("the key's address is 0x", "key.address says 0x" + "11" * 20),
        ),
        ({"listen": "0.0.0.0:0"}, 2, ("reachable from other hosts", "auth.allow_unauthenticated")),
        ({"listen": "nonsense"}, 2, ("listen", "HOST:PORT")),
        ({"auth": {"api_keys_file": "/nowhere/keys.json"}}, 1, ("auth", "/nowhere/keys.json")),
        ({"auth": {"webhook": {"url": "http://127.0.0.1:1/", "secret_file": "/nowhere/s"}}}, 1, ("auth.webhook.secret_file /nowhere/s",)),
        ({"chain": {"source": "rpc"}}, 2, ("chain.rpc.urls",)),
        (
            {"ledger": {"backend": "sqlite", "path": "/nowhere/deep/ledger.sqlite"}},
            1,
            ("cannot start: ledger.path /nowhere/deep/ledger.sqlite cannot be made", "the folder /nowhere/deep is not there"),
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_what_cannot_be_used_is_said_in_a_line(tmp_path: Path, sections: dict[str, Any], status: int, words: tuple[str, ...]) -> None:
    said = refusal(tmp_path, status, **sections)
    for word in words:
        assert word in said, said
    assert len([line for line in said.strip().splitlines() if '"level":"warning"' not in line]) <= 3, said


def test_bounds_that_are_missing_are_said_at_the_start(tmp_path: Path) -> None:
    with served(tmp_path) as signer:
        signer.wait_for_log("nobody is asked before signing")
        signer.wait_for_log("32.4 ETH an hour", 3)


def test_no_secret_is_in_what_it_says(tmp_path: Path) -> None:
    secret = "5e" * 31
    said = refusal(tmp_path, key={"private_key": secret})
    assert secret not in said


def test_workers_must_be_a_number_above_zero(tmp_path: Path) -> None:
    for number in ("0", "-1", "many"):
        done = run_serve(tmp_path, yaml.safe_dump(configuration()), "--workers", number)
        assert done.returncode == 2
        assert "--workers" in done.stderr


def test_a_shells_limit_on_open_files_is_no_limit_on_connections(tmp_path: Path) -> None:
    """The soft limit is raised to the hard one: connections are cheap, being kept out is not."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(512, hard), hard))
        with served(tmp_path) as signer:
            assert resource.prlimit(signer.process.pid, resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
