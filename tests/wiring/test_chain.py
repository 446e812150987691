"""Configuration becomes chain source, feed and ceilings."""

from __future__ import annotations

import time
from fractions import Fraction
from typing import Any

import pytest
import yaml
from eth_abi.abi import encode

from livepeer_remote_signer.adapters.chain.reading import Word
from livepeer_remote_signer.adapters.outbound import Outbound
from livepeer_remote_signer.adapters.readiness import Readiness
from livepeer_remote_signer.config.loading import ConfigError, parse_config
from livepeer_remote_signer.config.models import Config
from livepeer_remote_signer.core.rules.ceilings import Amount
from livepeer_remote_signer.core.rules.pricing import StaleRate
from livepeer_remote_signer.core.rules.readiness import ReadyCheck
from livepeer_remote_signer.wiring.chain import ChainParts, open_chain
from tests.signer import running_signer

RPC = {"source": "rpc", "rpc": {"urls": ["http://127.0.0.1:1/k3y"]}}
FEED = {"address": "0x" + "fe" * 20}


def config(chain: dict[str, Any] | None = None, **prices: Any) -> Config:
    document = {"key": {"private_key": "0x" + "01" * 32}, "chain": chain or {"source": "static"}, "prices": prices}
    return parse_config(yaml.safe_dump(document), {})


def opened(chain: dict[str, Any] | None = None, **prices: Any) -> ChainParts:
    return open_chain(config(chain, **prices), bytes(20), Outbound())


def checks(parts: ChainParts) -> list[ReadyCheck]:
    return Readiness(parts.source.view, parts.ceilings, endpoints=parts.rpc, feed=parts.feed).checks()


def test_a_static_chain_has_nothing_to_poll() -> None:
    parts = opened({"source": "static", "static": {"l1_block": 7, "deposit_wei": "1eth", "reserve_wei": 5}})
    assert (parts.rpc, parts.feed) == (None, None)
    assert (parts.source.view().l1_block, parts.source.view().deposit_wei) == (7, 10**18)
    assert [c.ok for c in checks(parts)] == [True]


@pytest.mark.parametrize(
    ("static", "status", "reason"),
    [
        ({"deposit_wei": "1eth", "reserve_wei": "1eth"}, 200, "round 0"),
        ({"deposit_wei": "0", "reserve_wei": "1eth"}, 503, "no deposit"),
        ({"deposit_wei": "1eth", "reserve_wei": "0"}, 503, "no reserve"),
        ({"deposit_wei": "1eth", "reserve_wei": "1eth", "last_initialized_round": 7, "withdraw_round": 8}, 503, "unlock in round 8"),
        ({"deposit_wei": "1eth", "reserve_wei": "1eth", "last_initialized_round": 7, "withdraw_round": 9}, 200, "round 7"),
    ],
)
async def test_readiness_needs_funds_that_can_be_paid_from(static: dict[str, Any], status: int, reason: str) -> None:
    async with running_signer(chain={"source": "static", "static": static}) as signer:
        reply = await signer.client.get("/readyz")
    assert reply.status_code == status
    assert reason in next(check["reason"] for check in reply.json()["checks"] if check["name"] == "chain")


async def test_before_the_first_poll_a_live_chain_is_not_ready_and_says_why() -> None:
    parts = opened(RPC)
    found = {check.name: check for check in checks(parts)}
    assert (found["chain"].ok, found["chain"].reason) == (False, "chain data is stale: no reading yet")
    assert found["clock"].ok, "a clock that nothing is known of is not what stops signing"
    assert parts.rpc is not None
    await parts.rpc.stop()


def test_amounts_take_their_currency_from_either_place() -> None:
    entry = {"pipeline": "llm", "price_per_unit": "0.5usd", "pixels_per_unit": 4}
    beside = {"pipeline": "byoc", "model_id": "m", "price_per_unit": 3, "currency": "USD"}
    parts = opened(RPC, max_price_per_unit="0.002eth", pixels_per_unit=2, currency_feed=FEED, max_price_per_capability=[entry, beside])
    assert parts.ceilings.amounts.global_amount == Amount(Fraction(1, 500), "eth", Fraction(2))
    assert parts.ceilings.amounts.per_capability == {
        (33, "default"): Amount(Fraction(1, 2), "usd", Fraction(4)),
        (37, "m"): Amount(Fraction(3), "usd", Fraction(2)),
    }
    assert parts.ceilings.current().global_ceiling == 10**15
    assert parts.ceilings.current().for_pairs([(33, "x")]) == StaleRate("usd")


def test_one_amount_in_two_currencies_is_refused() -> None:
    with pytest.raises(ConfigError, match="price_per_unit is in USD, currency says EUR"):
        opened(RPC, max_price_per_capability=[{"pipeline": "llm", "price_per_unit": "1usd", "currency": "EUR"}])


