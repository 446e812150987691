"""What becomes of a payment whose key is outside this host: it is reserved, signed outside of any transaction, and recorded.

Source: section 15 of the protocol: at most one signature of a ticket hash may ever leave the signer. Pure, as `ledger` is: `Books`
are the rows that a transaction has read and nobody else changes before it ends.

The rules. A session has at most one reservation. Nonces that are reserved are never used again, whatever becomes of them: so
a ticket is signed for one reservation only. A reservation ends once, recorded or released; who holds signatures for one that
has ended throws them away. So of a ticket that was signed twice, by two who finished the same reservation, one signature is
recorded, and what is recorded is what is answered, again and again. A released one gives back what was counted for it, but for
its nonces, and its place in the session: nothing of it was given to anybody.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from livepeer_remote_signer.core.protocol.timestamps import NS_PER_MS
from livepeer_remote_signer.core.rules.budgets import Claim
from livepeer_remote_signer.core.rules.ledger import Books, LedgerRules, RequestKey, Tip, admit, spends_of
from livepeer_remote_signer.core.rules.payment import PaymentPlan
from livepeer_remote_signer.core.rules.reservation import Reservation, Spent, encode_plan, encode_spent, parse_spent, restore_plan
from livepeer_remote_signer.core.rules.signed import note_tickets


class Stamp(NamedTuple):
    """What a reservation is told apart by, when it was made (unix milliseconds), and who is to sign its tickets."""

    token: bytes
    reserved_ms: int
    sender: bytes


class Held(NamedTuple):
    """A reservation of ours, and the plan to sign for it."""

    reservation: Reservation
    plan: PaymentPlan


def reserve(
    key: RequestKey, plan: PaymentPlan, claims: Sequence[Claim], books: Books, rules: LedgerRules, stamp: Stamp
) -> tuple[Held, bool] | None:
    """Takes the plan's budgets and nonces. None when its place is taken, by a payment or by another reservation.

    Beside it, whether it is new: an attempt whose commit was not answered may have made it. Raises as `admit` does.
    """
    known = books.reserved.get(key.state_id)
    if known is not None and known.token == stamp.token:
        return Held(known, restore_plan(plan.session, known.plan, known.sender)), False
    if known is not None or key.idempotency_key in books.reserved_keys:
        return None
    admitted = admit(key, plan, claims, books, rules)
    if admitted is None:
        return None
    spent = [Spent(name, window, admitted.now_ns, amount) for name, (window, amount) in spends_of(claims, admitted).items()]
    reservation = Reservation(
        token=stamp.token,
        state_id=key.state_id,
        sequence_number=key.sequence_number,
        digest=key.digest,
        auth_id=key.auth_id,
        idempotency_key=key.idempotency_key,
        is_healed=key.is_healed,
        reserved_ms=stamp.reserved_ms,
        sender=stamp.sender,
        plan=encode_plan(admitted),
        spent=encode_spent(spent),
    )
    for name, window, at_ns, amount in spent:
        books.usage[name].add(window, at_ns, amount)
    note_tickets(admitted, books)
    books.nonces[admitted.session.info.ticket_params.recipient_rand_hash] = admitted.first_nonce + admitted.num_tickets - 1
    books.reserved[key.state_id] = reservation
    if key.idempotency_key:
        books.reserved_keys[key.idempotency_key] = key.state_id
    return Held(reservation, admitted), True


def record(held: Held, books: Books) -> bool:
    """Makes a payment of a reservation whose signatures are there. False: it has ended, and they must be thrown away.

    Raises Suspended for a kill switch that was set meanwhile: the reservation is then to be released.
    """
    reservation, plan = held
    if not _stands(reservation, books):
        return False
    books.switches.check(plan.state.auth_id)
    tip = books.tips.get(reservation.state_id)
    if (tip is not None and tip.sequence_number >= reservation.sequence_number) or reservation.idempotency_key in books.idempotency_keys:
        return False  # by a signer that holds the same key itself, and reserves nothing
    books.tips[reservation.state_id] = Tip(reservation.sequence_number, plan.updated_ns // NS_PER_MS)
    if reservation.idempotency_key:
        books.idempotency_keys.add(reservation.idempotency_key)
    if reservation.is_healed:
        books.healed.add((reservation.state_id, reservation.digest))
    _end(reservation, books)
    return True


def release(reservation: Reservation, books: Books) -> list[str] | None:
    """Gives back what was counted for a reservation: the names it was counted under. None: it has ended already."""
    if not _stands(reservation, books):
        return None
    spent = parse_spent(reservation.spent)
    for entry in spent:
        entry.give_back(books.usage[entry.key])
    _end(reservation, books)
    return [entry.key for entry in spent]


def _stands(reservation: Reservation, books: Books) -> bool:
    known = books.reserved.get(reservation.state_id)
    return known is not None and known.token == reservation.token


def _end(reservation: Reservation, books: Books) -> None:
    del books.reserved[reservation.state_id]
    books.reserved_keys.pop(reservation.idempotency_key, None)
