"""A draw is weighed against what its tickets are worth, and what is outstanding against the worst."""

from __future__ import annotations

import pytest

from livepeer_remote_signer.core.rules.draws import Kind, Losses
from livepeer_remote_signer.core.rules.luck import Drawn, DrawnLine, Luck, Outstanding, outstanding, weigh
from livepeer_remote_signer.core.rules.signed import DrawSum

FACE = 10**15
ONE, TWO = b"\x01" * 20, b"\x02" * 20


def line(recipient: bytes, round_: int, tickets: int = 1000, one_in: int = 100) -> DrawnLine:
    return DrawnLine(recipient, round_, 7, DrawSum(tickets, (tickets << 64) // one_in, tickets * FACE))


def drawn(recipient: bytes, round_: int, winners: int) -> Drawn:
    return Drawn(recipient, round_, 7, winners, winners * FACE, winners * FACE)


def test_each_recipient_and_all_together_are_weighed_with_the_exact_chance() -> None:
    lines = [line(ONE, 10), line(ONE, 11), line(TWO, 11)]
    found = weigh(lines, [drawn(ONE, 10, 12), drawn(ONE, 11, 9), drawn(TWO, 11, 30)])
    chance_of = [Losses([Kind(FACE, 0.01, tickets)]).chance_of for tickets in (3000, 2000, 1000)]
    assert found == [
        Luck(b"", 3000, pytest.approx(30 * FACE, abs=3), 51, 51 * FACE, pytest.approx(chance_of[0](51 * FACE))),  # type: ignore[arg-type]
        Luck(ONE, 2000, pytest.approx(20 * FACE, abs=3), 21, 21 * FACE, pytest.approx(chance_of[1](21 * FACE))),  # type: ignore[arg-type]
        Luck(TWO, 1000, pytest.approx(10 * FACE, abs=3), 30, 30 * FACE, pytest.approx(chance_of[2](30 * FACE))),  # type: ignore[arg-type]
    ]
    assert found[2].chance < 1e-6 < found[1].chance


def test_rounds_that_may_be_forgotten_in_part_do_not_count_and_few_recipients_are_named() -> None:
    found = weigh([line(ONE, 6), line(ONE, 10), line(TWO, 10, tickets=10)], [drawn(ONE, 6, 500)], most=1)
    assert [(one.recipient, one.tickets, one.winners, one.chance) for one in found] == [(b"", 1010, 0, 1.0), (ONE, 1000, 0, 1.0)]
    assert weigh([], []) == []


def test_what_is_outstanding_is_what_can_still_be_redeemed_without_what_was() -> None:
    lines = [line(ONE, 9), line(ONE, 10), line(TWO, 11)]
    found = outstanding(lines, [drawn(ONE, 9, 40), drawn(ONE, 10, 5)])
    safe = Losses([Kind(FACE, 0.01, 2000)]).quantile_wei(0.01)
    assert found == Outstanding(1995, 1995 * FACE, safe - 5 * FACE)
    assert outstanding(lines, [drawn(TWO, 11, 100)]).safe_wei == 0
    assert outstanding([], []) == Outstanding(0, 0, 0)
