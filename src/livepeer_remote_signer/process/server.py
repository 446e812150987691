"""Runs the application under uvicorn with our protocol class: one process, one event loop, drained on SIGTERM.

Draining loses no request: the listener closes first, replies carry `connection: close`, and an idle connection stays
open for a while, because a client may have sent its next request before it could know.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import coincurve
import uvicorn

from livepeer_remote_signer.api.front import AdminFront, Front
from livepeer_remote_signer.api.server_protocol import PaymentProtocol, payment_protocol
from livepeer_remote_signer.process.descriptors import FileTable
from livepeer_remote_signer.process.listening import BACKLOG, StartupError, turn_away
from livepeer_remote_signer.process.workers import RETIRE_SIGNAL, Worker

IDLE_GRACE_SECONDS = 2.0
"""How long a process that ends still takes a request on a connection that looks idle."""

GC_THRESHOLDS = (20_000, 20, 50)
"""A payment makes some hundred objects and no cycles; the default of 700 collects several times a millisecond."""

SETTLE_SECONDS = 0.1
"""How long a process that ends still accepts what the kernel has taken for it."""

LATE_SECONDS = 0.5
"""A tick that comes so much later than the one before follows a pause: what arrived meanwhile is still unread."""

_SWEEP_SECONDS = 1.0
_log = logging.getLogger(__name__)


def assert_fast_parts() -> None:
    """Raises StartupError where a slow fallback would be used without a word."""
    if not hasattr(coincurve, "PrivateKey"):
        raise StartupError("coincurve is not usable: signatures would take thirty times as long")
    for module, why in (("uvloop", "the event loop"), ("httptools", "the HTTP parser")):
        try:
            __import__(module)
        except ImportError as error:
            raise StartupError(f"{module}, {why}, cannot be imported: {error}") from None


class AdminServer:
    """The admin listener, in the same process and event loop: it has no signals, lifespan or loop of its own."""

    def __init__(self, app: AdminFront, listener: socket.socket) -> None:
        config = uvicorn.Config(
            app,
            http=payment_protocol(app),
            ws="none",
            lifespan="off",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            log_config=None,
            timeout_graceful_shutdown=1,
        )
        self._listener = listener
        self._server = uvicorn.Server(config)

    async def begin(self) -> None:
        """Accepts connections."""
        self._server.config.load()
        self._server.lifespan = self._server.config.lifespan_class(self._server.config)
        await self._server.startup([self._listener])

    @property
    def connections(self) -> list[PaymentProtocol]:
        """Those that are open."""
        return _connections_of(self._server)

    async def end(self) -> None:
        """Answers what is in work, then closes."""
        await self._server.shutdown([self._listener])


class SignerServer(uvicorn.Server):
    """uvicorn's server, with connections timed by a sweep and drained without losing a request."""

    def __init__(self, config: uvicorn.Config, front: Front, admin: AdminServer | None = None, worker: Worker | None = None) -> None:
        super().__init__(config)
        self._front = front
        self._admin = admin
        self._worker = worker
        self._idle_grace_seconds = IDLE_GRACE_SECONDS
        self._next_sweep = 0.0
        self._last_tick = float("inf")
        self._was_late = False
        self._files = FileTable(lambda: front.bounds.places.taken)
        self._owns_process = False

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Serves until a signal says otherwise; this process is for nothing else. Raises StartupError."""
        self._owns_process = True
        super().run(sockets)

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second."""
        self._sweep()
        return await super().on_tick(counter)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Raises StartupError. What start-up made stays: the collector need not look at it again, and looks less often."""
        try:
            await super().startup(sockets)
        except SystemExit:
            raise StartupError(self._front.startup_failure or "the application could not be started") from None
        if self._admin is not None and self.started:
            await self._admin.begin()
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)
        gc.enable()
        for listener in sockets or ():
            host, port = listener.getsockname()[:2]
            _log.info("listening on http://%s:%d", f"[{host}]" if ":" in host else host, port)
        if self._worker is not None:
            asyncio.get_running_loop().add_reader(self._worker.lifeline, self._follow_supervisor, self._worker.lifeline)
            self._worker.report_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stops accepting, answers what is in work and what arrives within the grace, then closes."""
        if self._worker is None:  # the supervisor has done so for all workers, or others go on accepting
            for listener in sockets or ():
                turn_away(listener)
        if self._idle_grace_seconds < float("inf"):
            await asyncio.sleep(SETTLE_SECONDS)
        for server in self.servers:
            server.close()
        for listener in sockets or ():
            listener.close()
        drain_seconds = self.config.timeout_graceful_shutdown or IDLE_GRACE_SECONDS
        loop = asyncio.get_running_loop()
        began = loop.time()
        while self.server_state.connections and loop.time() < began + drain_seconds and not self.force_exit:
            is_late = loop.time() >= began + self._idle_grace_seconds
            for connection in self._connections():
                if is_late:
                    connection.shutdown()
                else:
                    connection.drain()
            self._sweep()
            await asyncio.sleep(0.05)
        if self.server_state.connections:
            _log.warning("%d connections are still busy after %g s and are closed", len(self.server_state.connections), drain_seconds)
            for connection in self._connections():
                connection.transport.abort()
        if self._admin is not None:
            await self._admin.end()
        await super().shutdown()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """SIGTERM and SIGINT drain and end with status 0; SIGHUP ends nothing."""
        if not self._owns_process:
            with super().capture_signals():
                yield
            return
        handlers: dict[int, Callable[[int, FrameType | None], object]] = {
            signal.SIGTERM: self.handle_exit,
            signal.SIGINT: self.handle_exit,
            RETIRE_SIGNAL: self.handle_exit,
            signal.SIGHUP: self._explain_hangup,
        }
        before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begins to drain; without hurry where other workers accept already."""
        self._idle_grace_seconds = float("inf") if sig == RETIRE_SIGNAL else IDLE_GRACE_SECONDS
        super().handle_exit(sig, frame)

    def _explain_hangup(self, _: int, __: FrameType | None) -> None:
        if self._worker is None:
            _log.warning(
                "SIGHUP: nothing happens. One process cannot restart itself without a gap: `serve --workers 2` (or more) can; "
                "SIGTERM ends this one"
            )

    def _follow_supervisor(self, lifeline: int) -> None:
        """Nobody would restart this worker or end it: it drains and leaves."""
        asyncio.get_running_loop().remove_reader(lifeline)
        _log.warning("the supervisor is gone: this worker leaves")
        self.should_exit = True

    def _connections(self) -> list[PaymentProtocol]:
        return _connections_of(self)

    def _sweep(self) -> None:
        """Once a second connections that let their time pass are closed: after a pause not before what lies in them was read."""
        now = asyncio.get_running_loop().time()
        is_late = now > self._last_tick + LATE_SECONDS and not self._was_late
        self._last_tick, self._was_late = now, is_late
        if now >= self._next_sweep and not is_late:
            self._next_sweep = now + _SWEEP_SECONDS
            if not self._files.look(now):
                self._front.bounds.places.note_full_table()
            for connection in (*self._connections(), *(self._admin.connections if self._admin is not None else ())):
                connection.sweep(now)


def _connections_of(server: uvicorn.Server) -> list[PaymentProtocol]:
    return [connection for connection in server.server_state.connections if isinstance(connection, PaymentProtocol)]


def make_server(
    app: Front, drain_seconds: float, admin_listener: socket.socket | None = None, worker: Worker | None = None
) -> SignerServer:
    """A server that is not running yet, and with it the admin application's on `admin_listener`. Raises StartupError."""
    assert_fast_parts()
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # what it reports is said here, without tracebacks
    config = uvicorn.Config(
        app,
        http=payment_protocol(app),
        ws="none",
        loop="livepeer_remote_signer.process.loop:Loop",
        lifespan="on",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        log_config=None,
        backlog=BACKLOG,
        timeout_graceful_shutdown=max(1, round(drain_seconds)),
    )
    admin = AdminServer(app.admin, admin_listener) if app.admin is not None and admin_listener is not None else None
    return SignerServer(config, app, admin, worker)
