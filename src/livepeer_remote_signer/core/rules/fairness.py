"""Who is served when many want to be: places in work with a share kept for the others, and turns by tickets.

A caller may use every place that is free while nobody else is there. As soon as somebody is, the last part of the places is
kept for those who hold less than such a part: whoever holds more is refused, the others never notice. What waits to be signed
is taken in turn between callers, and a payment of a hundred tickets uses up a hundred turns.

Pure: `now` is an argument, in seconds of a monotonic clock.
"""

from __future__ import annotations

import heapq
from collections import deque
from typing import Generic, TypeVar

from livepeer_remote_signer.core.errors import Overloaded, ShareExceeded

PRESENT_SECONDS = 10.0
"""How long a caller counts as there after its last request: clients pay every three to ten seconds."""

MAX_REMEMBERED = 1024

_ORDINARY_BYTES = 4096
"""Up to which a body is taken for what it weighs: a payment's is shorter as a rule, and few values fit in."""

_VALUE_BYTES = 128
"""Reading a JSON value takes as long as some hundred bytes of text."""

_MANY_VALUES = 1024
"""What takes a millisecond or more to read."""

_T = TypeVar("_T")


class Place:
    """One place in work, held in a caller's name."""

    __slots__ = ("_shares", "caller", "is_shared")

    def __init__(self, shares: Shares, caller: str, is_shared: bool) -> None:
        self._shares = shares
        self.caller = caller
        self.is_shared = is_shared
        """Whether other callers were there when it was taken."""

    def move(self, caller: str, now: float) -> None:
        """Holds the place in another name, when it becomes known who it is. Raises ShareExceeded; the place is held on."""
        self._shares.move(self, caller, now)

    def release(self) -> None:
        """Gives the place back."""
        self._shares.release(self.caller)


class Shares:
    """The places of this process. `kept` of them are for callers who hold fewer than that."""

    def __init__(
        self, places: int, share: float, taken: str = "requests are in work, the most that limits.max_requests_in_work allows"
    ) -> None:
        """`share` of the places is kept; `taken` says after a number that there are no more."""
        self.in_work = 0
        self._taken = taken
        self._places = places
        self._kept = int(places * share)
        self._held: dict[str, int] = {}
        self._last = ("", float("-inf"))
        self._other = ("", float("-inf"))
        """The two callers who were here last, and when: whoever asks, one of them is somebody else."""

    def note(self, caller: str, now: float) -> bool:
        """Notes that a caller is here; returns whether others are, or were just now."""
        name, at = self._last
        if name == caller:
            self._last = (caller, now)
            return now - self._other[1] < PRESENT_SECONDS
        self._other, self._last = (name, at), (caller, now)
        return now - at < PRESENT_SECONDS

    def take(self, caller: str, now: float, *, is_known: bool = True) -> Place:
        """A place for one request. Raises Overloaded where there is none, ShareExceeded where the free ones are kept for others.

        `is_known` False: the caller's name will change when it is known who it is, and so far says not who is here.
        """
        is_shared = not is_known or self.note(caller, now)
        self._check_room(caller, self.in_work, is_shared)
        self.in_work += 1
        self._held[caller] = self._held.get(caller, 0) + 1
        return Place(self, caller, is_shared)

    def move(self, place: Place, caller: str, now: float) -> None:
        """See `Place.move`."""
        is_shared = self.note(caller, now)
        if caller == place.caller:
            place.is_shared = is_shared
            return
        self._check_room(caller, self.in_work - 1, is_shared)
        self._drop(place.caller)
        self._held[caller] = self._held.get(caller, 0) + 1
        place.caller, place.is_shared = caller, is_shared

    def release(self, caller: str) -> None:
        """See `Place.release`."""
        self.in_work -= 1
        self._drop(caller)

    def _drop(self, caller: str) -> None:
        left = self._held[caller] - 1
        if left:
            self._held[caller] = left
        else:
            del self._held[caller]

    def _check_room(self, caller: str, in_work: int, are_others_here: bool) -> None:
        """Somebody who filled all places while alone does not keep out who comes then: for those there is room beyond them."""
        if in_work < self._places - self._kept or (in_work < self._places and not are_others_here):
            return
        held = self._held.get(caller, 0)
        if held < self._kept:
            if in_work < self._places:
                return
            if in_work < self._places + self._kept and max(self._held.values()) > self._places - self._kept:
                return
        elif are_others_here and self._kept:
            raise ShareExceeded(
                f"this caller has {held} requests in work, and the last {self._kept} of {self._places} places are kept for others",
                hint="send fewer requests at a time; limits.fair_share and limits.max_requests_in_work set the places",
                retry_after_seconds=1,
                held=held,
                kept_for_others=self._kept,
                limit=self._places,
            )
        raise Overloaded(
            f"{in_work} {self._taken}",
            retry_after_seconds=1,
            in_work=in_work,
            limit=self._places,
        )


