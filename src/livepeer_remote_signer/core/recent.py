"""A bounded memory of what was made last: it changes speed only, never what is answered.

Bounded in number and in size. Whoever may call chooses what is remembered, and four thousand requests at the body limit
would otherwise fill gigabytes: what is much longer than any real one is made anew each time.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Generic, TypeVar

MAX_KEY_BYTES = 16 * 1024
"""An orchestrator's info has a few hundred bytes, with capabilities and hardware a few thousand."""

_V = TypeVar("_V")


def remembering(parse: Callable[[bytes], _V], size: int) -> Callable[[bytes], _V]:
    """`parse` with a memory of its last `size` results. What it raises is not remembered."""
    remembered = lru_cache(size)(parse)

    def parse_once(raw: bytes) -> _V:
        return remembered(raw) if len(raw) <= MAX_KEY_BYTES else parse(raw)

    return parse_once


class Recent(Generic[_V]):
    """Two generations of `size` entries each: the oldest go first, and nothing is ever moved one by one."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._young: dict[bytes, _V] = {}
        self._old: dict[bytes, _V] = {}

    def put(self, key: bytes, value: _V) -> None:
        """Keeps it for at least the next `size` entries, unless its key is too long."""
        if len(key) > MAX_KEY_BYTES:
            return
        if len(self._young) >= self._size:
            self._old, self._young = self._young, {}
        self._young[key] = value

    def get(self, key: bytes) -> _V | None:
        """What was put, if it is still there."""
        known = self._young.get(key)
        return known if known is not None else self._old.get(key)
