"""The Dockerfile as text."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def instructions() -> list[tuple[str, str]]:
    text = re.sub(r"\\\n", " ", "\n".join(line for line in DOCKERFILE.splitlines() if not line.startswith("#")))
    return [(word, " ".join(rest.split())) for word, _, rest in (line.partition(" ") for line in text.splitlines() if line.strip())]


def final_stage() -> list[tuple[str, str]]:
    found = instructions()
    return found[max(n for n, (word, _) in enumerate(found) if word == "FROM") :]


def rest_of(word: str) -> str:
    return next(rest for name, rest in final_stage() if name == word)


def test_hadolint_has_nothing_to_say() -> None:
    hadolint = Path(sys.executable).parent / "hadolint"
    done = subprocess.run([hadolint, "--failure-threshold", "style", ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("", 0)


def test_the_base_image_is_pinned_by_a_tag_that_names_version_and_distribution() -> None:
    pinned = re.search(r"^ARG PYTHON_IMAGE=python:3\.\d+-slim-[a-z]+$", DOCKERFILE, re.MULTILINE)
    assert pinned is not None
    assert {rest.split()[0] for word, rest in instructions() if word == "FROM"} == {"${PYTHON_IMAGE}"}


def test_the_image_runs_as_a_number_and_starts_the_command_without_a_shell() -> None:
    user, group = rest_of("USER").split(":")
    assert int(user) >= 10_000
    assert int(group) >= 10_000
    assert json.loads(rest_of("ENTRYPOINT")) == ["/opt/signer/bin/livepeer-remote-signer"]
    assert json.loads(rest_of("CMD"))[0] == "serve"


def test_every_package_is_installed_by_hash_and_from_wheels_only() -> None:
    runs = " && ".join(rest for word, rest in instructions() if word == "RUN")
    for command in re.findall(r"pip install (.*?)(?: &&|$)", runs):
        assert "--require-hashes" in command or "--no-index" in command, command
    assert "PIP_ONLY_BINARY=:all:" in DOCKERFILE
    for lock in ("requirements.lock", "docker/build.lock"):
        text = re.sub(r"\\\n\s*", " ", (ROOT / lock).read_text())
        unhashed = [
            line for line in text.splitlines() if "==" in line and not line.lstrip().startswith("#") and "--hash=sha256:" not in line
        ]
        assert not unhashed


def test_nothing_depends_on_the_processor() -> None:
    assert re.search(r"amd64|x86_64|arm64(?! )|aarch64|TARGETARCH", "\n".join(rest for _, rest in instructions())) is None


def test_the_builder_is_sent_nothing_but_the_package() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert lines[0] == "*"
    assert {line for line in lines if line.startswith("!")} == {
        "!docker/build.lock",
        "!pyproject.toml",
        "!LICENSE",
        "!README.md",
        "!requirements.lock",
        "!src",
    }


def test_the_health_check_reads_the_configuration_that_the_signer_starts_with() -> None:
    command = json.loads(rest_of("HEALTHCHECK").partition(" CMD ")[2])
    assert command[:2] == [*json.loads(rest_of("ENTRYPOINT")), "healthcheck"]
    assert command[2:] == json.loads(rest_of("CMD"))[1:]


@pytest.mark.operate
@pytest.mark.timeout(600)
def test_the_images_own_steps_make_a_signer_that_pays_read_only_and_unprivileged() -> None:
    done = subprocess.run([sys.executable, ROOT / "docker/smoke_test.py"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "smoke test passed" in done.stdout
    assert "signed 1 ticket(s)" in done.stdout
