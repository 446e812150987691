"""What strangers can take of a process before anybody knows who they are: bytes, time and connections, each with a bound.

One `Bounds` is shared by all listeners of a process. Where a bound is met the largest, slowest and most silent give way:
a small request that arrives at once never does.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import NamedTuple, Protocol

from livepeer_remote_signer.core.errors import BodyTimeout, BodyTooLarge, Overloaded

FIRST_WORD_SECONDS = 10.0
"""How long a connection may take until it says anything at all."""

WARNING_SECONDS = 60.0
"""A bound that is met again and again is said once in so long."""

READS_A_TURN = 4
"""Of large requests: some tenths of a millisecond."""

FAULT_SECONDS = 10.0
"""How long readiness remembers that a connection was turned away."""

MAX_PLACES = 16_384
"""What connections take by default where the number of open files is next to unlimited: some 100 MiB, all idle."""

_ROOM_SHARE = 32
"""So much of the bound is freed at a time: more would take long, less would mean to look through all who hold something too often."""

_log = logging.getLogger(__name__)


class BodyLimits:
    """How large a body may be, and how long it may take to arrive."""

    def __init__(self, max_bytes: int, timeout_seconds: float) -> None:
        self.max_bytes = max_bytes
        self.timeout_seconds = timeout_seconds

    def check_announced(self, headers: list[tuple[bytes, bytes]]) -> int:
        """The body's bytes as the headers announce them, 0 where they do not. Raises BodyTooLarge above the limit."""
        for name, value in headers:
            if name == b"content-length" and value.isdigit():
                announced = int(value[:20])
                if announced > self.max_bytes:
                    raise self.too_large(f"the body of {announced} bytes")
                return announced
        return 0

    def too_large(self, what: str = "the body") -> BodyTooLarge:
        """The refusal of a body above the limit."""
        return BodyTooLarge(
            f"{what} is larger than the {self.max_bytes} bytes allowed",
            hint="limits.max_body_bytes sets the limit",
            limit=self.max_bytes,
        )

    def timeout(self) -> BodyTimeout:
        """The refusal of a request that did not arrive in time."""
        return BodyTimeout(f"the request did not arrive within {self.timeout_seconds:g} s", limit_seconds=self.timeout_seconds)


class Holder(Protocol):
    """A connection that holds bytes which are not in work yet."""

    holding_since: float
    """When the oldest of them came, in the event loop's time."""

    def give_way(self, error: Overloaded) -> None:
        """Lets go of all of them, and says why where that can be said."""


class Arrivals:
    """The bytes that have arrived on all connections of this process and are not in work yet."""

    def __init__(self, limit_bytes: int, clock: Callable[[], float]) -> None:
        self.limit_bytes = limit_bytes
        self.held_bytes = 0
        self.given_way = 0
        """How many connections had to let go."""
        self._clock = clock
        self._held: dict[Holder, int] = {}
        self._warned_at = float("-inf")

    def hold(self, holder: Holder, weight_bytes: int) -> None:
        """Notes what a connection holds now, 0 for nothing. Above the limit some give way, `holder` perhaps among them."""
        before = self._held.pop(holder, 0)
        self.held_bytes += weight_bytes - before
        if weight_bytes:
            self._held[holder] = weight_bytes
            if self.held_bytes > self.limit_bytes:
                self._make_room()

    def _make_room(self) -> None:
        """The largest and slowest go: who holds much for long. What came just now weighs next to nothing."""
        now = self._clock()
        error = Overloaded(
            f"requests of {self.held_bytes} bytes are on their way, more than the {self.limit_bytes} allowed: the largest and slowest"
            " are refused",
            hint="limits.max_arriving_bytes sets the limit",
            retry_after_seconds=1,
            limit=self.limit_bytes,
        )
        goal = self.limit_bytes - self.limit_bytes // _ROOM_SHARE
        for holder in sorted(self._held, key=lambda one: self._held[one] * (now - one.holding_since), reverse=True):
            if self.held_bytes <= goal:
                break
            self.held_bytes -= self._held.pop(holder)
            self.given_way += 1
            holder.give_way(error)
        if now >= self._warned_at + WARNING_SECONDS:
            self._warned_at = now
            _log.warning("%s (limits.max_arriving_bytes; said once a minute)", error.message)


