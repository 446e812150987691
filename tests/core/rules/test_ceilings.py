"""Configured amounts in wei, exact."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livepeer_remote_signer.core.rules.ceilings import NO_CEILING, Amount, CeilingAmounts, Rate, resolve_amount, resolve_ceilings
from livepeer_remote_signer.core.rules.pricing import StaleRate

USD = Rate("usd", Fraction(3000))


@pytest.mark.parametrize(
    ("amount", "wei"),
    [
        (Amount(Fraction(1200)), Fraction(1200)),
        (Amount(Fraction(1200), "wei", Fraction(7)), Fraction(1200, 7)),
        (Amount(Fraction("0.002"), "eth"), Fraction(2 * 10**15)),
        (Amount(Fraction(3), "gwei"), Fraction(3 * 10**9)),
        (Amount(Fraction("0.50"), "usd"), Fraction(10**18, 6000)),
        (Amount(Fraction(0), "usd"), Fraction(0)),
    ],
)
def test_amounts_in_every_currency_are_exact_wei_per_unit(amount: Amount, wei: Fraction) -> None:
    assert resolve_amount(amount, USD) == wei


@pytest.mark.parametrize(("rate", "quoted"), [(None, ""), (Rate("eur", Fraction(1)), "eur")])
def test_an_amount_without_a_rate_of_its_currency_is_not_known(rate: Rate | None, quoted: str) -> None:
    assert resolve_amount(Amount(Fraction(1), "usd"), rate) == StaleRate("usd", quoted)


def test_zero_is_no_global_ceiling_and_needs_no_feed() -> None:
    amounts = CeilingAmounts(Amount(Fraction(0), "usd"), {(35, "default"): Amount(Fraction(1), "eth")})
    assert resolve_ceilings(amounts, None).global_ceiling is None
    assert amounts.feed_currencies == frozenset()
    assert CeilingAmounts(NO_CEILING, {(35, "m"): Amount(Fraction(1), "usd")}).feed_currencies == {"usd"}


def test_absolute_ceilings_are_wei_and_need_their_feed() -> None:
    amounts = CeilingAmounts(per_hour=Amount(Fraction("1.80"), "usd"), per_job=Amount(Fraction("0.00001"), "eth"))
    assert amounts.feed_currencies == {"usd"}
    known = resolve_ceilings(amounts, USD)
    assert (known.per_hour, known.per_job) == (Fraction(6 * 10**14), Fraction(10**13))
    assert resolve_ceilings(amounts, None).per_hour == StaleRate("usd")
    assert resolve_ceilings(amounts, None).per_job == 10**13
    none = resolve_ceilings(CeilingAmounts(), USD)
    assert (none.per_hour, none.per_job) == (None, None)


@given(st.fractions(min_value=0, max_value=10**9), st.fractions(min_value=Fraction(1, 10**6), max_value=10**9))
def test_turning_wei_back_at_the_same_rate_gives_the_amount(value: Fraction, per_eth: Fraction) -> None:
    wei = resolve_amount(Amount(value, "usd"), Rate("usd", per_eth))
    assert isinstance(wei, Fraction)
    assert wei * per_eth / 10**18 == value
