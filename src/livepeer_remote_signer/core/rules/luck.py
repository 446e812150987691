"""What was drawn of the tickets that were signed, against what they are worth on average: by recipient and in all. Pure.

How unlucky a draw was is the chance that fair tickets take so much or more. One in a thousand happens to one recipient in a
thousand; one in a billion is no chance: then tickets win more often than their win probability says, or somebody draws twice.
Winners that are not redeemed yet make the draw look luckier than it was, never the reverse.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from livepeer_remote_signer.core.protocol.eip191 import checksum_address
from livepeer_remote_signer.core.rules.draws import MAX_CELLS, Kind, Losses
from livepeer_remote_signer.core.rules.runway import SAFE, Burn
from livepeer_remote_signer.core.rules.signed import WINNER_BITS, DrawSum, mark_of, sender_mark

JUDGED_ROUNDS = 4
"""What was signed is counted for five days: these rounds are whole."""

REDEEMABLE_ROUNDS = 2
LOSS_HOURS = (1, 24)


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


class Loss(NamedTuple):
    """What winners may take within `hours`: those of tickets that are outstanding, and those of tickets that are signed meanwhile at
    the pace of the last hour. `worst_wei`: each ticket wins; `safe_wei`: no more but for one case in 100. `new_worst_wei` and
    `new_safe_wei` are the same without what is outstanding. What the deposit does not hold the reserve pays."""

    hours: int
    worst_wei: int
    safe_wei: int
    new_worst_wei: int
    new_safe_wei: int


def lines_by_sender(lines: Sequence[DrawnLine], senders: Sequence[bytes]) -> Mapping[bytes, Sequence[DrawnLine]]:
    """The lines of each sender. One alone has all; of several the first has those without a mark, which were signed while there was
    one, and nobody those of a sender that is here no more."""
    if len(senders) == 1:
        return {senders[0]: lines}
    found: dict[bytes, list[DrawnLine]] = {sender: [] for sender in senders}
    owners = {0: senders[0], **{sender_mark(sender): sender for sender in senders}}
    for line in lines:
        owner = owners.get(mark_of(line.terms))
        if owner is not None:
            found[owner].append(line)
    return found


def lines_of(lines: Sequence[DrawnLine], sender: bytes, *, is_first: bool) -> Sequence[DrawnLine]:
    """The lines of one of several senders."""
    marks = (sender_mark(sender), 0) if is_first else (sender_mark(sender),)
    return [line for line in lines if mark_of(line.terms) in marks]


def weigh(lines: Sequence[DrawnLine], drawn: Sequence[Drawn], most: int = 50, *, max_cells: int = MAX_CELLS) -> list[Luck]:
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
    if not lines:
        return []
    everything = _weigh(b"", lines, drawn, max_cells)
    return [everything, *(_weigh(name, by_recipient[name], taken.get(name, ()), max_cells) for name in largest)]


def outstanding(
    lines: Sequence[DrawnLine], drawn: Sequence[Drawn], round_: int | None = None, *, max_cells: int = MAX_CELLS
) -> Outstanding:
    """Of the rounds whose tickets can still be redeemed. `round_` is the chain's; None: that of the newest ticket."""
    lines, lost = _redeemable(lines, drawn, round_)
    gone, taken = sum(one.tickets for one in lost), sum(one.face_value_wei for one in lost)
    worst = sum(line.signed.face_value_wei for line in lines) - taken
    safe = Losses(_kinds(lines), max_cells=max_cells).quantile_wei(SAFE) - taken
    return Outstanding(max(0, sum(line.signed.tickets for line in lines) - gone), max(0, worst), max(0, safe))


def losses_ahead(
    lines: Sequence[DrawnLine], drawn: Sequence[Drawn], burn: Burn, round_: int | None = None, *, max_cells: int = MAX_CELLS
) -> list[Loss]:
    """What may be lost in the next hour and day. Whoever holds a winner may redeem it at any moment, so all that is outstanding
    counts for the hour already; tickets that expire within the day count, too."""
    lines, lost = _redeemable(lines, drawn, round_)
    taken, signed = sum(one.face_value_wei for one in lost), sum(line.signed.face_value_wei for line in lines)
    found = []
    for hours in LOSS_HOURS:
        both = Losses([*_kinds(lines), *burn.kinds], hours, max_cells=max_cells)
        new = Losses(burn.kinds, hours, max_cells=max_cells).quantile_wei(SAFE)
        new_worst = max(new, burn.face_value_wei_per_hour * hours)
        # winners that are outstanding are those of all tickets without those that were redeemed
        safe = max(new, both.quantile_wei(SAFE) - taken)
        found.append(Loss(hours, max(safe, signed - taken + new_worst), safe, new_worst, new))
    return found


def _redeemable(lines: Sequence[DrawnLine], drawn: Sequence[Drawn], round_: int | None) -> tuple[list[DrawnLine], list[Drawn]]:
    after = (max((line.round for line in lines), default=0) if round_ is None else round_) - REDEEMABLE_ROUNDS
    return [line for line in lines if line.round > after], [one for one in drawn if one.round > after]


def _weigh(recipient: bytes, lines: Sequence[DrawnLine], drawn: Sequence[Drawn], max_cells: int) -> Luck:
    taken = sum(one.face_value_wei for one in drawn)
    return Luck(
        recipient,
        sum(line.signed.tickets for line in lines),
        _expected_wei(lines),
        sum(one.tickets for one in drawn),
        taken,
        Losses(_kinds(lines), max_cells=max_cells).chance_of(taken),
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


def describe_luck(one: Luck) -> dict[str, Any]:
    """A recipient's draw as JSON, amounts in wei; without a recipient all together."""
    return {
        "recipient": checksum_address(one.recipient) if one.recipient else None,
        "tickets": one.tickets,
        "expected_wei": str(one.expected_wei),
        "winners": one.winners,
        "drawn_wei": str(one.drawn_wei),
        "chance": one.chance,
    }


def describe_outstanding(tickets: Outstanding) -> dict[str, Any]:
    """What can still be redeemed as JSON, amounts in wei."""
    return {"tickets": tickets.tickets, "worst_wei": str(tickets.worst_wei), "safe_wei": str(tickets.safe_wei)}


def describe_loss(loss: Loss) -> dict[str, Any]:
    """What may be lost as JSON, amounts in wei."""
    return {name: value if name == "hours" else str(value) for name, value in loss._asdict().items()}
