"""What a feed says becomes an exact rate, or nothing."""

from __future__ import annotations

from fractions import Fraction

import pytest
from eth_abi.abi import encode

from livepeer_remote_signer.adapters.ceilings import LiveCeilings
from livepeer_remote_signer.adapters.chain.reading import Word
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


def said(*each: list[bytes | None], at: int = NOW) -> list[Word]:
    """What one endpoint each says."""
    return [Word(f"rpc[{i}]", answers, at) for i, answers in enumerate(each)]


def test_the_rate_is_exact() -> None:
    feed = PriceFeed(bytes(20), 5400, Clock())
    feed.accept(said(answers()))
    assert feed.rate() == Rate("usd", Fraction(312_345_678_901, 10**8))
    assert feed.status().fault == ""


def test_a_pair_quoted_the_other_way_round_is_turned() -> None:
    feed = PriceFeed(bytes(20), 5400, Clock())
    feed.accept(said(answers(answer=5 * 10**14, decimals=18, description="LPT / ETH")))
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
    feed.accept(said(answers()))
    feed.accept(said(bad))
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
    feed.accept(said(unread))
    assert feed.rate() is None
    assert fault in feed.status().fault
    feed.accept(said(answers()))
    feed.accept(said(unread))
    feed.accept(said(unread))
    assert (feed.rate(), feed.status().fault) == (Rate("usd", Fraction(312_345_678_901, 10**8)), "")
    assert len([r for r in caplog.records if "the price feed cannot be read" in r.message and fault in r.message]) == 2
    clock.now = NOW + 5400
    assert feed.rate() is None
    assert "is 5500 s old" in feed.status().fault
    assert fault in feed.status().fault


def test_a_rate_ends_at_its_age_limit_by_whichever_clock_is_ahead() -> None:
    clock = Clock()
    feed = PriceFeed(bytes(20), 5400, clock)
    feed.accept(said(answers(updated_at=NOW)))
    clock.now = NOW + 5400
    assert feed.rate() is not None
    clock.now = NOW + 5401
    assert feed.rate() is None
    assert "is 5401 s old, the limit is 5400 s" in feed.status().fault
    clock.now = NOW
    feed.accept(said(answers(updated_at=NOW), at=NOW + 6000))
    assert feed.rate() is None


def usd(price: int) -> list[bytes | None]:
    return answers(answer=price * 10**8)


REFUSED = answers(answer=0)
UNREAD: list[bytes | None] = [None, *answers()[1:]]


@pytest.mark.parametrize(
    ("before", "words", "after", "fault"),
    [
        (None, [usd(3000)], 3000, ""),
        (3000, [usd(6000)], 6000, ""),
        (3000, [usd(1500)], 1500, ""),
        (3000, [usd(6001)], 3000, "jumped from 3000.00 USD for 1 ETH to 6001.00 USD for 1 ETH, by more than the factor 2"),
        (3000, [usd(1499)], 3000, "by more than the factor 2"),
        (3000, [answers(description="ETH / EUR")], 3000, "to 3123.46 EUR"),
        (3000, [REFUSED], None, "not positive"),
        (3000, [usd(9000), usd(9001)], 9000, ""),
        (3000, [usd(9000), usd(3001)], 3001, ""),
        (3000, [usd(3001), usd(9000)], 3001, ""),
        (3000, [usd(9000), usd(30)], 3000, "rpc[0] says 9000.00 USD for 1 ETH; rpc[1] says 30.00 USD for 1 ETH"),
        (3000, [usd(5900), usd(1600)], 3000, "rpc[1] says 1600.00"),
        (None, [usd(9000), usd(3000)], None, "rpc[0] says 9000.00 USD for 1 ETH; rpc[1] says 3000.00 USD for 1 ETH"),
        (None, [usd(3_000_000), usd(3000), usd(3001)], 3000, ""),
        (3000, [usd(3000), usd(9000), usd(9000)], 9000, ""),
        (3000, [usd(3000), REFUSED, REFUSED], None, "not positive"),
        (3000, [REFUSED, usd(3001), usd(3001)], 3001, ""),
        (3000, [REFUSED, usd(3001)], 3001, ""),
        (None, [REFUSED, usd(3001)], None, "rpc[0] says its answer is not positive; rpc[1] says 3001.00"),
        (3000, [UNREAD, usd(3001)], 3001, ""),
        (3000, [UNREAD, usd(9000)], 3000, "jumped from"),
    ],
)
def test_one_endpoint_does_not_make_the_price(before: int | None, words: list[list[bytes | None]], after: int | None, fault: str) -> None:
    feed = PriceFeed(bytes(20), 5400, Clock())
    if before is not None:
        feed.accept(said(usd(before)))
    feed.accept(said(*words))
    assert feed.rate() == (None if after is None else Rate("usd", Fraction(after)))
    assert after is not None or fault in feed.status().fault


