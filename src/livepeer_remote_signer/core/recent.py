"""A bounded memory of what was made last: it changes speed only, never what is answered."""

from __future__ import annotations

from typing import Generic, TypeVar

_K = TypeVar("_K")
_V = TypeVar("_V")


class Recent(Generic[_K, _V]):
    """Two generations of `size` entries each: the oldest go first, and nothing is ever moved one by one."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._young: dict[_K, _V] = {}
        self._old: dict[_K, _V] = {}

    def put(self, key: _K, value: _V) -> None:
        """Keeps it for at least the next `size` entries."""
        if len(self._young) >= self._size:
            self._old, self._young = self._young, {}
        self._young[key] = value

    def get(self, key: _K) -> _V | None:
        """What was put, if it is still there."""
        known = self._young.get(key)
        return known if known is not None else self._old.get(key)
