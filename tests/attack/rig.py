"""An honest caller beside an attacker: how long its payments take, whether all are made, and what the signer's memory does.

The attacker is a function `(target, seconds)` of a module, run in a process of its own so that it takes nothing of the
honest caller's time but the machine's. It attacks until the seconds are over or it has done its worst, whichever is later,
and counts what it wants to be judged by; what it sends over the pipe is in the report.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

from tests.served import Served, live_body, post, read_answer

MAX_P99_SECONDS = 0.25
MAX_TIMES_QUIET = 5
MAX_GROWTH_BYTES = 64 * 1024 * 1024

QUIET_SECONDS = 1.5
ATTACK_SECONDS = 4.0
MORE_TIMES = 2
PAUSE_SECONDS = 0.02
"""Between two payments of the honest caller."""

CHANGE_EVERY = 10
"""After so many payments the honest caller opens a new connection: those that come during an attack must find a place too."""


class Target(NamedTuple):
    """What an attacker knows: the ports, and what else a test tells it."""

    port: int
    admin_port: int = 0
    told: Any = None


Attack = Callable[[Target, float], Any]


class Report(NamedTuple):
    """What the honest caller met, in seconds and bytes, and what the attacker said."""

    quiet_p99: float
    p99: float
    slowest: float
    paid: int
    turned_away: int
    refused: list[str]
    grown_bytes: int
    said: Any

    @property
    def is_quick(self) -> bool:
        """Whether payments took about as long as without the attacker."""
        return self.p99 <= max(MAX_P99_SECONDS, MAX_TIMES_QUIET * self.quiet_p99)

    def check(self, turned_away: float = 0.0) -> None:
        """The honest caller noticed next to nothing; at most that share of its new connections had to be opened again."""
        assert self.turned_away <= turned_away * self.paid, f"{self.turned_away} new connections were closed, {self.paid} payments made"
        assert not self.refused, f"{len(self.refused)} of {self.paid + len(self.refused)} payments were refused: {self.refused[:3]}"
        assert self.is_quick, f"the p99 is {self.p99:.3f} s, the slowest {self.slowest:.3f} s; {self.quiet_p99:.3f} s when it is quiet"
        assert self.paid >= 10, f"only {self.paid} payments were made"
        assert self.grown_bytes <= MAX_GROWTH_BYTES, f"memory grew by {self.grown_bytes >> 20} MiB"


class HonestCaller:
    """Pays one after the other on a connection that it keeps for a while. `request` makes each request's bytes."""

    def __init__(self, signer: Served, request: Callable[[], bytes] = lambda: post(live_body())) -> None:
        self._signer = signer
        self._request = request
        self.seconds: list[float] = []
        self.refused: list[str] = []
        self.turned_away = 0
        """New connections that were closed before their first request was read."""

        self.largest_bytes = 0

    def pay_until(self, is_over: Callable[[], bool]) -> None:
        """Pays until then; each payment's seconds and each refusal are kept."""
        while not is_over():
            with self._signer.connect() as connection, connection.makefile("rb") as stream:
                for number in range(CHANGE_EVERY):
                    if not self._pay(connection, stream, is_first=number == 0):
                        break
                    self.largest_bytes = max(self.largest_bytes, resident_bytes(self._signer.process.pid))
                    if is_over():
                        return
                    time.sleep(PAUSE_SECONDS)

    def _pay(self, connection: socket.socket, stream: Any, *, is_first: bool) -> bool:
        """False where a new connection gave its place to others before it had said anything: its client comes again."""
        request = self._request()
        began = time.monotonic()
        try:
            connection.sendall(request)
            answer = read_answer(stream)
        except ConnectionError:
            answer = None
        if answer is None and is_first:
            self.turned_away += 1
            return False
        self.seconds.append(time.monotonic() - began)
        if answer is None or answer.status != 200:
            self.refused.append(f"{answer.status} {answer.body[:200]!r}" if answer is not None else "no reply")
            assert answer is not None, "the honest caller's connection was closed in the middle of a payment"
        return True


def p99(seconds: list[float]) -> float:
    """The 99th percentile; of fewer than a hundred the slowest but one, since one may be the machine's."""
    ordered = sorted(seconds)
    return ordered[min(len(ordered) - 2, int(len(ordered) * 0.99))] if len(ordered) > 1 else ordered[0]


