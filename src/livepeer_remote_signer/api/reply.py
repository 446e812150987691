"""A reply before it meets a server: status, headers with lower-case names, body."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

Headers: TypeAlias = tuple[tuple[bytes, bytes], ...]


class Reply(NamedTuple):
    """What is sent back."""

    status: int
    headers: Headers
    body: bytes
