"""`make run` and `make demo` are a newcomer's first words with the project: they say what is missing, and make what may be made."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A fresh checkout's root, with the environment of these tests as its installed one."""
    for name in ("Makefile", "pyproject.toml", "requirements.lock", "requirements-dev.lock", "config.example.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    example = tmp_path / "config.example.yaml"
    example.write_text(example.read_text().replace("listen: 127.0.0.1:8936", f"listen: 127.0.0.1:{port}"))
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "bin").symlink_to(Path(sys.executable).parent)
    (tmp_path / ".venv" / ".serves").touch()
    return tmp_path


def make(checkout: Path, *targets: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["make", *targets], cwd=checkout, capture_output=True, text=True, timeout=60, check=False)


def test_without_a_key_it_says_how_to_make_one_and_then_it_serves(checkout: Path) -> None:
    refused = make(checkout, "run")
    assert refused.returncode != 0
    assert "there is no key at secrets/signer.key: `make throw-away-key` makes one" in refused.stdout
    assert make(checkout, "throw-away-key").returncode == 0
    key = checkout / "secrets" / "signer.key"
    assert re.fullmatch(r"[0-9a-f]{64}\n", key.read_text())
    assert (key.stat().st_mode & 0o777, key.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    kept = key.read_text()
    assert make(checkout, "throw-away-key").returncode != 0
    assert key.read_text() == kept
    serving = subprocess.Popen(["make", "run"], cwd=checkout, stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        assert serving.stderr is not None
        give_up = time.monotonic() + 60
        for line in serving.stderr:
            if "listening on" in line:
                break
            assert time.monotonic() < give_up
        else:
            pytest.fail("it ended")
    finally:
        os.killpg(serving.pid, signal.SIGTERM)
        serving.wait(30)
        serving.stderr.close()
    assert (checkout / "data" / "ledger.sqlite").exists()


def test_the_demo_installs_only_what_the_signer_needs(checkout: Path) -> None:
    (checkout / ".venv" / ".serves").unlink()
    commands = make(checkout, "-n", "demo").stdout
    assert "requirements.lock" in commands
    assert "requirements-dev.lock" not in commands


def test_what_is_imported_is_compiled_once_also_where_the_environment_forbids_it() -> None:
    """Images of containers forbid it: all that a test starts would compile everything anew."""
    told = subprocess.run(
        ["make", "--no-print-directory", "--eval=told: ; @printenv PYTHONDONTWRITEBYTECODE || echo nothing", "told"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert told.stdout.strip() == "nothing"
    assert "\nunset PYTHONDONTWRITEBYTECODE" in (ROOT / ".ci/lowest").read_text()


def test_an_installation_says_how_it_fares_and_what_failed(tmp_path: Path) -> None:
    """With programs of the test's own in place of uv and Python."""
    shutil.copytree(ROOT / ".ci", tmp_path / ".ci")
    tools = tmp_path / "tools"
    tools.mkdir()
    (tmp_path / "venv" / "bin").mkdir(parents=True)
    for place in (tools / "uv", tmp_path / "venv" / "bin" / "python"):
        place.write_text('#!/bin/sh\ncase "$*" in *editable*) exit 0;; esac\necho "no such lock" >&2\nexit 1\n')
        place.chmod(0o755)
    done = subprocess.run(
        [str(tmp_path / ".ci" / "install"), "venv", "python3", "some.lock"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"PATH": f"{tools}:/usr/bin:/bin"},
    )
    assert done.returncode != 0
    assert done.stderr.count("no such lock") == 2, "uv first, then pip"
    (tools / "uv").write_text("#!/bin/sh\nsleep 6\n")
    done = subprocess.run(
        [str(tmp_path / ".ci" / "install"), "venv", "python3", "some.lock"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"PATH": f"{tools}:/usr/bin:/bin"},
    )
    assert done.returncode == 0, done.stdout
    assert re.search(r"installing some\.lock, \d+ s so far", done.stdout), done.stdout
