"""Ceilings: sums over capabilities, edges where equality passes, and the client's own ceiling in all its spellings."""

from __future__ import annotations

import time
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livepeer_remote_signer.core.errors import BadMaxPrice, PriceExceeded, PriceFeedStale
from livepeer_remote_signer.core.protocol.prices import CAPABILITY_NUMBERS, PIPELINE_NAMES, MaxPrice, exact_price
from livepeer_remote_signer.core.rules.pricing import Ceilings, StaleRate, check_configured_ceiling, parse_max_price, price_exceeded

LIVE, IMAGE = 35, 27
CEILINGS = Ceilings(Fraction(2000), {(LIVE, "sd"): Fraction(1000), (LIVE, "default"): Fraction(750), (IMAGE, "flux"): Fraction(50)})
prices = st.builds(Fraction, st.integers(1, 10**12), st.integers(1, 10**6))


@pytest.mark.parametrize(
    ("pairs", "ceiling"),
    [
        ([(LIVE, "sd")], 1000),
        ([(LIVE, "other")], 750),
        ([(LIVE, "default")], 750),
        ([(LIVE, "sd"), (IMAGE, "flux")], 1050),
        ([(LIVE, "sd"), (LIVE, "other")], 1750),
        ([(IMAGE, "other")], 2000),
        ([(LIVE, "sd"), (IMAGE, "other")], 1000),
        ([], 2000),
    ],
)
def test_the_ceiling_is_the_sum_of_the_pairs_or_else_the_global_one(pairs: list[tuple[int, str]], ceiling: int) -> None:
    assert CEILINGS.for_pairs(pairs) == ceiling


def test_the_sum_may_stand_above_the_global_ceiling() -> None:
    assert Ceilings(Fraction(10), {(LIVE, "sd"): Fraction(5000)}).for_pairs([(LIVE, "sd")]) == 5000


def test_a_sum_of_nothing_leaves_the_global_ceiling_or_none() -> None:
    assert Ceilings(Fraction(7), {(LIVE, "sd"): Fraction(0)}).for_pairs([(LIVE, "sd")]) == 7
    assert Ceilings().for_pairs([(LIVE, "sd")]) is None


def test_sums_are_exact_rationals() -> None:
    ceilings = Ceilings(None, {(LIVE, "a"): Fraction(1, 3), (LIVE, "b"): Fraction(1, 7)})
    assert ceilings.for_pairs([(LIVE, "a"), (LIVE, "b")]) == Fraction(10, 21)


def test_one_unknown_rate_makes_the_whole_ceiling_unknown() -> None:
    ceilings = Ceilings(Fraction(1), {(LIVE, "a"): Fraction(5), (LIVE, "b"): StaleRate("usd")})
    assert ceilings.for_pairs([(LIVE, "a")]) == 5
    assert ceilings.for_pairs([(LIVE, "a"), (LIVE, "b")]) == StaleRate("usd")
    with pytest.raises(PriceFeedStale, match="configured in USD") as failure:
        check_configured_ceiling(Fraction(1), StaleRate("usd"))
    assert failure.value.values == {"currency": "usd"}


def test_a_feed_of_another_currency_is_named_with_both() -> None:
    with pytest.raises(PriceFeedStale, match="configured in USD, but the price feed quotes EUR for ETH") as failure:
        check_configured_ceiling(Fraction(1), StaleRate("usd", "eur"))
    assert failure.value.values == {"currency": "usd", "quoted": "eur"}


@given(prices, prices)
def test_equality_passes_and_anything_above_is_refused(price: Fraction, ceiling: Fraction) -> None:
    check_configured_ceiling(price, None)
    if price <= ceiling:
        check_configured_ceiling(price, ceiling)
    else:
        with pytest.raises(PriceExceeded):
            check_configured_ceiling(price, ceiling)


def test_a_refused_price_names_the_source_and_both_prices_exactly() -> None:
    refusal = price_exceeded(Fraction(1201), Fraction(10, 3), "request maxPrice")
    assert refusal.message == "orchestrator price 1201.000 exceeds request maxPrice ceiling 3.333"
    assert refusal.values == {"source": "request maxPrice", "price": "1201", "ceiling": "10/3"}


