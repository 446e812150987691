"""Workers whose key is in a keystore with geth's parameters: 256 MiB for each that opens it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from eth_account import Account

from tests.environments.conftest import skip_or_fail
from tests.integration.test_workers import wait_for_workers
from tests.served import served

CGROUPS = Path("/sys/fs/cgroup")
GIB = 1 << 30


@pytest.fixture
def a_gibibyte(root: None) -> Iterator[Path]:
    """The file that takes the processes of a control group with the limit of the shipped examples."""
    is_new = (CGROUPS / "cgroup.controllers").exists()
    group = (CGROUPS if is_new else CGROUPS / "memory") / f"lrs-{uuid4().hex[:8]}"
    try:
        group.mkdir()
        (group / ("memory.max" if is_new else "memory.limit_in_bytes")).write_text(str(GIB))
    except OSError as error:
        skip_or_fail(f"no control group with a limit of memory can be made: {error}")
    yield group / "cgroup.procs"
    group.rmdir()


@pytest.fixture(scope="module")
def keystore(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """geth's own parameters: N is 2^18."""
    folder = tmp_path_factory.mktemp("keystore")
    (folder / "key.json").write_text(json.dumps(Account.encrypt(b"\x11" * 32, "geheim", kdf="scrypt", iterations=1 << 18)))
    (folder / "password").write_text("geheim\n")
    return {"keystore_file": str(folder / "key.json"), "password_file": str(folder / "password")}


@pytest.mark.timeout(400)
def test_six_workers_with_a_keystore_start_in_a_gibibyte(tmp_path: Path, a_gibibyte: Path, keystore: dict[str, str]) -> None:
    launcher = tmp_path / "python"
    launcher.write_text(f'#!/bin/sh\necho $$ > {a_gibibyte} && exec {sys.executable} "$@"\n')
    launcher.chmod(0o755)
    with served(tmp_path, workers=6, python=launcher, key=keystore) as signer:
        signer.wait_for_log("is ready", 6, seconds=240)
        wait_for_workers(signer, 6)
        assert "ended with" not in signer.log
        assert all(signer.pay().status == 200 for _ in range(12))
        assert signer.end(seconds=30) == 0


def test_a_start_that_was_killed_says_what_kills(tmp_path: Path, a_gibibyte: Path, keystore: dict[str, str]) -> None:
    limit = next(path for path in a_gibibyte.parent.iterdir() if path.name in ("memory.max", "memory.limit_in_bytes"))
    limit.write_text(str(200 << 20))
    launcher = tmp_path / "python"
    launcher.write_text(f'#!/bin/sh\necho $$ > {a_gibibyte} && exec {sys.executable} "$@"\n')
    launcher.chmod(0o755)
    with served(tmp_path, workers=2, python=launcher, key=keystore, wait=False) as signer:
        assert signer.process.wait(60) == 1
        assert "ended with SIGKILL: it could not start: there is no service; the kernel kills so where memory is short" in signer.log
