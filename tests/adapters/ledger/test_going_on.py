"""Work that goes on when whoever waits for it leaves."""

from __future__ import annotations

import asyncio
import gc
import weakref

from livepeer_remote_signer.adapters.ledger.going_on import to_its_end


async def test_what_nobody_else_holds_goes_on_to_its_end() -> None:
    begun, ended = asyncio.Event(), asyncio.Event()
    awaited: list[weakref.ref[asyncio.Future[None]]] = []

    async def work() -> None:
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        awaited.append(weakref.ref(answer))
        begun.set()
        await answer
        ended.set()

    caller = asyncio.create_task(to_its_end(work()))
    await begun.wait()
    caller.cancel()
    await asyncio.wait([caller])
    del caller
    await asyncio.sleep(0)  # in which the loop lets go of what it had still to call
    gc.collect()
    answer = awaited[0]()
    assert answer is not None, "the work was thrown away in the middle"
    answer.set_result(None)
    async with asyncio.timeout(10):
        await ended.wait()
