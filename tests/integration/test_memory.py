"""The running signer's memory is nobody else's to read, where the platform has a way."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.served import served

PR_GET_DUMPABLE = 3


def test_no_core_is_dumped_and_nobody_of_the_same_user_looks_in(tmp_path: Path) -> None:
    told = f"print(ctypes.CDLL(None).prctl({PR_GET_DUMPABLE}, 0, 0, 0, 0) if sys.platform == 'linux' else 0)"
    program = (
        "import ctypes, resource, sys\nfrom livepeer_remote_signer.process.memory import hide_memory\nhide_memory()\n"
        f"print(resource.getrlimit(resource.RLIMIT_CORE))\n{told}"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["(0, 0)", "0"]
    if sys.platform == "linux":
        plain = subprocess.run([sys.executable, "-c", f"import ctypes, sys\n{told}"], capture_output=True, text=True, check=True)
        assert plain.stdout == "1\n", "a process that does not ask for it can be dumped"
        with served(tmp_path) as signer:
            limits = Path(f"/proc/{signer.process.pid}/limits").read_text().splitlines()
        (cores,) = [line.split() for line in limits if line.startswith("Max core file size")]
        assert cores[4:6] == ["0", "0"]
