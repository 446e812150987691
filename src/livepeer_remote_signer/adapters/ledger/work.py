"""What a batch's transaction does, one thing a caller: a payment whose key is in this host, or a step of one whose key is not.

Each says which rows it needs, and judges against them when they are there: what it adds to `Writes` is committed with the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple, Protocol

from msgspec import Struct

from livepeer_remote_signer.adapters.ledger.store import BYTES_A_PAYMENT, PaymentRow, Wanted, Writes, text_bytes
from livepeer_remote_signer.core.protocol.timestamps import NS_PER_MS
from livepeer_remote_signer.core.rules import custody
from livepeer_remote_signer.core.rules.budgets import Claim
from livepeer_remote_signer.core.rules.custody import Held, Stamp
from livepeer_remote_signer.core.rules.digests import LineHead, LineName, PaymentName, add_payment
from livepeer_remote_signer.core.rules.figures import figures_of
from livepeer_remote_signer.core.rules.ledger import (
    Books,
    LedgerRules,
    Lines,
    Record,
    RequestKey,
    admit,
    post,
)
from livepeer_remote_signer.core.rules.payment import PaymentPlan
from livepeer_remote_signer.core.rules.reservation import Reservation
from livepeer_remote_signer.core.rules.room import most_bytes
from livepeer_remote_signer.core.rules.signed import note_tickets
from livepeer_remote_signer.core.rules.sums import tally_of


@dataclass(slots=True)
class Needs:
    """The rows that a batch needs, as its parts name them."""

    is_repeated: bool
    """Whether an attempt before may have been recorded: a new session's row is looked for then alone."""

    state_ids: set[str] = field(default_factory=set)
    rand_hashes: set[bytes] = field(default_factory=set)
    usage_keys: set[str] = field(default_factory=set)
    idempotency_keys: set[bytes] = field(default_factory=set)
    healed: set[tuple[str, bytes]] = field(default_factory=set)
    reserved: set[str] = field(default_factory=set)
    reserved_keys: set[bytes] = field(default_factory=set)

    def add(self, key: RequestKey, plan: PaymentPlan, claims: Sequence[Claim]) -> None:
        """What a new payment is judged by."""
        if self.is_repeated or not key.is_new:
            self.state_ids.add(key.state_id)
        self.rand_hashes.add(plan.session.info.ticket_params.recipient_rand_hash)
        for claim in claims:
            self.usage_keys.add(claim.key)
            if claim.former_key:
                self.usage_keys.add(claim.former_key)
        if key.idempotency_key:
            self.idempotency_keys.add(key.idempotency_key)
        if key.is_healed:
            self.healed.add((key.state_id, key.digest))

    def wanted(self) -> Wanted:
        """In the order in which all processes lock them."""
        return Wanted(
            sorted(self.state_ids),
            sorted(self.rand_hashes),
            sorted(self.usage_keys),
            sorted(self.idempotency_keys),
            sorted(self.healed),
            sorted(self.reserved),
            sorted(self.reserved_keys),
        )


class Work(Protocol):
    """One thing to do."""

    adds_event: ClassVar[bool]
    """Whether it begins what ends with an event: refused while there is no room for more of them."""

    served: str
    """Whose turn it is."""

    now_ns: int

    @property
    def weight(self) -> int:
        """Signatures that are made in the transaction; 1 for what makes none."""

    @property
    def room(self) -> int:
        """Bytes that it may take on the disk."""

    def need(self, needs: Needs) -> None:
        """Adds the rows that it is judged by."""

    def judge(self, books: Books, writes: Writes) -> bool:
        """Adds to what is written: True. False when its place is taken. Raises a refusal, and then has changed nothing."""


class Statistics(NamedTuple):
    """What this process puts its payments on."""

    heads: Lines[LineName, LineHead]
    writer: str
    """The name of this process, which no other one has."""

    marks: Mapping[bytes, int]
    """What tallies are marked with, by sender; empty where there is one."""


class Pay(Struct, eq=False):
    """A payment that is signed inside the transaction that records it."""

    key: RequestKey
    plan: PaymentPlan
    claims: Sequence[Claim]
    sign: Callable[[PaymentPlan], Record]
    rules: LedgerRules
    lines: Statistics
    served: str
    now_ns: int
    adds_event: ClassVar[bool] = True

    @property
    def weight(self) -> int:
        return self.plan.num_tickets

    @property
    def room(self) -> int:
        return most_bytes(self.plan)

    def need(self, needs: Needs) -> None:
        needs.add(self.key, self.plan, self.claims)

    def judge(self, books: Books, writes: Writes) -> bool:
        key = self.key
        plan = admit(key, self.plan, self.claims, books, self.rules)
        if plan is None:
            return False
        record = self.sign(plan)
        note_tickets(plan, books)
        post(key, plan, self.claims, books)
        _put_nonces(plan, books, writes)
        for claim in self.claims:
            writes.usage[claim.key] = books.usage[claim.key]
        _put_payment(key, plan, record, books, writes, self.lines)
        return True


