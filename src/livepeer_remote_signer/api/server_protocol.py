"""The server's HTTP protocol class: paying routes are answered from the parser's callbacks, the rest goes to ASGI.

Built on uvicorn's httptools protocol, whose parsing and pipelining stay in use. What it saves for a paying request: the
ASGI scope, a task, an event and two messages. Rules that hold for every route:

- A request is handed on when all of it has arrived, so that a slow client holds nothing but its connection.
- Head and body are bounded in size and time; connections are timed by one sweep a second (`sweep`), not by timers.
- Replies keep the order of their requests, and nothing after a connection's last reply is looked at.
- After a refusal in the middle of a request the connection is only half closed for a moment: a client that is still
  sending would otherwise lose the reply to a reset.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable
from http import HTTPStatus
from typing import Any, cast

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from livepeer_remote_signer.api.front import Front
from livepeer_remote_signer.api.refusals import OTHER_ROUTE, refusal_reply
from livepeer_remote_signer.api.reply import Reply
from livepeer_remote_signer.core.errors import BadRequest, BodyTooLarge, HeadTooLarge, SignerError

IDLE_SECONDS = 75.0
"""How long an idle connection is kept: longer than the keep-alive of the proxies and clients in front of us."""

LINGER_SECONDS = 2.0
"""How long a half-closed connection is still read, so that the client can take its last reply."""

MAX_HEAD_BYTES = 64 * 1024
"""Of the request line and headers; what arrives in one read with them is not counted."""

MAX_BURST = 16
"""How many replies are made before they are written: the first of them waits for the last."""

_MAX_LINGER_BYTES = 64 * 1024 * 1024
_MAX_CHUNK_OVERHEAD = 8
"""How many bytes may travel for a byte of body: a chunk of two bytes takes seven."""

_STATUS_LINES = {
    **{status: f"HTTP/1.1 {status} \r\n".encode() for status in range(400, 600)},
    **{s.value: f"HTTP/1.1 {s.value} {s.phrase}\r\n".encode() for s in HTTPStatus},
}
_HEADER_LINE = b"%b: %b\r\n"
_VERSIONS = frozenset({"1.0", "1.1"})
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class _Signal:
    """Stands where uvicorn keeps an event for its cycle: nobody waits for ours."""

    def set(self) -> None: ...


class _Trailers(list[tuple[bytes, bytes]]):
    """Where headers go that come after the body: no proxy in front of us looked at them."""

    def append(self, header: tuple[bytes, bytes]) -> None: ...


_TRAILERS = _Trailers()


class _Request:
    """A request from its first byte to its reply, in the shape that uvicorn's protocol keeps its cycles in."""

    __slots__ = (
        "body",
        "disconnected",
        "has_head",
        "headers",
        "is_continued",
        "keep_alive",
        "path",
        "raw_bytes",
        "response_complete",
    )
    message_event = _Signal()

    def __init__(self, headers: list[tuple[bytes, bytes]]) -> None:
        self.headers = headers
        self.has_head = False
        self.path: str | None = None
        self.keep_alive = False
        self.body: bytes | bytearray = b""
        self.raw_bytes = 0
        self.is_continued = False
        self.disconnected = False
        self.response_complete = False