def test_a_refused_jump_is_told_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    feed = PriceFeed(bytes(20), 5400, Clock())
    feed.accept(said(usd(3000)))
    feed.accept(said(usd(9000)))
    assert "3 readings must agree, or a second RPC endpoint" in caplog.text
    assert "prices.currency_feed.max_jump_factor" in caplog.text


def test_of_one_endpoint_a_jump_is_taken_when_three_readings_in_a_row_agree() -> None:
    feed = PriceFeed(bytes(20), 5400, Clock())
    feed.accept(said(usd(3000)))

    def rate_after(*prices: int) -> Fraction:
        for price in prices:
            feed.accept(said(usd(price)))
        rate = feed.rate()
        assert rate is not None
        return rate.per_eth

    assert rate_after(9000, 9001) == 3000
    assert rate_after(3001, 9000, 9000) == 3001, "one reading as before, and the count begins anew"
    assert rate_after(90_000, 90_000) == 3001, "they must agree with one another"
    assert rate_after(90_001) == 90_001
    assert rate_after(9000, 9000) == 90_001, "the count of the jump before is over"
    assert rate_after(9000) == 9000


def test_a_price_that_creeps_is_not_followed_beyond_what_a_second_endpoint_says() -> None:
    feed, price = PriceFeed(bytes(20), 5400, Clock()), 3000
    for _ in range(40):
        price = price * 9 // 5
        feed.accept(said(usd(price), usd(3000)))
    rate = feed.rate()
    assert rate is not None
    assert rate.per_eth <= 6000


def test_the_factor_is_configured() -> None:
    feed = PriceFeed(bytes(20), 5400, Clock(), max_jump_factor=Fraction(11, 10))
    feed.accept(said(usd(3000)))
    feed.accept(said(usd(3301)))
    assert feed.rate() == Rate("usd", Fraction(3000))


def test_ceilings_follow_the_feed_refuse_when_it_is_stale_and_go_on_in_wei() -> None:
    clock = Clock()
    feed = PriceFeed(bytes(20), 5400, clock)
    amounts = CeilingAmounts(Amount(Fraction(1200)), {(35, "default"): Amount(Fraction("0.50"), "usd", Fraction(2))})
    ceilings = LiveCeilings(amounts, feed)
    assert ceilings.current().for_pairs([(35, "any")]) == StaleRate("usd")
    feed.accept(said(answers(answer=2000 * 10**8)))
    assert ceilings.current().for_pairs([(35, "any")]) == Fraction(10**18, 8000)
    assert ceilings.current() is ceilings.current()
    feed.accept(said(answers(answer=4000 * 10**8)))
    assert ceilings.current().for_pairs([(35, "any")]) == Fraction(10**18, 16000)
    clock.now = NOW + 6000
    assert ceilings.current().for_pairs([(35, "any")]) == StaleRate("usd")
    assert ceilings.current().for_pairs([]) == 1200


def test_replaced_amounts_count_from_the_next_payment_on() -> None:
    ceilings = LiveCeilings(CeilingAmounts(Amount(Fraction(5))))
    ceilings.replace(CeilingAmounts(Amount(Fraction(1, 10**9), "eth")))
    assert ceilings.current().global_ceiling == 10**9
    assert ceilings.amounts.global_amount.currency == "eth"
