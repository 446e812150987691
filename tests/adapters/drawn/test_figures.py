"""What was drawn and what may be lost next, as metrics and the console tell it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from livepeer_remote_signer.adapters.drawn.figures import DrawnWatch, add_figure_gauges
from livepeer_remote_signer.adapters.drawn.follower import FollowedStatus
from livepeer_remote_signer.adapters.ledger.redeemed import RedeemedChange
from livepeer_remote_signer.adapters.ledger.store import StoreFailed
from livepeer_remote_signer.adapters.metrics import Metrics
from livepeer_remote_signer.adapters.runways import read_burn
from livepeer_remote_signer.core.protocol.eip191 import checksum_address
from livepeer_remote_signer.core.rules.runway import Burn
from tests.commands.test_drawn import row
from tests.ledgers import OpenLedger, Session, opened
from tests.plans import CHAIN, ORCHESTRATOR
from tests.prometheus_text import parse_metrics

Place = Path | str
FACE = 1_200_000_000_000_000
SENDER = b"\x5e" * 20


def watch_of(ledger: OpenLedger) -> DrawnWatch:
    async def burn() -> Burn:
        return await read_burn(ledger.store, lambda: ledger.now_ns)

    status = FollowedStatus({"ours": 1, "foreign": 2}, 7, 9, 3, "")
    return DrawnWatch(sender=SENDER, store=ledger.store, burn=burn, view=lambda: CHAIN, status=lambda: status)  # type: ignore[arg-type]


async def test_the_chance_of_the_draw_and_the_losses_ahead_are_told_once_they_are_known(place: Place) -> None:
    async with opened(place) as (ledger,):
        watch, metrics = watch_of(ledger), Metrics()
        metrics.gauge("depth", "Depth.", lambda: 1.5)
        add_figure_gauges(metrics, watch)
        assert parse_metrics(metrics.render()).keys() == {"depth"}
        assert watch.describe() == {
            "redeemed": {"ours": 1, "foreign": 2},
            "behind_blocks": 3,
            "fault": "",
            "draws": None,
            "outstanding": None,
            "ahead": None,
        }
        await watch.look()
        assert watch.describe()["draws"] == []
        assert parse_metrics(metrics.render())["livepeer_signer_drawn_chance"].value(of="all") == 1

        for _ in range(5):
            await ledger.pay(Session().next(tickets=40))
        round_ = CHAIN.last_initialized_round
        ours = row(9, "ours")._replace(round=round_, face_value_wei=FACE, recipient=ORCHESTRATOR, sender=SENDER)
        other = ours._replace(ticket=b"\7" * 32, sender=b"\1" * 20)  # of another sender on this ledger
        await ledger.store.change_redeemed(RedeemedChange({"x": "{}"}, [ours, other]))  # type: ignore[attr-defined] # both stores have it
        await watch.look()
        read, told = parse_metrics(metrics.render()), watch.describe()

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
        watch = watch_of(ledger)
        await watch.start()
        async with asyncio.timeout(30):
            while watch.current is None:  # noqa: ASYNC110 - as metrics read it
                await asyncio.sleep(0.01)
        await watch.stop()
        known = watch.current
        failing = FailingStore()
        watch._store = failing  # type: ignore[assignment] # what it asks for
        await watch.start()
        await asyncio.wait_for(failing.asked.wait(), 30)
        await watch.stop()
        assert watch.current is known


class FailingStore:
    """A database that does not answer."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()

    async def draws_since(self, minute: int) -> None:
        self.asked.set()
        raise StoreFailed("gone")
