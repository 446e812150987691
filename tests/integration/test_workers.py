"""`serve --workers`: clients notice neither a restart nor the death of a worker that had nothing of theirs."""

from __future__ import annotations

import http.client
import os
import signal
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from threading import Event

import httpx
import pytest
import yaml

from tests.ports import free_port
from tests.served import Served, live_body, patient_hook, post, read_answer, served
from tests.signer import PAY

pytestmark = pytest.mark.operate

CLIENTS = 8
RATE = 200.0
"""Requests a second, of all clients together."""


def worker_pids(signer: Served) -> list[int]:
    """The processes that accept."""
    return [int(pid) for pid in Path(f"/proc/{signer.process.pid}/task/{signer.process.pid}/children").read_text().split()]


def wait_for_workers(signer: Served, count: int, seconds: float = 60) -> list[int]:
    """Until so many processes are there and no others."""
    give_up = time.monotonic() + seconds
    while len(pids := worker_pids(signer)) != count:
        assert time.monotonic() < give_up, f"{len(pids)} workers, not {count}:\n{signer.log}"
        time.sleep(0.05)
    return pids


def is_alive(pid: int) -> bool:
    """Whether the process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


class Load:
    """Clients that pay at a steady rate, half of them on connections that they keep, and any failure kept."""

    def __init__(self, signer: Served) -> None:
        self._signer = signer
        self._ended = Event()
        self._pool = ThreadPoolExecutor(CLIENTS)
        self._clients: list[Future[int]] = []
        self._paid = 0

    def wait_for_some(self) -> None:
        """Until every client could have been answered twice since now."""
        wanted, give_up = self._paid + 2 * CLIENTS, time.monotonic() + 60
        while self._paid < wanted:
            assert not any(client.done() for client in self._clients), self.end()
            assert time.monotonic() < give_up, "nobody is answered"
            time.sleep(0.01)

    def __enter__(self) -> Load:
        self._clients = [self._pool.submit(self._run, keeps=number % 2 == 0) for number in range(CLIENTS)]
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._pool.shutdown()

    def end(self) -> int:
        """How many requests were answered with 200; raises where one was not."""
        self._ended.set()
        return sum(client.result(60) for client in self._clients)

    def _run(self, *, keeps: bool) -> int:
        body, paid, due = live_body(), 0, time.monotonic()
        with closing(http.client.HTTPConnection("127.0.0.1", self._signer.port, timeout=20)) as connection:
            while not self._ended.is_set():
                connection.request("POST", PAY, body, {} if keeps else {"Connection": "close"})
                with connection.getresponse() as reply:
                    assert reply.status == 200, reply.read()
                    assert b"payment" in reply.read()
                paid += 1
                self._paid += 1
                due += CLIENTS / RATE
                time.sleep(max(0, due - time.monotonic()))
            return paid


def restart_under_load(signer: Served, restarts: int, seconds_between: float) -> int:
    """Requests answered while all workers were replaced so many times."""
    wait_for_workers(signer, 2)
    signer.wait_for_log("is ready", 2)
    with Load(signer) as load:
        for number in range(1, restarts + 1):
            load.wait_for_some()
            time.sleep(seconds_between)
            before = set(worker_pids(signer))
            signer.process.send_signal(signal.SIGHUP)
            signer.wait_for_log("is ready", 2 + 2 * number)
            signer.wait_for_log("was asked to end", 2 * number, seconds=60)
            assert not before & set(wait_for_workers(signer, 2))
        load.wait_for_some()
        time.sleep(seconds_between)
        answered = load.end()
    assert "Traceback" not in signer.log
    return answered


def test_a_restart_under_load_loses_no_request(tmp_path: Path) -> None:
    with served(tmp_path, workers=2, limits={"drain_seconds": 3}) as signer:
        assert restart_under_load(signer, restarts=1, seconds_between=0.5) > 2 * CLIENTS
        assert signer.end() == 0


def test_a_price_set_at_one_worker_soon_holds_in_all_also_without_a_ledger_or_a_file(tmp_path: Path) -> None:
    token, admin_port = tmp_path / "token", free_port()
    token.write_text("a-token-of-the-operator")
    admin = {"listen": f"127.0.0.1:{admin_port}", "token_file": str(token)}
    with served(tmp_path, workers=2, admin=admin) as signer:
        signer.wait_for_log("is ready", 2)
        url, headers = f"http://127.0.0.1:{admin_port}", {"Authorization": "Bearer a-token-of-the-operator"}
        form = {"maxPricePerUnit": "1", "pixelsPerUnit": "1", "currency": "wei"}
        assert httpx.post(f"{url}/setBroadcastConfig", data=form, headers=headers, trust_env=False).status_code == 200
        give_up = time.monotonic() + 60
        shown, paid = set[str](), set[int]()
        with ThreadPoolExecutor(CLIENTS) as pool:
            while len(shown) != 1 or '"1"' not in next(iter(shown)) or paid != {481}:
                assert time.monotonic() < give_up, f"after a minute the workers still differ: {shown}, {paid}"
                replies = pool.map(lambda _: httpx.get(f"{url}/admin/prices", headers=headers, trust_env=False), range(40))
                shown = {reply.text for reply in replies}
                paid = {answer.status for answer in pool.map(lambda _: signer.pay(), range(40))}
        assert signer.end() == 0


@pytest.mark.operate
@pytest.mark.timeout(600)
def test_restarts_under_load_for_a_while_lose_no_request(tmp_path: Path) -> None:
    with served(tmp_path, workers=2, limits={"drain_seconds": 5}) as signer:
        began = time.monotonic()
        answered = restart_under_load(signer, restarts=4, seconds_between=3)
        assert answered > 0.2 * RATE * (time.monotonic() - began) - RATE
        assert signer.end() == 0


@pytest.mark.operate
def test_an_idle_connection_outlives_a_restart_until_its_next_request(tmp_path: Path) -> None:
    """The connection stays with the old worker, which answers once more and closes."""
    with served(tmp_path, workers=2, limits={"drain_seconds": 30}) as signer, signer.connect() as idle, idle.makefile("rb") as stream:
        signer.wait_for_log("is ready", 2)
        idle.sendall(post(live_body()))
        first = read_answer(stream)
        assert first is not None
        signer.process.send_signal(signal.SIGHUP)
        signer.wait_for_log("is ready", 4)
        time.sleep(3)
        idle.sendall(post(live_body()))
        last = read_answer(stream)
        assert last is not None
        assert (last.status, last.headers["connection"]) == (200, "close")
        wait_for_workers(signer, 2)


@pytest.mark.operate
def test_a_restart_picks_up_the_configuration_and_a_broken_one_changes_nothing(tmp_path: Path) -> None:
    with served(tmp_path, workers=2, limits={"drain_seconds": 1}) as signer:
        signer.wait_for_log("is ready", 2)
        good = signer.config.read_text()
        before = worker_pids(signer)

        signer.config.write_text(good + "limitz: {}\n")
        signer.process.send_signal(signal.SIGHUP)
        signer.wait_for_log("nothing is restarted")
        assert "did you mean 'limits'" in signer.log
        assert worker_pids(signer) == before

        signer.config.write_text(good.replace("private_key:", "private_key_file: /nowhere/key #"))
        signer.process.send_signal(signal.SIGHUP)
        signer.wait_for_log("the restart is abandoned")
        assert "cannot start: key.private_key_file /nowhere/key cannot be read" in signer.log
        assert wait_for_workers(signer, 2) == before
        assert signer.pay().status == 200

        changed = yaml.safe_load(good)
        changed["limits"] = {"max_body_bytes": 1024, "drain_seconds": 1}
        signer.config.write_text(yaml.safe_dump(changed))
        signer.process.send_signal(signal.SIGHUP)
        signer.wait_for_log("was asked to end", 2)
        assert signer.exchange(post(b" " * 1100)).status == 413


def test_a_worker_that_is_killed_is_replaced_and_its_folder_is_shared(tmp_path: Path) -> None:
    with served(tmp_path, workers=2) as signer:
        signer.wait_for_log("is ready", 2)
        first, second = wait_for_workers(signer, 2)
        told = [
            dict(pair.split("=", 1) for pair in Path(f"/proc/{pid}/environ").read_text().split("\0") if pair) for pid in (first, second)
        ]
        assert [environ["LRS_WORKER"] for environ in told] == ["0", "1"]
        assert told[0]["LRS_WORKER_DIR"] == told[1]["LRS_WORKER_DIR"]
        folder = Path(told[0]["LRS_WORKER_DIR"])
        assert folder.is_dir()
        os.kill(first, signal.SIGKILL)
        signer.wait_for_log("ended with SIGKILL: it died and is replaced")
        signer.wait_for_log("is ready", 3)
        assert second in wait_for_workers(signer, 2)
        assert all(signer.pay().status == 200 for _ in range(8))
        assert signer.end() == 0
        assert not folder.exists()


def test_the_end_drains_every_worker(tmp_path: Path) -> None:
    with (
        patient_hook() as hook,
        served(tmp_path, workers=2, auth={"webhook": {"url": hook.url}}) as signer,
        signer.connect() as busy,
        busy.makefile("rb") as stream,
    ):
        signer.wait_for_log("is ready", 2)
        pids = worker_pids(signer)
        busy.sendall(post(live_body(), headers="X-Delay: 1\r\n"))
        hook.wait_for_questions(1)
        signer.process.send_signal(signal.SIGTERM)
        answer = read_answer(stream)
        assert answer is not None
        assert answer.status == 200
        assert signer.process.wait(40) == 0
        assert not any(is_alive(pid) for pid in pids)


@pytest.mark.operate
def test_workers_leave_when_their_supervisor_is_killed(tmp_path: Path) -> None:
    with served(tmp_path, workers=2) as signer:
        signer.wait_for_log("is ready", 2)
        pids = worker_pids(signer)
        signer.process.kill()
        give_up = time.monotonic() + 60
        while any(is_alive(pid) for pid in pids):
            assert time.monotonic() < give_up, "workers outlived their supervisor"
            time.sleep(0.05)
        assert "the supervisor is gone" in signer.log


def test_a_service_that_cannot_start_says_so_once_and_ends(tmp_path: Path) -> None:
    with served(tmp_path, workers=3, wait=False, key={"private_key_file": "/nowhere/key"}) as signer:
        assert signer.process.wait(60) == 1
        assert signer.log.count("cannot start: key.private_key_file /nowhere/key cannot be read: No such file or directory") == 1
