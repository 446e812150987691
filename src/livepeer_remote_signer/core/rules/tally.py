"""What payments add to the sums that are kept beside them, in the form in which they wait to be added.

A payment's tally is written in its own transaction: one row for all payments of a batch. A moment later any process adds what
waits to its lines and takes the row away, in one transaction as well. So each payment is counted once, through any crash,
and a payment costs a part of a row instead of three lines that are written anew with each of its session's payments. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeAlias

from msgspec import Struct, msgpack

Amount: TypeAlias = int | str
"""A whole number; as decimal digits where 63 bits do not hold it."""

_MOST = (1 << 63) - 1


class Tally(Struct, array_like=True, gc=False):
    """What one payment adds, or several that are alike in their first six parts. Amounts in wei but for those that say otherwise.

    `auth_id` as bytes: it may hold what no text type takes. `terms`: a class of terms (`core.rules.signed`).
    """

    minute: int
    auth_id: bytes
    orchestrator: bytes
    recipient: bytes
    creation_round: int
    terms: int
    payments: int
    sessions: int
    tickets: int
    spent_ev_wei: Amount
    """Rounded up by payment, as `spent_fee_wei` is: what budgets and the statistics of spending count."""

    spent_fee_wei: Amount
    face_value_wei: Amount
    winners: Amount
    """Expected, in 2^-64."""

    ev_wei: Amount
    """Rounded half away from zero by payment, as `fee_wei` is: what events, usage and statements say."""

    fee_wei: Amount
    billed_ns: Amount
    fee_usd: Amount
    """10^-18 USD, of the `priced` payments that had a price."""

    priced: int


def in_63_bits(amounts: Sequence[int]) -> Sequence[Amount]:
    """Numbers that are not negative as a tally holds them."""
    return amounts if max(amounts) <= _MOST else [value if value <= _MOST else str(value) for value in amounts]


_decoder = msgpack.Decoder(list[Tally])

encode_tallies = msgpack.Encoder().encode
"""The bytes of a list of tallies."""


def parse_tallies(raw: bytes) -> list[Tally]:
    """The reverse. Raises msgspec.DecodeError."""
    return _decoder.decode(raw)


def merge_tallies(tallies: Iterable[Tally]) -> list[Tally]:
    """One for all that are alike, their amounts whole numbers."""
    merged: dict[tuple[int, bytes, bytes, bytes, int, int], Tally] = {}
    for one in tallies:
        name = (one.minute, one.auth_id, one.orchestrator, one.recipient, one.creation_round, one.terms)
        total = merged.get(name)
        if total is None:
            total = merged[name] = Tally(*name, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
        total.payments += one.payments
        total.sessions += one.sessions
        total.tickets += one.tickets
        total.spent_ev_wei = int(total.spent_ev_wei) + int(one.spent_ev_wei)
        total.spent_fee_wei = int(total.spent_fee_wei) + int(one.spent_fee_wei)
        total.face_value_wei = int(total.face_value_wei) + int(one.face_value_wei)
        total.winners = int(total.winners) + int(one.winners)
        total.ev_wei = int(total.ev_wei) + int(one.ev_wei)
        total.fee_wei = int(total.fee_wei) + int(one.fee_wei)
        total.billed_ns = int(total.billed_ns) + int(one.billed_ns)
        total.fee_usd = int(total.fee_usd) + int(one.fee_usd)
        total.priced += one.priced
    return list(merged.values())
