"""Chances and cases agree with 100,000 draws that are made."""

from __future__ import annotations

import math
import random

import pytest

from livepeer_remote_signer.core.rules.draws import Kind, Losses
from livepeer_remote_signer.core.rules.runway import CASES, FAN_CASES, Burn, lasts_seconds, plan_runway
from tests.core.rules.test_draws import MIXED, agrees, simulated

SIMULATED = 100_000
FACE = 10**15


def within(share: float, expected: float, slack: float = 0.0) -> bool:
    """Whether a share of 100,000 draws agrees with what is expected of it."""
    return abs(share - expected) < 4.5 * math.sqrt(expected * (1 - expected) / SIMULATED) + slack


@pytest.mark.timeout(600)
def test_tails_agree_with_100000_draws() -> None:
    agrees(Losses(MIXED), simulated(MIXED, SIMULATED), [n * FACE for n in (20, 30, 38, 50, 70, 90, 120)], Losses(MIXED).chance_of)


@pytest.mark.timeout(600)
def test_runway_and_fan_agree_with_100000_futures() -> None:
    burn, deposit = Burn(14 * FACE, (Kind(FACE, 4.0), Kind(5 * FACE, 2.0))), 200 * FACE
    draw, lasted, left_after_six = random.Random(11), [], []
    for _ in range(SIMULATED):
        hours, lost, lost_in_six = 0.0, 0, 0
        while lost < deposit:
            hours += draw.expovariate(6.0)
            lost += FACE if draw.random() < 4 / 6 else 5 * FACE
            if hours <= 6:
                lost_in_six = lost
        lasted.append(hours * 3600)
        left_after_six.append(max(0, deposit - lost_in_six))
    for case, seconds in zip(CASES, lasts_seconds(deposit, burn), strict=True):
        assert within(sum(one < seconds for one in lasted) / SIMULATED, case, slack=0.005 * case + 0.001)
    runway = plan_runway(deposit, 0, burn)
    left = dict(runway.fan)[6]
    for case, wei in zip(FAN_CASES, left, strict=True):
        share = sum(one < wei for one in left_after_six) / SIMULATED
        assert share <= case + 0.004
        assert sum(one <= wei for one in left_after_six) / SIMULATED >= case - 0.004
