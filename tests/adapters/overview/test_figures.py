"""The console's figures from a live chain, a price feed and a ledger that fails."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

from livepeer_remote_signer.adapters.ceilings import LiveCeilings
from livepeer_remote_signer.adapters.chain.rpc import ChainStatus, EndpointStatus, RpcChain
from livepeer_remote_signer.adapters.discovery import Discovery
from livepeer_remote_signer.adapters.ledger.controls import Controls, LargestSpend
from livepeer_remote_signer.adapters.ledger.store import Minutes, StoreFailed
from livepeer_remote_signer.adapters.overview.figures import Overview, describe_outcomes
from livepeer_remote_signer.adapters.overview.refusals import RecentRefusals
from livepeer_remote_signer.adapters.price_feed import FeedStatus, PriceFeed
from livepeer_remote_signer.adapters.runtime_prices import RuntimePrices
from livepeer_remote_signer.api.errors import status_of
from livepeer_remote_signer.config.ceilings import ceiling_amounts
from livepeer_remote_signer.config.loading import parse_config
from livepeer_remote_signer.config.models import Config
from livepeer_remote_signer.core.errors import Denied, NoTickets, PriceExceeded, RefreshSession
from livepeer_remote_signer.core.rules.ceilings import Rate
from livepeer_remote_signer.core.rules.chain import ChainView
from livepeer_remote_signer.core.rules.discovery import Absence
from livepeer_remote_signer.core.rules.ledger import Switches
from livepeer_remote_signer.core.rules.readiness import DiscoveryStatus, ReadyCheck
from livepeer_remote_signer.core.rules.trail import Trail
from livepeer_remote_signer.wiring.ledger import open_ledger
from tests.plans import CHAIN

NOW_NS = 1_775_592_000 * 10**9
ADDRESS = bytes(range(20))


class LiveChain:
    """A chain as the poller would tell of it."""

    def view(self) -> ChainView:
        return replace(CHAIN, withdraw_round=5000)

    def status(self) -> ChainStatus:
        endpoints = (
            EndpointStatus("rpc 1 (a.example)", False, 3, "no answer within 4 s", 0),
            EndpointStatus("rpc 2 (b.example)", True, 0, "", 7),
        )
        return ChainStatus(2.5, 60.0, 11.0, 300.0, 9, 1, endpoints, self.view())


class Feed:
    def __init__(self, rate: Rate | None, fault: str) -> None:
        self._status = FeedStatus(rate, 30.0, 5400.0, fault)

    def rate(self) -> Rate | None:
        return self._status.rate

    def status(self) -> FeedStatus:
        return self._status


class Listed(Discovery):
    """Discovery that has found three of five."""

    def __init__(self) -> None:
        """Asks nobody."""

    def status(self) -> DiscoveryStatus:
        return DiscoveryStatus(1, 1, 3, 5, "", 0.5, 60.0, {"unreachable": 1}, [Absence("https://o", "unreachable", "no answer")])


def config(tmp_path: Path) -> Config:
    return parse_config(
        f"key: {{private_key: '0x{'01' * 32}'}}\nchain: {{source: static}}\nledger: {{backend: sqlite, path: {tmp_path}/ledger.sqlite}}\n",
        {},
    )


def overview(
    tmp_path: Path, feed: Feed, controls: Controls | None, checks: Sequence[ReadyCheck] = (), discovery: Discovery | None = None
) -> Overview:
    chain = LiveChain()
    amounts = ceiling_amounts(config(tmp_path).prices)
    return Overview(
        keys={ADDRESS: ""},
        views={ADDRESS: chain.view},
        rpc=cast(RpcChain, chain),
        feed=cast(PriceFeed, feed),
        controls=controls,
        prices=RuntimePrices(amounts, LiveCeilings(amounts)),
        discovery=discovery,
        deposit_multiplier=4,
        ready_checks=lambda: checks,
        outcomes=lambda: {"200": 5, "480": 2, "503": 1},
        runway=lambda _: None,
        clock_ns=lambda: NOW_NS,
    )


async def test_a_live_chain_shows_its_age_and_each_endpoint_by_host(tmp_path: Path) -> None:
    data = await overview(tmp_path, Feed(Rate("usd", Fraction(7001, 2)), ""), None, [ReadyCheck("chain", False, "why")], Listed()).read(1)
    assert data["now"] == NOW_NS / 10**9
    assert data["chain"]["source"] == "rpc"
    assert (data["chain"]["age_seconds"], data["chain"]["max_age_seconds"]) == (2.5, 60.0)
    assert [(e["name"], e["is_healthy"], e["in_use"]) for e in data["chain"]["endpoints"]] == [
        ("rpc 1 (a.example)", False, False),
        ("rpc 2 (b.example)", True, True),
    ]
    assert data["feed"] == {"currency": "usd", "per_eth": "3500.50", "age_seconds": 30.0, "max_age_seconds": 5400.0, "fault": ""}
    assert data["funding"]["withdraw_round"] == 5000
    assert data["funding"]["max_face_value_wei"] == str(10**18 // 4)
    assert data["ready"] == {"ready": False, "checks": [{"name": "chain", "ok": False, "reason": "why", "degraded": False}]}
    assert (data["discovery"]["entries"], data["discovery"]["known"]) == (3, 5)
    assert data["discovery"]["reasons"] == [{"url": "https://o", "cause": "unreachable", "reason": "no answer"}]


async def test_a_feed_without_a_rate_says_why(tmp_path: Path) -> None:
    data = await overview(tmp_path, Feed(None, "its answer is 9000 s old"), None).read(24)
    assert (data["feed"]["per_eth"], data["feed"]["fault"]) == ("", "its answer is 9000 s old")


async def test_a_ledger_that_fails_leaves_its_parts_empty_and_says_so(tmp_path: Path) -> None:
    ledger = open_ledger(config(tmp_path), lambda: NOW_NS)
    assert ledger is not None

    async def fail(*_: Any) -> Any:
        raise StoreFailed("the disk is full")

    ledger.controls.spend_over_time = ledger.controls.switches = fail  # type: ignore[method-assign]
    data = await overview(tmp_path, Feed(None, ""), ledger.controls).read(1)
    assert data["faults"] == ["ledger: the disk is full"]
    assert [data[name] for name in ("spend", "sessions", "budgets", "switches")] == [None] * 4
    assert data["funding"]["burn_wei_per_hour"] is None


def test_answers_are_sorted_by_what_they_mean_to_a_session() -> None:
    assert describe_outcomes({"200": 5, "480": 2, "503": 1, "400": 3}) == {"paid": 5, "refresh": 2, "price": 0, "skip": 0, "other": 4}


def test_refusals_are_kept_with_their_time_the_newest_first_but_for_those_of_a_healthy_session() -> None:
    times = iter((NOW_NS, NOW_NS + 1_500_000_000))
    refusals = RecentRefusals(status_of, lambda: next(times))
    trail = Trail("/signTicket", "r1", "", time.monotonic)
    for error in (PriceExceeded("too dear"), NoTickets("none"), RefreshSession("token", "https://o"), Denied("no")):
        refusals.refused(error, trail)
    assert [(one["at"], one["code"]) for one in refusals.describe()] == [
        (NOW_NS / 10**9 + 1.5, "denied"),
        (NOW_NS / 10**9, "price_exceeded"),
    ]


class Asked:
    """A ledger's figures: notes over which minutes they are asked for."""

    def __init__(self) -> None:
        self.spend: list[tuple[Any, ...]] = []
        self.since_ms: list[int] = []

    async def largest_spend(self, minutes: Minutes, by: str, most: int, bucket_minutes: int) -> LargestSpend:
        self.spend.append((minutes, bucket_minutes))
        return LargestSpend(0, [])

    async def spend_over_time(self, minutes: Minutes, bucket_minutes: int) -> list[Any]:
        self.spend.append((minutes, bucket_minutes))
        return []

    async def sessions(self, since_ms: int) -> int:
        self.since_ms.append(since_ms)
        return len(self.since_ms)

    async def fullest(self, most: int) -> tuple[list[Any], int]:
        return [], 0

    async def switches(self, most: int) -> list[Any]:
        return []

    async def in_force(self) -> Switches:
        return Switches()


async def test_an_hour_and_a_day_are_asked_for_in_sixty_buckets_that_end_now(tmp_path: Path) -> None:
    now_ms = NOW_NS // 10**6
    now_minute = now_ms // 60_000
    for hours, bucket_minutes in ((1, 1), (24, 24)):
        asked = Asked()
        data = await overview(tmp_path, Feed(None, ""), cast(Controls, asked)).read(hours)
        first = (now_minute // bucket_minutes - 59) * bucket_minutes
        assert asked.spend == [(Minutes(first, now_minute), bucket_minutes)] * 3
        assert asked.since_ms == [now_ms - 3_600_000, now_ms - 60_000]
        assert (data["spend"]["first_minute"], data["spend"]["bucket_minutes"], data["spend"]["buckets"]) == (first, bucket_minutes, 60)
        assert data["sessions"] == {"started_last_hour": 1, "started_last_minute": 2}
        assert data["ledger_read"] == now_ms / 1000
