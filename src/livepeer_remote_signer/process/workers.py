"""`serve --workers N`: one listening socket, N processes that accept on it, and a supervisor that only looks after them.

The supervisor opens the socket once and never reads from it. Workers are fresh interpreters, so a restart (SIGHUP) picks
up new code and configuration: the new ones start first, and when they report on a pipe that they are ready, the old ones
stop accepting, answer what they have and leave. Connections that wait to be accepted wait at the shared socket, so
none of them is lost with a worker. SIGTERM and SIGINT end all of it after draining.

What a worker finds in its environment: `LRS_LISTENERS` (name=descriptor), `LRS_READY` and `LRS_LIFELINE` (descriptors),
`LRS_WORKER` (its number, used again once a worker is gone) and `LRS_WORKER_DIR` (a folder that all workers share).

Why not uvicorn's own supervisor: it ends each old worker before the new one is started, so a restart serves with one worker
less for the two seconds that a start takes, and with none where there is one. Here no request of a restart under load is lost.
"""

from __future__ import annotations

import logging
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from livepeer_remote_signer.process.fleet import Ending, Fleet, Spawn, Tell
from livepeer_remote_signer.process.folder import SharedFolder, base_folder
from livepeer_remote_signer.process.listening import StartupError, turn_away

LISTENERS_VARIABLE = "LRS_LISTENERS"
READY_VARIABLE = "LRS_READY"
LIFELINE_VARIABLE = "LRS_LIFELINE"
NUMBER_VARIABLE = "LRS_WORKER"
FOLDER_VARIABLE = "LRS_WORKER_DIR"

RETIRE_SIGNAL = signal.SIGUSR1
"""Drain without hurry: others accept already, so idle connections may stay until their next request."""

_TICK_SECONDS = 0.25
_CALM_SECONDS = 1.0
"""How often it is looked whether the workers' folder is still there, while nothing else is to be done."""

_SIGNALS = {"stop": signal.SIGTERM, "retire": RETIRE_SIGNAL, "kill": signal.SIGKILL}
_log = logging.getLogger(__name__)


class Worker(NamedTuple):
    """What a worker process was given by its supervisor."""

    number: int
    listeners: Mapping[str, socket.socket]
    ready: int
    lifeline: int
    """Readable when the supervisor is gone."""

    folder: Path
    """Shared by all workers; gone with the supervisor."""

    def report_ready(self) -> None:
        """Tells the supervisor that connections are accepted."""
        os.write(self.ready, b"ready")
        os.close(self.ready)


def inherited_worker(environ: MutableMapping[str, str]) -> Worker | None:
    """What the supervisor gave to this process, None where there is none. Its descriptors are taken out of `environ`."""
    if READY_VARIABLE not in environ:
        return None
    named = dict(pair.split("=") for pair in environ.pop(LISTENERS_VARIABLE).split(","))
    listeners = {name: socket.socket(fileno=int(descriptor)) for name, descriptor in named.items()}
    ready, lifeline = int(environ.pop(READY_VARIABLE)), int(environ.pop(LIFELINE_VARIABLE))
    return Worker(int(environ[NUMBER_VARIABLE]), listeners, ready, lifeline, Path(environ[FOLDER_VARIABLE]))


class Orders(NamedTuple):
    """What of the configuration the supervisor goes by."""

    drain_seconds: float
    in_turn: bool
    """Whether a worker's start takes so much memory that only one may start at a time."""


@dataclass
class _Process:
    handle: subprocess.Popen[bytes]
    ready: int
    """Our end of the pipe on which it reports."""


