"""Runs the application under uvicorn with our protocol class: one process, one event loop, drained on SIGTERM.

Draining loses no request: the listener closes first, replies carry `connection: close`, and an idle connection stays
open for a moment, because a client may have sent its next request before it could know.
"""

from __future__ import annotations

import asyncio
import gc
import socket

import coincurve
import uvicorn
from fastapi import FastAPI

from livepeer_remote_signer.api.front import Front
from livepeer_remote_signer.api.server_protocol import PaymentProtocol, payment_protocol

IDLE_GRACE_SECONDS = 2.0
"""How long a draining process still takes a request on a connection that looks idle."""

GC_THRESHOLDS = (20_000, 20, 50)
"""A payment makes some hundred objects and no cycles; the default of 700 collects several times a millisecond."""

_SWEEP_TICKS = 10
_BACKLOG = 2048


class StartupError(Exception):
    """The service cannot be served here; the message says what is missing."""


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

    def __init__(self, app: FastAPI, listener: socket.socket) -> None:
        config = uvicorn.Config(
            app,
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

    async def end(self) -> None:
        """Answers what is in work, then closes."""
        await self._server.shutdown([self._listener])


class SignerServer(uvicorn.Server):
    """uvicorn's server, with connections timed by a sweep and drained without losing a request."""

    def __init__(self, config: uvicorn.Config, admin: AdminServer | None = None) -> None:
        super().__init__(config)
        self._admin = admin

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second: once a second connections that let their time pass are closed."""
        if counter % _SWEEP_TICKS == 0:
            now = asyncio.get_running_loop().time()
            for connection in list(self.server_state.connections):
                if isinstance(connection, PaymentProtocol):
                    connection.sweep(now)
        return await super().on_tick(counter)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """What start-up made stays: the collector need not look at it again, and looks at the rest less often."""
        await super().startup(sockets)
        if self._admin is not None and self.started:
            await self._admin.begin()
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stops accepting, answers what is in work and what arrives within the grace, then closes."""
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            if isinstance(connection, PaymentProtocol):
                connection.drain()
        loop = asyncio.get_running_loop()
        idle_until = loop.time() + min(IDLE_GRACE_SECONDS, self.config.timeout_graceful_shutdown or IDLE_GRACE_SECONDS)
        while self.server_state.connections and loop.time() < idle_until and not self.force_exit:
            await asyncio.sleep(0.05)
        if self._admin is not None:
            await self._admin.end()
        await super().shutdown(sockets)


def make_server(app: Front, host: str, port: int, drain_seconds: float, admin_listener: socket.socket | None = None) -> SignerServer:
    """A server that is not running yet, and with it the admin application's on `admin_listener`. Raises StartupError."""
    assert_fast_parts()
    return SignerServer(
        uvicorn.Config(
            app,
            host=host,
            port=port,
            http=payment_protocol(app),
            ws="none",
            loop="uvloop",
            lifespan="on",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            log_config=None,
            backlog=_BACKLOG,
            timeout_graceful_shutdown=max(1, round(drain_seconds)),
        ),
        AdminServer(app.admin, admin_listener) if app.admin is not None and admin_listener is not None else None,
    )


def bind(host: str, port: int) -> socket.socket:
    """A listening socket, non-blocking and inheritable. Raises StartupError when the address cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise StartupError(f"cannot listen on {host}:{port}: {error.strerror}") from None
    listener.listen(_BACKLOG)
    listener.setblocking(False)
    listener.set_inheritable(True)
    return listener
