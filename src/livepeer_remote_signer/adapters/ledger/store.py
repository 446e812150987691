"""What the ledger asks of a database, whichever it is: one transaction a batch, and named reads and changes beside it.

`Store` is kept by `sqlite.SqliteStore` and `postgres.PostgresStore`; one suite of tests holds both to it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias, get_args

from livepeer_remote_signer.adapters.ledger.digest_store import DigestStore
from livepeer_remote_signer.core.errors import LedgerUnavailable
from livepeer_remote_signer.core.rules.budgets import WINDOW_SECONDS, Usage
from livepeer_remote_signer.core.rules.caller_usage import OpenSession
from livepeer_remote_signer.core.rules.digests import LineHead, LineName
from livepeer_remote_signer.core.rules.events import OutboxEvent, ParkedEvent
from livepeer_remote_signer.core.rules.ledger import Books, SegCreds, SpendKey, SpendSum, Switches, Tip
from livepeer_remote_signer.core.rules.reservation import Reservation
from livepeer_remote_signer.core.rules.signed import DrawKey, DrawSum
from livepeer_remote_signer.core.rules.tally import Tally
from livepeer_remote_signer.core.rules.usage import UsageQuery, UsageRow

GLOBAL_SWITCH = "all"
BYTES_A_PAYMENT = 64 * 1024
"""What an ordinary payment may take on the disk: tried where no payment waits that says how much it needs (`core.rules.room`)."""

MAX_LEASE_MS = 60_000
"""No lease is asked for longer."""

Row: TypeAlias = tuple[Any, ...]

Aging: TypeAlias = Literal[
    "payments",
    "nonces",
    "events",
    "spend",
    "usage",
    "draws",
    "days",
    "seg_creds",
    "api_keys",
    "user_budgets",
    "audit",
    "admin_requests",
    "redeemed",
    "digests",
    "closings",
]
"""What is forgotten when it is old: `events` are those that were sent, `usage` the spending in budgets' windows that have passed,
`draws` the tickets by their terms, `days` what was paid by day, `redeemed` the tickets that the chain has paid, `digests` those of
closed lines."""

AGING: tuple[Aging, ...] = get_args(Aging)


class StoreFailed(LedgerUnavailable):
    """The database could not do it: to everybody outside this folder it is LedgerUnavailable.

    `reason` is safe to show: no path, host, user or value stands in it.
    """

    code = LedgerUnavailable.code

    def __init__(self, reason: str, *, may_be_recorded: bool = False) -> None:
        """`may_be_recorded`: the commit was asked for, and its answer is missing."""
        super().__init__(f"the ledger could not do it: {reason}", retry_after_seconds=2, may_be_recorded=may_be_recorded or None)
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
    reserved: Sequence[str] = ()
    """Sessions whose reservations are needed, and idempotency keys that may be reserved: none where this host holds the key."""

    reserved_keys: Sequence[bytes] = ()


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
    account: bytes


class StoredPayment(NamedTuple):
    """What is read back of a payment."""

    digest: bytes
    auth_id: str
    kept: bytes
    state: bytes


class Writes(NamedTuple):
    """What one transaction records; it may be `usage` alone. Values of `usage` and `heads` stand for the whole row. Of each rand hash in
    `nonces` there is what was `signed`; all of it may be forgotten as if used at `nonces_ms`. `ended` are reservations, as session
    and token; they go before `reserved` ones come."""

    payments: list[PaymentRow]
    tips: dict[str, Tip]
    nonces: dict[bytes, int]
    signed: dict[bytes, bytes]
    usage: dict[str, Usage]
    tallies: list[Tally]
    heads: dict[LineName, LineHead]
    events: list[tuple[int, bytes]]
    now_ms: int
    nonces_ms: int
    reserved: list[Reservation]
    ended: list[tuple[str, bytes]]
    seg_creds: list[SegCreds]


class Switch(NamedTuple):
    """One kill switch that is set: `auth_id` None is the global one. `set_ms` in unix milliseconds."""

    auth_id: str | None
    set_ms: int


class Minutes(NamedTuple):
    """Unix minutes, both included."""

    first: int
    last: int


SpendName: TypeAlias = Literal["auth_id", "orchestrator"]
"""By what spending is told apart: who paid, or the 20-byte address of who was paid."""


class Forgotten(NamedTuple):
    """A step of forgetting: how many rows went, for how long the database worked at it, and for how long it kept others out,
    seconds. Both count from when its turn had come."""

    rows: int
    worked_seconds: float
    held_seconds: float
    computed_seconds: float = 0.0
    """Of the work, what this process's own processor did; a server has its own."""


