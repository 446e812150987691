"""docker/pin-images: every image of others gets its digest, and none is left out in silence."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

DOCKER = Path(__file__).parents[2] / "docker"
CLIENT = """#!/bin/sh
case "$*" in *prom/*) [ -z "$NO_PROMETHEUS" ] || { echo "not found" >&2; exit 1; };; esac
[ "$1 $2 $3" = "buildx imagetools inspect" ] || exit 2
printf 'sha256:%s\\n' "$(printf '%s' "$6" | sha256sum | cut -d' ' -f1)"
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """With a Docker client that knows every image."""
    client = tmp_path / "docker"
    client.write_text(CLIENT)
    client.chmod(0o755)
    return {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}


def pin(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, DOCKER / "pin-images"], env=environment, capture_output=True, text=True, check=False)


def test_every_image_of_others_gets_its_digest_and_nothing_else_changes(environment: dict[str, str]) -> None:
    done = pin(environment)
    assert done.returncode == 0, done.stderr
    before = yaml.safe_load((DOCKER / "compose.yaml").read_text())
    after = yaml.safe_load(done.stdout)
    for name, service in after["services"].items():
        image, was = service.pop("image"), before["services"][name].pop("image")
        if name == "signer":
            assert image == was
            continue
        assert re.fullmatch(rf"{re.escape(was.rstrip('}'))}@sha256:[0-9a-f]{{64}}\}}?", image), image
    assert after == before


def test_an_image_that_cannot_be_found_ends_it(environment: dict[str, str]) -> None:
    done = pin(environment | {"NO_PROMETHEUS": "1"})
    assert done.returncode == 1
    assert done.stderr.startswith("prom/prometheus:")
    assert "not found" in done.stderr
