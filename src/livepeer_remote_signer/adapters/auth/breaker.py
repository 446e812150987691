"""A circuit breaker: stops asking a service that does not answer, and lets one call through to see whether it does again.

Only silence counts: time-outs, connections that fail, and questions that were still open when our own time was over. A service
that answers, whatever it says, is there.
"""

from __future__ import annotations

from collections.abc import Callable

FAILURES_TO_OPEN = 5
OPEN_SECONDS = 2.0


class CircuitBreaker:
    """Closed: every call goes. Open: none does, for `open_seconds`. Half-open: one does, and its outcome decides."""

    def __init__(self, clock: Callable[[], float], failures_to_open: int = FAILURES_TO_OPEN, open_seconds: float = OPEN_SECONDS) -> None:
        self._clock = clock
        self._failures_to_open = failures_to_open
        self._open_seconds = open_seconds
        self._failures = 0
        self._opened_at: float | None = None
        self._is_probing = False

    @property
    def is_open(self) -> bool:
        """Whether calls are held back, but for a probe."""
        return self._opened_at is not None

    def enter(self) -> bool:
        """Whether this call may go. Every call that may must end in `answered`, `silent` or `abandoned`."""
        if self._opened_at is None:
            return True
        if self._is_probing or self._clock() - self._opened_at < self._open_seconds:
            return False
        self._is_probing = True
        return True

    def answered(self) -> None:
        """The service spoke."""
        self._failures = 0
        self._opened_at = None
        self._is_probing = False

    def silent(self) -> None:
        """The service did not answer in time, or could not be reached."""
        self._failures += 1
        if self._is_probing or self._failures >= self._failures_to_open:
            self._opened_at = self._clock()
        self._is_probing = False

    def abandoned(self) -> None:
        """The call was given up for reasons of the caller's: it says nothing of the service."""
        self._is_probing = False
