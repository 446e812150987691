"""The ASGI application: paying routes first, everything else to FastAPI, one envelope for every error.

Bodies are bounded in size and time before anything is done with them. A slow client holds no place among the requests
in work: only a body that has arrived counts.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Iterable, MutableMapping, Sequence
from inspect import isawaitable
from typing import Any, TypeAlias

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from livepeer_remote_signer.api.bounds import Bounds
from livepeer_remote_signer.api.errors import internal_reply
from livepeer_remote_signer.api.openapi import with_admin
from livepeer_remote_signer.api.pages import PageRules, check_one_host
from livepeer_remote_signer.api.paying import PayingRoutes, new_request_id
from livepeer_remote_signer.api.refusals import CALLER, OTHER_ROUTE, caller_of, peer_of, refusal_reply
from livepeer_remote_signer.api.reply import Headers, Reply
from livepeer_remote_signer.core.errors import MethodNotAllowed, Overloaded, SignerError
from livepeer_remote_signer.core.rules.callers import Network, caller_group, client_address
from livepeer_remote_signer.core.rules.fairness import is_dear
from livepeer_remote_signer.service.turns import TURN_TICKETS, SigningTurns

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]

EXPOSED_HEADERS = ("Livepeer-Orchestrator-URL", "X-Request-Id", "Retry-After", "Link", "ETag")
"""Reply headers that a browser's page may read (section 13 of the protocol)."""

MAX_DEAR_BODIES = 16
"""How many may wait on other routes than the paying ones: these hold their places in the name of an address that others may share."""

_OWN_ERROR = re.compile(r"^livepeer_remote_signer[\w.]*: ")
"""An error of ours says all in its message; where its class stands helps nobody who configures the service."""

_log = logging.getLogger(__name__)