class Store(Protocol):
    """A database. Everything raises StoreFailed; `begin` is followed by exactly one `commit` or `rollback`."""

    must_open: bool
    """Whether a ledger that cannot be opened at start is a fault of the configuration: a file is, a server may come later."""

    place: str
    """What it is and where, for the log."""

    writer: str
    """The name of this process in lines of sums and digests: no other one has it."""

    @property
    def digests(self) -> DigestStore:
        """The chain over the payments."""

    # --- life ---

    async def open(self) -> None:
        """Connects, and takes the steps that the tables lack. Raises StoreFailed for tables of a newer kind."""

    async def close(self) -> None:
        """Ends after what is in work."""

    @property
    def answered_at(self) -> float:
        """When the database last did what it was asked, by the monotonic clock."""

    async def check(self) -> None:
        """Asks the database something, also where it was silent before."""

    async def write_back(self) -> None:
        """Brings what a file's write-ahead log holds into the file, so that no payment has to."""

    def log_bytes(self) -> int | None:
        """How much the file's log holds that is not in the file yet, at most; None for a database that is no file."""

    async def probe(self, size_bytes: int) -> None:
        """Writes so many bytes, commits, and takes them back."""

    # --- payments ---

    async def begin(self, wanted: Wanted, size_bytes: int) -> Books:
        """Opens a transaction that may write so much, and reads what they need, so that nobody else changes it meanwhile."""

    async def commit(self, writes: Writes) -> None:
        """Records and returns when it is durable. Raises Conflict or ConnectionLost where the batch may be repeated."""

    async def rollback(self) -> None:
        """Ends the transaction without a trace; never raises."""

    async def look(self, wanted: Wanted) -> Books:
        """Switches, sessions, nonces and spending as they were last committed, read beside the payments, whom it never keeps waiting."""

    async def tip(self, state_id: str) -> Tip | None:
        """A session's newest payment."""

    async def payment(self, state_id: str, sequence_number: int, digest: bytes) -> StoredPayment | None:
        """The payment that answered this very request, in its own place or healed."""

    async def payment_of(self, idempotency_key: bytes) -> StoredPayment | None:
        """The new session that was started under this key (32 bytes)."""

    async def newest_state(self, state_id: str) -> bytes | None:
        """The state bytes of a session's newest payment."""

    # --- keys outside this host ---

    async def reservation(self, state_id: str) -> Reservation | None:
        """The payment of a session that is not signed yet."""

    async def reservation_of(self, idempotency_key: bytes) -> Reservation | None:
        """The same of the new session that was started under this key (32 bytes)."""

    async def old_reservations(self, before_ms: int, after_ms: int, limit: int) -> list[Reservation]:
        """At most so many that were made before a time, or, by a clock that was ahead, after another one. By index."""

    async def seg_creds(self, message: bytes) -> bytes | None:
        """The signature over a session's segment credentials, where one was kept."""

    # --- kill switches and settings ---

    async def switches(self) -> Switches:
        """The switches as payments are judged by them. Cheap while none has changed, whatever their number."""

    async def list_switches(self, most: int | None = None) -> list[Switch]:
        """The switches with their times, the oldest first; with `most` the newest of them alone."""

    async def settings(self) -> dict[str, str]:
        """All values that processes share."""

    async def put_setting(self, name: str, value: str | None, now_ms: int) -> None:
        """Sets one; None removes it."""

    async def keep_setting(self, name: str, value: str, now_ms: int) -> str:
        """Sets one that is not set. What it is then: of several processes the first one's."""

    # --- figures ---

    async def usage(self, after: str, limit: int) -> dict[str, Usage]:
        """What was spent, by the name it is kept under: the next `limit` names after this one, in their order."""

    async def spend_over_time(self, minutes: Minutes, bucket_minutes: int) -> list[tuple[int, SpendSum]]:
        """What was paid, by `minute // bucket_minutes`; buckets without a payment are left out. Added up by the database."""

    async def largest_spend(self, minutes: Minutes, by: SpendName, most: int) -> tuple[int, list[bytes]]:
        """How many paid (or were paid), and the `most` of them with the most expected value, in that order. Found by the database."""

    async def spend_of(
        self, minutes: Minutes, by: SpendName, names: Sequence[bytes], bucket_minutes: int
    ) -> list[tuple[bytes, int, SpendSum]]:
        """What these paid (or were paid), by name and `minute // bucket_minutes`. Added up by the database."""

    async def sessions_started(self, since_ms: int) -> int:
        """How many sessions that are still remembered began at or after a time."""

    async def daily(self, query: UsageQuery) -> list[UsageRow]:
        """A page of what was paid by day, in the order of the names that it is asked for by. Added up by the database."""

    async def drawn_by(self, payer: bytes, first_ms: int, after_ms: int) -> int | None:
        """What was found redeemed of a payer's tickets (by the digest of its auth id) from one time until before another, wei; None where
        nobody has followed the chain."""

    async def open_sessions(self, auth_id: bytes, since_ms: int, most: int) -> list[OpenSession]:
        """Sessions that this auth id began and that were paid at or after a time, the last paid first."""

    async def usage_of(self, keys: Sequence[str]) -> dict[str, Usage]:
        """What was spent under these names; a name without a row is left out."""

    # --- events ---

    async def unsent_events(self, limit: int, after_id: int) -> list[OutboxEvent]:
        """Events that are not marked as sent, by id."""

    async def events_since(self, since_ms: int, after_id: int, limit: int) -> list[OutboxEvent]:
        """Events made at or after a time, sent or not, by id."""

    async def mark_sent(self, ids: Sequence[int]) -> None:
        """These events need not be sent again."""

    async def backlog(self) -> tuple[int, int | None, int]:
        """How many events are not sent, when the oldest of them was made (unix milliseconds), and how many are parked."""

    async def park(self, event: ParkedEvent) -> None:
        """Keeps an event for an operator, once for each sink."""

    async def parked(self, limit: int, after: tuple[str, str]) -> list[ParkedEvent]:
        """Parked events by id and sink, from the one after these."""

    async def unpark(self, id: str, sink: str) -> bool:
        """Forgets a parked event. False when it is not parked for that sink."""

    async def sink_faults(self) -> dict[str, str]:
        """Why a sink takes no events, by its name."""

    async def put_sink_fault(self, sink: str, fault: str | None, now_ms: int) -> None:
        """Sets one; None removes it."""

    async def drop_unsent(self, keep: int) -> int:
        """Deletes unsent events but for the newest `keep`; how many went. Others may do the same now: none goes twice."""

    async def take_lease(self, name: str, holder: str, milliseconds: int) -> bool:
        """Whether `holder` has the lease for so long from now, by the database's clock; asked again it is renewed.

        A lease that ends later than any can was dated by a clock that was ahead: it counts as ended.
        """

    async def give_lease(self, name: str, holder: str) -> None:
        """Ends a lease that `holder` has."""

    # --- the sums that are kept beside the payments ---

    async def fold(self) -> None:
        """Adds the tallies that wait now to this process's lines, whoever left them. What reads sums begins with it."""

    # --- forgetting: one committed step a call ---

    async def oldest(self) -> dict[Aging, int]:
        """The time (unix milliseconds) that each kind of row is forgotten by: the oldest row's. Kinds without rows are left out."""

    async def forget(self, kind: Aging, before_ms: int, limit: int) -> Forgotten:
        """Deletes at most `limit` of the oldest rows whose time is before `before_ms`."""

    async def list_usage(self, after: str, limit: int) -> list[tuple[str, int | None]]:
        """The next names that spending is kept under, and when it was last counted (unix milliseconds), as far as that is known."""

    async def touch_usage(self, keys: Sequence[str], now_ms: int) -> None:
        """Notes a time where none is known."""

    async def forget_usage(self, keys: Sequence[str], before_ms: int) -> int:
        """Deletes those of these names that were last counted before a time; how many went."""

    async def give_back(self, limit: int) -> int:
        """Gives at most `limit` pages of a file that are not needed back to the disk; how many more there are to give."""

    async def sweep_sessions(self, after: bytes, before_ms: int, limit: int) -> bytes | None:
        """Deletes, among the next `limit` sessions by name, those without payments since `before_ms`; where to go on, None at the end."""


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


