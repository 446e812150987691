"""Growing ids that are remembered as ranges, so that a million neighbours take no more room than one."""

from __future__ import annotations

from bisect import bisect_right


class IdSpans:
    """A set of ids. Beyond `limit` ranges it forgets the lowest ones."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._firsts: list[int] = []
        self._lasts: list[int] = []

    def __contains__(self, id: int) -> bool:
        at = bisect_right(self._firsts, id) - 1
        return at >= 0 and id <= self._lasts[at]

    def __len__(self) -> int:
        """How many ranges there are."""
        return len(self._firsts)

    def add(self, id: int) -> None:
        """Takes an id in; it may be there already."""
        at = bisect_right(self._firsts, id)
        if at and id <= self._lasts[at - 1]:
            return
        follows = at > 0 and self._lasts[at - 1] == id - 1
        precedes = at < len(self._firsts) and self._firsts[at] == id + 1
        if follows and precedes:
            self._lasts[at - 1] = self._lasts.pop(at)
            del self._firsts[at]
        elif follows:
            self._lasts[at - 1] = id
        elif precedes:
            self._firsts[at] = id
        else:
            self._firsts.insert(at, id)
            self._lasts.insert(at, id)
            if len(self._firsts) > self._limit:
                del self._firsts[0], self._lasts[0]

    def forget_below(self, id: int) -> None:
        """Forgets the ranges that end below an id."""
        ended = bisect_right(self._lasts, id - 1)
        del self._firsts[:ended], self._lasts[:ended]
