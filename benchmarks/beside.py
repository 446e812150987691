"""What goes on beside the payments of a row: an open console, connections that are held, a pool of orchestrators that is asked."""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from typing import Any, NamedTuple
from urllib.parse import urlencode

from benchmarks.laying import HOURS
from benchmarks.measure import LOAD_CORES, Served

POLL_SECONDS = 3.0
"""As often as the console's page asks."""

SCRAPES = 5
_BEHIND = re.compile(rb"^livepeer_signer_ledger_forgetting_behind_seconds(?:\{[^}]*\})? (\S+)$", re.MULTILINE)


class Seen(NamedTuple):
    """How long the console's answers took, in seconds, and what else is to be told of the row."""

    console: list[float]
    notes: list[str]


Beside = Callable[[Served], AbstractContextManager[Seen]]


@contextmanager
def nothing(_: Served) -> Iterator[Seen]:
    """Only the payments."""
    yield Seen([], [])


@contextmanager
def console_open(served: Served) -> Iterator[Seen]:
    """A tab of the console on the view of a day: it asks as the page does."""
    seen = Seen([], [])
    stop = threading.Event()
    cookie = _log_in(served)

    def ask() -> dict[str, Any]:
        seconds, body = _get(served.admin_port, f"/console/data?hours={HOURS}", {"cookie": cookie})
        seen.console.append(seconds)
        answer: dict[str, Any] = json.loads(body)
        return answer

    def poll() -> None:
        while not stop.wait(POLL_SECONDS):
            ask()

    while ask()["spend"] is None:  # the first sums are being made
        time.sleep(0.2)
    seen.console.clear()
    polling = threading.Thread(target=poll)
    polling.start()
    try:
        yield seen
    finally:
        stop.set()
        polling.join()


def _log_in(served: Served) -> str:
    with closing(http.client.HTTPConnection("127.0.0.1", served.admin_port, timeout=60)) as connection:
        form = {"content-type": "application/x-www-form-urlencoded", "origin": f"http://127.0.0.1:{served.admin_port}"}
        connection.request("POST", "/console/login", urlencode({"token": served.admin_token}), form)
        reply = connection.getresponse()
        reply.read()
        return (reply.getheader("set-cookie") or "").partition(";")[0]


def _get(port: int, path: str, headers: dict[str, str]) -> tuple[float, bytes]:
    """How many seconds the answer took, and its body. Raises RuntimeError when it is none."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        connection.connect()
        begin = time.perf_counter()
        connection.request("GET", path, headers=headers)
        reply = connection.getresponse()
        body = reply.read()
        seconds = time.perf_counter() - begin
    if reply.status != 200:
        raise RuntimeError(f"{path} answered with {reply.status}: {body[:400]!r}")
    return seconds, body


def scrape(served: Served) -> tuple[float, float]:
    """How many seconds GET /metrics takes once payments rest, and for how many the oldest row should have been forgotten by then."""
    answers = [_get(served.admin_port, "/metrics", {"authorization": f"Bearer {served.admin_token}"}) for _ in range(SCRAPES)]
    behind = [float(value) for value in _BEHIND.findall(answers[-1][1])]
    if not behind:
        raise RuntimeError("/metrics does not say how far behind forgetting is")
    return statistics.median(seconds for seconds, _ in answers), max(behind)


def connections_held(count: int) -> Beside:
    """Connections that have asked once and are kept open."""

    @contextmanager
    def hold(served: Served) -> Iterator[Seen]:
        held = []
        try:
            for _ in range(count):
                held.append(one := socket.create_connection(("127.0.0.1", served.port), timeout=60))
                one.sendall(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
                one.recv(4096)
            yield Seen([], [])
        finally:
            for one in held:
                one.close()

    return hold


class SimulatedPool:
    """So many orchestrators with so many runners each, in a process of their own on the load's core (`benchmarks.pool`)."""

    def __init__(self, orchestrators: int, runners: int) -> None:
        self._counts = str(orchestrators), str(runners)
        self._process: subprocess.Popen[bytes] | None = None

    @contextmanager
    def running(self) -> Iterator[dict[str, Any]]:
        """Serves them. Yields the configuration of a signer that asks all of them again and again."""
        command = [sys.executable, "-m", "benchmarks.pool", *self._counts]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, preexec_fn=lambda: os.sched_setaffinity(0, LOAD_CORES)
        )
        try:
            urls = json.loads(self._line())
            yield {"discovery": {"enabled": True, "static": urls, "refresh_seconds": 0.1, "allow_private_addresses": True}}
        finally:
            self._process.communicate()  # it ends with its input

    @contextmanager
    def asked(self, served: Served) -> Iterator[Seen]:
        """Notes how often they were asked meanwhile, and what the whole list is. Raises RuntimeError when nobody was asked."""
        seen = Seen([], [])
        before, began = self.count_asked(), served.cpu_seconds() - served.own_cpu_seconds()
        yield seen
        asked, took = self.count_asked() - before, served.cpu_seconds() - served.own_cpu_seconds() - began
        if not asked:
            raise RuntimeError("no orchestrator was asked while payments were measured")
        seconds, body = _get(served.port, "/discover-orchestrators", {})
        listed = f"GET /discover-orchestrators lists {len(json.loads(body)):,}, {len(body) / 1e6:.1f} MB in {seconds:.2f} s"
        seen.notes.extend((f"{asked:,} were asked meanwhile, in {took:.1f} s of CPU beside", listed))

    def count_asked(self) -> int:
        """How often they were asked so far."""
        if self._process is None or self._process.stdin is None:
            raise RuntimeError("the pool does not run")
        self._process.stdin.write(b"asked\n")
        self._process.stdin.flush()
        return int(self._line())

    def _line(self) -> bytes:
        if self._process is None or self._process.stdout is None:
            raise RuntimeError("the pool does not run")
        if not (line := self._process.stdout.readline()):
            raise RuntimeError("the pool has ended")
        return line