@given(st.integers(1, 2**63 - 1), st.integers(1, 2**63 - 1))
def test_a_price_is_the_same_object_from_call_to_call(price: int, pixels: int) -> None:
    assert exact_price(price, pixels) == Fraction(price, pixels)
    assert exact_price(price, pixels) is exact_price(price, pixels)


@pytest.mark.parametrize(
    ("max_price", "job_type", "ceiling"),
    [
        (MaxPrice("1200", "wei", "seconds"), "live", Fraction(1200)),
        (MaxPrice("1.2e3", "WEI", "Seconds"), "live", Fraction(1200)),
        (MaxPrice("0.5", " wei\t", "720P-pixel-SECONDS "), "lv2v", Fraction(1, 2)),
        (MaxPrice("1e-100", "Wei", "fixed"), "fixed", Fraction(1, 10**100)),
        (MaxPrice("1e100", "wei", "fixed"), "fixed", Fraction(10**100)),
    ],
)
def test_the_clients_ceiling_is_exact(max_price: MaxPrice, job_type: str, ceiling: Fraction) -> None:
    assert parse_max_price(max_price, job_type) == ceiling


@pytest.mark.parametrize(
    ("max_price", "job_type", "said"),
    [
        (MaxPrice("1", "wei", "seconds"), "", "requires payment type"),
        (MaxPrice("1", "wei", "seconds"), "other", "requires payment type"),
        (MaxPrice("1", "usd", "seconds"), "live", "currency must be wei"),
        (MaxPrice("1", "", "seconds"), "live", "currency must be wei"),
        (MaxPrice("1", "wei", "pixels"), "live", "unit must be seconds for payment type live"),
        (MaxPrice("1", "wei", "seconds"), "lv2v", "unit must be 720p-pixel-seconds"),
        (MaxPrice("1", "wei", ""), "fixed", "unit must be fixed"),
        (MaxPrice("0", "wei", "fixed"), "fixed", "positive decimal"),
        (MaxPrice("-0", "wei", "fixed"), "fixed", "positive decimal"),
        (MaxPrice("-1", "wei", "fixed"), "fixed", "positive decimal"),
        (MaxPrice("0e5", "wei", "fixed"), "fixed", "positive decimal"),
        (MaxPrice("", "wei", "fixed"), "fixed", "positive decimal"),
        (MaxPrice("1/2", "wei", "fixed"), "fixed", "positive decimal"),
        (MaxPrice("1e999999999", "wei", "fixed"), "fixed", "positive decimal: an exponent beyond 100"),
        (MaxPrice("1e-999999999", "wei", "fixed"), "fixed", "positive decimal: an exponent beyond 100"),
        (MaxPrice("9" * 81, "wei", "fixed"), "fixed", "more than 80 digits"),
        (MaxPrice("9" * 10_000_000, "wei", "fixed"), "fixed", "longer than 80 digits"),
    ],
    ids=lambda value: str(value)[:70],
)
def test_a_ceiling_that_cannot_be_applied_is_refused_at_no_cost(max_price: MaxPrice, job_type: str, said: str) -> None:
    started = time.perf_counter()
    with pytest.raises(BadMaxPrice, match=said) as refusal:
        parse_max_price(max_price, job_type)
    assert time.perf_counter() - started < 0.5
    assert len(refusal.value.message) < 200


@given(st.text(max_size=20), st.text(max_size=8), st.text(max_size=8), st.sampled_from(["live", "lv2v", "fixed", "", "x"]))
def test_any_spelling_is_a_positive_ceiling_or_bad_max_price(price: str, currency: str, unit: str, job_type: str) -> None:
    with pytest.raises(BadMaxPrice):
        parse_max_price(MaxPrice(price, currency + "?", unit), job_type)


def test_pipelines_have_the_networks_numbers() -> None:
    numbers = {
        27: "text-to-image",
        28: "image-to-image",
        29: "image-to-video",
        30: "upscale",
        31: "audio-to-text",
        32: "segment-anything-2",
        33: "llm",
        34: "image-to-text",
        35: "live-video-to-video",
        36: "text-to-speech",
        37: "byoc",
    }
    assert numbers == PIPELINE_NAMES
    assert {name: number for number, name in numbers.items()} == CAPABILITY_NUMBERS