def resident_bytes(pid: int) -> int:
    """The memory of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * 4096


def attacked(
    signer: Served,
    attack: Attack,
    *,
    admin_port: int = 0,
    told: Any = None,
    seconds: float = ATTACK_SECONDS,
    request: Callable[[], bytes] = lambda: post(live_body()),
) -> Report:
    """The honest caller alone for a while, then beside the attacker until that is done.

    Once more, and again, where payments were slow: the machine may have been busy with something else.
    """
    report = _attacked(signer, attack, Target(signer.port, admin_port, told), seconds, request)
    for _ in range(MORE_TIMES):
        if report.is_quick or report.refused:
            break
        report = _attacked(signer, attack, Target(signer.port, admin_port, told), seconds, request)
    return report


def _attacked(signer: Served, attack: Attack, target: Target, seconds: float, request: Callable[[], bytes]) -> Report:
    quiet = HonestCaller(signer, request)
    end = time.monotonic() + QUIET_SECONDS
    quiet.pay_until(lambda: time.monotonic() >= end)
    assert not quiet.refused, quiet.refused[:3]
    before = resident_bytes(signer.process.pid)
    honest = HonestCaller(signer, request)
    with attacking(attack, target, seconds) as attacker:
        attacker.wait_until_begun()
        honest.pay_until(lambda: attacker.is_over)
        said = attacker.said()
    paid = len(honest.seconds) - len(honest.refused)
    grown = honest.largest_bytes - before
    return Report(p99(quiet.seconds), p99(honest.seconds), max(honest.seconds), paid, honest.turned_away, honest.refused, grown, said)


class Attacker:
    """The process that attacks."""

    def __init__(self, process: Any, pipe: Connection) -> None:
        self._process = process
        self._pipe = pipe
        self._said: Any = None

    def wait_until_begun(self) -> None:
        """Until the attacker's process is up."""
        assert self._pipe.poll(60), "the attacker did not begin"
        assert self._pipe.recv() == "begun"

    @property
    def is_over(self) -> bool:
        """Whether the attacker is done."""
        return not self._process.is_alive() or self._pipe.poll()

    def said(self) -> Any:
        """What the attack returned. Raises AssertionError where it failed."""
        try:
            outcome, said = self._pipe.recv()
        except EOFError:
            raise AssertionError("the attacker died") from None
        assert outcome == "done", said
        return said


@contextmanager
def attacking(attack: Attack, target: Target, seconds: float) -> Iterator[Attacker]:
    """The attack under way, ended with the test."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_run, args=(attack, target, seconds, theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        yield Attacker(process, ours)
    finally:
        process.terminate()
        process.join(10)
        process.close()
        ours.close()


def _run(attack: Attack, target: Target, seconds: float, pipe: Connection) -> None:
    pipe.send("begun")
    try:
        pipe.send(("done", attack(target, seconds)))
    except BaseException as error:  # noqa: BLE001 - the test says what it was
        pipe.send(("failed", repr(error)))


# --- for attackers ---


def is_due(seconds: float) -> Callable[[], bool]:
    """A question that is answered yes until the seconds are over."""
    end = time.monotonic() + seconds
    return lambda: time.monotonic() < end


def throw(port: int, *pieces: bytes, patience: float = 10) -> bytes:
    """Sends all of it, as far as it is taken, and returns what came back until the end or the patience's."""
    with contextlib.closing(socket.create_connection(("127.0.0.1", port), patience)) as connection:
        with contextlib.suppress(OSError):
            for piece in pieces:
                connection.sendall(piece)
        answer = bytearray()
        with contextlib.suppress(OSError):
            while more := connection.recv(65536):
                answer += more
        return bytes(answer)


def open_many(port: int, count: int) -> list[socket.socket]:
    """So many connections, as far as the machine and the signer let them be."""
    crowd = []
    with contextlib.suppress(OSError):
        for _ in range(count):
            crowd.append(socket.create_connection(("127.0.0.1", port), 5))
    return crowd


def send_some(connection: socket.socket, data: bytes | memoryview) -> int:
    """What the connection takes without waiting, in bytes; -1 where it is gone."""
    connection.setblocking(False)
    try:
        return connection.send(data)
    except BlockingIOError:
        return 0
    except OSError:
        return -1
