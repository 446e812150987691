"""Threads for libraries that wait: a signature is made in one of them while the event loop goes on.

They are daemons, so that a device that never answers does not delay the process's end. What nobody waits for any more, and has not
begun, is not done.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeVar

from livepeer_remote_signer.core.errors import KeyUnavailable

_T = TypeVar("_T")


class KeyThreads:
    """At most `count` threads, started as they are needed."""

    def __init__(self, name: str, count: int) -> None:
        self._name = name
        self._count = count
        self._started = 0
        self._waiting: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()

    async def run(self, work: Callable[[], _T]) -> _T:
        """What `work` returns or raises, in one of the threads. Raises KeyUnavailable where the system starts none."""
        return await asyncio.wrap_future(self._begin(work))

    def run_now(self, work: Callable[[], _T], timeout_seconds: float) -> _T:
        """The same for a caller without an event loop, which waits here. Raises KeyUnavailable when it takes too long."""
        future = self._begin(work)
        try:
            return future.result(timeout_seconds)
        except TimeoutError:
            future.cancel()
            raise KeyUnavailable(f"did not answer within {timeout_seconds:g} s") from None

    def close(self) -> None:
        """Ends the threads, each after what it has begun."""
        for _ in range(self._started):
            self._waiting.put(None)
        self._started = 0

    def _begin(self, work: Callable[[], _T]) -> Future[_T]:
        if self._started < self._count:
            try:
                threading.Thread(target=self._work, name=self._name, daemon=True).start()
            except RuntimeError:
                if not self._started:
                    raise KeyUnavailable("cannot be asked: the system starts no further thread") from None
            else:
                self._started += 1
        future: Future[_T] = Future()
        self._waiting.put((future, work))
        return future

    def _work(self) -> None:
        while (waiting := self._waiting.get()) is not None:
            future, work = waiting
            if not future.set_running_or_notify_cancel():
                continue
            try:
                done = work()
            except BaseException as error:  # noqa: BLE001 - whoever waits is told
                future.set_exception(error)
            else:
                future.set_result(done)