class Reserve(Struct, eq=False):
    """A payment that is signed outside, once this is durable. `held` is what was reserved; the last attempt counts."""

    key: RequestKey
    plan: PaymentPlan
    claims: Sequence[Claim]
    stamp: Stamp
    rules: LedgerRules
    served: str
    now_ns: int
    held: Held | None = None
    adds_event: ClassVar[bool] = True
    weight: ClassVar[int] = 1

    @property
    def room(self) -> int:
        return most_bytes(self.plan)

    def need(self, needs: Needs) -> None:
        needs.add(self.key, self.plan, self.claims)
        needs.reserved.add(self.key.state_id)
        if self.key.idempotency_key:
            needs.reserved_keys.add(self.key.idempotency_key)

    def judge(self, books: Books, writes: Writes) -> bool:
        found = custody.reserve(self.key, self.plan, self.claims, books, self.rules, self.stamp)
        if found is None:
            return False
        self.held, is_new = found
        if is_new:
            _put_nonces(self.plan, books, writes)
            for claim in self.claims:
                writes.usage[claim.key] = books.usage[claim.key]
            writes.reserved.append(self.held.reservation)
        return True


class Finish(Struct, eq=False):
    """A reserved payment whose signatures are there."""

    held: Held
    record: Record
    lines: Statistics
    served: str
    now_ns: int
    adds_event: ClassVar[bool] = False
    weight: ClassVar[int] = 1

    @property
    def room(self) -> int:
        return most_bytes(self.held.plan)

    def need(self, needs: Needs) -> None:
        reservation = self.held.reservation
        needs.state_ids.add(reservation.state_id)
        needs.reserved.add(reservation.state_id)
        if reservation.idempotency_key:
            needs.idempotency_keys.add(reservation.idempotency_key)

    def judge(self, books: Books, writes: Writes) -> bool:
        reservation, plan = self.held
        if not custody.record(self.held, books):
            return False
        writes.ended.append((reservation.state_id, reservation.token))
        if self.record.seg_creds is not None:
            writes.seg_creds.append(self.record.seg_creds)
        _put_payment(reservation, plan, self.record, books, writes, self.lines)
        return True


class Release(Struct, eq=False):
    """A reservation that nobody will finish: what was counted for it is given back."""

    reservation: Reservation
    usage_keys: Sequence[str]
    served: str
    now_ns: int
    adds_event: ClassVar[bool] = False
    weight: ClassVar[int] = 1
    room: ClassVar[int] = BYTES_A_PAYMENT

    def need(self, needs: Needs) -> None:
        needs.reserved.add(self.reservation.state_id)
        needs.usage_keys.update(self.usage_keys)

    def judge(self, books: Books, writes: Writes) -> bool:
        names = custody.release(self.reservation, books)
        if names is None:
            return False
        writes.ended.append((self.reservation.state_id, self.reservation.token))
        writes.usage.update((name, books.usage[name]) for name in names)
        return True


def _put_nonces(plan: PaymentPlan, books: Books, writes: Writes) -> None:
    rand_hash = plan.session.info.ticket_params.recipient_rand_hash
    writes.nonces[rand_hash] = books.nonces[rand_hash]
    writes.signed[rand_hash] = books.signed[rand_hash]


def _put_payment(key: RequestKey | Reservation, plan: PaymentPlan, record: Record, books: Books, writes: Writes, lines: Statistics) -> None:
    """A payment's own rows: its place, its reply, its event, and what it adds to the sums."""
    writes.tips[key.state_id] = tip = books.tips[key.state_id]
    figures = figures_of(plan, record.eth_usd)
    state_id, auth_id, orchestrator = text_bytes(key.state_id), text_bytes(key.auth_id), plan.session.info.address
    name = PaymentName(state_id, key.sequence_number, key.digest, auth_id, orchestrator, tip.updated_ms)
    paid = (plan.now_ns // NS_PER_MS, plan.num_tickets, figures)
    account = add_payment(writes.heads, lines.heads, lines.writer, name, paid)
    writes.tallies.append(tally_of(plan, figures, auth_id, lines.marks.get(plan.sender, 0)))
    if record.event is not None:
        writes.events.append((plan.now_ns // NS_PER_MS, record.event))
    writes.payments.append(
        PaymentRow(
            state_id,
            key.sequence_number,
            key.digest,
            auth_id,
            key.idempotency_key or None,
            int(key.is_healed),
            tip.updated_ms,
            record.state,
            record.kept,
            account,
        )
    )
