"""A payment that is reserved and not signed yet: what is written down of it, so that whoever comes next can finish it.

Source: section 15 of the protocol. A key outside the host draws a ticket's luck anew with each signature, and takes its time:
so a payment's budgets and nonces are taken first, its signatures are made outside of any transaction, and it becomes a payment
in a second one. What stands between the two is a reservation. Only the identical request can finish it, with the same tickets.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from livepeer_remote_signer.core.protocol.amounts import rat_string
from livepeer_remote_signer.core.protocol.state import encode_state, parse_state
from livepeer_remote_signer.core.protocol.ticket import encode_aux_data
from livepeer_remote_signer.core.rules.billing import Billed
from livepeer_remote_signer.core.rules.budgets import Usage, Window
from livepeer_remote_signer.core.rules.payment import OpenedSession, PaymentPlan

HELD_MS = 6_000
"""For so long a reservation is taken for one that somebody is signing: other requests of its session wait. Longer than signing takes."""

SWEPT_MS = 30_000
"""For so long the identical request finishes a reservation; then it is given back."""


class Reservation(Struct, frozen=True, gc=False):
    """One session's payment that is not signed yet. `token` (16 random bytes) tells it from every other reservation.

    `reserved_ms`: unix milliseconds. `sender`: whose tickets they are. `plan` and `spent` are what `encode_plan` and
    `encode_spent` make. The other names are those of the request, as in `RequestKey`.
    """

    token: bytes
    state_id: str
    sequence_number: int
    digest: bytes
    auth_id: str
    idempotency_key: bytes
    is_healed: bool
    reserved_ms: int
    sender: bytes
    plan: bytes
    spent: bytes


class Reserved(NamedTuple):
    """Found in the place of a request: its session has a payment that is not signed yet, this one's or another's."""

    reservation: Reservation


def is_held(reservation: Reservation, now_ms: int) -> bool:
    """Whether somebody may be signing it. Dated ahead by more than clocks differ, it is nobody's."""
    return abs(now_ms - reservation.reserved_ms) < HELD_MS


def encode_plan(plan: PaymentPlan) -> bytes:
    """All of a plan that the identical request does not say again."""
    return json.dumps(
        {
            "manifest_id": plan.session.manifest_id,
            "opened": encode_state(plan.session.state).decode(),
            "state": encode_state(plan.state).decode(),
            "now_ns": plan.now_ns,
            "previous_update_ns": plan.previous_update_ns,
            "creation_round": plan.creation_round,
            "creation_round_block_hash": plan.creation_round_block_hash.hex(),
            "first_nonce": plan.first_nonce,
            "num_tickets": plan.num_tickets,
            "due_tickets": plan.due_tickets,
            "price": rat_string(plan.price),
            "fee": rat_string(plan.fee),
            "billed": [plan.billed.units, plan.billed.elapsed_ns],
            "balance_before": rat_string(plan.balance_before),
            "may_be_part": plan.may_be_part,
            "owed_ns": plan.owed_ns,
            "is_clock_right": plan.is_clock_right,
        },
        separators=(",", ":"),
    ).encode()


def restore_plan(session: OpenedSession, raw: bytes, sender: bytes) -> PaymentPlan:
    """The plan again, whose `session` was opened from the identical request. It is continued from the state that it was then."""
    kept: dict[str, Any] = json.loads(raw)
    block_hash = bytes.fromhex(kept["creation_round_block_hash"])
    return PaymentPlan(
        session=replace(session, state=parse_state(kept["opened"].encode()), manifest_id=kept["manifest_id"]),
        state=parse_state(kept["state"].encode()),
        now_ns=kept["now_ns"],
        previous_update_ns=kept["previous_update_ns"],
        creation_round=kept["creation_round"],
        creation_round_block_hash=block_hash,
        aux_data=encode_aux_data(kept["creation_round"], block_hash),
        first_nonce=kept["first_nonce"],
        num_tickets=kept["num_tickets"],
        due_tickets=kept["due_tickets"],
        price=Fraction(kept["price"]),
        billed=Billed(*kept["billed"]),
        balance_before=Fraction(kept["balance_before"]),
        may_be_part=kept["may_be_part"],
        owed_ns=kept["owed_ns"],
        is_clock_right=kept["is_clock_right"],
        sender=sender,
    )


class Spent(NamedTuple):
    """What was counted for a reservation under the name `key`, at `at_ns`: wei."""

    key: str
    window: Window
    at_ns: int
    amount: int

    def give_back(self, usage: Usage) -> None:
        """Takes it out of what was spent."""
        usage.take_back(self.window, self.at_ns, self.amount)


def encode_spent(spent: Sequence[Spent]) -> bytes:
    """Whole numbers of any size stay exact."""
    return json.dumps(spent, separators=(",", ":")).encode()


def parse_spent(raw: bytes) -> list[Spent]:
    """The reverse of `encode_spent`."""
    return [Spent(*entry) for entry in json.loads(raw)]
