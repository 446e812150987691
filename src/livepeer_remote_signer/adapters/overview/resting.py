"""Answers that are costly: given as they were last worked out, and worked out again after a rest."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, NamedTuple, TypeVar

_K = TypeVar("_K")
_V = TypeVar("_V")

RESTS = 9
"""Working it out takes at most a tenth of the time, however often it is asked for."""

MAX_WAIT_SECONDS = 0.3
"""For an answer that is being worked out; after it the last one is given."""


class _Found(NamedTuple, Generic[_V]):
    value: _V
    rests_until: float


class Resting(Generic[_K, _V]):
    """One task at a time for each of a few keys; everybody who asks meanwhile gets its answer, or the one before it."""

    def __init__(
        self,
        work: Callable[[_K], Awaitable[_V]],
        *,
        max_wait_seconds: float = MAX_WAIT_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._work = work
        self._max_wait_seconds = max_wait_seconds
        self._clock = clock
        self._found: dict[_K, _Found[_V]] = {}
        self._tasks: dict[_K, asyncio.Task[_V]] = {}

    async def get(self, key: _K) -> _V | None:
        """The newest answer there is within the wait; None where there is none yet. Raises what the work raised."""
        found = self._found.get(key)
        if found is not None and self._clock() < found.rests_until:
            return found.value
        task = self._tasks.get(key)
        if task is None:
            task = self._tasks[key] = asyncio.create_task(self._renew(key))
            task.add_done_callback(lambda done: self._end(key, done))
        await asyncio.wait({task}, timeout=self._max_wait_seconds)
        if task.done():
            return task.result()
        return None if found is None else found.value

    async def _renew(self, key: _K) -> _V:
        began = self._clock()
        value = await self._work(key)
        ended = self._clock()
        self._found[key] = _Found(value, ended + RESTS * (ended - began))
        return value

    def _end(self, key: _K, task: asyncio.Task[_V]) -> None:
        """A fault is told to whoever waits for it, and whoever asks next tries again."""
        del self._tasks[key]
        if not task.cancelled() and task.exception() is not None:
            self._found.pop(key, None)
