"""What was drawn of the tickets that were signed, against what they are worth on average: by recipient and in all. Pure.

How unlucky a draw was is the chance that fair tickets take so much or more. One in a thousand happens to one recipient in a
thousand; one in a billion is no chance: then tickets win more often than their win probability says, or somebody draws twice.
Winners that are not redeemed yet make the draw look luckier than it was, never the reverse.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from livepeer_remote_signer.core.rules.draws import Kind, Losses
from livepeer_remote_signer.core.rules.signed import WINNER_BITS, DrawSum

JUDGED_ROUNDS = 4
"""What was signed is counted for five days: these rounds are whole."""

REDEEMABLE_ROUNDS = 2
SAFE = 0.01


class DrawnLine(NamedTuple):
    """Tickets of one recipient, creation round and class of terms, as they were signed."""

    recipient: bytes
    round: int
    terms: int
    signed: DrawSum


class Drawn(NamedTuple):
    """What one recipient's tickets of a class have drawn so far."""

    recipient: bytes
    round: int
    terms: int
    tickets: int
    face_value_wei: int
    paid_wei: int


class Luck(NamedTuple):
    """Tickets, what they take on average, the winners among them that were redeemed, with their face value, and the chance that so
    much or more is taken. `recipient` empty: all of them together."""

    recipient: bytes
    tickets: int
    expected_wei: int
    winners: int
    drawn_wei: int
    chance: float


class Outstanding(NamedTuple):
    """Tickets that can still be redeemed: how many, what is lost when all that were not redeemed win, and but for one case in 100."""

    tickets: int
    worst_wei: int
    safe_wei: int


def weigh(lines: Sequence[DrawnLine], drawn: Sequence[Drawn], most: int = 50) -> list[Luck]:
    """All together, then the `most` recipients with the most expected value, of the newest rounds."""
    newest = max((line.round for line in lines), default=0)
    lines = [line for line in lines if line.round > newest - JUDGED_ROUNDS]
    drawn = [one for one in drawn if one.round > newest - JUDGED_ROUNDS]
    by_recipient: dict[bytes, list[DrawnLine]] = {}
    for line in lines:
        by_recipient.setdefault(line.recipient, []).append(line)
    taken: dict[bytes, list[Drawn]] = {}
    for one in drawn:
        taken.setdefault(one.recipient, []).append(one)
    largest = sorted(by_recipient, key=lambda name: (-_expected_wei(by_recipient[name]), name))[:most]
    return [_weigh(b"", lines, drawn), *(_weigh(name, by_recipient[name], taken.get(name, ())) for name in largest)] if lines else []


def outstanding(lines: Sequence[DrawnLine], drawn: Sequence[Drawn]) -> Outstanding:
    """Of the rounds whose tickets can still be redeemed."""
    newest = max((line.round for line in lines), default=0)
    lines = [line for line in lines if line.round > newest - REDEEMABLE_ROUNDS]
    lost = [one for one in drawn if one.round > newest - REDEEMABLE_ROUNDS]
    gone, taken = sum(one.tickets for one in lost), sum(one.face_value_wei for one in lost)
    worst = sum(line.signed.face_value_wei for line in lines) - taken
    safe = Losses(_kinds(lines)).quantile_wei(SAFE) - taken
    return Outstanding(sum(line.signed.tickets for line in lines) - gone, max(0, worst), max(0, safe))


def _weigh(recipient: bytes, lines: Sequence[DrawnLine], drawn: Sequence[Drawn]) -> Luck:
    taken = sum(one.face_value_wei for one in drawn)
    return Luck(
        recipient,
        sum(line.signed.tickets for line in lines),
        _expected_wei(lines),
        sum(one.tickets for one in drawn),
        taken,
        Losses(_kinds(lines)).chance_of(taken),
    )


def _expected_wei(lines: Iterable[DrawnLine]) -> int:
    return sum(line.signed.winners * line.signed.face_value_wei // (line.signed.tickets << WINNER_BITS) for line in lines)


def _kinds(lines: Iterable[DrawnLine]) -> list[Kind]:
    """Lines of one class as tickets of their mean terms; of several rounds together where they are the same."""
    merged: dict[tuple[int, float], int] = {}
    for _, _, _, signed in lines:
        terms = signed.face_value_wei // signed.tickets, signed.winners / (signed.tickets << WINNER_BITS)
        merged[terms] = merged.get(terms, 0) + signed.tickets
    return [Kind(face_value, chance, tickets) for (face_value, chance), tickets in merged.items()]
