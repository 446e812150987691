"""A draw is weighed against what its tickets are worth, and what is outstanding against the worst."""

from __future__ import annotations

import random

import pytest

from livepeer_remote_signer.core.rules.draws import Kind, Losses
from livepeer_remote_signer.core.rules.luck import (
    Drawn,
    DrawnLine,
    Loss,
    Luck,
    Outstanding,
    describe_loss,
    describe_luck,
    describe_outstanding,
    lines_by_sender,
    lines_of,
    losses_ahead,
    outstanding,
    weigh,
)
from livepeer_remote_signer.core.rules.runway import Burn
from livepeer_remote_signer.core.rules.signed import DrawSum, sender_mark

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


def test_a_ticket_is_outstanding_until_the_chain_s_second_round_after_it() -> None:
    lines = [line(ONE, 10), line(TWO, 11)]
    assert [outstanding(lines, [], round_).tickets for round_ in (None, 11, 12, 13)] == [2000, 2000, 1000, 0]
    assert outstanding([], [drawn(ONE, 10, 1)], 10).tickets == 0, "what was redeemed is kept longer than what was signed"


def test_the_next_hour_may_take_what_is_outstanding_and_what_is_signed_meanwhile() -> None:
    lines, taken = [line(ONE, 10), line(TWO, 11)], [drawn(ONE, 10, 5)]
    burn = Burn(2 * FACE, (Kind(FACE, 2.0),), 150 * FACE)
    hour, day = losses_ahead(lines, taken, burn)
    for loss, hours in ((hour, 1), (day, 24)):
        both = Losses([Kind(FACE, 0.01, 2000), Kind(FACE, 2.0)], hours).quantile_wei(0.01) - 5 * FACE
        new = Losses([Kind(FACE, 2.0)], hours).quantile_wei(0.01)
        assert loss == Loss(hours, (1995 + 150 * hours) * FACE, both, 150 * hours * FACE, new)
        assert new < both < loss.worst_wei
    still = Burn(0, ())
    left = outstanding(lines, taken)
    assert losses_ahead(lines, taken, still) == [Loss(hours, left.worst_wei, left.safe_wei, 0, 0) for hours in (1, 24)]
    assert losses_ahead([], [], burn)[0] == Loss(1, 150 * FACE, hour.new_safe_wei, 150 * FACE, hour.new_safe_wei)
    assert losses_ahead(lines, taken, still, 13) == losses_ahead([], [], still) == [Loss(1, 0, 0, 0, 0), Loss(24, 0, 0, 0, 0)]


def test_more_luck_than_expected_does_not_make_the_future_cheaper() -> None:
    burn = Burn(2 * FACE, (Kind(FACE, 2.0),), 150 * FACE)
    hour, _ = losses_ahead([line(ONE, 10)], [drawn(ONE, 10, 500)], burn)
    assert hour.safe_wei == hour.new_safe_wei > 0
    assert hour.worst_wei == (500 + 150) * FACE


def test_the_safe_case_agrees_with_winners_that_are_drawn() -> None:
    """Over many draws, whatever was redeemed of them so far, winners take more in one case of 100 at most, and not in much fewer."""
    draw, burn, late = random.Random(3), Burn(4 * FACE, (Kind(FACE, 4.0),), 400 * FACE), 0
    bound = {n: losses_ahead([line(ONE, 10)], [drawn(ONE, 10, n)], burn, max_cells=1023)[0].safe_wei for n in range(40)}
    for _ in range(4000):
        won = sum(draw.random() < 0.01 for _ in range(1000))
        redeemed = draw.randint(0, won // 2)
        coming, hours = 0, draw.expovariate(4.0)
        while hours < 1:
            coming, hours = coming + 1, hours + draw.expovariate(4.0)
        late += (won - redeemed + coming) * FACE > bound[redeemed]
    assert 4 <= late <= 60


def test_amounts_are_told_as_decimal_strings() -> None:
    assert describe_loss(Loss(24, 5, 4, 3, 2)) == {
        "hours": 24,
        "worst_wei": "5",
        "safe_wei": "4",
        "new_worst_wei": "3",
        "new_safe_wei": "2",
    }
    assert describe_outstanding(Outstanding(3, 2, 1)) == {"tickets": 3, "worst_wei": "2", "safe_wei": "1"}
    told = [describe_luck(Luck(name, 9, 8, 7, 6, 0.5)) for name in (b"", ONE)]
    assert [one["recipient"] for one in told] == [None, "0x" + "01" * 20]
    assert [(one["expected_wei"], one["drawn_wei"], one["chance"]) for one in told] == [("8", "6", 0.5)] * 2


def test_lines_belong_to_the_sender_whose_mark_they_carry() -> None:
    red, blue, former = b"\x11" * 20, b"\x22" * 20, b"\x33" * 20
    unmarked = line(ONE, 10)
    marked = {sender: unmarked._replace(terms=unmarked.terms + sender_mark(sender)) for sender in (red, blue, former)}
    lines = [unmarked, *marked.values()]
    assert lines_by_sender(lines, [red]) == {red: lines}
    assert lines_by_sender(lines, [red, blue]) == {red: [unmarked, marked[red]], blue: [marked[blue]]}
    assert lines_of(lines, red, is_first=True) == [unmarked, marked[red]]
    assert lines_of(lines, blue, is_first=False) == [marked[blue]]
    assert lines_by_sender(lines, [blue, red]) == {blue: [unmarked, marked[blue]], red: [marked[red]]}
