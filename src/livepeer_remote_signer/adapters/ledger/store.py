"""What the ledger asks of a database, whichever it is: one transaction a batch, a few reads, and plain statements."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias

from livepeer_remote_signer.core.errors import LedgerUnavailable
from livepeer_remote_signer.core.rules.budgets import WINDOW_SECONDS, Usage
from livepeer_remote_signer.core.rules.ledger import Books, SpendKey, SpendSum, Switches, Tip

SCHEMA_VERSION = 1
GLOBAL_SWITCH = "all"
BYTES_A_PAYMENT = 24 * 1024
"""What a payment may take on the disk at most: its own pages and those of the indexes it touches."""

Row: TypeAlias = tuple[Any, ...]


class StoreFailed(LedgerUnavailable):
    """The database could not do it: to everybody outside this folder it is LedgerUnavailable.

    `reason` is safe to show: no path, host, user or value stands in it.
    """

    code = LedgerUnavailable.code

    def __init__(self, reason: str) -> None:
        super().__init__(f"the ledger could not do it: {reason}", retry_after_seconds=2)
        self.reason = reason

    def __str__(self) -> str:
        return self.reason


class NoLedger(StoreFailed):
    """Nothing was ever recorded where the ledger should be, and nothing was to be made there."""


class ConnectionLost(StoreFailed):
    """The connection broke: what was in work is undone, or done without our knowing. The batch may be repeated."""


class Conflict(StoreFailed):
    """Another process was faster with a row that this batch needs. The batch must be judged again."""


class Wanted(NamedTuple):
    """The rows that a batch needs."""

    state_ids: Sequence[str]
    rand_hashes: Sequence[bytes]
    usage_keys: Sequence[str]
    idempotency_keys: Sequence[bytes]
    healed: Sequence[tuple[str, bytes]]


class PaymentRow(NamedTuple):
    """One payment as it is kept. `idempotency_key` None: none was sent. `made_ms`: the LastUpdate that it left, unix milliseconds."""

    state_id: bytes
    sequence_number: int
    digest: bytes
    auth_id: bytes
    idempotency_key: bytes | None
    is_healed: int
    made_ms: int
    state: bytes
    kept: bytes


class StoredPayment(NamedTuple):
    """What is read back of a payment."""

    digest: bytes
    auth_id: str
    kept: bytes
    state: bytes


class Writes(NamedTuple):
    """What one transaction records. `usage` values stand for the whole row; so do those of `spend`."""

    payments: list[PaymentRow]
    tips: dict[str, Tip]
    nonces: dict[bytes, int]
    usage: dict[str, Usage]
    spend: dict[SpendKey, SpendSum]
    events: list[tuple[int, bytes]]
    now_ms: int


class Store(Protocol):
    """A database. Everything raises StoreFailed; `begin` is followed by exactly one `commit` or `rollback`."""

    now_ms_sql: str
    """The database's clock, unix milliseconds, as SQL: leases of several hosts need one clock."""

    async def open(self) -> None:
        """Connects and makes the tables."""

    async def close(self) -> None: ...

    async def begin(self, wanted: Wanted, size: int) -> Books:
        """Opens a transaction for `size` payments and reads what they need, so that nobody else changes it meanwhile."""

    async def commit(self, writes: Writes) -> None:
        """Records and returns when it is durable. Raises Conflict or ConnectionLost where the batch may be repeated."""

    async def rollback(self) -> None:
        """Ends the transaction without a trace; never raises."""

    async def tip(self, state_id: str) -> Tip | None:
        """A session's newest payment."""

    async def payment(self, state_id: str, sequence_number: int, digest: bytes) -> StoredPayment | None:
        """The payment that answered this very request, in its own place or healed."""

    async def payment_of(self, idempotency_key: bytes) -> StoredPayment | None: ...

    async def newest_state(self, state_id: str) -> bytes | None:
        """The state bytes of a session's newest payment."""

    async def query(self, sql: str, parameters: Sequence[object] = ()) -> list[Row]:
        """The rows of one statement with `?` parameters, committed."""

    async def execute(self, sql: str, parameters: Sequence[object] = ()) -> int:
        """How many rows one statement with `?` parameters changed, committed."""


def text_bytes(text: str) -> bytes:
    """Text of callers as bytes: it may hold what a database's text type refuses."""
    return text.encode("utf-8", "surrogatepass")


def bytes_text(raw: bytes) -> str:
    """The reverse of `text_bytes`."""
    return raw.decode("utf-8", "surrogatepass")


def usage_expires_ms(usage_key: str, now_ms: int) -> int | None:
    """When a row of spending may be forgotten; None for a total."""
    seconds = WINDOW_SECONDS.get(json.loads(usage_key)[1])
    return None if seconds is None else now_ms + 2 * seconds * 1000


def add_switch(switches: Switches, name: str, auth_id: bytes) -> Switches:
    """One row of the switches."""
    if name == GLOBAL_SWITCH:
        return switches._replace(all=True)
    return switches._replace(auth_ids=switches.auth_ids | {bytes_text(bytes(auth_id))})


def spend_rows(writes: Writes, writer: str) -> list[Row]:
    """Lines of the statistics. Each process has its own, so that no two wait for each other."""
    return [
        (
            key.minute,
            writer,
            text_bytes(key.auth_id),
            key.orchestrator,
            line.payments,
            line.tickets,
            str(line.ev_wei),
            str(line.face_value_wei),
            str(line.fee_wei),
        )
        for key, line in writes.spend.items()
    ]
