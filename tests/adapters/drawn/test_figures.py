"""What was drawn and what may be lost next, as metrics and the console tell it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest

from livepeer_remote_signer.adapters.drawn.figures import DrawnWatch, add_figure_gauges
from livepeer_remote_signer.adapters.drawn.follower import FollowedStatus
from livepeer_remote_signer.adapters.ledger.redeemed import RedeemedChange
from livepeer_remote_signer.adapters.ledger.store import StoreFailed
from livepeer_remote_signer.adapters.metrics import Metrics
from livepeer_remote_signer.adapters.metrics.by_sender import SenderGauges
from livepeer_remote_signer.adapters.runways import read_burns
from livepeer_remote_signer.core.protocol.eip191 import checksum_address
from livepeer_remote_signer.core.rules.luck import lines_by_sender
from livepeer_remote_signer.core.rules.runway import Burn
from tests.commands.test_drawn import row
from tests.ledgers import OpenLedger, Session, opened, signed_for
from tests.plans import CHAIN, ORCHESTRATOR
from tests.prometheus_text import parse_metrics

Place = Path | str
FACE = 1_200_000_000_000_000
SENDER = b"\x5e" * 20
OTHER = b"\x70" * 20


def watch_of(ledger: OpenLedger, *senders: bytes) -> DrawnWatch:
    async def burns() -> Mapping[bytes, Burn]:
        return await read_burns(ledger.store, lambda: ledger.now_ns, senders)  # type: ignore[arg-type] # both stores have it

    status = FollowedStatus({"ours": 1, "foreign": 2}, 7, 9, 3, "")
    return DrawnWatch(senders=senders, store=ledger.store, burns=burns, view=lambda: CHAIN, status=lambda _: status)  # type: ignore[arg-type]


async def test_the_chance_of_the_draw_and_the_losses_ahead_are_told_once_they_are_known(place: Place) -> None:
    async with opened(place) as (ledger,):
        watch, metrics = watch_of(ledger, SENDER), Metrics()
        metrics.gauge("depth", "Depth.", lambda: 1.5)
        add_figure_gauges(SenderGauges(metrics, {SENDER: ""}), watch)
        assert parse_metrics(metrics.render()).keys() == {"depth"}
        assert watch.describe(SENDER) == {
            "redeemed": {"ours": 1, "foreign": 2},
            "behind_blocks": 3,
            "fault": "",
            "draws": None,
            "outstanding": None,
            "ahead": None,
        }
        await watch.look()
        assert watch.describe(SENDER)["draws"] == []
        assert parse_metrics(metrics.render())["livepeer_signer_drawn_chance"].value(of="all") == 1

        for _ in range(5):
            await ledger.pay(Session().next(tickets=40))
        round_ = CHAIN.last_initialized_round
        ours = row(9, "ours")._replace(round=round_, face_value_wei=FACE, recipient=ORCHESTRATOR, sender=SENDER)
        other = ours._replace(ticket=b"\7" * 32, sender=b"\1" * 20)  # of another sender on this ledger
        await ledger.store.change_redeemed(RedeemedChange({"x": "{}"}, [ours, other]))  # type: ignore[attr-defined] # both stores have it
        await watch.look()
        read, told = parse_metrics(metrics.render()), watch.describe(SENDER)

    fair = pytest.approx(1 - (1 - 1 / 1200) ** 200, rel=1e-6)
    assert [read["livepeer_signer_drawn_chance"].value(of=of) for of in ("all", "least")] == [fair, fair]
    assert read["livepeer_signer_drawn_gwei"].value() == FACE / 10**9
    assert read["livepeer_signer_drawn_expected_gwei"].value() == pytest.approx(200 * 1000, rel=1e-9)
    assert [one["recipient"] for one in told["draws"]] == [None, checksum_address(ORCHESTRATOR)]
    assert told["outstanding"]["worst_wei"] == str(199 * FACE)
    hour, day = told["ahead"]
    assert (int(hour["worst_wei"]), int(day["worst_wei"])) == ((199 + 200) * FACE, (199 + 24 * 200) * FACE)
    assert int(hour["new_safe_wei"]) <= int(hour["safe_wei"]) < int(day["safe_wei"])
    ahead = read["livepeer_signer_loss_ahead_gwei"]
    assert ahead.value(hours="1", case="worst") == (199 + 200) * FACE / 10**9
    assert ahead.value(hours="24", case="0.01") == int(day["safe_wei"]) / 10**9


async def test_it_looks_by_itself_and_a_ledger_that_fails_leaves_what_was_known(place: Place) -> None:
    async with opened(place) as (ledger,):
        watch = watch_of(ledger, SENDER)
        await watch.start()
        async with asyncio.timeout(30):
            while not watch.current:  # noqa: ASYNC110 - as metrics read it
                await asyncio.sleep(0.01)
        await watch.stop()
        known = watch.current[SENDER]
        failing = FailingStore()
        watch._store = failing  # type: ignore[assignment] # what it asks for
        await watch.start()
        await asyncio.wait_for(failing.asked.wait(), 30)
        await watch.stop()
        assert watch.current == {SENDER: known}


class FailingStore:
    """A database that does not answer."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()

    async def draws_since(self, minute: int) -> None:
        self.asked.set()
        raise StoreFailed("gone")


async def test_what_was_drawn_of_one_sender_is_held_against_its_own_tickets(place: Place) -> None:
    senders = {SENDER: "red", OTHER: "blue"}
    async with opened(place, senders=list(senders)) as (ledger,):
        watch, metrics = watch_of(ledger, *senders), Metrics()
        add_figure_gauges(SenderGauges(metrics, senders), watch)
        await signed_for(ledger, SENDER, 40)
        await signed_for(ledger, OTHER, 200)
        round_ = CHAIN.last_initialized_round
        ours = row(9, "ours")._replace(round=round_, face_value_wei=FACE, recipient=ORCHESTRATOR, sender=SENDER)
        await ledger.store.change_redeemed(RedeemedChange({"x": "{}"}, [ours]))  # type: ignore[attr-defined] # both stores have it
        await watch.look()
        read = parse_metrics(metrics.render())
        worst = [watch.describe(sender)["outstanding"]["worst_wei"] for sender in senders]
    assert worst == [str(39 * FACE), str(200 * FACE)]
    labels = [{"key": name, "sender": checksum_address(sender)} for sender, name in senders.items()]
    assert [read["livepeer_signer_drawn_gwei"].value(**own) for own in labels] == [FACE / 10**9, 0]
    chances = [read["livepeer_signer_drawn_chance"].value(of="all", **own) for own in labels]
    assert chances == [pytest.approx(1 - (1 - 1 / 1200) ** 40, rel=1e-6), 1]


async def test_lines_from_when_there_was_one_sender_are_the_first_ones_and_those_of_a_former_one_nobodys(place: Place) -> None:
    former = b"\x09" * 20
    async with opened(place) as (ledger,):
        await signed_for(ledger, SENDER, 3)
    async with opened(place, senders=[SENDER, OTHER, former]) as (ledger,):
        for sender, tickets in ((SENDER, 4), (OTHER, 5), (former, 6)):
            await signed_for(ledger, sender, tickets)
        lines = await ledger.store.draws_since(0)
    found = lines_by_sender(lines, [SENDER, OTHER])
    assert {sender: sum(line.signed.tickets for line in own) for sender, own in found.items()} == {SENDER: 3 + 4, OTHER: 5}
    assert sum(line.signed.tickets for line in lines_by_sender(lines, [SENDER])[SENDER]) == 18
