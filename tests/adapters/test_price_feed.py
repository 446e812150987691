"""What a feed says becomes an exact rate, or nothing."""

from __future__ import annotations

from fractions import Fraction

import pytest
from eth_abi.abi import encode

from livepeer_remote_signer.adapters.ceilings import LiveCeilings
from livepeer_remote_signer.adapters.price_feed import PriceFeed
from livepeer_remote_signer.core.rules.ceilings import Amount, CeilingAmounts, Rate
from livepeer_remote_signer.core.rules.pricing import StaleRate

NOW = 1_800_000_000


class Clock:
    def __init__(self) -> None:
        self.now = float(NOW)

    def __call__(self) -> float:
        return self.now


def answers(
    answer: int = 312_345_678_901, updated_at: int = NOW - 100, decimals: int = 8, description: str = "ETH / USD", answered_in: int = 9
) -> list[bytes | None]:
    latest = encode(["uint80", "int256", "uint256", "uint256", "uint80"], [9, answer, updated_at, updated_at, answered_in])
    return [latest, encode(["uint8"], [decimals]), encode(["string"], [description])]


def test_the_rate_is_exact() -> None:
    feed = PriceFeed(bytes(20), 5400, Clock())
    feed.accept(answers(), NOW)
    assert feed.rate() == Rate("usd", Fraction(312_345_678_901, 10**8))
    assert feed.status().fault == ""


def test_a_pair_quoted_the_other_way_round_is_turned() -> None:
    feed = PriceFeed(bytes(20), 5400, Clock())
    feed.accept(answers(answer=5 * 10**14, decimals=18, description="LPT / ETH"), NOW)
    assert feed.rate() == Rate("lpt", Fraction(2000))


@pytest.mark.parametrize(
    ("bad", "fault"),
    [
        (answers(answer=0), "not positive"),
        (answers(answer=-1), "not positive"),
        (answers(updated_at=0), "not complete"),
        (answers(answered_in=8), "not complete"),
        (answers(updated_at=NOW + 61), "in the future"),
        (answers(decimals=37), "more than 36"),
        (answers(description="BTC / USD"), "no pair with ETH"),
        (answers(description=""), "no pair with ETH"),
    ],
)
def test_an_answer_that_cannot_be_believed_ends_the_rate(bad: list[bytes | None], fault: str) -> None:
    feed = PriceFeed(bytes(20), 5400, Clock())
    feed.accept(answers(), NOW)
    feed.accept(bad, NOW)
    assert feed.rate() is None
    assert fault in feed.status().fault


@pytest.mark.parametrize(
    ("unread", "fault"),
    [
        ([None, *answers()[1:]], "latestRoundData reverted"),
        ([b"", *answers()[1:]], "returned 0 bytes"),
        ([*answers()[:2], b"\xff" * 40], "no text"),
    ],
)
def test_a_read_that_fails_leaves_the_rate_to_its_age(unread: list[bytes | None], fault: str, caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    feed = PriceFeed(bytes(20), 5400, clock)
    feed.accept(unread, NOW)
    assert feed.rate() is None
    assert fault in feed.status().fault
    feed.accept(answers(), NOW)
    feed.accept(unread, NOW)
    feed.accept(unread, NOW)
    assert (feed.rate(), feed.status().fault) == (Rate("usd", Fraction(312_345_678_901, 10**8)), "")
    assert len([r for r in caplog.records if "the price feed cannot be read" in r.message and fault in r.message]) == 2
    clock.now = NOW + 5400
    assert feed.rate() is None
    assert "is 5500 s old" in feed.status().fault
    assert fault in feed.status().fault


def test_a_rate_ends_at_its_age_limit_by_whichever_clock_is_ahead() -> None:
    clock = Clock()
    feed = PriceFeed(bytes(20), 5400, clock)
    feed.accept(answers(updated_at=NOW), NOW)
    clock.now = NOW + 5400
    assert feed.rate() is not None
    clock.now = NOW + 5401
    assert feed.rate() is None
    assert "is 5401 s old, the limit is 5400 s" in feed.status().fault
    clock.now = NOW
    feed.accept(answers(updated_at=NOW), NOW + 6000)
    assert feed.rate() is None


def test_ceilings_follow_the_feed_refuse_when_it_is_stale_and_go_on_in_wei() -> None:
    clock = Clock()
    feed = PriceFeed(bytes(20), 5400, clock)
    amounts = CeilingAmounts(Amount(Fraction(1200)), {(35, "default"): Amount(Fraction("0.50"), "usd", Fraction(2))})
    ceilings = LiveCeilings(amounts, feed)
    assert ceilings.current().for_pairs([(35, "any")]) == StaleRate("usd")
    feed.accept(answers(answer=2000 * 10**8), NOW)
    assert ceilings.current().for_pairs([(35, "any")]) == Fraction(10**18, 8000)
    assert ceilings.current() is ceilings.current()
    feed.accept(answers(answer=4000 * 10**8), NOW)
    assert ceilings.current().for_pairs([(35, "any")]) == Fraction(10**18, 16000)
    clock.now = NOW + 6000
    assert ceilings.current().for_pairs([(35, "any")]) == StaleRate("usd")
    assert ceilings.current().for_pairs([]) == 1200


def test_replaced_amounts_count_from_the_next_payment_on() -> None:
    ceilings = LiveCeilings(CeilingAmounts(Amount(Fraction(5))))
    ceilings.replace(CeilingAmounts(Amount(Fraction(1, 10**9), "eth")))
    assert ceilings.current().global_ceiling == 10**9
    assert ceilings.amounts.global_amount.currency == "eth"
