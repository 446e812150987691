"""Starts the served signer, drives it, and reads its CPU from the kernel.

The unit is the signature: the time of one libsecp256k1 signature on the server's core in the same run. It carries from
machine to machine, where microseconds do not.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import coincurve
import yaml

from benchmarks.bodies import STATIC_CHAIN

_CORES = sorted(os.sched_getaffinity(0))
SERVER_CORES = {_CORES[0]}
LOAD_CORES = {_CORES[min(1, len(_CORES) - 1)]}
MORE_TIMES = 3
"""A gate measures so often again what was above its limit: what holds once is no regression."""

BUSY = 1.25
"""Where a process takes so many times as long as it works, times on the clock say more about the others than about the signer."""

READY_SECONDS = 120.0
PORTS = range(20_000, 32_000)
"""Below those that Linux gives to connections and to listeners on port 0."""

GO_SIGNATURES = 12.5
"""CPU a request of go-livepeer 0.9.1's own handler on one core, in signatures."""

GO_P99_SIGNATURES = 526
"""Its p99 at 16 connections, in signatures."""


class Served(NamedTuple):
    """A running signer: its port, process, and how long it took from start to ready."""

    port: int
    pid: int
    ready_seconds: float
    admin_port: int = 0
    admin_token: str = ""

    def cpu_seconds(self) -> float:
        """User and system time of the process and everything it started, what has ended included."""
        return sum(sum(_times_of(pid)) for pid in self._tree())

    def own_cpu_seconds(self) -> float:
        """User and system time of the process alone."""
        return sum(_times_of(self.pid)[:2])

    def rss_mb(self) -> list[float]:
        """Resident memory of each process, MB."""
        found = []
        for pid in self._tree():
            text = Path(f"/proc/{pid}/status").read_text()
            match = re.search(r"VmRSS:\s+(\d+) kB", text)
            found.append(int(match[1]) / 1024 if match else 0.0)
        return found

    def _tree(self) -> Iterator[int]:
        todo = [self.pid]
        while todo:
            pid = todo.pop()
            yield pid
            for task in Path(f"/proc/{pid}/task").glob("*/children"):
                todo += map(int, task.read_text().split())


def _times_of(pid: int) -> list[float]:
    """User and system time of the process, and of those of its children that have ended, seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return [int(field) / os.sysconf("SC_CLK_TCK") for field in fields[11:15]]


def signature_seconds() -> float:
    """The unit: the best mean of ten rounds of a thousand signatures, on the server's core."""
    os.sched_setaffinity(0, SERVER_CORES)
    try:
        key, digest, best = coincurve.PrivateKey(b"\1" * 32), b"\2" * 32, 1.0
        for _ in range(10):
            begin = time.perf_counter()
            for _ in range(1000):
                key.sign_recoverable(digest, hasher=None)
            best = min(best, (time.perf_counter() - begin) / 1000)
        return best
    finally:
        os.sched_setaffinity(0, SERVER_CORES | LOAD_CORES)


def how_busy() -> float:
    """How many times as long as it works a process takes on the busiest of our cores just now: 1 where nobody else wants it."""
    found = []
    for cores in (SERVER_CORES, LOAD_CORES):
        os.sched_setaffinity(0, cores)
        began, worked = time.perf_counter(), time.process_time()
        while time.process_time() - worked < 0.2:
            sum(range(1000))
        found.append((time.perf_counter() - began) / (time.process_time() - worked))
    os.sched_setaffinity(0, SERVER_CORES | LOAD_CORES)
    return max(found)


@contextlib.contextmanager
def serving(folder: Path, extra: dict[str, Any] | None = None, workers: int = 1) -> Iterator[Served]:
    """A signer on a free port with a static chain and a throw-away key, pinned to the server's core (or all, for workers)."""
    port = free_port()
    key = folder / "key"
    key.write_text("0x" + "07" * 32)
    key.chmod(0o600)
    config = {
        "listen": f"127.0.0.1:{port}",
        "key": {"private_key_file": str(key)},
        "chain": {"source": "static", "static": STATIC_CHAIN},
        **(extra or {}),
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    cores = SERVER_CORES if workers == 1 else SERVER_CORES | LOAD_CORES
    command = [sys.executable, "-m", "livepeer_remote_signer", "serve", "--config", str(path)]
    if workers > 1:
        command += ["--workers", str(workers)]
    begin = time.perf_counter()
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, preexec_fn=lambda: os.sched_setaffinity(0, cores))
    try:
        _wait_ready(port, process, folder / "log")
        yield Served(port, process.pid, time.perf_counter() - begin)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def free_port() -> int:
    """A port of loopback that nobody listens at, and that the kernel gives nobody who asks for any."""
    for port in random.sample(PORTS, 100):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise RuntimeError(f"no port between {PORTS[0]} and {PORTS[-1]} is free")


def _wait_ready(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2) as reply:
                if reply.status == 200:
                    return
        except OSError:
            time.sleep(0.01)
        if process.poll() is not None:
            break
    raise RuntimeError(f"the signer did not become ready:\n{log.read_text()[-2000:]}")


class Figures(NamedTuple):
    """One measurement. Times in seconds."""

    requests_per_second: float
    p50: float
    p99: float
    cpu_per_request: float
    signature: float
    statuses: dict[str, int]

    @property
    def cpu_signatures(self) -> float:
        """CPU a request in signatures."""
        return self.cpu_per_request / self.signature

    @property
    def p50_signatures(self) -> float:
        """p50 in signatures."""
        return self.p50 / self.signature

    @property
    def p99_signatures(self) -> float:
        """p99 in signatures."""
        return self.p99 / self.signature


class Measured(NamedTuple):
    """One row: its figures, the largest process's resident memory under load, and the time from start to ready."""

    figures: Figures
    memory_mb: float
    ready_seconds: float


def drive(served: Served, rounds: int = 3, *, is_alone: bool = False, **plan: Any) -> Figures:
    """The median round by CPU; with `is_alone` that of the signer's own process.

    Raises RuntimeError when a request was not answered with 200.
    """
    found = []
    cpu_seconds = served.own_cpu_seconds if is_alone else served.cpu_seconds
    plan = {"port": served.port, "seconds": 4, "connections": 16, "tickets": 1, "chained": False, **plan}
    for index in range(rounds):
        plan["first_session"] = index * 10_000
        signature = signature_seconds()
        before = cpu_seconds()
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.load", json.dumps(plan)],
            capture_output=True,
            check=True,
            preexec_fn=lambda: os.sched_setaffinity(0, LOAD_CORES),
        )
        result = json.loads(done.stdout)
        cpu = cpu_seconds() - before
        if set(result["statuses"]) != {"200"}:
            raise RuntimeError(f"not every request was paid: {result['statuses']}")
        count = result["requests"]
        found.append(Figures(count / result["seconds"], result["p50"], result["p99"], cpu / count, signature, result["statuses"]))
    found.sort(key=lambda figures: figures.cpu_signatures)
    return found[len(found) // 2]
