"""One call at a time for each session, within this process: the next one waits a little, in order of arrival."""

from __future__ import annotations

import asyncio
from collections import deque
from types import TracebackType

from livepeer_remote_signer.core.errors import SessionBusy

MAX_WAITING = 8
"""Calls of one session that may wait; a client sends one at a time, and a flood must not pile up."""


class Turns:
    """Hands out turns by name."""

    def __init__(self, wait_seconds: float) -> None:
        self._wait_seconds = wait_seconds
        self._waiting: dict[bytes | str, deque[asyncio.Future[None]] | None] = {}

    def take(self, name: bytes | str) -> Turn:
        """A turn to enter with `async with`; "" is nobody's name and never waits. Raises SessionBusy."""
        return Turn(self, name)

    def take_free(self, name: bytes | str) -> bool:
        """Takes the turn where nobody has it."""
        if name in self._waiting:
            return False
        self._waiting[name] = None
        return True

    async def wait(self, name: bytes | str) -> None:
        """Returns when the turn is ours, which somebody has."""
        queue = self._waiting[name]
        if queue is None:
            queue = self._waiting[name] = deque()
        if len(queue) >= MAX_WAITING:
            raise self._busy(f"{MAX_WAITING} calls of this session are waiting already")
        ours: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue.append(ours)
        try:
            async with asyncio.timeout(self._wait_seconds):
                await ours
        except BaseException as error:
            if ours.done() and not ours.cancelled():
                self.leave(name)
            elif ours in queue:
                queue.remove(ours)
            if isinstance(error, TimeoutError):
                raise self._busy(f"another call of this session is still in work after {self._wait_seconds:g} s") from None
            raise

    def leave(self, name: bytes | str) -> None:
        """Hands the turn to who has waited longest."""
        queue = self._waiting.get(name)
        while queue:
            following = queue.popleft()
            if not following.done():
                following.set_result(None)
                return
        del self._waiting[name]

    @staticmethod
    def _busy(message: str) -> SessionBusy:
        return SessionBusy(message, hint="send one call of a session at a time", retry_after_seconds=1)


class Turn:
    """One turn."""

    __slots__ = ("_name", "_turns")

    def __init__(self, turns: Turns, name: bytes | str) -> None:
        self._turns = turns
        self._name = name

    async def __aenter__(self) -> None:
        if self._name and not self._turns.take_free(self._name):
            await self._turns.wait(self._name)

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._name:
            self._turns.leave(self._name)
