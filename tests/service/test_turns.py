"""Turns at signing without a ledger: what exceeds one waits for the next, in turn between callers, and nobody is forgotten."""

from __future__ import annotations

import asyncio

from livepeer_remote_signer.service.turns import TURN_TICKETS, SigningTurns


async def test_what_exceeds_a_turn_is_taken_in_turn_between_callers_and_all_are_served() -> None:
    turns, signed = SigningTurns(), []

    async def sign(caller: str, number: int) -> None:
        await turns.take(caller, TURN_TICKETS)
        signed.append((caller, number))

    async with asyncio.timeout(20):
        await asyncio.gather(*(sign("many", number) for number in range(5)), sign("few", 0))
    assert signed[0] == ("many", 0)
    assert ("few", 0) in signed[1:3], "not behind all that somebody else has asked for"
    assert sorted(signed) == [("few", 0), *(("many", number) for number in range(5))]


async def test_within_a_turn_nobody_waits_and_the_next_turn_begins_anew() -> None:
    turns = SigningTurns()
    for _ in range(3):
        for _ in range(TURN_TICKETS):
            taking = turns.take("a", 1)
            try:
                taking.send(None)
            except StopIteration:
                continue
            raise AssertionError("it waited")
        await asyncio.sleep(0)


async def test_who_left_takes_nobodys_turn() -> None:
    turns = SigningTurns()
    await turns.take("a", TURN_TICKETS)
    left, stays = (asyncio.create_task(turns.take("a", TURN_TICKETS)) for _ in range(2))
    await asyncio.sleep(0)
    left.cancel()
    async with asyncio.timeout(20):
        await stays
