"""What a project of this kind has at its door: a licence, one version, a changelog, checks before a commit, and a hosted CI."""

from __future__ import annotations

import re
import stat
import subprocess
import tomllib
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from livepeer_remote_signer import __version__

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
KINDS = ("Added", "Changed", "Deprecated", "Removed", "Fixed", "Security")
CHANGELOG = (ROOT / "CHANGELOG.md").read_text()
RELEASES = re.findall(r"^## \[(\d+\.\d+\.\d+)\] - (\d{4}-\d{2}-\d{2})$", CHANGELOG, re.MULTILINE)


def numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version)[:3]))


def test_the_licence_that_is_declared_is_there() -> None:
    assert (ROOT / "LICENSE").read_text().startswith("MIT License\n")
    assert (PROJECT["project"]["license"], PROJECT["project"]["license-files"]) == ("MIT", ["LICENSE"])


def test_the_version_stands_in_one_place() -> None:
    assert "version" not in PROJECT["project"]
    assert PROJECT["tool"]["hatch"]["version"]["path"] == "src/livepeer_remote_signer/__init__.py"
    files = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *(ROOT / "docker").rglob("*"), ROOT / "Dockerfile", ROOT / "pyproject.toml"]
    own = re.compile(rf"livepeer-remote-signer[:=@ ]+v?(?:{re.escape(__version__)}|\d+\.\d+\.\d+)")
    assert not [file.name for file in files if file.is_file() and file.suffix != ".png" and own.search(file.read_text("utf-8"))]


def test_the_changelog_is_cut_at_every_release() -> None:
    headings = re.findall(r"^## (.+)$", CHANGELOG, re.MULTILINE)
    assert headings == ["[Unreleased]", *(f"[{version}] - {date}" for version, date in RELEASES)]
    for (newer, newer_date), (older, older_date) in pairwise(RELEASES):
        assert numbers(newer) > numbers(older)
        assert newer_date >= older_date
    newest = RELEASES[0][0]
    assert numbers(__version__) > numbers(newest) if ".dev" in __version__ else __version__ == newest


def test_every_release_names_each_kind_of_change_once() -> None:
    for release in re.split(r"^## ", CHANGELOG, flags=re.MULTILINE)[1:]:
        kinds = re.findall(r"^### (.+)$", release, re.MULTILINE)
        assert kinds == [kind for kind in KINDS if kind in kinds], f"{release.splitlines()[0]}: {kinds}"


def test_the_hosted_ci_runs_what_can_be_run_anywhere_from_actions_that_cannot_change() -> None:
    text = (ROOT / ".github/workflows/ci.yaml").read_text()
    workflow = yaml.safe_load(text)
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    assert [step["run"] for step in workflow["jobs"]["everything"]["steps"] if "run" in step] == [".ci/run"]
    assert all(re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", step["uses"]) for step in steps if "uses" in step)
    assert workflow["permissions"] == {"contents": "read"}
    for script in ("run", "lowest", "machine-parts"):
        assert (ROOT / ".ci" / script).stat().st_mode & stat.S_IXUSR or script == "machine-parts"


@pytest.mark.parametrize("target", ["test-package", "test-lowest", "test", "check"])
def test_ci_runs_the_suite(target: str) -> None:
    assert f"make {target}\n" in (ROOT / ".ci/run").read_text()


def test_every_hook_before_a_commit_is_a_tool_of_the_lock() -> None:
    (local,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert local["repo"] == "local"
    lock = (ROOT / "requirements-dev.lock").read_text()
    for hook in local["hooks"]:
        tool = hook["entry"].split()[0].removeprefix(".venv/bin/")
        assert tool == "python" or f"\n{tool}==" in lock
        assert hook["language"] == "system"


def test_the_locks_name_no_host_and_nothing_without_a_hash() -> None:
    for name in ("requirements.lock", "requirements-dev.lock", "docker/build.lock"):
        text = (ROOT / name).read_text()
        assert not re.search(r"https?://|--(?:extra-)?index-url|--find-links", text), name
        for requirement in re.split(r"\n(?=[a-z0-9])", text):
            assert "==" not in requirement or "--hash=sha256:" in requirement, requirement.splitlines()[0]


def test_whatever_internals_are_used_of_has_an_upper_bound() -> None:
    extras = [one for listed in PROJECT["project"]["optional-dependencies"].values() for one in listed]
    bounded = {re.match(r"[a-z0-9-]+", one)[0] for one in (*PROJECT["project"]["dependencies"], *extras) if "<" in one}  # type: ignore[index]
    assert bounded == {"uvicorn", "coincurve", "aiohttp", "aiokafka", "httpx", "protobuf"}


def test_nothing_that_is_built_or_secret_can_be_committed() -> None:
    for path in ("dist/x.whl", "build/lowest/venv/bin/python", ".venv/bin/python", "docker/secrets/key"):
        done = subprocess.run(["git", "check-ignore", "--quiet", path], cwd=ROOT, check=False)
        assert done.returncode == 0, path