class Reader(Protocol):
    """A connection whose large request is on its way."""

    def take_turn(self) -> None:
        """It may be read once."""


class Turns:
    """Large requests are read in turn, a few in a turn of the event loop: a thousand of them take no longer than these.

    A short turn matters also because a new connection waits for it: the loop accepts one a turn.
    """

    def __init__(self) -> None:
        self._waiting: deque[Reader] = deque()

    def wait(self, reader: Reader, loop: asyncio.AbstractEventLoop) -> None:
        """Queues a connection, which must not be read until then."""
        self._waiting.append(reader)
        if len(self._waiting) == 1:
            loop.call_soon(self._go_on, loop)

    def _go_on(self, loop: asyncio.AbstractEventLoop) -> None:
        for _ in range(min(len(self._waiting), READS_A_TURN)):
            self._waiting.popleft().take_turn()
        if self._waiting:
            loop.call_soon(self._go_on, loop)


class Idle(Protocol):
    """A connection without a request in work."""

    def give_place(self) -> None:
        """Closes it at once."""


IdleOnes = OrderedDict[Idle, None]


class Places:
    """The connections of this process. Where all places are taken, one that is not at work gives way to a new one.

    First those that never sent a whole request, then those that never paid, then those that paid, the longest ago first.
    """

    def __init__(self, limit: int, clock: Callable[[], float]) -> None:
        self.limit = limit
        self.taken = 0
        self.given_way = 0
        """How many connections were closed for a new one."""
        self.turned_away = 0
        """How many new ones found every place at work."""
        self.turned_away_at = float("-inf")
        self.silent: IdleOnes = OrderedDict()
        self.unpaid: IdleOnes = OrderedDict()
        self.paid: IdleOnes = OrderedDict()
        self._clock = clock
        self._warned_at = float("-inf")

    def take(self, connection: Idle) -> bool:
        """Gives a place to a new connection; False where there is none to be had."""
        is_full = self.taken >= self.limit
        if is_full:
            self._warn()
            idle = next((ones for ones in (self.silent, self.unpaid, self.paid) if ones), None)
            if idle is None:
                self.turned_away += 1
                self.turned_away_at = self._clock()
                return False
            gone, _ = idle.popitem(last=False)
            self.given_way += 1
            self.taken -= 1
            gone.give_place()
        self.taken += 1
        self.silent[connection] = None
        return True

    def note_full_table(self) -> None:
        """No more files can be opened, although there are places."""
        self.turned_away_at = self._clock()

    @property
    def fault(self) -> str:
        """Why new connections are not taken just now, "" when they are."""
        if self._clock() > self.turned_away_at + FAULT_SECONDS:
            return ""
        return (
            f"new connections are turned away: {self.taken} of at most {self.limit} are open, "
            "and all of them are at work or no more files can be opened"
        )

    def _warn(self) -> None:
        now = self._clock()
        if now >= self._warned_at + WARNING_SECONDS:
            self._warned_at = now
            _log.warning(
                "all %d connections are taken: those that never sent a request or never paid give way to new ones "
                "(limits.max_connections, by default what the limit of open files allows; said once a minute)",
                self.limit,
            )


def connections_within(open_files: int) -> int:
    """How many connections a process takes that may have so many files open: the rest is for its own files and for calls to others.

    Below zero there is no limit, as `resource` spells it.
    """
    if open_files < 0:
        return MAX_PLACES
    return max(8, min(MAX_PLACES, open_files - min(256, max(32, open_files // 8))))


class Bounds(NamedTuple):
    """All of them, for one process. `idle_seconds` is how long a connection is kept without a request."""

    limits: BodyLimits
    arrivals: Arrivals
    places: Places
    turns: Turns
    idle_seconds: float
