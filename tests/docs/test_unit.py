"""The systemd units: their commands are ours, the signer has time to drain, and both are shut in."""

from __future__ import annotations

import configparser
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from livepeer_remote_signer.cli import COMMAND_MODULES
from livepeer_remote_signer.config.serving import LimitsConfig
from tests.docs.test_docs import parser
from tests.operate.conftest import skip_or_fail

EXAMPLES = Path(__file__).parents[2] / "docs/examples"
UNIT = EXAMPLES / "livepeer-remote-signer.service"
TOP_UP = EXAMPLES / "livepeer-top-up.service"


def service(path: Path = UNIT) -> configparser.SectionProxy:
    unit = configparser.ConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read(path)
    return unit["Service"]


@pytest.mark.parametrize("line", [(UNIT, "ExecStartPre"), (UNIT, "ExecStart"), (TOP_UP, "ExecStart")])
def test_their_commands_are_those_of_the_program(line: tuple[Path, str]) -> None:
    assert COMMAND_MODULES
    path, key = line
    program, *words = shlex.split(service(path)[key].replace("\\\n", ""))
    assert program.endswith("/livepeer-remote-signer")
    parser().parse_args(words)


def test_it_drains_and_reloads_and_writes_to_one_folder_alone() -> None:
    found = service()
    assert int(found["TimeoutStopSec"]) > LimitsConfig().drain_seconds
    assert "-HUP" in found["ExecReload"]
    assert (found["ProtectSystem"], found["StateDirectory"]) == ("strict", "livepeer-remote-signer")
    assert found["CapabilityBoundingSet"] == ""


def test_a_top_up_keeps_what_it_sent_and_may_wait_for_its_receipt() -> None:
    found = service(TOP_UP)
    assert (found["Type"], found["StateDirectory"]) == ("oneshot", "livepeer-treasury")
    assert int(found["TimeoutStartSec"]) > 300, "the receipt is waited for, and what an earlier run sent"


@pytest.mark.parametrize("path", [UNIT, TOP_UP], ids=lambda path: path.name)
def test_systemd_takes_it_and_finds_it_shut_in(path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        skip_or_fail("systemd-analyze is not installed")
    told = subprocess.run(["systemd-analyze", "verify", path], capture_output=True, text=True, check=False)
    faults = [line for line in told.stderr.splitlines() if path.name in line and "is not executable" not in line]
    assert faults == []
    rated = subprocess.run(["systemd-analyze", "security", "--offline=true", path], capture_output=True, text=True, check=False)
    (level,) = re.findall(r"exposure level for \S+: ([0-9.]+)", rated.stdout)
    assert float(level) < 2.5


def test_systemd_takes_the_timer() -> None:
    if shutil.which("systemd-analyze") is None:
        skip_or_fail("systemd-analyze is not installed")
    timer = TOP_UP.with_suffix(".timer")
    told = subprocess.run(["systemd-analyze", "verify", timer], capture_output=True, text=True, check=False)
    assert [line for line in told.stderr.splitlines() if timer.name in line] == []
