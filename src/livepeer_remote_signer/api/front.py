"""The ASGI application: paying routes first, everything else to FastAPI, one envelope for every error.

Bodies are bounded in size and time before anything is done with them. A slow client holds no place among the requests
in work: only a body that has arrived counts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from inspect import isawaitable
from typing import Any, TypeAlias

from fastapi import FastAPI

from livepeer_remote_signer.api.errors import error_reply
from livepeer_remote_signer.api.paying import PayingRoutes, new_request_id
from livepeer_remote_signer.api.reply import Reply
from livepeer_remote_signer.core.errors import BodyTimeout, BodyTooLarge, MethodNotAllowed, SignerError

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]


class BodyLimits:
    """How large a body may be, and how long it may take to arrive."""

    def __init__(self, max_bytes: int, timeout_seconds: float) -> None:
        self.max_bytes = max_bytes
        self.timeout_seconds = timeout_seconds

    def check_length(self, length: int) -> None:
        """Raises BodyTooLarge above the limit."""
        if length > self.max_bytes:
            raise BodyTooLarge(
                f"the body of {length} bytes is larger than the {self.max_bytes} allowed", length=length, limit=self.max_bytes
            )

    def timeout(self) -> BodyTimeout:
        """The refusal of a body that did not arrive in time."""
        return BodyTimeout(f"the body did not arrive within {self.timeout_seconds:g} s", limit_seconds=self.timeout_seconds)


class Front:
    """The outermost application. `paying` is also what the server's protocol class answers from."""

    def __init__(self, paying: PayingRoutes, rest: FastAPI, limits: BodyLimits) -> None:
        self.paying = paying
        self.limits = limits
        self._rest = rest

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI description of the JSON API."""
        return self._rest.openapi()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._rest(scope, receive, send)
            return
        try:
            if scope["path"] in self.paying.paths and scope["method"] != "OPTIONS":
                reply = await self._pay(scope, receive)
            else:
                body = await self._read_body(scope, receive)
                await self._rest(scope, _replay(body, receive), send)
                return
        except SignerError as error:
            reply = error_reply(error, new_request_id())
        except _Disconnected:
            return
        await send_reply(reply, send)

    async def _pay(self, scope: Scope, receive: Receive) -> Reply:
        if scope["method"] != "POST":
            raise MethodNotAllowed(f"{scope['path']} takes POST, not {scope['method'][:16]}", allow="POST")
        body = await self._read_body(scope, receive)
        client = scope.get("client")
        answer = self.paying.respond(scope["path"], list(scope["headers"]), body, client[0] if client else "")
        return await answer if isawaitable(answer) else answer

    async def _read_body(self, scope: Scope, receive: Receive) -> bytes:
        """The whole body. Raises BodyTooLarge, before reading where the length is announced, or BodyTimeout."""
        for name, value in scope["headers"]:
            if name == b"content-length" and value.isdigit():
                self.limits.check_length(int(value[:20]))
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
                    self.limits.check_length(length)
                    if not message.get("more_body", False):
                        return b"".join(chunks)
        except TimeoutError:
            raise self.limits.timeout() from None


class _Disconnected(Exception):
    """The client left before its body was complete: nobody waits for a reply."""


def _replay(body: bytes, receive: Receive) -> Receive:
    """`receive` for an application behind us, with the body that was already read."""
    pending = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return pending.pop() if pending else await receive()

    return replay


async def send_reply(reply: Reply, send: Send) -> None:
    """One reply as ASGI messages."""
    headers = [*reply.headers, (b"content-length", str(len(reply.body)).encode())]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})
