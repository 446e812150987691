"""What a ledger keeps of the tickets that it signs, so that a redeemed one can be told from one that somebody else has signed.

Beside the newest nonce of each recipient rand hash stands a row of bytes: an entry of 22 bytes for each run of nonces that
were signed on the same terms. An entry holds 96 bits of a digest over everything that is signed of a ticket but its nonce,
so that a ticket on other terms (more face value, another recipient, another sender) is not taken for ours; and 48 bits of a digest of
the auth id that paid. Nonces that a release signed which kept none of this are marked as such. A nonce that stands in no
entry was not signed by this ledger.

Beside that the tickets are counted by recipient, creation round and terms (`DrawKey`): what may have been drawn. Terms are
told apart by classes an eighth of a power of two wide, and each class keeps its exact sums: terms of one class are counted as
if each had their mean. Where a signer has several senders, the class carries a mark of its sender (`sender_mark`): bits above
those of the terms, so that a line of each is told apart and one sender's lines stay as they are. Sources: sections 3 and 10 of
the protocol. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple

from livepeer_remote_signer.core.rules.ledger import Books, Lines
from livepeer_remote_signer.core.rules.payment import PaymentPlan
from livepeer_remote_signer.core.rules.tally import Tally

TERMS_BYTES, PAYER_BYTES, NONCE_BYTES = 12, 6, 2
ENTRY_BYTES = TERMS_BYTES + PAYER_BYTES + 2 * NONCE_BYTES
UNKNOWN_TERMS = bytes(TERMS_BYTES)
WINNER_BITS = 64
"""Expected winners are counted in units of 2^-64."""

DRAW_MINUTES = 10
"""Tickets are counted by so many minutes."""

REDEEMABLE_SECONDS = 3 * 24 * 3600
"""Longer than three rounds of Arbitrum One (2.7 days): so long a ticket may be redeemed, and be looked for, after it was signed."""

_CLASS_BITS = 3
_CLASSES = 1 << 12
_MARK_SHIFT = 24
"""A class of terms has fewer bits."""

_MARK_BYTES = 4


class SignedRun(NamedTuple):
    """Nonces from `first` to `last`, signed on these terms for this payer; `terms` all zero: by a release that kept no terms."""

    terms: bytes
    payer: bytes
    first: int
    last: int


class DrawKey(NamedTuple):
    """A line of tickets that are drawn alike: when they were signed (the unix minute that the ten minutes began with), whom they
    pay, their creation round, and the class of their terms. `part`: see `core.rules.ledger.Lines`."""

    minute: int
    recipient: bytes
    creation_round: int
    terms: int
    part: int = 0


class DrawSum(NamedTuple):
    """What was signed on a line: tickets, how many of them win on average (in 2^-64), and their face value in wei."""

    tickets: int = 0
    winners: int = 0
    face_value_wei: int = 0


def digest_terms(sender: bytes, recipient: bytes, face_value: int, win_prob: int, rand_hash: bytes, aux_data: bytes) -> bytes:
    """12 bytes over what is signed of a ticket, but for its nonce."""
    packed = sender + recipient + face_value.to_bytes(32, "big") + win_prob.to_bytes(32, "big") + rand_hash + aux_data
    return blake2b(packed, digest_size=TERMS_BYTES).digest()


@lru_cache(4096)
def digest_payer(auth_id: str) -> bytes:
    """6 bytes that tell auth ids apart."""
    return blake2b(auth_id.encode("utf-8", "surrogatepass"), digest_size=PAYER_BYTES).digest()


def note_signed(signed: bytes, last_nonce: int, plan: PaymentPlan) -> bytes:
    """The row's bytes with a payment's tickets. `last_nonce` is the newest that was given out before it."""
    params = plan.session.info.ticket_params
    terms = digest_terms(plan.sender, params.recipient, params.face_value, params.win_prob, params.recipient_rand_hash, plan.aux_data)
    payer = digest_payer(plan.state.auth_id)
    newest = _nonce(signed, len(signed))
    if newest < last_nonce:
        signed += UNKNOWN_TERMS + bytes(PAYER_BYTES) + _nonces(newest + 1, last_nonce)
        newest = last_nonce
    first, last = plan.first_nonce, plan.first_nonce + plan.num_tickets - 1
    if newest + 1 == first and signed[-ENTRY_BYTES:].startswith(terms + payer):
        return signed[:-NONCE_BYTES] + last.to_bytes(NONCE_BYTES, "big")
    return signed + terms + payer + _nonces(first, last)


def note_tickets(plan: PaymentPlan, books: Books) -> None:
    """Notes which tickets are signed, before their nonces count as used. Those of a reservation may be signed from now on, also
    where nobody is ever given them."""
    rand_hash = plan.session.info.ticket_params.recipient_rand_hash
    books.signed[rand_hash] = note_signed(books.signed.get(rand_hash, b""), books.nonces.get(rand_hash, 0), plan)


def signed_runs(signed: bytes) -> Iterator[SignedRun]:
    """The reverse of `note_signed`, in the order of signing."""
    for at in range(0, len(signed), ENTRY_BYTES):
        payer_at, first_at = at + TERMS_BYTES, at + TERMS_BYTES + PAYER_BYTES
        yield SignedRun(
            signed[at:payer_at],
            signed[payer_at:first_at],
            _nonce(signed, first_at + NONCE_BYTES),
            _nonce(signed, first_at + 2 * NONCE_BYTES),
        )


def find_run(signed: bytes, terms: bytes, nonce: int) -> SignedRun | None:
    """The run that a ticket of these terms belongs to, or one that does not tell its terms; None: it was not signed here."""
    for run in signed_runs(signed):
        if run.first <= nonce <= run.last and run.terms in (terms, UNKNOWN_TERMS):
            return run
    return None


@lru_cache(4096)
def terms_class(face_value: int, win_prob: int) -> int:
    """The class that terms are counted in."""
    return _class_of(face_value) * _CLASSES + _class_of(win_prob)


def sender_mark(sender: bytes) -> int:
    """What a class of terms is marked with where a signer has several senders: never 0, which marks none."""
    return ((1 << 8 * _MARK_BYTES) + int.from_bytes(sender[-_MARK_BYTES:], "big")) << _MARK_SHIFT


def mark_of(terms: int) -> int:
    """The mark that a class of terms carries; 0: none."""
    return terms >> _MARK_SHIFT << _MARK_SHIFT


def add_draws(draws: dict[DrawKey, DrawSum], tally: Tally, before: Lines[DrawKey, DrawSum]) -> None:
    """Counts tickets in `draws`, whose lines go on from those in `before`. Amounts of `tally` are whole numbers."""
    minute = tally.minute // DRAW_MINUTES * DRAW_MINUTES
    key = DrawKey(minute, tally.recipient, tally.creation_round, tally.terms, before.part(minute))
    tickets, winners, face_value_wei = draws.get(key) or before.get(key)
    draws[key] = DrawSum(tickets + tally.tickets, winners + int(tally.winners), face_value_wei + int(tally.face_value_wei))


def open_draws() -> Lines[DrawKey, DrawSum]:
    """The lines that a process adds to."""
    return Lines(DrawSum())


def _class_of(value: int) -> int:
    """The power of two and its eighth."""
    bits = value.bit_length()
    top = value >> (bits - 1 - _CLASS_BITS) if bits > _CLASS_BITS else value << (_CLASS_BITS + 1 - bits) if bits else 0
    return (bits << _CLASS_BITS) + (top & ((1 << _CLASS_BITS) - 1))


def _nonces(first: int, last: int) -> bytes:
    return first.to_bytes(NONCE_BYTES, "big") + last.to_bytes(NONCE_BYTES, "big")


def _nonce(signed: bytes, end: int) -> int:
    return int.from_bytes(signed[end - NONCE_BYTES : end], "big")
