"""Several senders of one ledger are followed together, and each is judged by what was signed for it."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from livepeer_remote_signer.adapters.drawn.follower import MAX_LOOKUPS
from livepeer_remote_signer.core.protocol.eip191 import checksum_address
from livepeer_remote_signer.core.protocol.timestamps import NS_PER_SECOND
from tests.adapters.drawn.test_follower import ROUND, SENDER, Rig, rigged, topic_of
from tests.ledgers import opened

Place = Path | str
OTHER = bytes.fromhex("70" * 20)


def both(rig: Rig) -> Rig:
    rig.senders = [SENDER, OTHER]
    rig.keys = {SENDER: "red", OTHER: "blue"}
    return rig


async def test_a_stolen_second_key_is_an_alarm_that_names_it_and_no_other_sender(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    async with rigged(place, 2) as rig:
        follower = await both(rig).settled(rig.follower(suspends=True))
        (ours,), (others,) = await rig.signed(), await rig.signed(sender=OTHER)
        for chain in rig.chains:
            chain.redeem(ours)
            chain.redeem(others)
            chain.redeem(others._replace(sender_nonce=77))
        await follower.poll()
        assert (follower.status(SENDER).counts, follower.status(OTHER).counts) == ({"ours": 1}, {"ours": 1, "foreign": 1})
        assert follower.status().counts == {"ours": 2, "foreign": 1}
        assert (rig.suspended, caplog.text.count("SOMEBODY ELSE SIGNS")) == (1, 1)
        assert f"WITH THE KEY OF {checksum_address(OTHER)} (keys.blue)" in caplog.text
        assert checksum_address(SENDER) not in caplog.text
        ((event,),) = rig.ledger.sql("SELECT payload FROM lrs_outbox")
        assert json.loads(bytes(event))["data"]["payer_address"] == checksum_address(OTHER)


async def test_what_one_sender_signed_is_not_taken_for_anothers(place: Place) -> None:
    async with rigged(place) as rig:
        follower = await both(rig).settled(rig.follower())
        (ticket,) = await rig.signed()
        rig.chains[0].redeem(ticket._replace(sender=OTHER))  # on the same params, terms and nonce
        await follower.poll()
        rig.chains[0].redeem(ticket)
        await follower.poll()
        assert (follower.status(SENDER).counts, follower.status(OTHER).counts) == ({"ours": 1}, {"foreign": 1})


async def test_a_look_at_the_chain_is_one_question_for_all_and_that_of_one_sender_stays(place: Place) -> None:
    async with rigged(place) as rig:
        follower = await both(rig).settled(rig.follower())
        (chain,) = rig.chains
        chain.senders.clear()
        chain.number += 5
        await follower.poll()
        assert chain.senders == [[topic_of(SENDER), topic_of(OTHER)]]
        rig.senders, rig.keys = [SENDER], {}
        chain.senders.clear()
        await rig.follower().poll()
        assert chain.senders == [topic_of(SENDER)]


async def test_a_sender_that_is_added_is_judged_from_its_own_beginning_and_the_first_goes_on(place: Place) -> None:
    async with rigged(place) as rig:
        await rig.settled(rig.follower())
        (chain,) = rig.chains
        follower = both(rig).follower()
        chain.number += 3
        await follower.poll()
        assert (follower.status(SENDER).judged_from_round, follower.status(OTHER).judged_from_round) == (ROUND, None)
        assert (follower.status().judged_from_round, follower.status().block) == (None, chain.number)
        first, second = (await rig.signed())[0], (await rig.signed(sender=OTHER))[0]
        for ticket in (first, second):
            chain.redeem(ticket._replace(sender_nonce=9))
        await follower.poll()
        assert (follower.status(SENDER).counts, follower.status(OTHER).counts) == ({"foreign": 1}, {"unjudged": 1})
        for _ in range(4):
            rig.ledger.now_ns += 60 * NS_PER_SECOND
            await follower.poll()
        assert follower.status().judged_from_round == ROUND + 1


async def test_senders_that_were_followed_to_other_blocks_come_together_and_miss_nothing(place: Place) -> None:
    async with rigged(place) as rig:
        (chain,) = rig.chains
        await rig.settled(rig.follower())
        (ours,) = await rig.signed()
        chain.most_blocks = 1
        chain.redeem(ours)
        chain.number += 2 * MAX_LOOKUPS
        follower = both(rig).follower()
        await follower.poll()  # the new one begins at the newest block, the first is far behind it
        assert follower.status(SENDER).behind_blocks == follower.status().behind_blocks != 0
        (others,) = await rig.signed(sender=OTHER)
        chain.redeem(others)
        for _ in range(10):
            await follower.poll()
        assert follower.status().behind_blocks == 0
        assert rig.verdicts() == [("ours", 2)]
        chain.senders.clear()
        await follower.poll()
        assert chain.senders == [[topic_of(SENDER), topic_of(OTHER)]] * len(chain.senders)


async def test_a_reorganized_chain_takes_back_the_tickets_of_each(place: Place) -> None:
    async with rigged(place) as rig:
        follower = await both(rig).settled(rig.follower())
        (chain,) = rig.chains
        tickets = [*await rig.signed(), *await rig.signed(sender=OTHER)]
        await follower.poll()
        for ticket in tickets:
            chain.redeem(ticket)
            await follower.poll()
        assert rig.verdicts() == [("ours", 2)]
        chain.reorganize(2)
        await follower.poll()
        assert rig.verdicts() == []
        for ticket in tickets:
            chain.redeem(ticket)
        await follower.poll()
        assert (follower.status(SENDER).counts, follower.status(OTHER).counts) == ({"ours": 1}, {"ours": 1})


async def test_lines_of_what_may_be_drawn_are_told_apart_where_there_are_several(place: Place) -> None:
    async with opened(place, senders=[SENDER, OTHER]) as (ledger,):
        rig = Rig(ledger, None, [])  # type: ignore[arg-type] # no chain is asked
        await rig.signed(2)
        await rig.signed(3, sender=OTHER)
        lines = await ledger.store.draws_since(0)
        assert sorted(line.signed.tickets for line in lines) == [2, 3]
