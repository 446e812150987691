"""Look-ups of orchestrators' names, in threads of their own.

A name server keeps the system's resolver waiting for as long as it likes, and strangers choose the names. Among the event
loop's own threads, which are few, such names would stand before everybody else's look-ups: the RPC endpoint's, the
webhook's, the issuer's. The threads here are daemons: a look-up that hangs does not delay the end of the process.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import NamedTuple, TypeAlias

from livepeer_remote_signer.core.errors import OrchestratorUnreachable

MAX_THREADS = 64
"""More names than are asked at one time: those whose asker has given up still hold theirs."""

MAX_WAITING = 256

LookUp: TypeAlias = Callable[[str, int], list[str]]


class _Question(NamedTuple):
    host: str
    port: int
    answer: Future[list[str]]


class NameThreads:
    """At most `max_threads` look-ups at one time, each name's only once, and at most `max_waiting` that wait for a thread."""

    def __init__(self, look_up: LookUp, max_threads: int = MAX_THREADS, max_waiting: int = MAX_WAITING) -> None:
        self._look_up = look_up
        self._max_threads = max_threads
        self._max_waiting = max_waiting
        self._lock = threading.Lock()
        self._threads = 0
        self._waiting: deque[_Question] = deque()
        self._asked: dict[tuple[str, int], Future[list[str]]] = {}

    async def resolve(self, host: str, port: int) -> Sequence[str]:
        """The addresses of `host`. Raises what the look-up raises, and OrchestratorUnreachable when too many names wait."""
        answer = self._ask(host, port)
        loop = asyncio.get_running_loop()
        is_answered = asyncio.Event()

        def tell(_: Future[list[str]]) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(is_answered.set)

        answer.add_done_callback(tell)
        await is_answered.wait()
        return answer.result()

    def _ask(self, host: str, port: int) -> Future[list[str]]:
        with self._lock:
            asked = self._asked.get((host, port))
            if asked is not None:
                return asked
            if len(self._waiting) >= self._max_waiting:
                raise OrchestratorUnreachable(
                    f"{host} cannot be looked up: {len(self._waiting)} names of orchestrators are waiting for it, the most at one time",
                    hint="a name server is slow; try again in a few seconds",
                    host=host,
                    limit=self._max_waiting,
                )
            if self._threads < self._max_threads:
                self._start_thread(host)
            question = _Question(host, port, Future())
            self._asked[host, port] = question.answer
            self._waiting.append(question)
            return question.answer

    def _start_thread(self, host: str) -> None:
        """One more; it waits for the lock. Where the system has none left the others do."""
        try:
            threading.Thread(target=self._work, name="orchestrator-names", daemon=True).start()
        except RuntimeError:
            if not self._threads:
                raise OrchestratorUnreachable(
                    f"{host} cannot be looked up: the system starts no further thread",
                    hint="raise the limit on processes of this container or user",
                    host=host,
                ) from None
        else:
            self._threads += 1

    def _work(self) -> None:
        """Answers what waits, and ends when nothing does."""
        while (question := self._next()) is not None:
            found: list[str] = []
            fault: Exception | None = None
            try:
                found = self._look_up(question.host, question.port)
            except Exception as error:  # noqa: BLE001 - whoever asked is told
                fault = error
            with self._lock:
                del self._asked[question.host, question.port]
            if fault is None:
                question.answer.set_result(found)
            else:
                question.answer.set_exception(fault)

    def _next(self) -> _Question | None:
        with self._lock:
            if self._waiting:
                return self._waiting.popleft()
            self._threads -= 1
            return None


def _ask_system(host: str, port: int) -> list[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


_THREADS = NameThreads(_ask_system)


async def resolve_name(host: str, port: int) -> Sequence[str]:
    """The addresses of `host` as the system's resolver gives them; OSError when there is none."""
    return await _THREADS.resolve(host, port)
