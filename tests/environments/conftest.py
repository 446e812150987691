"""What the surroundings need of the machine: root for file systems and namespaces, and Debian's servers and tools."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/environments/" in item.nodeid:
            item.add_marker(pytest.mark.environments)


def skip_or_fail(reason: str) -> None:
    """A part that this machine lacks: skipped, but a failure where everything is required."""
    if os.environ.get("LRS_REQUIRE_ALL") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


def need_program(name: str) -> str:
    """The program's path."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if found is None:
        skip_or_fail(f"{name} is not installed")
    return str(found)


@pytest.fixture
def root() -> None:
    """File systems are mounted and namespaces are made."""
    if os.geteuid() != 0:
        skip_or_fail("only root may mount file systems and make namespaces")


@pytest.fixture
def small_disk(root: None, tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Makes a file system in memory of so many KiB."""
    with ExitStack() as mounted:

        def make(kib: int) -> Path:
            folder = tmp_path / "small"
            folder.mkdir()
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kib}k,mode=0777", "small", str(folder)], check=True)
            mounted.callback(subprocess.run, ["umount", "--lazy", str(folder)], check=True)
            return folder

        yield make