class PaymentProtocol(HttpToolsProtocol):
    """Answers the paying routes of `front` itself. Made by `payment_protocol`."""

    front: Front
    paying_urls: dict[bytes, str]
    waiting: deque[tuple[PaymentProtocol, _Request, bytes]]
    """Paying requests of all connections that have arrived and are not answered yet."""

    answered: deque[tuple[PaymentProtocol, _Request, Reply]]
    """Their replies that are not written yet."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.deadline: float | None = self.loop.time() + IDLE_SECONDS
        self.write_deadline: float | None = None
        self.draining = False
        self._arriving: _Request | None = None
        self._lingering = False
        self._discarded = 0
        self._plain_head = b""

    # --- the connection's life ---

    def sweep(self, now: float) -> None:
        """Ends a connection whose client let its time pass."""
        if self.write_deadline is not None and now >= self.write_deadline:
            self.transport.abort()
            return
        if self.deadline is None or now < self.deadline:
            return
        if self._lingering or self.transport.is_closing():
            self.transport.abort()
        elif self._is_busy():
            return
        elif self._arriving is not None:
            self._refuse(self._arriving, self.front.limits.timeout())
        else:
            self._close()

    def drain(self) -> None:
        """From now on every reply closes its connection; an idle one stays open until its next request or the end."""
        self.draining = True
        if self._is_busy():
            self.cycle.keep_alive = False
        if self._arriving is not None:
            self._arriving.keep_alive = False

    def shutdown(self) -> None:
        """The end of draining: an idle connection closes, others after their reply."""
        self.drain()
        if not self._is_busy() and self._arriving is None:
            self._close()

    def data_received(self, data: bytes) -> None:
        if self._lingering:
            self._discarded += len(data)
            if self._discarded > _MAX_LINGER_BYTES:
                self.transport.abort()
            return
        before, length = self._arriving, len(data)
        while data:
            data = self._feed(data)
        arriving = self._arriving
        if arriving is not None:
            self._await_rest(arriving, length if arriving is before else 0)

    def _feed(self, data: bytes) -> bytes:
        """Parses; what it returns is to be parsed next."""
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            head, self._plain_head = self._plain_head, b""
            if head:
                self.parser = httptools.HttpRequestParser(self)
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
                return head + data[upgrade.args[0] :]
        except httptools.HttpParserError as error:
            self._refuse(self._arriving or _Request([]), BadRequest(f"not an HTTP/1.1 request: {_reason(error)}"))
        return b""

    def eof_received(self) -> bool:  # type: ignore[override]  # asyncio lets it say that sending goes on
        """A client that only closed its sending side still gets the reply that is in work."""
        if not self._is_busy():
            return False
        self.cycle.keep_alive = False
        return True

    def pause_writing(self) -> None:
        super().pause_writing()
        self.write_deadline = self.loop.time() + self.front.limits.timeout_seconds

    def resume_writing(self) -> None:
        super().resume_writing()
        self.write_deadline = None

    # --- the parser's callbacks ---

    def on_message_begin(self) -> None:
        self.url = b""
        self.expect_100_continue = False
        if self.cycle is not None and not self.cycle.keep_alive:
            self.headers = _TRAILERS
            return
        self.headers = []
        self._arriving = _Request(self.headers)

    def on_headers_complete(self) -> None:
        request = self._arriving
        if request is None:
            return
        self.headers = _TRAILERS
        request.has_head = True
        parser = self.parser
        version = parser.get_http_version()
        if version not in _VERSIONS:
            self._refuse(request, BadRequest(f"HTTP/{version} is not spoken here: HTTP/1.1 is"))
            return
        method = parser.get_method()
        if parser.should_upgrade():  # no other protocol is spoken here: the request is read anew without the offer
            if method == b"CONNECT":
                self._refuse(request, BadRequest("this is no proxy: CONNECT is not served"))
            else:
                self._arriving = None
                self._plain_head = _head_without_offer(method, self.url, version, request.headers)
            return
        if method == b"POST":
            request.path = self.paying_urls.get(self.url)
        request.keep_alive = version == "1.1" and not self.draining and parser.should_keep_alive()

    def on_body(self, body: bytes) -> None:
        request = self._arriving
        if request is None:
            return
        if not request.body:
            request.body = body
        else:
            if isinstance(request.body, bytes):
                request.body = bytearray(request.body)
            request.body += body
        if len(request.body) > self.front.limits.max_bytes:
            self._refuse(request, self.front.limits.too_large())

    def on_message_complete(self) -> None:
        request = self._arriving
        if request is None:
            return
        self._arriving = None
        self.deadline = None
        body = request.body if isinstance(request.body, bytes) else bytes(request.body)
        path = request.path
        if path is None or self._is_busy() or self.flow.write_paused or (self.front.answers_browsers and _has_origin(request.headers)):
            self._hand_over(request, body)
            return
        self.cycle = cast(Any, request)
        waiting = self.waiting
        waiting.append((self, request, body))
        if len(waiting) == 1:
            self.loop.call_soon(self._answer_waiting)

    def _answer_waiting(self) -> None:
        """Answers requests that arrived in one turn of the loop, one after the other, and only then writes the replies.

        Between them no system call is made: the processor's caches and predictions stay those of a payment, which takes
        half the time that it takes right after the kernel has read from a socket. And a client that waits on several
        connections is woken once: waking it for each reply cost 1.2 signatures a request.
        """
        waiting = self.waiting
        try:
            for _ in range(min(len(waiting), MAX_BURST)):
                connection, request, body = waiting.popleft()
                connection.answer(request, body)
        finally:
            if waiting:
                self.loop.call_soon(self._answer_waiting)

    def answer(self, request: _Request, body: bytes) -> None:
        """Answers a paying request that has arrived whole: now, or in a task where somebody must be asked."""
        answer = self.front.paying.respond(request.path or "", request.headers, body, self.client[0] if self.client else "")
        if isinstance(answer, Reply):
            self._write_soon(request, answer)
            return
        task = self.loop.create_task(self._answer_later(request, answer))
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)

    async def _answer_later(self, request: _Request, answer: Awaitable[Reply]) -> None:
        self._write_soon(request, await answer)

    def _write_soon(self, request: _Request, reply: Reply) -> None:
        """Writes with the other replies that are made in this turn of the loop."""
        answered = self.answered
        answered.append((self, request, reply))
        if len(answered) == 1:
            self.loop.call_soon(self._write_answered)

    def _write_answered(self) -> None:
        answered = self.answered
        try:
            while answered:
                connection, request, reply = answered.popleft()
                connection.write(request, reply)
        finally:
            if answered:  # one of them failed, which the loop reports: the others are not its business
                self.loop.call_soon(self._write_answered)

    def _hand_over(self, request: _Request, body: bytes) -> None:
        """The request goes the ordinary way, as if it arrived at once."""
        url = self.url
        super().on_message_begin()
        self.url = url
        self.headers.extend(request.headers)
        super().on_headers_complete()
        self.cycle.keep_alive = request.keep_alive
        if body:
            super().on_body(body)
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()
            self.timeout_keep_alive_task = None
        self._await_next()

    # --- what has not arrived yet ---

    def _is_busy(self) -> bool:
        """Whether a reply is still to come."""
        return self.cycle is not None and not self.cycle.response_complete

    def _await_next(self) -> None:
        """Nothing is in work: the connection is idle, or its next request is on its way."""
        if self._arriving is not None:
            self._await_rest(self._arriving, 0)
        elif not self._is_busy():
            self.deadline = self.loop.time() + (LINGER_SECONDS if self.transport.is_closing() else IDLE_SECONDS)

    def _await_rest(self, request: _Request, more: int) -> None:
        """A request did not arrive in one piece: time and size are bounded, and a client that asks is told to go on."""
        if not request.raw_bytes:
            self.deadline = self.loop.time() + self.front.limits.timeout_seconds
            request.raw_bytes = 1
        request.raw_bytes += more
        limits = self.front.limits
        if not request.has_head:
            if request.raw_bytes > MAX_HEAD_BYTES:
                self._refuse(
                    request, HeadTooLarge(f"request line and headers are larger than {MAX_HEAD_BYTES} bytes", limit=MAX_HEAD_BYTES)
                )
            return
        if request.raw_bytes > MAX_HEAD_BYTES + _MAX_CHUNK_OVERHEAD * limits.max_bytes:
            self._refuse(request, limits.too_large())
        elif not request.is_continued and not self._is_busy():
            request.is_continued = True
            try:
                limits.check_announced(request.headers)
            except BodyTooLarge as error:
                self._refuse(request, error)
                return
            if self.expect_100_continue and self.parser.get_http_version() != "1.0":
                self.transport.write(_CONTINUE)

    # --- replies ---

    def _refuse(self, request: _Request, error: SignerError) -> None:
        """A refusal in the middle of a request: what is still to come cannot be told from the next one.

        Behind a request that is in work there is nothing to say yet: the connection ends with that one's reply.
        """
        self._arriving = None
        if self._is_busy():
            self.cycle.keep_alive = False
            return
        request.keep_alive = False
        self.cycle = cast(Any, request)
        route = self.paying_urls.get(self.url, OTHER_ROUTE)
        reply = refusal_reply(error, route)
        is_head = request.has_head and self.parser.get_method() == b"HEAD"
        reply = Reply(reply.status, (*reply.headers, *self.front.browser_headers(request.headers)), b"" if is_head else reply.body)
        self.front.on_reply(route, reply.status)
        self._send(request, reply)
        self._linger()

    def write(self, request: _Request, reply: Reply) -> None:
        """The reply of a request that arrived whole, and what follows it on this connection."""
        self._send(request, reply)
        if not request.keep_alive:
            if self.draining:
                self._linger()
            else:
                self._close()
        elif self.pipeline:
            self.on_response_complete()
        elif self._arriving is None:
            self.deadline = self.loop.time() + IDLE_SECONDS
        else:
            self._await_next()

    def _send(self, request: _Request, reply: Reply) -> None:
        request.response_complete = True
        transport = self.transport
        if request.disconnected or transport.is_closing():
            return
        headers = map(_HEADER_LINE.__mod__, (*reply.headers, *self.server_state.default_headers))
        end = b"content-length: %d\r\n\r\n" if request.keep_alive else b"content-length: %d\r\nconnection: close\r\n\r\n"
        transport.write(b"".join((_STATUS_LINES[reply.status], *headers, end % len(reply.body), reply.body)))
        self.server_state.total_requests += 1

    def _close(self) -> None:
        self.deadline = self.loop.time() + LINGER_SECONDS
        self.transport.close()

    def _linger(self) -> None:
        """Half a close: the client can still take the reply while what it sends is thrown away."""
        self._lingering = True
        self.deadline = self.loop.time() + LINGER_SECONDS
        if not self.transport.is_closing():
            self.transport.write_eof()


def _has_origin(headers: list[tuple[bytes, bytes]]) -> bool:
    """Whether a browser's page sent it."""
    return any(name == b"origin" for name, _ in headers)


def _head_without_offer(method: bytes, url: bytes, version: str, headers: list[tuple[bytes, bytes]]) -> bytes:
    """The head of a request as it would be without its offer to speak another protocol."""
    lines = [method + b" " + url + b" HTTP/" + version.encode()]
    for name, value in headers:
        if name == b"connection":
            value = b", ".join(t for t in value.split(b",") if t.strip().lower() not in (b"upgrade", b"http2-settings"))
        if name != b"upgrade" and value:
            lines.append(name + b": " + value)
    return b"\r\n".join(lines) + b"\r\n\r\n"


def _reason(error: httptools.HttpParserError) -> str:
    """What the parser says, for people; nothing of what was sent."""
    cause = error.__context__
    if isinstance(cause, httptools.HttpParserInvalidURLError | UnicodeDecodeError | AttributeError):
        return "the request target is not a URL with a path"
    return str(error)[:120]


def payment_protocol(front: Front) -> type[PaymentProtocol]:
    """The protocol class that answers `front`'s paying routes."""
    urls = {path.encode(): path for path in front.paying.paths}
    return type("BoundPaymentProtocol", (PaymentProtocol,), {"front": front, "paying_urls": urls, "waiting": deque(), "answered": deque()})