def spend_rows(spend: Mapping[SpendKey, SpendSum], writer: str) -> list[Row]:
    """Lines of the statistics. Each process has its own, so that no two wait for each other."""
    return [
        (
            key.minute,
            part_name(writer, key.part),
            text_bytes(key.auth_id),
            key.orchestrator,
            line.payments,
            line.tickets,
            str(line.ev_wei),
            str(line.face_value_wei),
            str(line.fee_wei),
        )
        for key, line in spend.items()
    ]


def draw_rows(draws: Mapping[DrawKey, DrawSum], writer: str) -> list[Row]:
    """Lines of what may be drawn. Each process has its own, as of the statistics."""
    return [
        (
            key.minute,
            part_name(writer, key.part),
            key.recipient,
            key.creation_round,
            key.terms,
            line.tickets,
            str(line.winners),
            str(line.face_value_wei),
        )
        for key, line in draws.items()
    ]


def part_name(writer: str, part: int) -> str:
    """Whose line it is: of which process, and of which of its parts."""
    return f"{writer}.{part}" if part else writer


def spend_of_row(row: Sequence[Any]) -> SpendSum:
    """The five sums as a database gives them back that has added them up."""
    return SpendSum(*map(int, row))


def switch_of(row: Row) -> Switch:
    """A row of name, auth id and time."""
    name, auth_id, set_ms = row
    return Switch(None if name == GLOBAL_SWITCH else bytes_text(bytes(auth_id)), set_ms)


