"""Heads of requests that were parsed before: a client sends the same one again and again.

Parsing a payment's head in callbacks takes a third of a signature; the very same bytes, from the start of a message on, can
mean nothing else the second time. It changes speed only. Kept are the heads that clients of paying routes usually send: none
with a credential in it, or with anything that says whom a request is for beside its `Host`.
"""

from __future__ import annotations

from msgspec import Struct

from livepeer_remote_signer.api.arriving import ArrivingRequest
from livepeer_remote_signer.core.recent import Recent

MAX_HEAD_BYTES = 512
MAX_HEADS = 256
"""A client has as many as its bodies have lengths, which differ by some dozen bytes."""

_END = b"\r\n\r\n"
_USUAL = frozenset({b"host", b"user-agent", b"content-type", b"content-length", b"accept", b"accept-encoding", b"connection"})


class Head(Struct, frozen=True):
    """Of a `POST` on a paying route whose page rules let it pass, and that keeps its connection."""

    url: bytes
    path: str
    headers: list[tuple[bytes, bytes]]
    body_at: int
    """Where the body begins."""
    total_bytes: int
    """Of the whole request."""

    def request(self, data: bytes, *, keep_alive: bool) -> ArrivingRequest:
        """What the parser's callbacks would make of the request."""
        request = ArrivingRequest(self.headers)
        request.has_head = True
        request.path, request.body, request.keep_alive = self.path, data[self.body_at :], keep_alive
        return request


class KnownHeads:
    """The heads that were parsed last, by their bytes."""

    def __init__(self, max_bytes: int) -> None:
        """`max_bytes`: of a whole request; longer ones are nobody's usual ones."""
        self._max_bytes = max_bytes
        self._recent: Recent[Head] = Recent(MAX_HEADS)

    def find(self, data: bytes) -> Head | None:
        """The head of `data`, where that is one whole request and nothing else."""
        end = data.find(_END, 0, MAX_HEAD_BYTES)
        if end < 0 or len(data) > self._max_bytes:
            return None
        head = self._recent.get(data[:end])
        return head if head is not None and head.total_bytes == len(data) else None

    def learn(self, data: bytes, request: ArrivingRequest, url: bytes) -> None:
        """Keeps the head of a request that may be answered at once, where `data` is all of it and its head a usual one."""
        if len(data) > self._max_bytes:
            return
        end = data.find(_END, 0, MAX_HEAD_BYTES)
        names = [name for name, _ in request.headers]
        if end < 0 or request.path is None or not _USUAL.issuperset(names) or b"content-length" not in names:
            return
        if data.count(b"\r\n", 0, end) != len(names):  # it was read anew without an offer to speak another protocol
            return
        if request.keep_alive and data[end + len(_END) :] == request.body:
            self._recent.put(data[:end], Head(url, request.path, request.headers, end + len(_END), len(data)))
