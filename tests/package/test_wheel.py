"""What users install: the wheel, built from the source archive, in an environment of its own that the lock has filled."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import zipfile
from email import message_from_string
from pathlib import Path

import pytest

from livepeer_remote_signer import __version__
from tests.served import live_body, post, served

ROOT = Path(__file__).parents[2]
UV = Path(sys.executable).with_name("uv")

pytestmark = [pytest.mark.package, pytest.mark.timeout(600)]


def run(*command: str | Path, cwd: Path = ROOT) -> str:
    """What a command prints; it must succeed."""
    environ = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environ, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with both archives."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder)
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (found,) = built.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the commands of a fresh environment: what the lock names, by hash, and the wheel."""
    place = tmp_path_factory.mktemp("environment") / "venv"
    run(UV, "venv", "--quiet", "--python", sys.executable, place)
    install = UV, "pip", "install", "--quiet", "--python", place / "bin/python"
    run(*install, "--require-hashes", "--requirement", ROOT / "requirements.lock")
    run(*install, "--no-deps", wheel)
    run(UV, "pip", "check", "--python", place / "bin/python")
    return place / "bin"


def test_the_wheel_holds_the_package_its_licence_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        info = f"livepeer_remote_signer-{__version__}.dist-info"
        metadata = message_from_string(archive.read(f"{info}/METADATA").decode())
        licence = archive.read(f"{info}/licenses/LICENSE").decode()
    assert licence == (ROOT / "LICENSE").read_text()
    assert {name.partition("/")[0] for name in names} == {"livepeer_remote_signer", info}
    assert (metadata["Version"], metadata["License-Expression"]) == (__version__, "MIT")
    for file in ("api/console.html", "proto/net_pb2.py", "proto/net.proto"):
        assert f"livepeer_remote_signer/{file}" in names


def test_the_source_archive_can_be_built_and_tested_from(built: Path) -> None:
    (archive,) = built.glob("*.tar.gz")
    with tarfile.open(archive) as source:
        names = {name.partition("/")[2] for name in source.getnames()}
    assert {"LICENSE", "pyproject.toml", "requirements.lock", "tests/test_architecture.py", "CHANGELOG.md"} <= names
    assert not [name for name in names if re.match(r"\.venv|build/|.*\.sqlite3?-(?:wal|shm)$|.*__pycache__", name)]


def test_the_demo_runs_from_it(installed: Path, tmp_path: Path) -> None:
    where = run(installed / "python", "-c", "import livepeer_remote_signer as p; print(p.__file__)", cwd=tmp_path)
    assert Path(where.strip()).is_relative_to(installed.parent)
    assert run(installed / "livepeer-remote-signer", "--version", cwd=tmp_path).split()[-1] == __version__
    assert "All payments were accepted" in run(installed / "livepeer-remote-signer", "simulate", cwd=tmp_path)


def test_it_serves(installed: Path, tmp_path: Path) -> None:
    with served(tmp_path, python=installed / "python") as signer:
        assert signer.exchange(post(live_body())).status == 200
        assert signer.get("/readyz").status == 200
        assert signer.end() == 0
