"""The folder that workers share: on a file system without room, and under the hands of those who clean."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.environments.conftest import need_program
from tests.integration.test_workers import is_alive, wait_for_workers, worker_pids
from tests.ports import free_port
from tests.prometheus_text import parse_metrics
from tests.served import Served, live_body, post, served

CLIENTS = 16
TOKEN = "a-token-of-the-operator"


def pay_often(signer: Served, count: int) -> list[int]:
    """The statuses of so many payments, each on a connection of its own."""
    with ThreadPoolExecutor(CLIENTS) as pool:
        return [answer.status for answer in pool.map(signer.exchange, [post(live_body())] * count)]


def payments_shown(signer: Served) -> float:
    """What `/metrics` of whoever answers tells of all."""
    answer = signer.get("/metrics")
    assert answer.status == 200, answer.body
    return sum(parse_metrics(answer.body)["livepeer_signer_payments_total"].samples.values())


def wait_until_shown(signer: Served, count: int) -> None:
    """Until every worker tells of so many payments: many in a row say the same."""
    give_up = time.monotonic() + 60
    while {payments_shown(signer) for _ in range(12)} != {float(count)}:
        assert time.monotonic() < give_up, f"not {count} payments in every answer:\n{signer.log}"


def shared_folder(signer: Served) -> Path:
    """What the workers were told."""
    environ = Path(f"/proc/{worker_pids(signer)[0]}/environ").read_text().split("\0")
    return Path(next(pair for pair in environ if pair.startswith("LRS_WORKER_DIR=")).partition("=")[2])


def fill(folder: Path) -> Path:
    """Takes all the room that is left."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space left on device"):
        deque(iter(lambda: file.write(bytes(4096)), 0), maxlen=0)
    return filler


