"""The server's HTTP protocol class: paying routes are answered from the parser's callbacks, the rest goes to ASGI.

Built on uvicorn's httptools protocol, whose parsing, pipelining and draining stay in use. What it saves for a paying
request: the ASGI scope, a task, an event and two messages. Connections are timed by one sweep a second (`sweep`)
instead of a timer for each request.
"""

from __future__ import annotations

from collections.abc import Awaitable
from http import HTTPStatus
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from livepeer_remote_signer.api.errors import error_reply
from livepeer_remote_signer.api.front import Front
from livepeer_remote_signer.api.paying import new_request_id
from livepeer_remote_signer.api.reply import Reply
from livepeer_remote_signer.core.errors import SignerError

IDLE_SECONDS = 75.0
"""How long an idle connection is kept: longer than the keep-alive of the proxies and clients in front of us."""

_STATUS_LINES = {
    **{status: f"HTTP/1.1 {status} \r\n".encode() for status in range(400, 600)},
    **{s.value: f"HTTP/1.1 {s.value} {s.phrase}\r\n".encode() for s in HTTPStatus},
}
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class _Signal:
    """Stands where uvicorn keeps an event for its cycle: nobody waits for ours."""

    def set(self) -> None: ...


class _PayingCycle:
    """One paying request on one connection, in the shape that uvicorn's protocol keeps its cycles in."""

    __slots__ = ("chunks", "disconnected", "keep_alive", "length", "path", "response_complete")
    message_event = _Signal()

    def __init__(self, path: str, keep_alive: bool) -> None:
        self.path = path
        self.keep_alive = keep_alive
        self.chunks: list[bytes] = []
        self.length = 0
        self.disconnected = False
        self.response_complete = False


class PaymentProtocol(HttpToolsProtocol):
    """Answers the paying routes of `front` itself. Made by `payment_protocol`."""

    front: Front
    paying_urls: dict[bytes, str]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.deadline: float | None = self.loop.time() + IDLE_SECONDS
        self._paying: _PayingCycle | None = None
        self.draining = False

    def sweep(self, now: float) -> None:
        """Closes a connection whose client let its time pass."""
        if self.deadline is None or now < self.deadline or self.transport.is_closing():
            return
        if self._paying is not None and not self._paying.response_complete:
            self._refuse(self._paying, self.front.limits.timeout())
        else:
            self.transport.close()

    def drain(self) -> None:
        """From now on every reply closes its connection; an idle one stays open until its next request or the end."""
        self.draining = True
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.keep_alive = False

    # --- the parser's callbacks ---

    def on_message_begin(self) -> None:
        self.url = b""
        self.expect_100_continue = False
        self.headers = []
        self.deadline = self.loop.time() + self.front.limits.timeout_seconds

    def on_headers_complete(self) -> None:
        path = self.paying_urls.get(self.url)
        busy = self.cycle is not None and not self.cycle.response_complete
        if path is None or busy or self.parser.get_method() != b"POST" or self.flow.write_paused or self.parser.should_upgrade():
            self._hand_over()
            return
        keep_alive = not self.draining and self.parser.get_http_version() != "1.0" and self.parser.should_keep_alive()
        paying = self._paying = _PayingCycle(path, keep_alive)
        self.cycle = cast(Any, paying)
        for name, value in self.headers:
            if name == b"content-length" and value.isdigit():
                self._check_length(paying, int(value[:20]))
        if self.expect_100_continue and not paying.response_complete:
            self.transport.write(_CONTINUE)

    def _hand_over(self) -> None:
        """The request goes the ordinary way; its scope is only built now."""
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expects
        self.headers.extend(headers)
        self._paying = None
        super().on_headers_complete()
        if self.draining:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        paying = self._paying
        if paying is None:
            super().on_body(body)
        elif not paying.response_complete:
            paying.chunks.append(body)
            paying.length += len(body)
            self._check_length(paying, paying.length)

    def on_message_complete(self) -> None:
        self.deadline = None
        paying = self._paying
        if paying is None:
            super().on_message_complete()
            return
        self._paying = None
        if paying.response_complete:
            return
        chunks = paying.chunks
        body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        answer = self.front.paying.respond(paying.path, self.headers, body, self.client[0] if self.client else "")
        if isinstance(answer, Reply):
            self._write(paying, answer)
            return
        task = self.loop.create_task(self._answer_later(paying, answer))
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()
            self.timeout_keep_alive_task = None
            self.deadline = self.loop.time() + IDLE_SECONDS

    # --- replies ---

    async def _answer_later(self, paying: _PayingCycle, answer: Awaitable[Reply]) -> None:
        self._write(paying, await answer)

    def _check_length(self, paying: _PayingCycle, length: int) -> None:
        try:
            self.front.limits.check_length(length)
        except SignerError as error:
            self._refuse(paying, error)

    def _refuse(self, paying: _PayingCycle, error: SignerError) -> None:
        """A refusal while the body is on its way: what is still to come cannot be told from the next request."""
        paying.keep_alive = False
        paying.chunks.clear()
        self._write(paying, error_reply(error, new_request_id()))

    def _write(self, paying: _PayingCycle, reply: Reply) -> None:
        if paying.response_complete:
            return
        paying.response_complete = True
        transport = self.transport
        if paying.disconnected or transport.is_closing():
            return
        parts = [_STATUS_LINES[reply.status]]
        for name, value in reply.headers:
            parts += (name, b": ", value, b"\r\n")
        for name, value in self.server_state.default_headers:
            parts += (name, b": ", value, b"\r\n")
        parts.append(b"content-length: %d\r\n" % len(reply.body))
        parts.append(b"\r\n" if paying.keep_alive else b"connection: close\r\n\r\n")
        parts.append(reply.body)
        transport.write(b"".join(parts))
        self.server_state.total_requests += 1
        if not paying.keep_alive:
            transport.close()
        elif self.pipeline:
            self.on_response_complete()
        else:
            self.deadline = self.loop.time() + IDLE_SECONDS


def payment_protocol(front: Front) -> type[PaymentProtocol]:
    """The protocol class that answers `front`'s paying routes."""
    urls = {path.encode(): path for path in front.paying.paths}
    return type("BoundPaymentProtocol", (PaymentProtocol,), {"front": front, "paying_urls": urls})
