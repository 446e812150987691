"""An end for every request, where all of them may take equally long: one timer, for the first.

`asyncio.timeout` sets a timer for each and takes it back again, which costs a payment 3 us; this costs 0.6.
"""

from __future__ import annotations

import asyncio
from collections import deque
from math import inf


class Deadline:
    """The end of one request, which is what the current task does."""

    __slots__ = ("_cancelled_before", "at", "has_passed", "task")

    def __init__(self, task: asyncio.Task[object], at: float) -> None:
        self.task: asyncio.Task[object] | None = task
        self.at = at
        self.has_passed = False
        self._cancelled_before = task.cancelling()

    def is_cause(self) -> bool:
        """Whether the task was cancelled because its time is over, and for nothing else: that is taken back then."""
        return self.has_passed and self.task is not None and self.task.uncancel() <= self._cancelled_before

    def end(self) -> None:
        """The request was answered."""
        self.task = None


class Deadlines:
    """Those of one event loop, in the order in which they come."""

    def __init__(self) -> None:
        self._waiting: deque[Deadline] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, seconds: float) -> Deadline:
        """Cancels the current task after so long, unless its deadline was ended before. Of two requests that which began first must
        be over first."""
        loop, waiting = asyncio.get_running_loop(), self._waiting
        task = asyncio.current_task(loop)
        if task is None:
            raise RuntimeError("a deadline is that of a task")
        deadline = Deadline(task, loop.time() + seconds)
        while waiting and waiting[0].task is None:
            waiting.popleft()
        if seconds < inf:
            waiting.append(deadline)
            if self._timer is None:
                self._timer = loop.call_at(deadline.at, self._end_overdue)
        return deadline

    def _end_overdue(self) -> None:
        loop, waiting = asyncio.get_running_loop(), self._waiting
        self._timer = None
        while waiting:
            first = waiting[0]
            if first.task is not None:
                if first.at > loop.time():
                    self._timer = loop.call_at(first.at, self._end_overdue)
                    return
                first.has_passed = True
                first.task.cancel()
            waiting.popleft()