class Supervisor:
    """Starts, watches and ends the workers. For one `run`."""

    def __init__(
        self,
        command: list[str],
        count: int,
        listeners: Mapping[str, socket.socket],
        orders: Orders,
        reread: Callable[[], Orders | None],
    ) -> None:
        """`reread` checks the configuration before a restart: its orders, or None when it cannot be used.

        Raises StartupError where no folder can be made.
        """
        self._command = command
        self._listeners = listeners
        self._reread = reread
        self._fleet = Fleet(count, orders.drain_seconds, in_turn=orders.in_turn)
        self._processes: dict[int, _Process] = {}
        self._asked: list[int] = []
        self._selector = selectors.DefaultSelector()
        self._folder = SharedFolder(base_folder(os.environ))
        self._lifeline = (-1, -1)

    def run(self) -> int:
        """The exit status: 0 after it was asked to end, 1 when the service never came up."""
        self._lifeline = os.pipe()
        try:
            with self._signals():
                while not self._fleet.is_over:
                    self._step()
        finally:
            for descriptor in self._lifeline:  # whoever is still there drains and leaves
                os.close(descriptor)
            self._folder.remove()
        return 1 if self._fleet.has_failed else 0

    def _step(self) -> None:
        is_calm = not (self._fleet.is_timed or self._fleet.is_stopping)
        for key, _ in self._selector.select(_CALM_SECONDS if is_calm else _TICK_SECONDS):
            if key.data is None:
                os.read(key.fd, 4096)
            else:
                self._read_report(key.data)
        self._folder.keep()
        while self._asked:
            self._heed(self._asked.pop(0))
        for number, process in list(self._processes.items()):
            if (status := process.handle.poll()) is not None:
                self._bury(number, process, status)
        for action in self._fleet.actions(time.monotonic()):
            if isinstance(action, Spawn):
                self._spawn(action.slot)
            else:
                self._tell(action)

    # --- what happened ---

    def _heed(self, number: int) -> None:
        if number == signal.SIGHUP:
            self._restart()
        elif number in (signal.SIGTERM, signal.SIGINT):
            if self._fleet.is_stopping and number == signal.SIGINT:
                for process in self._processes.values():
                    process.handle.kill()
            self._fleet.stop()
            for listener in self._listeners.values():
                turn_away(listener)
                listener.close()  # nobody shall wait at a socket that nobody accepts on

    def _restart(self) -> None:
        orders = self._reread()
        if orders is None:
            _log.error("SIGHUP: the configuration cannot be used, nothing is restarted")
            return
        self._fleet.drain_seconds, self._fleet.in_turn = orders
        if self._fleet.restart():
            _log.info("SIGHUP: starting new workers; the old ones leave when those are ready")
        else:
            _log.info("SIGHUP: a restart is on its way; another follows it")

    def _read_report(self, number: int) -> None:
        process = self._processes[number]
        self._selector.unregister(process.ready)
        said = os.read(process.ready, 16)
        os.close(process.ready)
        process.ready = -1
        if said:
            self._fleet.ready(number)
            _log.info("worker %d (pid %d) is ready", number, process.handle.pid)

    def _bury(self, number: int, process: _Process, status: int) -> None:
        del self._processes[number]
        if process.ready >= 0:
            self._selector.unregister(process.ready)
            os.close(process.ready)
        ending = self._fleet.exited(number, time.monotonic())
        say = _log.info if ending is Ending.ASKED else _log.error
        hint = "" if ending is Ending.ASKED or status != -signal.SIGKILL else "; the kernel kills so where memory is short"
        say("worker %d (pid %d) ended with %s: it %s%s", number, process.handle.pid, _status_text(status), ending.value, hint)

    # --- what to do ---

    def _spawn(self, number: int) -> None:
        reading, writing = os.pipe()
        named = ",".join(f"{name}={listener.fileno()}" for name, listener in self._listeners.items())
        environ = {
            **os.environ,
            LISTENERS_VARIABLE: named,
            READY_VARIABLE: str(writing),
            LIFELINE_VARIABLE: str(self._lifeline[0]),
            NUMBER_VARIABLE: str(number),
            FOLDER_VARIABLE: str(self._folder.path),
        }
        given = (writing, self._lifeline[0], *(listener.fileno() for listener in self._listeners.values()))
        try:
            handle = subprocess.Popen(  # noqa: S603 - our own command
                self._command,
                env=environ,
                pass_fds=given,
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # a Ctrl-C in the terminal reaches the supervisor alone
            )
        except OSError as error:
            os.close(reading)
            ending = self._fleet.exited(number, time.monotonic())
            _log.error("worker %d could not be started (%s): it %s", number, error.strerror, ending.value)
            return
        finally:
            os.close(writing)
        self._processes[number] = _Process(handle, reading)
        self._selector.register(reading, selectors.EVENT_READ, number)

    def _tell(self, action: Tell) -> None:
        process = self._processes[action.slot]
        if action.what == "kill":
            _log.error("worker %d (pid %d) let its time pass and is killed", action.slot, process.handle.pid)
        process.handle.send_signal(_SIGNALS[action.what])

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Signals become work for the next step."""
        reading, writing = os.pipe()
        os.set_blocking(reading, False)
        os.set_blocking(writing, False)
        self._selector.register(reading, selectors.EVENT_READ, None)
        before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        handlers: dict[int, Any] = {}
        for asked in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            handlers[asked] = signal.signal(asked, lambda received, _: self._asked.append(received))
        handlers[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda *_: None)
        try:
            yield
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(before)
            self._selector.close()
            os.close(reading)
            os.close(writing)


def supervise(
    config_path: str,
    count: int,
    listeners: Mapping[str, socket.socket],
    orders: Orders,
    reread: Callable[[], Orders | None],
) -> int:
    """Runs `count` workers of `serve --config config_path` until asked to end. The exit status."""
    if not sys.executable:
        raise StartupError("the Python interpreter's path is unknown, so workers cannot be started; use --workers 1")
    command = [sys.executable, "-P", "-m", "livepeer_remote_signer", "serve", "--config", config_path]
    return Supervisor(command, count, listeners, orders, reread).run()


def _status_text(status: int) -> str:
    return signal.Signals(-status).name if status < 0 else f"status {status}"
