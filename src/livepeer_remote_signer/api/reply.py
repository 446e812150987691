"""A reply before it meets a server: status, headers with lower-case names, body."""

from __future__ import annotations

from typing import TypeAlias

from msgspec import Struct

Headers: TypeAlias = tuple[tuple[bytes, bytes], ...]


class Reply(Struct, frozen=True, gc=False):
    """What is sent back."""

    status: int
    headers: Headers
    body: bytes
