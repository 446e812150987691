"""The server's HTTP protocol class: paying routes are answered from the parser's callbacks, the rest goes to ASGI.

Built on uvicorn's httptools protocol, whose parsing and pipelining stay in use. What it saves for a paying request: the
ASGI scope, a task, an event and two messages: 130 to 150 us of CPU a payment where uvicorn's own class needs 190 to 210.
Rules that hold for every route:

- A request is handed on when all of it has arrived, so that a slow client holds nothing but its connection.
- Head and body are bounded in size and time; connections are timed by one sweep a second (`sweep`), not by timers.
- At most MAX_PARSED requests of a connection are parsed and not answered; then reading pauses. After a refusal nothing is parsed.
- Replies keep the order of their requests, and nothing after a connection's last reply is looked at.
- After a refusal in the middle of a request the connection is only half closed for a moment: a client that is still
  sending would otherwise lose the reply to a reset.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable
from typing import Any, cast

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from livepeer_remote_signer.api.arriving import (
    HEADER_WEIGHT,
    MAX_HEAD_BYTES,
    MAX_HEADERS,
    MAX_STRAY_BYTES,
    REQUEST_WEIGHT,
    TRAILERS,
    ArrivingRequest,
    Departure,
    WritingFlow,
    has_few_lines,
    has_origin,
    head_bytes,
    head_too_large,
    head_without_offer,
    in_crumbs,
    reason,
    trailers_too_large,
)
from livepeer_remote_signer.api.bounds import FIRST_WORD_SECONDS, IdleOnes
from livepeer_remote_signer.api.front import AdminFront, Front
from livepeer_remote_signer.api.heads import KnownHeads
from livepeer_remote_signer.api.pages import check_one_host
from livepeer_remote_signer.api.refusals import OTHER_ROUTE, refusal_reply
from livepeer_remote_signer.api.reply import Reply, encode_reply
from livepeer_remote_signer.core.errors import BadRequest, BodyTooLarge, Overloaded, SignerError

LINGER_SECONDS = 2.0
"""How long a half-closed connection is still read, so that the client can take its last reply."""

MAX_PARSED = 16
"""How many requests of a connection are parsed and not answered yet."""

MAX_BURST = 16
"""How many replies are made before they are written: the first of them waits for the last."""

_MAX_LINGER_BYTES = 64 * 1024 * 1024
_MIN_REQUEST_BYTES = 16
"""No request is shorter, so that a piece of so many bytes for each request that may still be parsed holds no more than that."""

_LARGE_BYTES = 16 * 1024
"""A connection that brought more in one read is read again in its turn; a body above it is counted also while it waits
to be answered, which is a moment."""

_MAX_CHUNK_OVERHEAD = 8
"""How many bytes may travel for a byte of body: a chunk of two bytes takes seven."""

_VERSIONS = frozenset({"1.0", "1.1"})
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class PaymentProtocol(HttpToolsProtocol):
    """Answers the paying routes of `front` itself. Made by `payment_protocol`."""

    front: Front | AdminFront
    paying_urls: dict[bytes, str]
    heads: KnownHeads
    waiting: deque[tuple[PaymentProtocol, ArrivingRequest]]
    """Paying requests of all connections that have arrived and are not answered yet."""

    answered: deque[tuple[PaymentProtocol, ArrivingRequest, Reply]]
    """Their replies that are not written yet."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        bounds = self.front.bounds
        self.deadline: float | None = self.loop.time() + min(FIRST_WORD_SECONDS, bounds.idle_seconds)
        self.write_deadline: float | None = None
        self.draining = False
        self.holding_since = 0.0
        self._arriving: ArrivingRequest | None = None
        self._lingering = False
        self._deaf = False
        """Whether nothing that comes is parsed any more: there was a refusal behind a request that is in work."""
        self._unparsed: memoryview | None = None
        """What was read and may be parsed when there are fewer requests."""
        self._read_bytes = 0
        self._is_holding = False
        self._discarded = 0
        self._plain_head = b""
        self._places = bounds.places
        self._idle: IdleOnes | None = None
        """Where it stands among those that may give way; None while it has no place."""
        self._has_paid = False
        self._peer = ""

    # --- the connection's life ---

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.flow = WritingFlow(transport)
        self._departure = Departure(transport)
        self._peer = self.client[0] if self.client else ""
        if self._places.take(self):
            self._idle = self._places.silent
        else:
            self._deaf = True
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._arriving = self._unparsed = None
        self.pipeline.clear()
        self._weigh()
        if self._idle is not None:
            self._idle.pop(self, None)
            self._idle = None
            self._places.taken -= 1

    def give_place(self) -> None:
        """Another connection needs the place."""
        self._idle = None
        self._deaf = True
        self.transport.abort()

    def give_way(self, error: Overloaded) -> None:
        """What has arrived here and is not in work must go: there is too much of it."""
        self._is_holding = False
        if self.pipeline:  # requests in a row, none of which is in work but the first
            self._deaf = True
            self.transport.abort()
            return
        request = cast(Any, self.cycle)
        if isinstance(request, ArrivingRequest) and not request.response_complete and request.body:
            request.body = b""
            request.refusal = error
        self._refuse(self._arriving or ArrivingRequest([]), error)

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
            self._refuse(self._arriving, self.front.bounds.limits.timeout())
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

    # --- reading ---

    def data_received(self, data: bytes) -> None:
        cycle = self.cycle
        if self._lingering or self._deaf:
            self._discarded += len(data)
            if self._discarded > _MAX_LINGER_BYTES:
                self.transport.abort()
        elif self._arriving is not None or self._is_holding or not (cycle is None or (cycle.response_complete and cycle.keep_alive)):
            self._parse(data)
        else:  # a request begins, and nothing of another one is here
            head = self.heads.find(data)
            if head is not None and not self.flow.write_paused:
                self.url = head.url
                self._queue(head.request(data, keep_alive=not self.draining))
                return
            self._parse(data)
            request = cast(Any, self.cycle)
            if request is not cycle and isinstance(request, ArrivingRequest):
                self.heads.learn(data, request, self.url)
        if len(data) > _LARGE_BYTES and not self.transport.is_closing():
            self.transport.pause_reading()
            self.front.bounds.turns.wait(self, self.loop)
        if self._arriving is not None or self._unparsed is not None or self.pipeline or self._is_holding:
            self._weigh()

    def take_turn(self) -> None:
        """What is large may be read on."""
        if self._unparsed is None and (self._lingering or not self._deaf) and not self.transport.is_closing():
            self.transport.resume_reading()

    def _parse(self, data: bytes | memoryview) -> None:
        """Parses what was read; the part behind too many requests waits.

        A request has two line ends at least. Where there are few of them the parser gets all at once; else pieces that
        cannot hold more requests than may still be parsed.
        """
        before = self._arriving
        length = self._read_bytes = len(data)
        if (before is not None and length <= before.announced_bytes - len(before.body)) or (
            isinstance(data, bytes) and has_few_lines(data, 2 * (MAX_PARSED - self._parsed()))
        ):
            self._feed_piece(data)
        else:
            self._parse_in_pieces(memoryview(data))
        arriving = self._arriving
        if arriving is not None:
            self._await_rest(arriving, length if arriving is before else 0)

    def _parse_in_pieces(self, data: memoryview) -> None:
        while data and not (self._deaf or self._lingering):
            room = MAX_PARSED - self._parsed()
            if room <= MAX_PARSED // 2:  # pieces of a few bytes would cost more than they hold
                self._unparsed = data
                self.transport.pause_reading()
                return
            piece = data[: room * _MIN_REQUEST_BYTES]
            self._feed_piece(piece)
            data = data[len(piece) :]

    def _feed_piece(self, piece: bytes | memoryview) -> None:
        """Feeds a part of what was read. Headers and trailers beyond their bounds end it here: the rest of the read is not parsed."""
        before = self._arriving
        body_before = len(before.body) if before is not None and before.has_head else -1
        self._feed(piece)
        arriving = self._arriving
        if arriving is None:
            return
        if not arriving.has_head:
            if len(arriving.headers) > MAX_HEADERS:
                self._refuse(arriving, head_too_large(len(arriving.headers)))
        elif arriving is before and body_before >= 0:
            arriving.note_stray(len(piece), body_before)
            if arriving.stray_bytes > MAX_STRAY_BYTES:
                self._refuse(arriving, trailers_too_large())

    def _parse_on(self) -> None:
        """There was a reply: what waited may be parsed."""
        data = self._unparsed
        if data is not None and self._parsed() <= MAX_PARSED // 2:
            self._unparsed = None
            self._parse(data)
            if self._unparsed is None and not (self._deaf or self.transport.is_closing()):
                self.transport.resume_reading()
        if self._is_holding:
            self._weigh()

    def _parsed(self) -> int:
        """How many requests are parsed and not answered yet."""
        return len(self.pipeline) + self._is_busy()

    def _weigh(self) -> None:
        """Tells the process what this connection holds that is not in work yet."""
        weight = len(self._unparsed) if self._unparsed is not None else 0
        arriving = self._arriving
        if arriving is not None:
            weight += arriving.weight
        for cycle, _ in self.pipeline:
            weight += REQUEST_WEIGHT + len(cycle.body) + HEADER_WEIGHT * len(cast(list[Any], cycle.scope["headers"]))
        request = cast(Any, self.cycle)
        if isinstance(request, ArrivingRequest) and not request.response_complete:
            weight += len(request.body)  # it waits for its turn; once it is in work the body stands here no more
        if weight and not self._is_holding:
            self.holding_since = time.monotonic()
        if weight or self._is_holding:
            self._is_holding = bool(weight)
            self.front.bounds.arrivals.hold(self, weight)

    def _feed(self, data: bytes | memoryview) -> None:
        while data and not (self._deaf or self._lingering):
            try:
                self.parser.feed_data(data)
                data = b""
            except httptools.HttpParserUpgrade as upgrade:
                head, self._plain_head = self._plain_head, b""
                if not head:
                    return
                self.parser = httptools.HttpRequestParser(self)
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
                data = head + bytes(data[upgrade.args[0] :])
            except httptools.HttpParserError as error:
                self._refuse(self._arriving or ArrivingRequest([]), BadRequest(f"not an HTTP/1.1 request: {reason(error)}"))
                return

    def eof_received(self) -> bool:  # type: ignore[override]  # asyncio lets it say that sending goes on
        """A client that only closed its sending side still gets the reply that is in work."""
        if not self._is_busy():
            return False
        self.cycle.keep_alive = False
        return True

    def pause_writing(self) -> None:
        super().pause_writing()
        self.write_deadline = self.loop.time() + self.front.bounds.limits.timeout_seconds

    def resume_writing(self) -> None:
        super().resume_writing()
        self.write_deadline = None

    # --- the parser's callbacks ---

    def on_message_begin(self) -> None:
        self.url = b""
        self.expect_100_continue = False
        if self.cycle is not None and not self.cycle.keep_alive:
            self.headers = TRAILERS
            return
        self.headers = []
        self._arriving = ArrivingRequest(self.headers)

    def on_headers_complete(self) -> None:
        request = self._arriving
        if request is None:
            return
        self.headers = TRAILERS
        request.has_head = True
        parser = self.parser
        if len(request.headers) > MAX_HEADERS or (self._read_bytes > MAX_HEAD_BYTES and head_bytes(self.url, request) > MAX_HEAD_BYTES):
            self._refuse(request, head_too_large(len(request.headers)))
            return
        version = parser.get_http_version()
        if version not in _VERSIONS:
            self._refuse(request, BadRequest(f"HTTP/{version} is not spoken here: HTTP/1.1 is"))
            return
        try:
            check_one_host(request.headers, version, self.url)
        except BadRequest as error:
            self._refuse(request, error)
            return
        method = parser.get_method()
        if parser.should_upgrade():  # no other protocol is spoken here: the request is read anew without the offer
            if method == b"CONNECT":
                self._refuse(request, BadRequest("this is no proxy: CONNECT is not served"))
            else:
                self._arriving = None
                self._plain_head = head_without_offer(method, self.url, version, request.headers)
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
            request.append(body)
            if request.is_in_crumbs:
                self._refuse(request, in_crumbs(request))
                return
        limits = self.front.bounds.limits
        if len(request.body) > limits.max_bytes:
            self._refuse(request, limits.too_large())

    def on_message_complete(self) -> None:
        request = self._arriving
        if request is None:
            return
        self._arriving = None
        path, front = request.path, self.front
        is_slow_way = path is None or self._is_busy() or self.flow.write_paused or not front.admits(path, request.headers)
        if is_slow_way or (front.answers_browsers and has_origin(request.headers)):
            self._hand_over(request, bytes(request.body))
            return
        self._queue(request)
        if len(request.body) > _LARGE_BYTES:
            self._weigh()

    def _queue(self, request: ArrivingRequest) -> None:
        """A paying request has arrived whole: it is answered with the others of this turn of the loop."""
        self._work_begins()
        self.cycle = request  # type: ignore[assignment]  # in the shape of uvicorn's
        waiting = self.waiting
        waiting.append((self, request))
        if len(waiting) == 1:
            self.loop.call_soon(self._answer_waiting)

    def _work_begins(self) -> None:
        self.deadline = None
        if self._idle is not None:
            self._idle.pop(self, None)

    def _answer_waiting(self) -> None:
        """Answers requests that arrived in one turn of the loop, one after the other, and only then writes the replies.

        Between them no system call is made: the processor's caches and predictions stay those of a payment, which takes
        half the time that it takes right after the kernel has read from a socket. And a client that waits on several
        connections is woken once: waking it for each reply cost 1.2 signatures a request.
        """
        waiting = self.waiting
        try:
            for _ in range(min(len(waiting), MAX_BURST)):
                connection, request = waiting.popleft()
                connection.answer(request)
        finally:
            if waiting:
                self.loop.call_soon(self._answer_waiting)

    def answer(self, request: ArrivingRequest) -> None:
        """Answers a paying request that has arrived whole: now, or in a task where somebody must be asked."""
        body, request.body = bytes(request.body), b""
        if self._is_holding:
            self._weigh()
        if request.refusal is not None:
            request.keep_alive = False
            self._write_soon(request, self._refusal(request, request.refusal))
            return
        answer = self.front.respond(request.path or "", request.headers, body, self._peer, self._departure.has_come)
        if isinstance(answer, Reply):
            self._write_soon(request, answer)
            return
        task = self.loop.create_task(self._answer_later(request, answer))
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)

    async def _answer_later(self, request: ArrivingRequest, answer: Awaitable[Reply]) -> None:
        self._write_soon(request, await answer)

    def _write_soon(self, request: ArrivingRequest, reply: Reply) -> None:
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

    def _hand_over(self, request: ArrivingRequest, body: bytes) -> None:
        """The request goes the ordinary way, as if it arrived at once."""
        self._work_begins()
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
        self._parse_on()

    # --- what has not arrived yet ---

    def _is_busy(self) -> bool:
        """Whether a reply is still to come."""
        return self.cycle is not None and not self.cycle.response_complete

    def _await_next(self) -> None:
        """Nothing is in work: the connection is idle, or its next request is on its way."""
        if self._arriving is not None:
            self._await_rest(self._arriving, 0)
        elif not self._is_busy():
            self._become_idle()

    def _await_rest(self, request: ArrivingRequest, more: int) -> None:
        """A request did not arrive in one piece: time and size are bounded, and a client that asks is told to go on."""
        if not request.raw_bytes:
            self.deadline = self.loop.time() + self.front.bounds.limits.timeout_seconds
            request.raw_bytes = 1
        request.raw_bytes += more
        limits = self.front.bounds.limits
        if not request.has_head:
            if request.raw_bytes > MAX_HEAD_BYTES or len(request.headers) > MAX_HEADERS:
                self._refuse(request, head_too_large(len(request.headers)))
            return
        if request.raw_bytes > MAX_HEAD_BYTES + _MAX_CHUNK_OVERHEAD * limits.max_bytes:
            self._refuse(request, limits.too_large())
        elif not request.is_continued and not self._is_busy():
            request.is_continued = True
            try:
                request.announced_bytes = limits.check_announced(request.headers)
            except BodyTooLarge as error:
                self._refuse(request, error)
                return
            if self.expect_100_continue and self.parser.get_http_version() != "1.0":
                self.transport.write(_CONTINUE)

    # --- replies ---

    def _refuse(self, request: ArrivingRequest, error: SignerError) -> None:
        """A refusal in the middle of a request: what is still to come cannot be told from the next one.

        Behind a request that is in work there is nothing to say yet: the connection ends with that one's reply.
        """
        self._arriving = None
        if self._lingering:  # one was enough; the parser goes on to the end of what it was given
            return
        if self._is_busy():
            self.cycle.keep_alive = False
            self._deaf = True
            self._unparsed = None
            if not self.transport.is_closing():
                self.transport.pause_reading()
            return
        request.keep_alive = False
        self.cycle = cast(Any, request)
        self._send(request, self._refusal(request, error))
        request.body, request.headers = b"", []  # the connection may stay for a moment, they need not
        self._linger()

    def _refusal(self, request: ArrivingRequest, error: SignerError) -> Reply:
        route = self.paying_urls.get(self.url, OTHER_ROUTE)
        reply = refusal_reply(error, route, self.front.caller_at(self._peer, request.headers))
        self.front.on_reply(route, reply.status)
        is_head = request.has_head and request.path is None and self.parser.get_method() == b"HEAD"
        return Reply(reply.status, (*reply.headers, *self.front.browser_headers(request.headers)), b"" if is_head else reply.body)

    def write(self, request: ArrivingRequest, reply: Reply) -> None:
        """The reply of a request that arrived whole, and what follows it on this connection."""
        self._send(request, reply)
        if reply.status == 200:
            self._has_paid = True
        if not request.keep_alive:
            if self.draining or self._deaf:
                self._linger()
            else:
                self._close()
        elif self.pipeline:
            self.on_response_complete()
        elif self._arriving is None:
            self._become_idle()
            if self._unparsed is not None or self._is_holding:
                self._parse_on()
        else:
            self._await_next()

    def _become_idle(self) -> None:
        """Nothing is in work and nothing has come: how long that may last, and who may take the place."""
        self.deadline = self.loop.time() + (LINGER_SECONDS if self.transport.is_closing() else self.front.bounds.idle_seconds)
        if self._idle is not None:
            self._idle = self._places.paid if self._has_paid else self._places.unpaid
            self._idle[self] = None

    def _send(self, request: ArrivingRequest, reply: Reply) -> None:
        request.response_complete = True
        if not (request.disconnected or self.transport.is_closing()):
            self.transport.write(encode_reply(reply, self.server_state.default_headers, request.keep_alive))
            self.server_state.total_requests += 1

    def _close(self) -> None:
        self.deadline = self.loop.time() + LINGER_SECONDS
        self.transport.close()

    def _linger(self) -> None:
        """Half a close: the client can still take the reply while what it sends is thrown away."""
        self._lingering = True
        self._unparsed = None
        self.deadline = self.loop.time() + LINGER_SECONDS
        if not self.transport.is_closing():
            self.transport.resume_reading()
            self.transport.write_eof()  # which closes it where the client has left


def payment_protocol(front: Front | AdminFront) -> type[PaymentProtocol]:
    """The protocol class of `front`'s listener, which answers its paying routes itself."""
    urls = {path.encode(): path for path in front.paying_paths}
    heads = KnownHeads(min(_LARGE_BYTES, front.bounds.limits.max_bytes))
    parts: dict[str, object] = {"front": front, "paying_urls": urls, "heads": heads, "waiting": deque(), "answered": deque()}
    return type("BoundPaymentProtocol", (PaymentProtocol,), parts)
