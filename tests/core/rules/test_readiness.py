"""Readiness, line by line: what stops payments, what only needs an operator, and the words that say it."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest

from livepeer_remote_signer.core.rules.ceilings import Amount, CeilingAmounts, Rate
from livepeer_remote_signer.core.rules.chain import ClockFault, StaleReading
from livepeer_remote_signer.core.rules.discovery import Absence
from livepeer_remote_signer.core.rules.readiness import (
    DiscoveryStatus,
    ReadyCheck,
    authority_ready,
    chain_ready,
    clock_ready,
    connections_ready,
    discovery_ready,
    endpoints_ready,
    feed_ready,
    key_ready,
    ledger_ready,
    senders_ready,
    sink_ready,
)
from tests.strategies import CHAIN

STALE = StaleReading("no endpoint answers", 61.0, 60.0)
WRONG_CLOCK = ClockFault("this host's clock is 40 s ahead", 40.0, 30.0)
USD = Amount(Fraction(1), "usd")
EUR = Amount(Fraction(1), "eur")
NOTHING = Amount(Fraction(0), "usd")
WEI = Amount(Fraction(5), "gwei")
PAIR = (35, "model")
USD_RATE = Rate("usd", Fraction(3000_005, 1000))
SAID = "1 ETH is 3000.01 USD"
NEEDS_EUR = f"{SAID}; ceilings in EUR refuse: prices.currency_feed must name a feed of that currency, this one quotes USD"
REFUSED = "ceilings in the feed's currency refuse: the feed's answer is 2 h old"


def status(**changes: Any) -> DiscoveryStatus:
    """Discovery that has asked once and fares well."""
    well = DiscoveryStatus(
        attempts=1, refreshes=1, entries=3, known=5, fault="", age_seconds=0.5, kept_seconds=60.0, left_out={"price": 2}, reasons=()
    )
    return well._replace(**changes)


# --- the chain and this host's clock ---


@pytest.mark.parametrize(
    ("changes", "is_ok", "reason"),
    [
        ({}, True, "L1 block 23400000, round 4012"),
        ({"deposit_wei": 1, "reserve_wei": 1}, True, "L1 block 23400000, round 4012"),
        ({"stale": STALE, "paused": True}, False, "chain data is stale: no endpoint answers"),
        ({"paused": True, "deposit_wei": 0}, False, "the Livepeer protocol is paused by its Controller"),
        ({"deposit_wei": 0, "reserve_wei": 0}, False, "the signer's address has no deposit in TicketBroker"),
        ({"reserve_wei": 0, "withdraw_round": 4012}, False, "the signer's address has no reserve in TicketBroker"),
        ({"withdraw_round": 4013}, False, "the signer's funds unlock in round 4013, the chain is in round 4012"),
        ({"withdraw_round": 4014}, True, "L1 block 23400000, round 4012"),
        ({"clock_agrees": False, "clock_fault": WRONG_CLOCK}, True, "L1 block 23400000, round 4012"),
    ],
)
def test_the_chain_is_ready_while_its_reading_and_the_funds_are_good_whatever_the_clock(
    changes: dict[str, Any], is_ok: bool, reason: str
) -> None:
    assert chain_ready(replace(CHAIN, **changes)) == ReadyCheck("chain", is_ok, reason, degraded=False)


def test_with_several_senders_the_chain_is_ready_without_funds_but_not_without_a_reading() -> None:
    assert chain_ready(replace(CHAIN, deposit_wei=0), has_senders=True).ok
    assert not chain_ready(replace(CHAIN, stale=STALE), has_senders=True).ok


def test_one_sender_that_can_pay_is_enough_and_the_others_are_told() -> None:
    rich, poor = CHAIN, replace(CHAIN, deposit_wei=0)
    lacks = "the signer's address has no deposit in TicketBroker"
    assert senders_ready({"eu": rich, "us": poor}) == [
        ReadyCheck("senders.eu", True, "can pay"),
        ReadyCheck("senders.us", True, lacks, degraded=True),
    ]
    assert senders_ready({"eu": poor, "us": poor}) == [ReadyCheck("senders.eu", False, lacks), ReadyCheck("senders.us", False, lacks)]
    assert senders_ready({}) == []


@pytest.mark.parametrize(
    ("changes", "is_ok", "reason"),
    [
        ({"clock_agrees": True}, True, "agrees with the chain's block times"),
        ({"clock_agrees": None}, True, "not compared with the chain's block times yet"),
        ({"clock_agrees": False, "clock_fault": WRONG_CLOCK}, False, "this host's clock is 40 s ahead"),
        ({"clock_agrees": True, "stale": STALE, "deposit_wei": 0}, True, "agrees with the chain's block times"),
    ],
)
def test_a_clock_is_good_until_it_is_known_to_be_wrong_whatever_the_chain(changes: dict[str, Any], is_ok: bool, reason: str) -> None:
    assert clock_ready(replace(CHAIN, **changes)) == ReadyCheck("clock", is_ok, reason, degraded=False)


def test_an_endpoint_that_is_not_used_is_told_and_stops_nothing() -> None:
    check = endpoints_ready({"rpc[1] (a.example)": "HTTP status 502"}, 3)
    assert (check.ok, check.degraded) == (True, True)
    assert check.reason == "2 of 3 RPC endpoints answer and are believed; rpc[1] (a.example): HTTP status 502"
    assert endpoints_ready({}, 3) == ReadyCheck("rpc", True, "3 of 3 RPC endpoints answer and are believed")


def test_even_when_no_endpoint_is_left_it_is_for_the_chain_to_stop_payments() -> None:
    check = endpoints_ready({"rpc[0] (a.example)": "timeout", "rpc[1] (b.example)": "HTTP status 502"}, 2)
    said = "0 of 2 RPC endpoints answer and are believed; rpc[0] (a.example): timeout; rpc[1] (b.example): HTTP status 502"
    assert check == ReadyCheck("rpc", True, said, degraded=True)


# --- the price feed ---


@pytest.mark.parametrize(
    ("amounts", "stops_all"),
    [
        (CeilingAmounts(global_amount=USD), True),
        (CeilingAmounts(per_hour=USD), True),
        (CeilingAmounts(global_amount=WEI, per_hour=USD), True),
        (CeilingAmounts(per_job=USD), False),
        (CeilingAmounts(per_capability={PAIR: USD}), False),
        (CeilingAmounts(global_amount=WEI, per_hour=WEI, per_job=USD, per_capability={PAIR: USD}), False),
        (CeilingAmounts(global_amount=NOTHING, per_hour=NOTHING), False),
        (CeilingAmounts(), False),
    ],
)
def test_without_a_rate_all_stops_where_a_ceiling_on_everything_or_an_hours_needs_it(amounts: CeilingAmounts, stops_all: bool) -> None:
    check = feed_ready(amounts, None, "the feed's answer is 2 h old")
    assert check == ReadyCheck("price_feed", not stops_all, REFUSED, degraded=not stops_all)


@pytest.mark.parametrize(
    ("amounts", "check"),
    [
        (CeilingAmounts(), ReadyCheck("price_feed", True, SAID)),
        (CeilingAmounts(global_amount=WEI), ReadyCheck("price_feed", True, SAID)),
        (CeilingAmounts(USD, {PAIR: USD}, per_hour=USD, per_job=USD), ReadyCheck("price_feed", True, SAID)),
        (CeilingAmounts(global_amount=EUR), ReadyCheck("price_feed", False, NEEDS_EUR)),
        (CeilingAmounts(global_amount=USD, per_hour=EUR), ReadyCheck("price_feed", False, NEEDS_EUR)),
        (CeilingAmounts(global_amount=USD, per_job=EUR), ReadyCheck("price_feed", True, NEEDS_EUR, degraded=True)),
        (CeilingAmounts(per_capability={PAIR: EUR}), ReadyCheck("price_feed", True, NEEDS_EUR, degraded=True)),
    ],
)
def test_a_rate_is_enough_for_ceilings_in_its_own_currency_alone(amounts: CeilingAmounts, check: ReadyCheck) -> None:
    assert feed_ready(amounts, USD_RATE, "") == check


def test_the_currencies_that_nobody_quotes_are_named_in_order() -> None:
    amounts = CeilingAmounts(per_job=Amount(Fraction(1), "jpy"), per_capability={PAIR: EUR, (36, "model"): Amount(Fraction(1), "chf")})
    said = f"{SAID}; ceilings in CHF, EUR, JPY refuse: prices.currency_feed must name a feed of that currency, this one quotes USD"
    assert feed_ready(amounts, USD_RATE, "") == ReadyCheck("price_feed", True, said, degraded=True)


# --- discovery ---


@pytest.mark.parametrize(("attempts", "is_ok"), [(0, False), (2, False), (3, True), (4, True)])
@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("", "orchestrators are being asked for the first time"),
        ("the pool cannot be read", "nobody could be asked yet: the pool cannot be read"),
    ],
)
def test_a_source_that_could_not_be_read_is_waited_for_three_attempts_long(attempts: int, is_ok: bool, fault: str, reason: str) -> None:
    unread = status(attempts=attempts, refreshes=0, entries=0, known=0, fault=fault, age_seconds=None)
    assert discovery_ready(unread) == ReadyCheck("discovery", is_ok, reason, degraded=False)


LISTED = "3 orchestrators are listed, 5 known"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, LISTED),
        ({"attempts": 9, "entries": 0, "known": 0}, "0 orchestrators are listed, 0 known"),
        ({"fault": "the pool cannot be read"}, f"{LISTED}; the pool cannot be read"),
        ({"age_seconds": None}, LISTED),
        ({"age_seconds": 60.0}, LISTED),
        ({"age_seconds": 60.25}, f"{LISTED}; the list is stale: nobody has answered for 60 s, the most is 60 s"),
        (
            {"age_seconds": 90.75, "fault": "the pool cannot be read"},
            f"{LISTED}; the pool cannot be read; the list is stale: nobody has answered for 91 s, the most is 60 s",
        ),
    ],
)
def test_once_everybody_was_asked_discovery_is_ready_and_says_how_it_fares(changes: dict[str, Any], reason: str) -> None:
    assert discovery_ready(status(**changes)) == ReadyCheck("discovery", True, reason, degraded=False)


@pytest.mark.parametrize(
    ("age_seconds", "is_stale"),
    [(None, False), (0.0, False), (59.999, False), (60.0, False), (60.001, True)],
)
def test_a_list_is_stale_when_nobody_has_answered_for_longer_than_it_is_kept(age_seconds: float | None, is_stale: bool) -> None:
    absent = [Absence("https://o.example", "price", "asks too much")]
    assert status(age_seconds=age_seconds, reasons=absent).is_stale is is_stale


# --- the ledger, and those around ---


def test_nobody_pays_without_the_ledger_or_those_who_say_who_may_spend() -> None:
    assert ledger_ready("") == ReadyCheck("ledger", True, "records payments", degraded=False)
    assert ledger_ready("the disk is full") == ReadyCheck("ledger", False, "the disk is full", degraded=False)
    assert authority_ready("auth.webhook", "") == ReadyCheck("auth.webhook", True, "can be asked", degraded=False)
    assert authority_ready("auth.webhook", "timeout") == ReadyCheck("auth.webhook", False, "timeout", degraded=False)


def test_nobody_pays_without_a_key_that_signs() -> None:
    assert key_ready("key", "", is_only=True) == ReadyCheck("key", True, "signs", degraded=False)
    assert key_ready("key", "it is away", is_only=True) == ReadyCheck("key", False, "it is away", degraded=False)
    assert key_ready("keys.tenant", "it is away", is_only=False) == ReadyCheck("keys.tenant", True, "it is away", degraded=True)
    assert key_ready("keys.tenant", "", is_only=False) == ReadyCheck("keys.tenant", True, "signs", degraded=False)


def test_a_sink_that_takes_no_events_is_told_by_its_place_and_stops_nothing() -> None:
    assert sink_ready(0, "") == ReadyCheck("events.sinks.0", True, "takes events", degraded=False)
    assert sink_ready(2, "HTTP status 502") == ReadyCheck("events.sinks.2", True, "HTTP status 502", degraded=True)


def test_a_signer_that_takes_no_new_connections_stays_in_service() -> None:
    assert connections_ready("") == ReadyCheck("connections", True, "new ones are taken", degraded=False)
    assert connections_ready("all places are taken") == ReadyCheck("connections", True, "all places are taken", degraded=True)
