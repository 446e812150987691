"""What draws may cost is worked out exactly, and agrees with draws that are made."""

from __future__ import annotations

import bisect
import math
import random
from collections.abc import Callable, Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from livepeer_remote_signer.core.rules.draws import MAX_GROUPS, Kind, Losses, mean_loss, merge_kinds

FACE = 10**15
SIMULATED = 20_000


def binomial_tail(tickets: int, chance: float, winners: int) -> float:
    """By the terms themselves."""
    return math.fsum(
        math.exp(
            math.lgamma(tickets + 1)
            - math.lgamma(k + 1)
            - math.lgamma(tickets - k + 1)
            + k * math.log(chance)
            + (tickets - k) * math.log1p(-chance)
        )
        for k in range(winners, tickets + 1)
    )


def poisson_tail(mean: float, winners: int) -> float:
    return math.fsum(math.exp(-mean + k * math.log(mean) - math.lgamma(k + 1)) for k in range(winners, winners + 400))


@pytest.mark.parametrize(
    ("tickets", "chance", "winners"),
    [
        (2000, 0.1, 180),
        (2000, 0.1, 200),
        (2000, 0.1, 220),
        (2000, 0.1, 300),
        (50, 0.5, 48),
        (50, 0.9, 49),
        (10_000, 1e-3, 40),
        (3, 0.25, 3),
    ],
)
def test_tickets_of_one_kind_follow_the_binomial_distribution_however_small_the_chance(tickets: int, chance: float, winners: int) -> None:
    found = Losses([Kind(FACE, chance, tickets)]).chance_of(winners * FACE)
    assert found == pytest.approx(binomial_tail(tickets, chance, winners), rel=1e-8)


@pytest.mark.parametrize(("mean", "winners"), [(3.0, 1), (3.0, 3), (3.0, 30), (400.0, 420), (400.0, 700)])
def test_winners_that_go_on_coming_follow_the_poisson_distribution(mean: float, winners: int) -> None:
    assert Losses([Kind(FACE, mean / 2)], 2).chance_of(winners * FACE) == pytest.approx(poisson_tail(mean, winners), rel=1e-8)


def test_an_amount_between_two_face_values_is_as_likely_as_the_next_one() -> None:
    losses = Losses([Kind(FACE, 0.1, 100)])
    assert losses.chance_of(12 * FACE - 5) == losses.chance_of(12 * FACE)
    assert losses.chance_of(12 * FACE + 1) == losses.chance_of(13 * FACE)


def test_the_ends() -> None:
    losses = Losses([Kind(FACE, 0.25, 10)])
    assert losses.chance_of(0) == 1
    assert losses.chance_of(10 * FACE) == pytest.approx(0.25**10)
    assert losses.chance_of(10 * FACE + FACE) == 0
    assert losses.quantile_wei(1e-9) == 10 * FACE
    nothing = Losses([])
    assert (nothing.mean_wei, nothing.chance_of(1), nothing.quantile_wei(0.01)) == (0, 0, 0)
    assert Losses([Kind(0, 0.5, 10), Kind(FACE, 0.0, 10)]).chance_of(1) == 0
    assert Losses([Kind(FACE, 5.0)]).chance_of(10**9 * FACE) == 0


def test_a_quantile_is_passed_with_its_probability_at_most_and_the_amount_below_it_is_not() -> None:
    losses = Losses([Kind(FACE, 0.1, 1000)])
    for chance in (0.5, 0.05, 0.01):
        safe = losses.quantile_wei(chance)
        assert losses.chance_of(safe + FACE) <= chance < losses.chance_of(safe)


def binomial(draw: random.Random, tickets: int, chance: float) -> int:
    """By the gaps between winners."""
    winners, at = 0, 0
    while (at := at + int(math.log(1 - draw.random()) / math.log1p(-chance)) + 1) <= tickets:
        winners += 1
    return winners


def simulated(kinds: Sequence[Kind], count: int = SIMULATED) -> list[int]:
    """What so many lotteries have cost, smallest first."""
    draw = random.Random(7)
    return sorted(sum(binomial(draw, kind.tickets or 0, kind.chance) * int(kind.face_value_wei) for kind in kinds) for _ in range(count))


