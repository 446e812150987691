"""What is worked out from the ledger again and again goes on through the ledger's failures, and ends when it is told to."""

from __future__ import annotations

import asyncio

from livepeer_remote_signer.adapters.ledger.store import StoreFailed
from livepeer_remote_signer.adapters.looking import Looking


class Counting(Looking):
    """Looks that take three seconds of its clock; the first one finds no ledger."""

    name = "counting"

    def __init__(self) -> None:
        super().__init__(lambda: 3.0 * self.looks)
        self.looks = 0
        self.took: list[float] = []
        self.seen_twice = asyncio.Event()

    async def look(self) -> None:
        self.looks += 1
        if self.looks == 1:
            raise StoreFailed("away")
        self.seen_twice.set()

    def rest_seconds(self, took_seconds: float) -> float:
        self.took.append(took_seconds)
        return 0.0


async def test_a_look_that_fails_is_followed_by_the_next_and_each_rest_knows_how_long_it_took() -> None:
    part = Counting()
    await part.start()
    async with asyncio.timeout(20):
        await part.seen_twice.wait()
    await part.stop()
    seen = part.looks
    await asyncio.sleep(0)
    assert part.looks == seen
    assert part.took[0] == 3.0


async def test_what_was_never_started_can_be_stopped() -> None:
    part = Counting()
    await part.stop()
    assert part.looks == 0
