"""A request while it arrives: what is kept of it, what it weighs, and how large its head may be."""

from __future__ import annotations

import asyncio
import select

import httptools
from uvicorn.protocols.http.flow_control import FlowControl

from livepeer_remote_signer.core.errors import BodyTooLarge, HeadTooLarge, SignerError

MAX_HEAD_BYTES = 64 * 1024
"""Of the request line and headers; what arrives in one read with them is not counted."""

MAX_HEADERS = 256
"""Of one request: a header of five bytes takes two hundred in memory."""

MAX_STRAY_BYTES = 8 * 1024
"""Of what follows a head and brings nothing of a body: nobody needs that many trailers and chunk extensions."""

_FEW_PIECES = 1024
_LEAST_PIECE_BYTES = 32
"""A body may come in so many pieces whatever their length, and in more where they have so many bytes on the average: each takes
as long as thousands of bytes in one."""

_SHORT_BYTES = 8 * 1024

REQUEST_WEIGHT = 4096
HEADER_WEIGHT = 160
"""What a parsed request and each of its headers take in memory beside their bytes."""


class Signal:
    """Stands where uvicorn keeps an event for its cycle: nobody waits for ours."""

    def set(self) -> None: ...


class Trailers(list[tuple[bytes, bytes]]):
    """Where headers go that come after the body: no proxy in front of us looked at them."""

    def append(self, header: tuple[bytes, bytes]) -> None: ...


TRAILERS = Trailers()


class WritingFlow(FlowControl):
    """Of uvicorn's flow control only the writing half: when a connection is read, `PaymentProtocol` says alone."""

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


class Departure:
    """Tells whether a client has left: its connection was reset, or closed on our side.

    One that was only closed by its client looks as one that is half closed, which is answered.
    """

    __slots__ = ("_poll", "_transport")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._poll: select.poll | None = None
        """Made when it is asked for first: most connections that come never pay."""

    def has_come(self) -> bool:
        """As far as the kernel knows now."""
        if self._transport.is_closing():
            return True
        if self._poll is None:
            connection = self._transport.get_extra_info("socket")
            if connection is None:
                return False
            self._poll = select.poll()
            self._poll.register(connection.fileno(), 0)
        return bool(self._poll.poll(0))  # an error, or both directions shut: the kernel reports nothing else unasked


class ArrivingRequest:
    """A request from its first byte to its reply, in the shape that uvicorn's protocol keeps its cycles in."""

    __slots__ = (
        "announced_bytes",
        "body",
        "disconnected",
        "has_head",
        "headers",
        "is_continued",
        "keep_alive",
        "path",
        "pieces",
        "raw_bytes",
        "refusal",
        "response_complete",
        "stray_bytes",
    )
    message_event = Signal()

    def __init__(self, headers: list[tuple[bytes, bytes]]) -> None:
        self.headers = headers
        self.has_head = False
        self.path: str | None = None
        self.keep_alive = False
        self.body: bytes | bytearray = b""
        self.pieces = 1
        """Of the body: chunks, or what one read brought of them."""
        self.raw_bytes = 0
        self.announced_bytes = 0
        """The body's length where the head says it; 0 before it is looked at."""
        self.stray_bytes = 0
        """Of what came after the head and brought nothing of a body: chunk extensions and trailers."""
        self.is_continued = False
        self.refusal: SignerError | None = None
        """Why it is not answered although it arrived whole."""
        self.disconnected = False
        self.response_complete = False

    def append(self, body: bytes) -> None:
        """Adds to a body of which something has come already."""
        if isinstance(self.body, bytes):
            self.body = bytearray(self.body)
        self.body += body
        self.pieces += 1

    @property
    def weight(self) -> int:
        """The bytes that it takes in memory."""
        return REQUEST_WEIGHT + max(self.raw_bytes, len(self.body)) + HEADER_WEIGHT * len(self.headers)

    @property
    def is_in_crumbs(self) -> bool:
        """Whether the body comes in more and shorter pieces than anybody needs."""
        return self.pieces > _FEW_PIECES and len(self.body) < self.pieces * _LEAST_PIECE_BYTES

    def note_stray(self, more: int, body_before: int) -> None:
        """Counts so many bytes, before which the body had `body_before`, where they brought nothing of it."""
        self.stray_bytes = self.stray_bytes + more if len(self.body) == body_before else 0


def head_bytes(url: bytes, request: ArrivingRequest) -> int:
    return len(url) + sum(len(name) + len(value) + 4 for name, value in request.headers)


def head_too_large(headers: int) -> HeadTooLarge:
    if headers > MAX_HEADERS:
        return HeadTooLarge(f"the request has more than {MAX_HEADERS} headers", limit=MAX_HEADERS)
    return HeadTooLarge(f"request line and headers are larger than {MAX_HEAD_BYTES} bytes", limit=MAX_HEAD_BYTES)


def trailers_too_large() -> HeadTooLarge:
    return HeadTooLarge(f"trailers and chunk extensions are larger than {MAX_STRAY_BYTES} bytes", limit=MAX_STRAY_BYTES)


def in_crumbs(request: ArrivingRequest) -> BodyTooLarge:
    """The refusal of a body that comes in too many pieces."""
    return BodyTooLarge(
        f"{len(request.body)} bytes of the body came in {request.pieces} pieces: with all that travels around them they are too large",
        hint="send the body with Content-Length, or in larger chunks",
    )


def has_few_lines(data: bytes, limit: int) -> bool:
    """Whether the data has fewer than `limit` line ends. What is long is searched, which is faster than to count."""
    if len(data) <= _SHORT_BYTES:
        return data.count(b"\n") < limit
    at = -1
    for _ in range(limit):
        at = data.find(b"\n", at + 1)
        if at < 0:
            return True
    return False


def has_origin(headers: list[tuple[bytes, bytes]]) -> bool:
    """Whether a browser's page sent it."""
    return any(name == b"origin" for name, _ in headers)


def head_without_offer(method: bytes, url: bytes, version: str, headers: list[tuple[bytes, bytes]]) -> bytes:
    """The head of a request as it would be without its offer to speak another protocol."""
    lines = [method + b" " + url + b" HTTP/" + version.encode()]
    for name, value in headers:
        if name == b"connection":
            value = b", ".join(t for t in value.split(b",") if t.strip().lower() not in (b"upgrade", b"http2-settings"))
        if name != b"upgrade" and value:
            lines.append(name + b": " + value)
    return b"\r\n".join(lines) + b"\r\n\r\n"


def reason(error: httptools.HttpParserError) -> str:
    """What the parser says, for people; nothing of what was sent."""
    cause = error.__context__
    if isinstance(cause, httptools.HttpParserInvalidURLError | UnicodeDecodeError | AttributeError):
        return "the request target is not a URL with a path"
    return str(error)[:120]