MIXED = [Kind(3 * FACE, 0.01, 1000), Kind(FACE, 0.002, 4000), Kind(40 * FACE, 0.0005, 500)]


def agrees(losses: Losses, costs: Sequence[int], amounts: Sequence[int], chance: Callable[[int], float]) -> None:
    for amount in amounts:
        share, expected = 1 - bisect.bisect_left(costs, amount) / len(costs), chance(amount)
        assert abs(share - expected) < 4.5 * math.sqrt(expected * (1 - expected) / len(costs)) + 1e-12


def test_mixed_tickets_agree_with_draws_that_are_made() -> None:
    losses, costs = Losses(MIXED), simulated(MIXED)
    agrees(losses, costs, [n * FACE for n in (20, 30, 38, 50, 70, 90, 120)], losses.chance_of)
    for chance in (0.5, 0.05, 0.01):
        assert bisect.bisect_left(costs, losses.quantile_wei(chance) + 1) / len(costs) == pytest.approx(1 - chance, abs=0.03)


def test_face_values_without_a_common_lattice_are_worked_out_to_a_small_part_of_their_spread() -> None:
    odd = [kind._replace(face_value_wei=kind.face_value_wei + 12_345 * i) for i, kind in enumerate(MIXED)]
    exact, rough = Losses(MIXED), Losses(odd)
    for n in (31, 45, 77, 123):
        amount = n * FACE + FACE // 2
        assert rough.chance_of(amount) == pytest.approx(exact.chance_of(amount), rel=0.05, abs=0.01)
    fewer = Losses(odd, max_cells=511)
    assert fewer.quantile_wei(0.01) == pytest.approx(exact.quantile_wei(0.01), rel=0.05)


kinds = st.lists(st.builds(Kind, st.integers(1, 10**20), st.floats(1e-6, 0.5), st.integers(1, 10**6)), min_size=1, max_size=6)


@settings(max_examples=40)
@given(kinds, st.lists(st.integers(0, 10**27), min_size=2, max_size=4))
def test_more_is_never_likelier_than_less(some: list[Kind], amounts: list[int]) -> None:
    losses = Losses(some, max_cells=255)
    chances = [losses.chance_of(amount) for amount in sorted(amounts)]
    assert all(0 <= chance <= 1 for chance in chances)
    assert all(later <= before + 0.05 for before, later in pairwise(chances))


@given(st.lists(st.builds(lambda face, winners: Kind(face, winners), st.integers(10**9, 10**24), st.floats(1e-6, 10.0)), max_size=120))
def test_kinds_that_are_put_together_keep_mean_and_variance(some: list[Kind]) -> None:
    merged = merge_kinds(some)
    assert len(merged) <= MAX_GROUPS
    assert mean_loss(merged) == pytest.approx(mean_loss(some), rel=1e-5)

    def variance(of: Sequence[Kind]) -> float:
        return math.fsum(kind.winners * kind.face_value_wei**2 for kind in of)

    assert variance(merged) == pytest.approx(variance(some), rel=1e-5)


def test_tickets_that_are_put_together_stay_as_many() -> None:
    some = [Kind(10**15 + i * 10**12, 0.1, 7) for i in range(200)]
    merged = merge_kinds(some)
    assert len(merged) <= MAX_GROUPS
    assert sum(kind.tickets or 0 for kind in merged) == 1400


def test_rates_that_are_put_together_keep_what_they_take() -> None:
    some = [Kind(10**15 + i * 10**12, 0.1) for i in range(200)]
    merged = merge_kinds(some)
    assert len(merged) <= MAX_GROUPS
    assert all(kind.tickets is None for kind in merged)
    assert mean_loss(merged) == pytest.approx(mean_loss(some))


@pytest.mark.parametrize("winners", [1e18, 2.8e19, 1e22])
def test_numbers_beyond_what_rounding_leaves_of_them_end_nothing(winners: float) -> None:
    losses = Losses([Kind(1, winners)])
    assert 0 <= losses.chance_of(int(losses.mean_wei * 1.01)) < 0.5
    assert losses.quantile_wei(0.01) == pytest.approx(losses.mean_wei, rel=0.1)