def parked_row(event: ParkedEvent) -> Row:
    """A parked event as both databases take it."""
    return event.id, text_bytes(event.sink), text_bytes(event.reason), event.parked_ms, event.made_ms, event.payload


def parked_event(row: Row) -> ParkedEvent:
    """The reverse of `parked_row`."""
    id, sink, reason, parked_ms, made_ms, payload = row
    return ParkedEvent(id, bytes_text(bytes(sink)), bytes_text(bytes(reason)), parked_ms, made_ms, bytes(payload))


def sink_faults_of(rows: Sequence[Row]) -> dict[str, str]:
    """Rows of name and fault."""
    return {bytes_text(bytes(name)): bytes_text(bytes(fault)) for name, fault in rows}


class KnownSwitches:
    """The kill switches as last read, and the number of the change they were read at.

    A batch looks at the number only. Changes are numbered without a gap, so what is new is a few rows of the log; where
    some of them are missing (forgotten already), all switches are read again.
    """

    def __init__(self) -> None:
        self.version = -1
        self.switches = Switches()

    def replace(self, version: int, rows: Sequence[tuple[str, bytes]]) -> None:
        """Takes all switches, as (name, auth id). `version` was read before them, or with them."""
        auth_ids = frozenset(bytes_text(bytes(auth_id)) for name, auth_id in rows if name != GLOBAL_SWITCH)
        self.switches = Switches(auth_ids, any(name == GLOBAL_SWITCH for name, _ in rows))
        self.version = version

    def follow(self, version: int, changes: Sequence[tuple[int, str, bytes, int]]) -> bool:
        """Takes the changes (number, name, auth id, whether it is set) after `self.version` up to `version`. False: some are missing."""
        if self.version < 0 or [change[0] for change in changes] != list(range(self.version + 1, version + 1)):
            return False
        is_all, added, removed = self.switches.all, set[str](), set[str]()
        for _, name, auth_id, is_set in changes:
            if name == GLOBAL_SWITCH:
                is_all = bool(is_set)
                continue
            text = bytes_text(bytes(auth_id))
            (added if is_set else removed).add(text)
            (removed if is_set else added).discard(text)
        self.switches = Switches((self.switches.auth_ids - removed) | added, is_all)
        self.version = version
        return True
