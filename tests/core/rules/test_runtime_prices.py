"""Ceilings changed at runtime: how they are spelled, kept, and laid over the configured ones."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livepeer_remote_signer.core.errors import BadField
from livepeer_remote_signer.core.rules.ceilings import Amount, CeilingAmounts, Rate
from livepeer_remote_signer.core.rules.runtime_prices import (
    GLOBAL,
    PriceChange,
    ceiling_name,
    describe_absolute,
    describe_ceilings,
    encode_amount,
    overlay,
    pair_of,
    parse_amount,
    parse_kept,
    parse_price_change,
)

LIVE = "live-video-to-video/default"
CONFIGURED = CeilingAmounts(Amount(Fraction(5)), {(35, "default"): Amount(Fraction(1, 2), "usd"), (27, "sd"): Amount(Fraction(7))})


@given(st.fractions(min_value=0, max_denominator=10**30), st.sampled_from(["wei", "usd"]), st.fractions(min_value=Fraction(1, 10**9)))
def test_a_kept_amount_is_exactly_what_was_set(value: Fraction, currency: str, per_units: Fraction) -> None:
    amount = Amount(value, currency, per_units)
    assert parse_amount(encode_amount(amount)) == amount


@pytest.mark.parametrize(
    "text",
    [
        "",
        "5",
        "[]",
        "{}",
        '{"value":5,"currency":"wei","per_units":"1"}',
        '{"value":"-5","currency":"wei","per_units":"1"}',
        '{"value":"1e9","currency":"wei","per_units":"1"}',
        '{"value":"1/0","currency":"wei","per_units":"1"}',
        '{"value":"1/2/3","currency":"wei","per_units":"1"}',
        '{"value":"5","currency":"wei","per_units":"0"}',
        '{"value":"5","currency":"","per_units":"1"}',
        '{"value":"5","currency":5,"per_units":"1"}',
        '{"value":"5","currency":"wei","per_units":"1","more":1}',
        '{"value":"' + "9" * 500 + '","currency":"wei","per_units":"1"}',
        "[" * 100_000,
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_amount(text)


def test_a_kept_entry_of_another_name_is_refused_by_its_name() -> None:
    for name in ("globe", "nope/x", "llm/", "llm"):
        with pytest.raises(ValueError, match=name):
            parse_kept({name: encode_amount(Amount(Fraction(1)))})
    assert parse_kept({GLOBAL: encode_amount(Amount(Fraction(1)))}) == {GLOBAL: Amount(Fraction(1))}


def test_names_lead_to_pairs() -> None:
    assert ceiling_name("", "") == GLOBAL
    assert pair_of(GLOBAL) is None
    assert pair_of(ceiling_name("live-video-to-video", "")) == (35, "default")
    assert pair_of(ceiling_name("text-to-image", "org/model")) == (27, "org/model")
    for pipeline, model in (("nope", "x"), ("", "x"), ("llm", "x" * 257), ("llm", "a\nb")):
        with pytest.raises(BadField):
            ceiling_name(pipeline, model)


@pytest.mark.parametrize(
    ("price", "pixels", "currency", "amount"),
    [
        ("1200", "1", "", Amount(Fraction(1200))),
        ("1200", "", "WEI", Amount(Fraction(1200))),
        ("0.5", "3", "usd", Amount(Fraction(1, 2), "usd", Fraction(3))),
        ("0.50USD", "1", "", Amount(Fraction(1, 2), "usd")),
        ("0.50USD", "1", "USD", Amount(Fraction(1, 2), "usd")),
        ("0.001eth", "1", "", Amount(Fraction(1, 1000), "eth")),
    ],
)
def test_prices_as_they_are_spelled(price: str, pixels: str, currency: str, amount: Amount) -> None:
    assert parse_price_change(GLOBAL, price, pixels, currency, ("usd",)) == PriceChange(GLOBAL, amount)


@pytest.mark.parametrize(
    ("name", "price", "pixels", "currency"),
    [
        (GLOBAL, "", "1", ""),
        (GLOBAL, "-1", "1", ""),
        (GLOBAL, "x", "1", ""),
        (GLOBAL, "1e999999999", "1", ""),
        (GLOBAL, "1", "0", ""),
        (GLOBAL, "1", "-1", ""),
        (GLOBAL, "1", "x", ""),
        (GLOBAL, "1", "1", "EUR"),
        (GLOBAL, "1USD", "1", "ETH"),
        (LIVE, "0", "1", "wei"),
    ],
)
def test_prices_that_cannot_be_applied_are_refused(name: str, price: str, pixels: str, currency: str) -> None:
    with pytest.raises(BadField):
        parse_price_change(name, price, pixels, currency, ("usd",))


def test_changes_lie_over_the_configured_ceilings_and_add_new_ones() -> None:
    changed = {GLOBAL: Amount(Fraction(0)), LIVE: Amount(Fraction(9)), "llm/x": Amount(Fraction(3))}
    in_force = overlay(CONFIGURED, changed)
    assert in_force.global_amount == Amount(Fraction(0))
    assert in_force.per_capability == {
        (35, "default"): Amount(Fraction(9)),
        (27, "sd"): Amount(Fraction(7)),
        (33, "x"): Amount(Fraction(3)),
    }
    assert overlay(CONFIGURED, {}) == CONFIGURED


def test_what_is_in_force_is_told_with_its_source_and_in_wei() -> None:
    lines = describe_ceilings(CONFIGURED, {GLOBAL: Amount(Fraction(6))}, Rate("usd", Fraction(2000)))
    assert lines[0] == {
        "pipeline": None,
        "model_id": None,
        "price_per_unit": "6",
        "pixels_per_unit": "1",
        "currency": "wei",
        "wei_per_unit": "6",
        "source": "runtime",
        "configured": {"price_per_unit": "5", "pixels_per_unit": "1", "currency": "wei"},
    }
    assert (lines[1]["pipeline"], lines[1]["wei_per_unit"], lines[1]["source"]) == ("live-video-to-video", "250000000000000", "config")
    assert describe_ceilings(CONFIGURED, {}, None)[1]["wei_per_unit"] is None


def test_absolute_ceilings_that_are_set_are_told_in_their_currency_and_in_wei() -> None:
    hour, job = Amount(Fraction(9, 10), "usd"), Amount(Fraction(1, 3), "eth")
    told_hour = {"per": "hour", "price": "9/10", "currency": "usd", "wei": "450000000000000"}
    told_job = {"per": "job", "price": "1/3", "currency": "eth", "wei": "1000000000000000000/3"}
    rate = Rate("usd", Fraction(2000))
    assert describe_absolute(CeilingAmounts(per_hour=hour, per_job=job), rate) == [told_hour, told_job]
    assert describe_absolute(CeilingAmounts(per_hour=hour, per_job=job), None) == [{**told_hour, "wei": None}, told_job]
    assert describe_absolute(CeilingAmounts(per_job=job), rate) == [told_job]
    assert describe_absolute(CONFIGURED, rate) == [], "no price of a unit is an absolute ceiling"
