"""What is worked out from the ledger again and again, beside payments and for a small part of the time."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress

from livepeer_remote_signer.core.errors import LedgerUnavailable


class Looking(ABC):
    """A part of the application that looks from `start` to `stop`. `name` is the task's."""

    name: str

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._task: asyncio.Task[None] | None = None

    @abstractmethod
    async def look(self) -> None:
        """Works it out. Raises LedgerUnavailable: the look at the ledger tells of it, and the answer before stands."""

    @abstractmethod
    def rest_seconds(self, took_seconds: float) -> float:
        """Until the next look, after one that took so long."""

    async def start(self) -> None:
        """Begins to look."""
        self._task = asyncio.create_task(self._keep_looking(), name=self.name)

    async def stop(self) -> None:
        """Ends; what is being worked out is of no use any more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _keep_looking(self) -> None:
        while True:
            began = self._clock()
            with suppress(LedgerUnavailable):
                await self.look()
            await asyncio.sleep(self.rest_seconds(self._clock() - began))
