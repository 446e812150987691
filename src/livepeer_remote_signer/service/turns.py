"""Turns at signing, where no ledger's batches make them: a few milliseconds of signatures, then the event loop looks around.

Reading a body of thousands of values takes a whole turn likewise.

Signatures are made where they are asked for, one payment after the other: three hundred connections with a hundred tickets each
would keep everybody else waiting for seconds. So what exceeds a turn waits, and is taken in turn between callers.
"""

from __future__ import annotations

import asyncio

from livepeer_remote_signer.core.rules.fairness import FairQueue

TURN_TICKETS = 32
"""After so many the event loop reads what has arrived meanwhile: some four milliseconds."""


class SigningTurns:
    """One for each event loop."""

    def __init__(self) -> None:
        self._queue: FairQueue[tuple[int, asyncio.Future[None]]] = FairQueue()
        self._signed = 0
        self._is_scheduled = False

    @property
    def waiting(self) -> int:
        """How many wait for their turn."""
        return len(self._queue)

    async def take(self, caller: str, tickets: int) -> None:
        """Returns when this payment may be signed, which must be done at once: before anything else is awaited."""
        if self._signed < TURN_TICKETS and not self._queue:
            self._signed += tickets
            self._schedule()
            return
        turn = asyncio.get_running_loop().create_future()
        self._queue.push(caller, tickets, (tickets, turn))
        self._schedule()
        await turn

    def _schedule(self) -> None:
        if not self._is_scheduled:
            self._is_scheduled = True
            asyncio.get_running_loop().call_soon(self._next_turn)

    def _next_turn(self) -> None:
        """Wakes those who sign within this turn of the event loop; the next turn begins after them."""
        self._is_scheduled = False
        self._signed = 0
        while self._queue and self._signed < TURN_TICKETS:
            tickets, turn = self._queue.pop()
            if not turn.done():  # else its caller left
                self._signed += tickets
                turn.set_result(None)
        if self._signed:
            self._schedule()
