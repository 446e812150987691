"""Group commit: payments that arrive together, or while a commit is in work, become durable in one transaction.

Each batch is: open a transaction and read the rows it needs; judge and sign its payments in order of arrival, without a
pause in which anything could change; write and commit; then answer. A crash before the commit leaves nothing behind. A
batch that another process was faster for, or whose connection broke, is judged again from fresh rows: had it been
recorded after all, its payments find themselves recorded.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Sequence

from msgspec import Struct

from livepeer_remote_signer.adapters.ledger.going_on import to_its_end
from livepeer_remote_signer.adapters.ledger.store import (
    BYTES_A_PAYMENT,
    Conflict,
    ConnectionLost,
    Store,
    StoreFailed,
    Wanted,
    Writes,
)
from livepeer_remote_signer.adapters.ledger.turns import Turn, Turns
from livepeer_remote_signer.adapters.ledger.work import Finish, Needs, Pay, Release, Reserve, Statistics, Work
from livepeer_remote_signer.core.errors import IN_DOUBT_HINT, BadField, LedgerUnavailable, OutboxFull, SessionBusy, SignerError, StaleState
from livepeer_remote_signer.core.protocol.state import parse_state
from livepeer_remote_signer.core.protocol.timestamps import NS_PER_MS, NS_PER_SECOND
from livepeer_remote_signer.core.rules.custody import Held, Stamp
from livepeer_remote_signer.core.rules.digests import open_heads
from livepeer_remote_signer.core.rules.fairness import PRESENT_SECONDS, FairQueue
from livepeer_remote_signer.core.rules.ledger import (
    Books,
    Found,
    Judged,
    LedgerRules,
    Newest,
    Record,
    RequestKey,
    Stored,
    Switches,
    Tip,
    check_known,
    claims_of_plan,
    is_taken,
    judge,
)
from livepeer_remote_signer.core.rules.payment import PaymentPlan
from livepeer_remote_signer.core.rules.reservation import Reservation, Reserved, parse_spent
from livepeer_remote_signer.core.rules.signed import sender_mark

MAX_BATCH_TICKETS = 256
"""The event loop stands still while a batch is signed, and rows stay locked: some 20 ms of signatures."""

MAX_TURN_TICKETS = 64
"""A batch ends when one caller has so many in it, where others are there: they would wait for the whole of it."""

MAX_ATTEMPTS = 6
TURN_WAIT_SECONDS = 2.0
RECENT_SESSIONS = 65_536
RECENT_SECONDS = 30
"""How long a session's next call is taken for what it most likely is, without a look into the database first: a look takes
as long as half a signature, and the transaction that records the payment looks anyway."""

_log = logging.getLogger(__name__)


class _Entry(Struct, eq=False):
    """One thing that waits to be recorded. `result` is True when it was, False when its place was taken, else why not."""

    work: Work
    done: asyncio.Future[bool]
    result: Exception | bool = False
    is_in_doubt: bool = False
    """It was signed, and the commit was not answered: it may be recorded."""


class GroupCommitLedger:
    """The ledger that the service sees."""

    def __init__(
        self,
        store: Store,
        rules: LedgerRules,
        *,
        turn_wait_seconds: float = TURN_WAIT_SECONDS,
        reserves: bool = False,
        senders: Collection[bytes] = (),
    ) -> None:
        """`reserves`: payments are reserved before they are signed, because the key is outside this host. `senders` are told apart in
        what may be drawn, where there are several."""
        self.switches = Switches()
        """The kill switches as last read; every batch reads them again."""
        self.outbox_full: OutboxFull | None = None
        """Set while the backlog of events is at its limit: then nothing is signed that would need an event."""
        self.failure: str | None = None
        """Why the last batch could not be recorded; None when it could."""
        self.barred: str | None = None
        """Why nothing may be recorded, whatever the database can do: it is not known yet to be this signer's ledger, or is not."""
        self._store = store
        self._rules = rules
        self._reserves = reserves
        self._turns = Turns(turn_wait_seconds)
        self._queue: FairQueue[_Entry] = FairQueue()
        self._last_caller: str | None = None
        self._changed_at = float("-inf")
        """When a payment came from another caller than the one before."""
        self._wake = asyncio.Event()
        self._runner: asyncio.Task[None] | None = None
        self._is_closing = False
        marks = {sender: sender_mark(sender) for sender in senders} if len(senders) > 1 else {}
        self._statistics = Statistics(open_heads(), store.writer, marks)
        self.params_kept_seconds = 0
        """For how long what was signed on ticket params is kept at least: for as long as such tickets can be redeemed."""
        self._recent: OrderedDict[str, int] = OrderedDict()

    def use_switches(self, switches: Switches) -> None:
        """The kill switches as they stand now."""
        self.switches = switches

    def set_outbox_full(self, full: OutboxFull | None) -> None:
        """What payments that need an event are refused with; None while there is room."""
        self.outbox_full = full

    def keep_params(self, seconds: int) -> None:
        """For how long tickets can be redeemed, where the chain says so."""
        self.params_kept_seconds = seconds

    def start(self) -> None:
        """Begins to take payments; the store must be open."""
        self._runner = asyncio.create_task(self._run(), name="ledger")

    async def close(self) -> None:
        """Records what is waiting, then stops."""
        self._is_closing = True
        self._wake.set()
        if self._runner is not None:
            await self._runner

    async def probe(self, size_bytes: int = BYTES_A_PAYMENT) -> None:
        """Writes so much, commits, and takes it back, which ends a failure. Raises StoreFailed."""
        await self._store.probe(size_bytes)
        self._succeeded()

    def turn(self, key: RequestKey) -> Turn:
        """One call at a time for each session, and for each idempotency key."""
        return self._turns.take(key.idempotency_key if key.is_new else key.state_id)

    async def find(self, key: RequestKey, now_ns: int) -> Found:
        """What is known of a request. Raises Suspended, StaleState, BadField or LedgerUnavailable."""
        self.switches.check(key.auth_id)
        if key.is_new and not key.idempotency_key:
            return None
        is_recent = key.last_update_ns is not None and now_ns - key.last_update_ns < RECENT_SECONDS * NS_PER_SECOND
        if is_recent and self._recent.get(key.state_id) == key.sequence_number - 1:
            return None  # this process made the state that was sent
        found = await self.look_up(key, now_ns)
        if isinstance(found, Stored):
            self.switches.check(found.auth_id)
        elif isinstance(found, Reserved):
            self.switches.check(found.reservation.auth_id)
        return found

    async def pay(self, key: RequestKey, plan: PaymentPlan, sign: Callable[[PaymentPlan], Record]) -> Found:
        """Judges, signs and records one payment; None when it is durable, else what was found in its place."""
        claims = claims_of_plan(plan, self._rules)
        if await self._do(Pay(key, plan, claims, sign, self._rules, self._statistics, key.served, plan.now_ns)):
            return None
        return await self._in_place_of(key, plan.now_ns)

    async def reserve(self, key: RequestKey, plan: PaymentPlan, stamp: Stamp) -> Held | Stored | Newest | Reserved:
        """Takes a payment's budgets and nonces; durable when it returns what is to be signed, else what was found in its place."""
        work = Reserve(key, plan, claims_of_plan(plan, self._rules), stamp, self._rules, key.served, plan.now_ns)
        if await self._do(work) and work.held is not None:
            return work.held
        return await self._in_place_of(key, plan.now_ns)

    async def finish(self, held: Held, record: Record, served: str) -> bool:
        """Makes a payment of a reservation; True when it is durable. False: it has ended, and `record` must not be given to anybody."""
        return await self._do(Finish(held, record, self._statistics, served, held.plan.now_ns))

    async def release(self, reservation: Reservation, now_ns: int) -> bool:
        """Gives back what was counted for a reservation. False: it has ended already."""
        usage_keys = [entry.key for entry in parse_spent(reservation.spent)]
        return await self._do(Release(reservation, usage_keys, "", now_ns))

    async def seg_creds(self, message: bytes) -> bytes | None:
        """The signature over a session's segment credentials, where one was kept."""
        try:
            return await self._store.seg_creds(message)
        except StoreFailed as error:
            raise self._unavailable(error.reason) from None

    async def _do(self, work: Work) -> bool:
        """Returns once it is durable: True. False when its place is taken."""
        if self._is_closing:
            raise LedgerUnavailable("the ledger is closing", retry_after_seconds=1)
        entry = _Entry(work, asyncio.get_running_loop().create_future())
        served = work.served
        if served != self._last_caller:
            self._changed_at = float("-inf") if self._last_caller is None else asyncio.get_running_loop().time()
            self._last_caller = served
        self._queue.push(served, work.weight, entry)
        self._wake.set()
        try:
            return await entry.done
        except asyncio.CancelledError:
            self._queue.remove(served, entry)  # unless it is in work already
            raise

    async def _in_place_of(self, key: RequestKey, now_ns: int) -> Stored | Newest | Reserved:
        found = await self.look_up(key, now_ns)
        if found is None:
            raise SessionBusy("another call of this session is in work", hint="send one call of a session at a time", retry_after_seconds=1)
        return found

    async def judge(self, key: RequestKey, plan: PaymentPlan) -> Judged:
        """What `pay` would say to a payment whose place is free: nothing is signed or recorded, and no payment waits for it.

        Raises LedgerUnavailable.
        """
        claims = claims_of_plan(plan, self._rules)
        wanted = Wanted(
            [] if key.is_new else [key.state_id],
            [plan.session.info.ticket_params.recipient_rand_hash],
            sorted({name for claim in claims for name in (claim.key, claim.former_key) if name}),
            [],
            [],
        )
        judged = judge(key, plan, claims, await self._store.look(wanted), self._rules)
        if self.outbox_full is not None:
            judged.refusals.insert(0, self.outbox_full)
        return judged

    async def look_up(self, key: RequestKey, now_ns: int) -> Found:
        """What the database knows of a request. A caller whose time is over leaves at once, while a database that stands still lets
        nobody go."""
        try:
            return await to_its_end(self._read(key, now_ns))
        except StoreFailed as error:
            raise self._unavailable(error.reason) from None

    async def _read(self, key: RequestKey, now_ns: int) -> Found:
        store = self._store
        if key.idempotency_key:
            known = await store.payment_of(key.idempotency_key)
            held = await store.reservation_of(key.idempotency_key) if known is None and self._reserves else None
            if (found := known or held) is not None and found.digest != key.digest:
                raise BadField(
                    "this Idempotency-Key was sent with another request",
                    hint="send a key of its own with every new session",
                )
            if known is not None:
                return Stored(known.kept, known.auth_id, known.state)
            if held is not None:
                return Reserved(held)
        tip = await store.tip(key.state_id)
        held = await store.reservation(key.state_id) if self._reserves else None  # after the tip: a payment is one of the two
        if tip is None or not (key.is_healed or is_taken(key, tip)):
            if held is not None:
                return Reserved(held)
            check_known(key, tip, self._rules, now_ns)
            return None
        known = await store.payment(key.state_id, key.sequence_number, key.digest)
        if known is not None:
            return Stored(known.kept, known.auth_id, known.state)
        if held is not None:
            return Reserved(held)
        if not is_taken(key, tip):
            return None
        raw = await store.newest_state(key.state_id)
        if raw is None:  # its payments are forgotten, what says that there were some is not yet
            check_known(key, None, self._rules, now_ns)
            raise StaleState(
                "the state to continue this session from is forgotten already",
                hint="start a new session without state",
                sequence_number=key.sequence_number,
                newest_sequence_number=tip.sequence_number,
            )
        return Newest(parse_state(raw), raw)

    async def _run(self) -> None:
        """The one task that writes."""
        while True:
            if not self._queue:
                if self._is_closing:
                    return
                self._wake.clear()
                await self._wake.wait()
            await asyncio.sleep(0)  # the rest of this turn of the event loop joins the batch
            batch = self._next_batch()
            if batch:
                await self._record(batch)

    def _next_batch(self) -> list[_Entry]:
        """Payments in turn between callers, of one caller in order of arrival, up to the tickets that may be signed in one go; the
        callers of some may just have left."""
        batch: list[_Entry] = []
        tickets, of_caller = 0, Counter[str]()
        is_shared = asyncio.get_running_loop().time() - self._changed_at < PRESENT_SECONDS
        while self._queue and tickets < MAX_BATCH_TICKETS:
            entry = self._queue.pop()
            if entry.done.done():
                continue
            batch.append(entry)
            weight, served = entry.work.weight, entry.work.served
            tickets += weight
            of_caller[served] += weight
            if is_shared and of_caller[served] >= MAX_TURN_TICKETS:
                break
        return batch

    async def _record(self, batch: list[_Entry]) -> None:
        """Records a batch, or fails all of it and what has queued up meanwhile: whoever waited shall not wait again."""
        try:
            await self._record_within_attempts(batch)
        except StoreFailed as error:
            for entry in (*batch, *self._queue.drain()):
                _resolve(entry, self._unavailable(error.reason, may_be_recorded=entry.is_in_doubt))
        except Exception as error:  # noqa: BLE001 - a fault of ours must reach every caller and must not end the task
            await self._store.rollback()
            for entry in batch:
                _resolve(entry, error)
        else:
            self._succeeded()
            for entry in batch:
                _resolve(entry, entry.result)

    async def _record_within_attempts(self, batch: list[_Entry]) -> None:
        if self.barred is not None:
            raise StoreFailed(self.barred)
        if self.failure is not None:
            await self.probe(_room(batch))  # nothing is signed until a commit has succeeded
        for attempt in range(1, MAX_ATTEMPTS + 1):
            try:
                await self._attempt(batch, is_repeated=attempt > 1)
            except (Conflict, ConnectionLost) as error:
                if attempt == MAX_ATTEMPTS or (isinstance(error, ConnectionLost) and attempt > 1):
                    raise
            else:
                return

    async def _attempt(self, batch: list[_Entry], is_repeated: bool) -> None:
        """One transaction. A new session's row is looked for only where it may have been written by an attempt before."""
        books = await self._store.begin(_wanted(batch, is_repeated), _room(batch))
        self.switches = books.switches
        now_ms = batch[0].work.now_ns // NS_PER_MS
        kept_longer_ms = max(0, self.params_kept_seconds - self._rules.retention_seconds) * 1000
        writes = Writes([], {}, {}, {}, {}, [], {}, [], now_ms, now_ms + kept_longer_ms, [], [], [])
        for entry in batch:
            entry.is_in_doubt = False
            entry.result = not entry.done.done() and self._judge(entry.work, books, writes)  # nothing is signed for who has left
        writes.usage.update((name, books.usage[name]) for name in books.dated_back)
        if not (writes.payments or writes.usage or writes.reserved or writes.ended):
            await self._store.rollback()
            return
        try:
            await self._store.commit(writes)
        except StoreFailed as error:
            for entry in batch:
                entry.is_in_doubt = error.may_be_recorded and entry.result is True
            self._statistics.heads.begin_part()  # a line may have been closed meanwhile, or stand there written
            raise
        if writes.payments:
            self._statistics.heads.keep(writes.heads)
            self._keep_recent(writes.tips)

    def _judge(self, work: Work, books: Books, writes: Writes) -> Exception | bool:
        """Adds it to what is written: True. False when its place is taken; else why not."""
        if self.outbox_full is not None and work.adds_event:
            return self.outbox_full
        try:
            return work.judge(books, writes)
        except Exception as error:  # noqa: BLE001 - refusals and faults belong to their own caller, not to the batch
            return error

    def _keep_recent(self, tips: dict[str, Tip]) -> None:
        recent = self._recent
        for state_id, tip in tips.items():
            recent[state_id] = tip.sequence_number
            recent.move_to_end(state_id)
        while len(recent) > RECENT_SESSIONS:
            recent.popitem(last=False)  # a plain dict that is emptied at its front looks through all that were there before

    def _succeeded(self) -> None:
        if self.failure is not None:
            _log.warning("the ledger records again")
            self.failure = None

    def _unavailable(self, reason: str, *, may_be_recorded: bool = False) -> LedgerUnavailable:
        if self.failure != reason:
            _log.error("the ledger cannot record payments: %s", reason)
            self.failure = reason
        if may_be_recorded:
            return LedgerUnavailable(
                f"the ledger did not say whether it recorded the payment: {reason}",
                hint=IN_DOUBT_HINT,
                retry_after_seconds=1,
                may_be_recorded=True,
            )
        return LedgerUnavailable(
            f"the ledger could not record the payment: {reason}",
            hint="the operator must mend the ledger's database; the same request may then be sent again",
            retry_after_seconds=1,
        )


def _room(batch: Sequence[_Entry]) -> int:
    """Bytes that the batch may take at most."""
    return sum(entry.work.room for entry in batch)


def _wanted(batch: Sequence[_Entry], is_repeated: bool) -> Wanted:
    needs = Needs(is_repeated)
    for entry in batch:
        entry.work.need(needs)
    return needs.wanted()


def _resolve(entry: _Entry, result: Exception | bool) -> None:
    """Answers who waits, unless they left."""
    if entry.done.done():
        return
    if isinstance(result, bool):
        entry.done.set_result(result)
    else:
        entry.done.set_exception(_own(result))


def _own(error: Exception) -> Exception:
    """An error of its own for each caller: a traceback grows with every raise."""
    if not isinstance(error, SignerError):
        return error
    copy = error.__class__.__new__(error.__class__)
    copy.args = error.args
    copy.__dict__.update(error.__dict__)
    return copy
