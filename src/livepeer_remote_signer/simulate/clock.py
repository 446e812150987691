"""A clock that only moves when it is told to, shared by everyone in the story."""

from __future__ import annotations

NS_PER_SECOND = 1_000_000_000


class Clock:
    """Unix nanoseconds; calling it reads it, as `time.time_ns` is read."""

    def __init__(self, start_ns: int = 1_775_592_000 * NS_PER_SECOND) -> None:
        self.start_ns = start_ns
        self.now_ns = start_ns

    def __call__(self) -> int:
        return self.now_ns

    def advance(self, seconds: int) -> None:
        """Moves the clock on."""
        self.now_ns += seconds * NS_PER_SECOND

    @property
    def elapsed_seconds(self) -> int:
        """Whole seconds since the start."""
        return (self.now_ns - self.start_ns) // NS_PER_SECOND
