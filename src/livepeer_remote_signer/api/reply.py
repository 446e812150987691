"""A reply before it meets a server: status, headers with lower-case names, body."""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus
from typing import TypeAlias

from msgspec import Struct

Headers: TypeAlias = tuple[tuple[bytes, bytes], ...]


class Reply(Struct, frozen=True, gc=False):
    """What is sent back."""

    status: int
    headers: Headers
    body: bytes


_STATUS_LINES = {
    **{status: f"HTTP/1.1 {status} \r\n".encode() for status in range(400, 600)},
    **{s.value: f"HTTP/1.1 {s.value} {s.phrase}\r\n".encode() for s in HTTPStatus},
}
_HEADER_LINE = b"%b: %b\r\n"


def encode_reply(reply: Reply, default_headers: Iterable[tuple[bytes, bytes]], keep_alive: bool) -> bytes:
    """The reply as HTTP/1.1 sends it."""
    head, body = _STATUS_LINES[reply.status], reply.body
    for header in (*reply.headers, *default_headers):
        head += _HEADER_LINE % header
    return b"%bcontent-length: %d\r\n%b\r\n%b" % (head, len(body), b"" if keep_alive else b"connection: close\r\n", body)
