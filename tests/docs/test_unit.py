"""The systemd unit: its commands are ours, it has time to drain, and it is shut in."""

from __future__ import annotations

import configparser
import re
import shlex
import shutil
import subprocess
from pathlib import Path

from livepeer_remote_signer.cli import COMMAND_MODULES
from livepeer_remote_signer.config.serving import LimitsConfig
from tests.docs.test_docs import parser
from tests.operate.conftest import skip_or_fail

UNIT = Path(__file__).parents[2] / "docs/examples/livepeer-remote-signer.service"


def service() -> configparser.SectionProxy:
    unit = configparser.ConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read(UNIT)
    return unit["Service"]


def test_its_commands_are_those_of_the_program() -> None:
    assert COMMAND_MODULES
    for key in ("ExecStartPre", "ExecStart"):
        program, *words = shlex.split(service()[key])
        assert program.endswith("/livepeer-remote-signer")
        parser().parse_args(words)


def test_it_drains_and_reloads_and_writes_to_one_folder_alone() -> None:
    found = service()
    assert int(found["TimeoutStopSec"]) > LimitsConfig().drain_seconds
    assert "-HUP" in found["ExecReload"]
    assert (found["ProtectSystem"], found["StateDirectory"]) == ("strict", "livepeer-remote-signer")
    assert found["CapabilityBoundingSet"] == ""


def test_systemd_takes_it_and_finds_it_shut_in() -> None:
    if shutil.which("systemd-analyze") is None:
        skip_or_fail("systemd-analyze is not installed")
    told = subprocess.run(["systemd-analyze", "verify", UNIT], capture_output=True, text=True, check=False)
    faults = [line for line in told.stderr.splitlines() if UNIT.name in line and "is not executable" not in line]
    assert faults == []
    rated = subprocess.run(["systemd-analyze", "security", "--offline=true", UNIT], capture_output=True, text=True, check=False)
    (level,) = re.findall(r"exposure level for \S+: ([0-9.]+)", rated.stdout)
    assert float(level) < 2.5