class Front:
    """The outermost application. `paying` is also what the server's protocol class answers from."""

    def __init__(
        self,
        paying: PayingRoutes,
        rest: FastAPI,
        bounds: Bounds,
        pages: PageRules,
        admin: FastAPI | None = None,
        on_reply: Callable[[str, int], None] = lambda route, status: None,
        admin_proxies: Sequence[Network] = (),
    ) -> None:
        self.paying = paying
        self.on_reply = on_reply
        """Told the route (its pattern, or `other`) and status of each reply that the paying routes did not make."""
        self.admin = AdminFront(admin, bounds, admin_proxies) if admin is not None else None
        """What the admin listener answers, where there is one."""
        self.bounds = bounds
        self.limits = bounds.limits
        self.admits = pages.admits
        self._pages = pages
        self.paying_paths = paying.paths
        self.respond = paying.respond
        self.caller_at = paying.caller_at
        self.answers_browsers = bool(pages.allow_origins)
        self._allow_origins = pages.allow_origins
        self.startup_failure: str | None = None
        """Why the application could not start, in one line."""
        self._rest = rest
        self._readings = SigningTurns()
        self._describe_admin = admin.openapi if admin is not None else None
        self._app: Callable[[Scope, Receive, Send], Awaitable[None]] = self._answer
        if pages.allow_origins:
            self._app = CORSMiddleware(
                self._answer,
                allow_origins=tuple(pages.allow_origins),
                allow_methods=("GET", "POST"),
                allow_headers=("*",),
                expose_headers=EXPOSED_HEADERS,
                max_age=3600,
            )

    def browser_headers(self, request_headers: Iterable[tuple[bytes, bytes]]) -> Headers:
        """What lets a browser's page read a reply that does not pass the CORS middleware; empty for every other caller."""
        origin = next((value for name, value in request_headers if name == b"origin"), None)
        if origin is None or not self.answers_browsers:
            return ()
        allowed = b"*" if "*" in self._allow_origins else origin if origin.decode("latin-1") in self._allow_origins else None
        granted = () if allowed is None else ((b"access-control-allow-origin", allowed),)
        return (*granted, (b"access-control-expose-headers", ", ".join(EXPOSED_HEADERS).encode()), (b"vary", b"Origin"))

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI description of the JSON API, with the admin listener's routes where there is one."""
        public = self._rest.openapi()
        return public if self._describe_admin is None else with_admin(public, self._describe_admin())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._rest(scope, receive, self._noting_failure(send))
        elif scope["type"] == "http":
            send = _with_request_id(send)
            scope[CALLER] = self.caller_at(peer_of(scope), scope["headers"])
            try:
                check_one_host(scope["headers"], scope.get("http_version", ""))
                self._pages.check(scope["path"], scope["headers"])
            except SignerError as error:
                await send_reply(self._refused(error, scope), send)
            else:
                await self._app(scope, receive, send)
        else:
            await self._rest(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            if scope["path"] in self.paying.paths:
                reply = await self._pay(scope, receive)
            else:
                body = await self._read_body(scope, receive)
                await self._ask_rest(scope, body, receive, send)
                return
        except SignerError as error:
            reply = self._refused(error, scope)
        except _Disconnected:
            return
        await send_reply(reply, send)

    def _refused(self, error: SignerError, scope: Scope) -> Reply:
        route = scope["path"] if scope["path"] in self.paying.paths else OTHER_ROUTE
        reply = refusal_reply(error, route, caller_of(scope))
        self.on_reply(route, reply.status)
        return reply

    async def _pay(self, scope: Scope, receive: Receive) -> Reply:
        if scope["method"] != "POST":
            raise MethodNotAllowed(f"{scope['path']} takes POST, not {scope['method'][:16]}", allow="POST")
        body = await self._read_body(scope, receive)
        client = scope.get("client")
        answer = self.paying.respond(scope["path"], list(scope["headers"]), body, client[0] if client else "")
        return await answer if isawaitable(answer) else answer

    async def _ask_rest(self, scope: Scope, body: bytes, receive: Receive, send: Send) -> None:
        """The other routes; what reads only memory, such as the health of the process, answers under any load.

        HEAD is asked as GET: the server leaves the body out.
        """
        if scope["method"] == "HEAD":
            scope = {**scope, "method": "GET"}
        replay = _replay(body, receive)
        if scope["method"] != "POST":
            await self._guarded(scope, replay, send)
            return
        with self.paying.place(caller_of(scope), body):
            if is_dear(body):
                await self._take_turn(scope)
            await self._guarded(scope, replay, send)

    async def _take_turn(self, scope: Scope) -> None:
        """Until a body of many values may be read. Raises Overloaded."""
        if self._readings.waiting >= MAX_DEAR_BODIES:
            raise Overloaded(
                f"{MAX_DEAR_BODIES} bodies of more than a thousand values wait to be read",
                hint="send them one after the other",
                retry_after_seconds=1,
                limit=MAX_DEAR_BODIES,
            )
        await self._readings.take(caller_of(scope), TURN_TICKETS)

    async def _guarded(self, scope: Scope, receive: Receive, send: Send) -> None:
        status = 0

        async def noting(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self._rest(scope, receive, noting)
        except Exception:  # noqa: BLE001 - logged here or by the handler that answered
            if status == 500:  # logged and answered; Starlette raises it again for servers that only log
                return
            request_id = new_request_id()
            _log.exception("request %s to %s failed", request_id, scope["path"][:200], extra={"fields": {"request_id": request_id}})
            if not status:
                status = 500
                await send_reply(internal_reply(request_id), send)
        finally:
            if status:
                self.on_reply(getattr(scope.get("route"), "path", OTHER_ROUTE), status)

    async def _read_body(self, scope: Scope, receive: Receive) -> bytes:
        """The whole body. Raises BodyTooLarge, before reading where the length is announced, or BodyTimeout."""
        self.limits.check_announced(scope["headers"])
        chunks: list[bytes] = []
        length = 0
        try:
            async with asyncio.timeout(self.limits.timeout_seconds):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise _Disconnected
                    chunks.append(message.get("body", b""))
                    length += len(chunks[-1])
                    if length > self.limits.max_bytes:
                        raise self.limits.too_large()
                    if not message.get("more_body", False):
                        return b"".join(chunks)
        except TimeoutError:
            raise self.limits.timeout() from None

    def _noting_failure(self, send: Send) -> Send:
        """Keeps the last line of a failed start: the traceback before it helps nobody who configures the service."""

        async def noting(message: Message) -> None:
            if message["type"] == "lifespan.startup.failed":
                lines = str(message.get("message", "")).strip().splitlines()
                self.startup_failure = _OWN_ERROR.sub("", lines[-1]) if lines else "the application failed to start"
                message = {**message, "message": self.startup_failure}
            await send(message)

        return noting


class AdminFront:
    """The application of the admin listener, with the bounds of the public one: no paying routes, and no pages of others."""

    paying_paths: frozenset[str] = frozenset()
    answers_browsers = False

    def __init__(self, app: FastAPI, bounds: Bounds, trusted_proxies: Sequence[Network] = ()) -> None:
        self.bounds = bounds
        self._app = app
        self._trusted_proxies = tuple(trusted_proxies)

    def caller_at(self, peer: str, headers: Iterable[tuple[bytes, bytes]]) -> str:
        """Under which address a request counts."""
        return caller_group(client_address(peer, headers, self._trusted_proxies))

    def respond(
        self, path: str, headers: list[tuple[bytes, bytes]], body: bytes, peer: str, has_left: Callable[[], bool] | None = None
    ) -> Reply:
        """Never asked: there are no paying routes here."""
        raise NotImplementedError(path)

    def admits(self, path: str, headers: Iterable[tuple[bytes, bytes]]) -> bool:
        """Whatever has the admin token, which no page has."""
        return True

    def browser_headers(self, request_headers: Iterable[tuple[bytes, bytes]]) -> Headers:
        """Nothing: no page of another origin may read what is said here."""
        return ()

    def on_reply(self, route: str, status: int) -> None:
        """Replies of this listener are not counted among those of the service."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope[CALLER] = self.caller_at(peer_of(scope), scope["headers"])
        await self._app(scope, receive, send)


class _Disconnected(Exception):
    """The client left before its body was complete: nobody waits for a reply."""


def _replay(body: bytes, receive: Receive) -> Receive:
    """`receive` for an application behind us, with the body that was already read."""
    pending = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return pending.pop() if pending else await receive()

    return replay


def _with_request_id(send: Send) -> Send:
    """`send` that names the request in every reply, also in one that none of our code made."""

    async def stamped(message: Message) -> None:
        if message["type"] == "http.response.start" and not any(name == b"x-request-id" for name, _ in message["headers"]):
            message["headers"] = [*message["headers"], (b"x-request-id", new_request_id().encode())]
        await send(message)

    return stamped


async def send_reply(reply: Reply, send: Send) -> None:
    """One reply as ASGI messages."""
    headers = [*reply.headers, (b"content-length", str(len(reply.body)).encode())]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})