def test_a_full_file_system_kills_no_worker(tmp_path: Path, small_disk: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    disk = small_disk(256)
    monkeypatch.setenv("TMPDIR", str(disk))
    filler = fill(disk)
    with served(tmp_path, workers=2) as signer:
        signer.wait_for_log("is ready", 2)
        pids = wait_for_workers(signer, 2)
        assert set(pay_often(signer, 200)) == {200}
        signer.wait_for_log("No space left on device): they are counted in this worker's memory", 2)
        assert payments_shown(signer) <= 200
        filler.unlink()
        assert set(pay_often(signer, 50)) == {200}
        assert wait_for_workers(signer, 2) == pids, "no worker died"


def test_a_file_system_that_fills_later_kills_no_worker(
    tmp_path: Path, small_disk: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = small_disk(8 * 1024)
    monkeypatch.setenv("TMPDIR", str(disk))
    with served(tmp_path, workers=2) as signer:
        signer.wait_for_log("is ready", 2)
        pids = wait_for_workers(signer, 2)
        fill(disk)
        assert set(pay_often(signer, 100)) == {200}
        wait_until_shown(signer, 100)
        os.kill(pids[0], signal.SIGKILL)
        signer.wait_for_log("is ready", 3)
        signer.wait_for_log("No space left on device): they are counted", 1)
        assert set(pay_often(signer, 100)) == {200}
        assert pids[1] in wait_for_workers(signer, 2)


def test_room_that_comes_back_is_used(tmp_path: Path, small_disk: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    disk = small_disk(8 * 1024)
    monkeypatch.setenv("TMPDIR", str(disk))
    filler = fill(disk)
    with served(tmp_path, workers=2) as signer:
        signer.wait_for_log("are counted in this worker's memory", 2)
        assert set(pay_often(signer, 60)) == {200}
        filler.unlink()
        signer.wait_for_log("numbers are shared with the other workers again", 2)
        wait_until_shown(signer, 60)


def test_who_cleans_passes_over_the_folder_of_those_who_run(tmp_path: Path, root: None, monkeypatch: pytest.MonkeyPatch) -> None:
    tmpfiles = need_program("systemd-tmpfiles")
    base = tmp_path / "tmp"
    base.mkdir()
    (base / "old").write_text("")
    monkeypatch.setenv("TMPDIR", str(base))
    rule = tmp_path / "rule.conf"
    rule.write_text(f"d {base} 1777 root root 1s\n")
    with served(tmp_path, workers=2) as signer:
        signer.wait_for_log("is ready", 2)
        before = set(shared_folder(signer).rglob("*"))
        give_up = time.monotonic() + 60
        while (base / "old").exists():
            assert time.monotonic() < give_up
            subprocess.run([tmpfiles, "--clean", str(rule)], check=True)
        assert before <= set(shared_folder(signer).rglob("*"))
        assert set(pay_often(signer, 20)) == {200}
        wait_until_shown(signer, 20)


def test_a_folder_that_was_removed_is_made_again_and_loses_nothing(tmp_path: Path) -> None:
    token, admin_port = tmp_path / "token", free_port()
    token.write_text(TOKEN)
    admin = {"listen": f"127.0.0.1:{admin_port}", "token_file": str(token)}
    url, headers = f"http://127.0.0.1:{admin_port}", {"Authorization": f"Bearer {TOKEN}"}

    def set_price(wei: int) -> int:
        form = {"maxPricePerUnit": str(wei), "pixelsPerUnit": "1", "currency": "wei"}
        return httpx.post(f"{url}/setBroadcastConfig", data=form, headers=headers, trust_env=False).status_code

    def payments() -> float:
        answer = httpx.get(f"{url}/metrics", headers=headers, trust_env=False)
        assert answer.status_code == 200, answer.text
        return sum(parse_metrics(answer.content)["livepeer_signer_payments_total"].samples.values())

    with served(tmp_path, workers=2, admin=admin) as signer:
        signer.wait_for_log("is ready", 2)
        assert set(pay_often(signer, 20)) == {200}
        assert set_price(10**9) == 200
        folder = shared_folder(signer)
        shutil.rmtree(folder)
        signer.wait_for_log("was removed and is made again")
        give_up = time.monotonic() + 60
        while len(list(folder.glob("metrics/worker-*"))) < 2 or not (folder / "prices.json").exists():
            assert time.monotonic() < give_up, f"{list(folder.rglob('*'))}\n{signer.log}"
            time.sleep(0.05)
        while {payments() for _ in range(10)} != {20.0}:  # what each has counted is copied into its new file
            assert time.monotonic() < give_up, signer.log
        assert set_price(1) == 200
        os.kill(wait_for_workers(signer, 2)[0], signal.SIGKILL)
        signer.wait_for_log("is ready", 3)
        give_up = time.monotonic() + 60
        while set(pay_often(signer, 20)) != {481}:
            assert time.monotonic() < give_up, "a ceiling of 1 wei does not hold in every worker"
        assert signer.end() == 0
        assert not folder.exists()


def test_the_runtime_directory_is_used_and_what_a_killed_supervisor_left_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = tmp_path / "run"
    base.mkdir()
    monkeypatch.setenv("RUNTIME_DIRECTORY", f"{base}:{tmp_path}")
    with served(tmp_path, workers=2) as killed:
        killed.wait_for_log("is ready", 2)
        pids = worker_pids(killed)
        left = shared_folder(killed)
        assert left.parent == base
        killed.process.kill()
        give_up = time.monotonic() + 60
        while any(is_alive(pid) for pid in pids):
            assert time.monotonic() < give_up
            time.sleep(0.05)
        assert left.is_dir()
    with served(tmp_path, workers=2) as first:
        first.wait_for_log("is ready", 2)
        assert not left.exists()
        other = tmp_path / "second"
        other.mkdir()
        with served(other, workers=2) as second:
            second.wait_for_log("is ready", 2)
            assert len(list(base.iterdir())) == 2, "the folder of those who run stays"
            assert set(pay_often(first, 5)) == {200}


CLOSES = """
import os, sys
for number in map(int, sys.argv[1].split(",")):
    os.close(number)
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""


@pytest.mark.parametrize("closed", ["0", "0,1", "1,2", "0,1,2"])
def test_closed_standard_descriptors_take_nothing_from_the_workers(tmp_path: Path, closed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    launcher = tmp_path / "python"
    launcher.write_text(f"#!/bin/sh\nexec {sys.executable} -c '{CLOSES}' {closed} \"$@\"\n")
    launcher.chmod(0o755)
    with served(tmp_path, workers=2, python=launcher) as signer:
        wait_for_workers(signer, 2)
        assert set(pay_often(signer, 20)) == {200}
        wait_until_shown(signer, 20)
        assert signer.end() == 0