def test_dollars_have_livepeers_feed_on_arbitrum_one_and_need_one_named_elsewhere() -> None:
    assert opened(RPC, max_price_per_unit="0.50USD").feed is not None
    elsewhere = {"source": "rpc", "rpc": {"urls": ["http://127.0.0.1:1"], "chain_id": 31337}}
    for chain, price in ((elsewhere, "1usd"), (RPC, "1eur"), (None, "1usd")):
        with pytest.raises(ConfigError, match=r"prices.currency_feed.address must name"):
            opened(chain, max_price_per_unit=price)


def test_a_feed_beside_a_static_chain_is_read_over_rpc_urls() -> None:
    with pytest.raises(ConfigError, match=r"chain.rpc.urls"):
        opened(max_price_per_unit="1usd", currency_feed=FEED)
    parts = opened({"source": "static", "rpc": RPC["rpc"]}, max_price_per_unit="1usd", currency_feed=FEED)
    assert parts.rpc is not None
    assert parts.source is not parts.rpc


def test_absolute_ceilings_reach_the_payments_and_an_hours_in_dollars_stands_for_everything() -> None:
    ceilings = opened(max_price_per_hour="0.0006eth", max_price_per_job="0.00001eth").ceilings.current()
    assert (ceilings.per_hour, ceilings.per_job) == (6 * 10**14, 10**13)
    only_hour = opened(max_price_per_hour="0.0006eth").ceilings.current()
    assert (only_hour.per_hour, only_hour.per_job) == (6 * 10**14, None)
    assert checks(opened(RPC, max_price_per_hour="1.80USD"))[-1].ok is False
    assert checks(opened(RPC, max_price_per_job="0.02USD"))[-1].ok is True


@pytest.mark.parametrize(("price", "is_ready"), [("1usd", False), ("1000", True)])
def test_a_stale_feed_ends_readiness_only_when_everything_needs_it(price: str, is_ready: bool) -> None:
    parts = opened(RPC, max_price_per_unit=price, currency_feed=FEED)
    check = checks(parts)[-1]
    assert (check.name, check.ok, check.degraded) == ("price_feed", is_ready, is_ready)
    assert "ceilings in the feed's currency refuse: not read yet" in check.reason


@pytest.mark.parametrize(
    ("price", "entry", "is_ready", "said"),
    [
        ("1eur", "1eur", True, "1 ETH is 3000.00 EUR"),
        ("1000", "1usd", True, "ceilings in USD refuse: prices.currency_feed must name a feed of that currency, this one quotes EUR"),
        ("1usd", "1usd", False, "ceilings in USD refuse"),
    ],
)
def test_a_feed_of_another_currency_than_the_ceilings_is_told(price: str, entry: str, is_ready: bool, said: str) -> None:
    entries = [{"pipeline": "llm", "price_per_unit": entry}]
    parts = opened(RPC, max_price_per_unit=price, currency_feed=FEED, max_price_per_capability=entries)
    assert parts.feed is not None
    now = int(time.time())
    latest = encode(["uint80", "int256", "uint256", "uint256", "uint80"], [1, 3000 * 10**8, now, now, 1])
    parts.feed.accept([Word("rpc[0]", [latest, encode(["uint8"], [8]), encode(["string"], ["ETH / EUR"])], now)])
    check = checks(parts)[-1]
    assert (check.name, check.ok) == ("price_feed", is_ready)
    assert said in check.reason


def test_prices_in_two_currencies_are_refused_since_a_feed_quotes_one() -> None:
    entries = [{"pipeline": "llm", "price_per_unit": "1eur"}]
    with pytest.raises(ConfigError, match=r"prices are given in EUR, USD: a feed quotes one currency, so give all of them in that one"):
        opened(RPC, max_price_per_unit="1usd", currency_feed=FEED, max_price_per_capability=entries)


def test_an_endpoint_that_is_not_http_is_refused_without_being_printed() -> None:
    with pytest.raises(ConfigError, match=r"urls\.0: must be an http:// or https:// URL") as caught:
        config({"source": "rpc", "rpc": {"urls": ["wss://node.example/k3y"]}})
    assert "k3y" not in str(caught.value)


def test_where_the_chain_is_static_nothing_but_the_feed_is_read() -> None:
    rpc = {"urls": ["http://127.0.0.1:1/k3y"], "controller": "0x" + "c0" * 20}
    static = opened({"source": "static", "rpc": rpc}, max_price_per_unit="1usd", currency_feed=FEED)
    live = opened({"source": "rpc", "rpc": rpc}, max_price_per_unit="1usd", currency_feed=FEED)
    assert static.rpc is not None
    assert live.rpc is not None
    assert (static.rpc._question.controller, live.rpc._question.controller) == (None, bytes([0xC0]) * 20)
    assert static.source is not static.rpc
    assert live.source is live.rpc
