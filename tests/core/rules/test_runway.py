"""How long the funds last is one distribution, and agrees with winners that come at random."""

from __future__ import annotations

import math
import random
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from livepeer_remote_signer.core.rules.draws import Kind
from livepeer_remote_signer.core.rules.runway import (
    CASES,
    FAN_CASES,
    FAN_HOURS,
    Burn,
    burn_of,
    burns_of,
    describe_runway,
    draw_minute,
    lasts_seconds,
    lost_wei,
    plan_runway,
)
from livepeer_remote_signer.core.rules.signed import DrawSum

ETH = 10**18
FACE = 10**15
BURN = Burn(5 * FACE, (Kind(FACE, 5.0),))


def test_the_burn_has_the_value_that_was_signed_and_the_face_values_of_its_tickets() -> None:
    lines = [DrawSum(1000, 2**64 * 2, 1000 * FACE), DrawSum(10, 2**64 // 2, 10 * 4 * FACE), DrawSum()]
    burn = burn_of(8 * FACE, lines)
    assert burn.wei_per_hour == 8 * FACE
    assert burn.kinds == (Kind(FACE, 4.0), Kind(4 * FACE, 1.0)), "the lines are of a somewhat other time than the hour"
    assert burn_of(0, lines) == Burn(0, ())
    assert burn_of(8 * FACE, [], 2 * FACE) == Burn(8 * FACE, (Kind(2 * FACE, 4.0),))
    assert burn_of(8 * FACE, []).kinds == (Kind(8 * FACE, 1.0),)
    assert draw_minute(61 * 60 * 10**9) == 1


def test_one_ticket_that_takes_it_all_comes_as_lightning_does() -> None:
    burn = Burn(FACE, (Kind(ETH, FACE / ETH),))
    expected = [-math.log(1 - case) * 1000 * 3600 for case in CASES]
    assert lasts_seconds(ETH // 2, burn) == pytest.approx(expected, rel=0.005)


def test_nothing_signed_lasts_for_ever_and_nothing_deposited_no_time() -> None:
    assert lasts_seconds(ETH, Burn(0, ())) == (math.inf,) * 3
    assert lasts_seconds(0, BURN) == (0, 0, 0)
    assert lasts_seconds(10**40, BURN) == (math.inf,) * 3
    runway = plan_runway(ETH, ETH, Burn(0, ()))
    assert (runway.hour_wei, runway.day_wei, runway.safe_week_wei) == (0, 0, 0)
    assert describe_runway(runway)["deposit_hours"] == {"0.5": None, "0.05": None, "0.01": None}


def test_the_cases_agree_with_winners_that_come_at_random() -> None:
    burn = Burn(14 * FACE, (Kind(FACE, 4.0), Kind(5 * FACE, 2.0)))
    draw, lasted = random.Random(5), []
    for _ in range(20_000):
        hours, lost = 0.0, 0
        while lost < 200 * FACE:
            hours += draw.expovariate(6.0)
            lost += FACE if draw.random() < 4 / 6 else 5 * FACE
        lasted.append(hours * 3600)
    lasted.sort()
    found = lasts_seconds(200 * FACE, burn)
    for case, seconds in zip(CASES, found, strict=True):
        share = sum(one < seconds for one in lasted) / len(lasted)
        assert abs(share - case) < 4.5 * math.sqrt(case * (1 - case) / len(lasted)) + 0.01 * case + 0.002


def test_what_lasts_a_week_is_enough_but_for_one_case_in_a_hundred() -> None:
    runway = plan_runway(ETH, ETH, BURN)
    assert lasts_seconds(runway.safe_week_wei, BURN)[2] == pytest.approx(168 * 3600, rel=0.01)
    assert runway.safe_week_wei == lost_wei(BURN, 168) + 1
    assert runway.hour_wei < runway.day_wei < runway.safe_week_wei
    assert lost_wei(BURN, 24, 0.5) == pytest.approx(24 * 5 * FACE, abs=FACE)
    assert runway.median_hours == pytest.approx(200, rel=0.01)
    assert all(funds > deposit for funds, deposit in zip(runway.funds_seconds, runway.deposit_seconds, strict=True))


def test_the_fan_opens_and_goes_down() -> None:
    runway = plan_runway(ETH, 0, BURN)
    assert [hours for hours, _ in runway.fan] == list(FAN_HOURS)
    for _, left in runway.fan:
        assert list(left) == sorted(left)
        assert len(left) == len(FAN_CASES)
    for before, after in pairwise(runway.fan):
        assert all(later <= earlier for earlier, later in zip(before[1], after[1], strict=True))
    described = describe_runway(runway)
    assert described["fan"][0] == {"hours": 1, "left_wei": [str(wei) for wei in runway.fan[0][1]]}
    assert described["deposit_hours"]["0.5"] == runway.median_hours


@settings(max_examples=25)
@given(st.integers(1, 10**22), st.integers(1, 10**21), st.integers(1, 10**19))
@example(10**22 - 1, 16_567_602_352_536_144, 1)
def test_worse_cases_are_shorter_and_more_funds_last_longer(funds: int, hourly: int, face_value: int) -> None:
    burn = burn_of(hourly, (), face_value)
    less, more = lasts_seconds(funds, burn, (0.5, 0.01)), lasts_seconds(3 * funds, burn, (0.5, 0.01))
    assert less[1] <= less[0] * 1.01
    assert all(b >= a * 0.99 for a, b in zip(less, more, strict=True))


def test_each_sender_has_its_part_of_what_all_signed_by_what_its_tickets_are_worth() -> None:
    red, blue = DrawSum(1000, 2**64 * 2, 1000 * FACE), DrawSum(10, 2**64 // 2, 10 * 4 * FACE)
    former = DrawSum(100, 2**64 * 4, 100 * FACE)
    everything = Burn(10 * FACE, (), 570 * FACE)
    parts = burns_of(everything, [red, blue, former, DrawSum()], {b"red": [red, DrawSum()], b"blue": [blue], b"new": []})
    assert [parts[name].wei_per_hour for name in (b"red", b"blue", b"new")] == [10 * FACE * 2 // 8, 10 * FACE * 2 // 8, 0]
    assert [parts[name].face_value_wei_per_hour for name in (b"red", b"blue", b"new")] == [500 * FACE, 20 * FACE, 0]
    assert (parts[b"red"].kinds, parts[b"blue"].kinds, parts[b"new"].kinds) == ((Kind(FACE, 2.5),), (Kind(4 * FACE, 0.625),), ())
    assert burns_of(everything, [], {b"red": []}) == {b"red": Burn(0, ())}
