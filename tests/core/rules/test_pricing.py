"""Ceilings: sums over capabilities, edges where equality passes, and the client's own ceiling in all its spellings."""

from __future__ import annotations

import time
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livepeer_remote_signer.core.errors import BadMaxPrice, PriceExceeded, PriceFeedStale
from livepeer_remote_signer.core.protocol.prices import CAPABILITY_NUMBERS, PIPELINE_NAMES, MaxPrice, exact_price
from livepeer_remote_signer.core.rules.pricing import Ceilings, StaleRate, check_price, known_ceiling, parse_max_price, price_exceeded

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
        known_ceiling(StaleRate("usd"))
    assert failure.value.values == {"currency": "usd"}


def test_a_feed_of_another_currency_is_named_with_both() -> None:
    with pytest.raises(PriceFeedStale, match="configured in USD, but the price feed quotes EUR for ETH") as failure:
        known_ceiling(StaleRate("usd", "eur"))
    assert failure.value.values == {"currency": "usd", "quoted": "eur"}


def check(price: Fraction, **ceilings: Any) -> None:
    check_price(price, **{"configured": None, "absolute": None, "asked": None, "initial": Fraction(10**40), **ceilings})


@given(prices, prices, st.sampled_from(["configured", "asked", "initial"]))
def test_equality_passes_and_anything_above_is_refused(price: Fraction, ceiling: Fraction, source: str) -> None:
    if price <= ceiling:
        check(price, **{source: ceiling})
    else:
        with pytest.raises(PriceExceeded):
            check(price, **{source: ceiling})


PER_HOUR = {"live": 3600, "lv2v": 3600 * 27_648_000, "": 3600 * 27_648_000}


@pytest.mark.parametrize("job_type", list(PER_HOUR))
@given(st.integers(1, 10**30), st.integers(1, 10**6))
def test_an_hour_of_time_or_of_pixels_costs_no_more_than_its_ceiling(job_type: str, per_hour: int, denominator: int) -> None:
    ceilings = Ceilings(per_hour=Fraction(per_hour), per_job=Fraction(1, 10**30))
    just = Fraction(per_hour, PER_HOUR[job_type])
    check(just, absolute=ceilings.absolute[job_type])
    with pytest.raises(PriceExceeded) as refusal:
        check(just + Fraction(1, denominator), absolute=ceilings.absolute[job_type])
    values = refusal.value.values
    assert values["source"] == "prices.max_price_per_hour"
    assert Fraction(values["price"]) == per_hour + Fraction(PER_HOUR[job_type], denominator)
    assert (Fraction(values["ceiling"]), values["unit"]) == (per_hour, "wei per hour")


def test_a_job_costs_no_more_than_its_ceiling_and_an_hours_does_not_hold_for_it() -> None:
    ceilings = Ceilings(per_hour=Fraction(1), per_job=Fraction(5000))
    check(Fraction(5000), absolute=ceilings.absolute["fixed"])
    with pytest.raises(PriceExceeded) as refusal:
        check(Fraction(5001), absolute=ceilings.absolute["fixed"])
    assert refusal.value.message == "orchestrator price 5001.000 wei per job exceeds prices.max_price_per_job ceiling 5000.000 wei per job"
    assert "prices.max_price_per_job" in str(refusal.value.hint)
    assert set(Ceilings(per_job=Fraction(1)).absolute) == {"fixed"}
    assert set(Ceilings(per_hour=Fraction(1)).absolute) == {"live", "lv2v", ""}
    assert not Ceilings().absolute


def test_an_absolute_ceiling_without_a_rate_fails_closed() -> None:
    ceilings = Ceilings(per_hour=StaleRate("usd"))
    with pytest.raises(PriceFeedStale, match="configured in USD"):
        check(Fraction(1), absolute=ceilings.absolute["live"])


@given(st.lists(prices, min_size=4, max_size=4), prices)
def test_the_lowest_of_all_ceilings_decides_and_is_named(ceilings: list[Fraction], price: Fraction) -> None:
    configured, hourly, asked, initial = ceilings
    absolute = Ceilings(per_hour=hourly * 3600).absolute["live"]
    names = ("configured maximum price", "prices.max_price_per_hour", "request maxPrice", "initial session price")
    if price <= min(ceilings):
        check_price(price, configured=configured, absolute=absolute, asked=asked, initial=initial)
        return
    with pytest.raises(PriceExceeded) as refusal:
        check_price(price, configured=configured, absolute=absolute, asked=asked, initial=initial)
    assert refusal.value.values["source"] == names[ceilings.index(min(ceilings))]


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
    started = time.thread_time()
    with pytest.raises(BadMaxPrice, match=said) as refusal:
        parse_max_price(max_price, job_type)
    assert time.thread_time() - started < 0.5
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