def is_dear(body: bytes) -> bool:
    """Whether reading a body takes so long that others must be served between two of them."""
    return len(body) > _ORDINARY_BYTES and body.count(b",") > _MANY_VALUES


class UnidentifiedBytes:
    """What arrived within a second from callers whom nobody has been asked about yet, by address: it is read before anybody is."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._since = float("-inf")
        self._total = 0
        self._sent: dict[str, int] = {}

    def note(self, caller: str, body: bytes, now: float) -> bool:
        """Counts a body; returns whether more than the limit has come. Each value of a long one counts for as many bytes as are read in
        its time."""
        size = len(body)
        if size > _ORDINARY_BYTES:
            size += _VALUE_BYTES * body.count(b",")
        if now - self._since >= 1:
            self._since, self._total = now, 0
            self._sent.clear()
        sent = self._sent
        if caller not in sent and len(sent) >= MAX_REMEMBERED:
            caller = ""
        sent[caller] = sent.get(caller, 0) + size
        self._total += size
        return self._total > self._limit_bytes

    def check(self, caller: str) -> None:
        """Raises Overloaded for a caller who sent more than an equal part of the limit: the others go on."""
        sent, part = self._sent.get(caller, self._sent.get("", 0)), self._limit_bytes // len(self._sent)
        if sent > part:
            raise Overloaded(
                f"{self._total} bytes came within a second from callers who are not known yet, more than the {self._limit_bytes} allowed,"
                f" and {sent} of them from this one",
                hint="limits.max_unidentified_bytes_per_second sets the limit, which holds while requests have to wait",
                retry_after_seconds=1,
                limit=self._limit_bytes,
            )


class FairQueue(Generic[_T]):
    """What waits, taken in turn between callers by weight; of one caller in order of arrival.

    Start-time fair queueing: each item begins where its caller's one before ended, and the earliest beginning is next. Nothing
    here grows with the number of callers but a heap of those who wait.
    """

    def __init__(self) -> None:
        self._waiting: dict[str, deque[tuple[int, _T]]] = {}
        self._heap: list[tuple[int, int, str]] = []
        self._ends: dict[str, int] = {}
        self._at = 0
        self._pushed = 0
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def push(self, caller: str, weight: int, item: _T) -> None:
        """Adds an item at the end of its caller's."""
        self._length += 1
        items = self._waiting.get(caller)
        if items is not None:
            items.append((weight, item))
            return
        self._waiting[caller] = deque([(weight, item)])
        self._pushed += 1
        heapq.heappush(self._heap, (max(self._at, self._ends.pop(caller, 0)), self._pushed, caller))

    def pop(self) -> _T:
        """Takes the next item. IndexError where nothing waits."""
        self._at, _, caller = self._heap[0]
        self._length -= 1
        items = self._waiting[caller]
        weight, item = items.popleft()
        end = self._at + weight
        if items:
            self._pushed += 1
            heapq.heapreplace(self._heap, (end, self._pushed, caller))
        else:
            heapq.heappop(self._heap)
            del self._waiting[caller]
            self._ends[caller] = end
            if len(self._ends) > MAX_REMEMBERED:
                self._ends = {name: at for name, at in self._ends.items() if at > self._at + weight}
        return item

    def remove(self, caller: str, item: _T) -> None:
        """Takes an item out of its caller's; nothing happens where it waits no more. Takes time for each that this caller has waiting."""
        items = self._waiting.get(caller, deque())
        for place, (_, waiting) in enumerate(items):
            if waiting is item:
                del items[place]
                self._length -= 1
                if not items:
                    del self._waiting[caller]
                    self._heap = [entry for entry in self._heap if entry[2] != caller]
                    heapq.heapify(self._heap)
                return

    def drain(self) -> list[_T]:
        """Takes all of them."""
        items = [item for waiting in self._waiting.values() for _, item in waiting]
        self._waiting.clear()
        self._heap.clear()
        self._length = 0
        return items
