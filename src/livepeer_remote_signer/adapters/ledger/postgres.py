"""The ledger in PostgreSQL, shared by replicas on several hosts.

One transaction a batch. It locks what it changes in one order for all replicas (budgets, sessions, nonces, each sorted), so
that they queue instead of deadlocking; rows that are not there yet cannot be locked, so writing them tells whether
somebody else was faster, and the batch is judged again. Four connections: batches, reads, what is short beside them, what
may take long. A connection that broke is opened again by whoever needs it next.

Through a pooler whose sessions change with each transaction nothing is prepared, settings hold for one transaction, and the
lock of the setup is the transaction's own.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from typing import Any, cast

from psycopg import AsyncConnection, AsyncCursor, sql

from livepeer_remote_signer.adapters.ledger import daily, digest_rows, reservations, sessions, tallies
from livepeer_remote_signer.adapters.ledger import postgres_statements as statements
from livepeer_remote_signer.adapters.ledger.postgres_digests import PostgresDigests
from livepeer_remote_signer.adapters.ledger.postgres_link import Link, Server, columns_of, fetch
from livepeer_remote_signer.adapters.ledger.postgres_redeemed import PostgresRedeemed
from livepeer_remote_signer.adapters.ledger.postgres_sums import PostgresSums
from livepeer_remote_signer.adapters.ledger.postgres_users import PostgresUsers
from livepeer_remote_signer.adapters.ledger.steps import NEWEST_STEP, SCHEMA_VERSION, Step, missing_steps
from livepeer_remote_signer.adapters.ledger.store import (
    AGING,
    Aging,
    Conflict,
    Forgotten,
    KnownSwitches,
    Minutes,
    Row,
    SpendName,
    StoredPayment,
    StoreFailed,
    Switch,
    Wanted,
    Writes,
    bytes_text,
    parked_event,
    parked_row,
    sink_faults_of,
    spend_of_row,
    switch_of,
    text_bytes,
    usage_expires_ms,
)
from livepeer_remote_signer.core.rules.budgets import Usage, encode_usage, parse_usage
from livepeer_remote_signer.core.rules.caller_usage import OpenSession
from livepeer_remote_signer.core.rules.events import OutboxEvent, ParkedEvent
from livepeer_remote_signer.core.rules.ledger import Books, SpendSum, Switches, Tip
from livepeer_remote_signer.core.rules.reservation import Reservation
from livepeer_remote_signer.core.rules.tally import encode_tallies
from livepeer_remote_signer.core.rules.usage import UsageQuery, UsageRow

TIMEOUT_SECONDS = 2.0
SETUP_SECONDS = 900.0
"""An index over millions of rows takes its time."""

SLOW_SECONDS = 10.0
"""Figures over many rows, and forgetting, have a connection of their own, for which nothing else waits."""


class PostgresStore(PostgresRedeemed):
    """`url` is any libpq connection string: it holds a password and is never shown."""

    must_open = False

    def __init__(self, url: str, *, writer: str, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        """`timeout_seconds` bounds each step. Raises ValueError for text that is no connection string, without repeating it."""
        self._server = Server(url, timeout_seconds)
        self.place = f"PostgreSQL at {self._server.name}"
        self.writer = writer
        self._batches = Link(self._server)
        self._reads = Link(self._server)
        self._side = Link(self._server)
        self.users = PostgresUsers(self._side)
        self._slow = Link(self._server, seconds=max(SLOW_SECONDS, timeout_seconds), is_vital=False)
        self.digests = PostgresDigests(self._slow)
        self._sums = PostgresSums(self._slow, writer)
        self._switches = KnownSwitches()
        self._known_tips: frozenset[str] = frozenset()
        self._known_nonces: frozenset[bytes] = frozenset()
        self._asked: dict[str, asyncio.Future[Tip | None]] = {}
        self._answering: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Takes the steps that the tables lack, one process at a time, and reads the switches. Tried again, it finds a server back."""
        await self.check()
        if await self._side.use(steps_to_take):
            setup = Link(self._server, seconds=SETUP_SECONDS, is_vital=False)
            try:
                await setup.run(_take_steps)
            finally:
                await setup.close()
        await self.switches()

    @property
    def answered_at(self) -> float:
        """When the server last answered."""
        return self._server.answered_at

    async def check(self) -> None:
        """Also where the server was silent before: that this is over nobody else finds out."""
        await self._side.use(lambda connection: fetch(connection, "SELECT 1"), is_probe=True)

    async def close(self) -> None:
        """Closes the connections."""
        if self._answering is not None:
            await self._answering
        for link in (self._batches, self._reads, self._side, self._slow):
            await link.close()
        await self._server.close()

    async def probe(self, size_bytes: int) -> None:
        """On the side connection."""
        for noise in (os.urandom(size_bytes // 2).hex(), ""):
            await self._side.change(statements.PROBE, noise)

    # --- payments ---

    async def begin(self, wanted: Wanted, size_bytes: int) -> Books:
        """The locks and the rows, in one round trip."""
        try:
            books = await self._batches.run(lambda connection: self._load(connection, wanted))
        except StoreFailed:
            await self.rollback()
            raise
        if len(books.usage) < len(wanted.usage_keys):
            await self.rollback()
            raise Conflict("spending was forgotten while it was looked up")
        self._known_tips, self._known_nonces = frozenset(books.tips), frozenset(books.nonces)
        return books

    async def _load(self, connection: AsyncConnection[Row], wanted: Wanted) -> Books:
        execute = connection.execute
        async with connection.pipeline():
            await execute("BEGIN")
            if self._batches.is_pooled:
                await execute(*self._batches.settings(is_local=True))
            usage = tips = nonces = keys = healed = reserved = reserved_keys = None
            if wanted.usage_keys:
                await execute(statements.MAKE_USAGE, (list(wanted.usage_keys),))
                usage = await execute(statements.LOAD_USAGE, (list(wanted.usage_keys),))
            if wanted.state_ids:
                tips = await execute(statements.LOAD_TIPS, ([text_bytes(i) for i in wanted.state_ids],))
            if wanted.rand_hashes:
                nonces = await execute(statements.LOAD_NONCES, (list(wanted.rand_hashes),))
            if wanted.idempotency_keys:
                keys = await execute(statements.LOAD_KEYS, (list(wanted.idempotency_keys),))
            if wanted.healed:  # after the sessions are locked: nobody can heal them any more
                columns = columns_of([(text_bytes(state_id), digest) for state_id, digest in wanted.healed])
                healed = await execute(statements.LOAD_HEALED, columns)
            if wanted.reserved:
                reserved = await execute(reservations.LOAD, ([text_bytes(i) for i in wanted.reserved],))
            if wanted.reserved_keys:
                reserved_keys = await execute(reservations.LOAD_KEYS, (list(wanted.reserved_keys),))
            # last: whoever waited for a lock obeys a switch that was set meanwhile
            version = await execute(statements.SWITCHES_VERSION)
        if not self._batches.has_transaction_clock:
            await execute(statements.REARM)
        await self._follow_switches(connection, await version.fetchall())
        known = await _rows(nonces)
        return Books(
            switches=self._switches.switches,
            usage={key: parse_usage(amounts) for key, amounts in await _rows(usage)},
            tips={bytes_text(state_id): Tip(seq, made) for state_id, seq, made in await _rows(tips)},
            nonces={rand_hash: last for rand_hash, last, _ in known},
            signed={rand_hash: signed or b"" for rand_hash, _, signed in known},
            idempotency_keys={key for (key,) in await _rows(keys)},
            healed={(bytes_text(state_id), digest) for state_id, digest in await _rows(healed)},
            reserved={held.state_id: held for held in map(reservations.reservation_of, await _rows(reserved))},
            reserved_keys={key: bytes_text(state_id) for key, state_id in await _rows(reserved_keys)},
        )

    async def commit(self, writes: Writes) -> None:
        """Writes what was there, then what was not; the latter tells whether another replica was faster."""
        try:
            await self._batches.run(lambda connection: self._write(connection, writes), goes_on=True)
            await self._ask_to_commit()
        except StoreFailed:
            await self.rollback()
            raise

    async def _ask_to_commit(self) -> None:
        was_open = self._batches.is_open
        try:
            await self._batches.run(_commit, goes_on=True)
        except StoreFailed as error:
            if self._batches.is_open or not was_open:  # the server has said no, or was not asked
                raise
            raise type(error)(error.reason, may_be_recorded=True) from None

    async def _write(self, connection: AsyncConnection[Row], writes: Writes) -> None:
        async with connection.pipeline():
            guarded = await self._put(connection, writes)
        if any(cursor.rowcount != expected for cursor, expected in guarded):
            raise Conflict("another process was faster with a session or a nonce, again and again")

    async def _put(self, connection: AsyncConnection[Row], writes: Writes) -> list[tuple[AsyncCursor[Row], int]]:
        """Queues the statements. Returns those that must change as many rows as are named beside them."""
        execute = connection.execute
        guarded: list[tuple[AsyncCursor[Row], int]] = []
        tips = sorted((text_bytes(state_id), tip.sequence_number, tip.updated_ms, state_id) for state_id, tip in writes.tips.items())
        nonces = sorted((name, nonce, writes.nonces_ms, writes.signed[name]) for name, nonce in writes.nonces.items())
        if usage := sorted(writes.usage.items()):
            rows = [(key, encode_usage(used), usage_expires_ms(key, writes.now_ms), writes.now_ms) for key, used in usage]
            guarded.append((await execute(statements.MOVE_USAGE, columns_of(rows)), len(rows)))
        if moved := [t[:3] for t in tips if t[3] in self._known_tips]:
            guarded.append((await execute(statements.MOVE_TIPS, columns_of(moved)), len(moved)))
        if new := [t[:3] for t in tips if t[3] not in self._known_tips]:
            guarded.append((await execute(statements.NEW_TIPS, columns_of(new)), len(new)))
        if raised := [n for n in nonces if n[0] in self._known_nonces]:
            guarded.append((await execute(statements.MOVE_NONCES, columns_of(raised)), len(raised)))
        if first := [n for n in nonces if n[0] not in self._known_nonces]:
            guarded.append((await execute(statements.NEW_NONCES, columns_of(first)), len(first)))
        if payments := sorted(writes.payments, key=lambda row: row.idempotency_key or b""):
            guarded.append((await execute(statements.NEW_PAYMENTS, columns_of(payments)), len(payments)))
            await execute(tallies.POSTGRES_NEW, (encode_tallies(writes.tallies),))
            heads = sorted(digest_rows.head_rows(writes.heads, self.writer))
            guarded.append((await execute(digest_rows.POSTGRES_PUT, columns_of(heads)), len(heads)))
        if writes.events:
            await execute(statements.NEW_EVENTS, columns_of(writes.events))
        if ended := sorted((text_bytes(state_id), token) for state_id, token in writes.ended):
            guarded.append((await execute(reservations.END, columns_of(ended)), len(ended)))
        if reserved := sorted(reservations.reservation_row(reservation) for reservation in writes.reserved):
            guarded.append((await execute(reservations.NEW, columns_of(reserved)), len(reserved)))
        if seg_creds := sorted((*made, writes.now_ms) for made in writes.seg_creds):
            await execute(reservations.PUT_SEG_CREDS, columns_of(seg_creds))
        return guarded

    async def rollback(self) -> None:
        """Where it cannot be said, the connection is closed, which says it as well."""
        if self._batches.is_open:
            try:
                await self._batches.run(_rollback)
            except StoreFailed:
                await self._batches.close()

    async def look(self, wanted: Wanted) -> Books:
        """On the side connection, without a lock."""
        books = Books(switches=await self.switches(), usage={key: Usage() for key in wanted.usage_keys})
        if wanted.usage_keys:
            rows = await self._side.fetch(statements.READ_USAGE, list(wanted.usage_keys))
            books.usage |= {key: parse_usage(amounts) for key, amounts in rows}
        for state_id, seq, made_ms in await self._side.fetch(statements.READ_TIPS, [text_bytes(i) for i in wanted.state_ids]):
            books.tips[bytes_text(state_id)] = Tip(seq, made_ms)
        books.nonces = dict(cast(Any, await self._side.fetch(statements.READ_NONCES, list(wanted.rand_hashes))))
        return books

    async def tip(self, state_id: str) -> Tip | None:
        """Calls that come together are asked together."""
        asked = self._asked.get(state_id)
        if asked is None:
            asked = self._asked[state_id] = asyncio.get_running_loop().create_future()
            if self._answering is None or self._answering.done():
                self._answering = asyncio.create_task(self._answer_tips(), name="ledger-reads")
        return await asyncio.shield(asked)

    async def _answer_tips(self) -> None:
        while self._asked:
            await asyncio.sleep(0)
            asked, self._asked = self._asked, {}
            names = [text_bytes(state_id) for state_id in asked]
            try:
                rows = await self._reads.fetch(statements.READ_TIPS, names)
            except StoreFailed as error:
                for waiting in asked.values():
                    waiting.set_exception(error)
                    waiting.exception()  # nobody may be left who asks
                continue
            tips = {bytes_text(state_id): Tip(seq, made) for state_id, seq, made in rows}
            for state_id, waiting in asked.items():
                waiting.set_result(tips.get(state_id))

    async def payment(self, state_id: str, sequence_number: int, digest: bytes) -> StoredPayment | None:
        """In its own place, else where it was healed to."""
        name = text_bytes(state_id)
        found = await self._answer("state_id = %s AND seq = %s AND digest = %s", name, sequence_number, digest)
        return found or await self._answer("state_id = %s AND digest = %s AND is_healed = 1", name, digest)

    async def payment_of(self, idempotency_key: bytes) -> StoredPayment | None:
        """The new session that was started under this key."""
        return await self._answer("idempotency_key = %s", idempotency_key)

    async def _answer(self, condition: str, *parameters: object) -> StoredPayment | None:
        rows = await self._reads.fetch(statements.ANSWER + condition, *parameters)
        return StoredPayment(rows[0][0], bytes_text(rows[0][1]), rows[0][2], rows[0][3]) if rows else None

    async def newest_state(self, state_id: str) -> bytes | None:
        """The state to go on from."""
        rows = await self._reads.fetch(statements.NEWEST_STATE, text_bytes(state_id))
        return rows[0][0] if rows else None

    # --- keys outside this host ---

    async def reservation(self, state_id: str) -> Reservation | None:
        """On the connection of reads."""
        return _first(await self._reads.fetch(reservations.OF_SESSION, text_bytes(state_id)))

    async def reservation_of(self, idempotency_key: bytes) -> Reservation | None:
        """On the connection of reads."""
        return _first(await self._reads.fetch(reservations.OF_KEY, idempotency_key))

    async def old_reservations(self, before_ms: int, after_ms: int, limit: int) -> list[Reservation]:
        """On the side connection."""
        return [reservations.reservation_of(row) for row in await self._side.fetch(reservations.OLD, before_ms, after_ms, limit)]

    async def seg_creds(self, message: bytes) -> bytes | None:
        """On the connection of reads."""
        rows = await self._reads.fetch(reservations.SEG_CREDS, message)
        return rows[0][0] if rows else None

    # --- kill switches and settings ---

    async def switches(self) -> Switches:
        """On the side connection."""

        async def follow(connection: AsyncConnection[Row]) -> None:
            await self._follow_switches(connection, await fetch(connection, statements.SWITCHES_VERSION))

        await self._side.use(follow)
        return self._switches.switches

    async def _follow_switches(self, connection: AsyncConnection[Row], version_rows: Sequence[Row]) -> None:
        """One look, whatever the number of switches, while none has changed. Two connections may do it at once: the newer one stays."""
        known, version = self._switches, version_rows[0][0]
        if version == known.version:
            return
        changes = await fetch(connection, statements.SWITCH_CHANGES, known.version, version) if 0 <= known.version < version else []
        if not changes or not known.follow(version, cast(Any, changes)):
            rows = await fetch(connection, statements.ALL_SWITCHES)
            known.replace(version, cast(Any, rows))

    async def list_switches(self, most: int | None = None) -> list[Switch]:
        """On the side connection: nobody waits for figures before it is known who is suspended."""
        return [switch_of(row) for row in reversed(await self._side.fetch(statements.LIST_SWITCHES, most))]

    async def settings(self) -> dict[str, str]:
        """On the side connection."""
        return dict(cast(Any, await self._side.fetch(statements.SETTINGS)))

    async def keep_setting(self, name: str, value: str, now_ms: int) -> str:
        """On the side connection."""
        return str((await self._side.fetch(statements.KEEP_SETTING, name, value, now_ms))[0][0])

    async def put_setting(self, name: str, value: str | None, now_ms: int) -> None:
        """On the side connection."""
        if value is None:
            await self._side.change(statements.REMOVE_SETTING, name)
        else:
            await self._side.change(statements.PUT_SETTING, name, value, now_ms)

    # --- figures ---

    async def usage(self, after: str, limit: int) -> dict[str, Usage]:
        """On the side connection."""
        return {key: parse_usage(amounts) for key, amounts in await self._slow.fetch(statements.USAGE, after, limit)}

    async def spend_over_time(self, minutes: Minutes, bucket_minutes: int) -> list[tuple[int, SpendSum]]:
        """On the connection of what may take long."""
        await self._sums.fold()
        rows = await self._slow.fetch(statements.SPEND_OVER_TIME, bucket_minutes, *minutes)
        return [(bucket, spend_of_row(sums)) for bucket, *sums in rows]

    async def largest_spend(self, minutes: Minutes, by: SpendName, most: int) -> tuple[int, list[bytes]]:
        """On the connection of what may take long."""
        await self._sums.fold()
        rows = await self._slow.fetch(statements.LARGEST_SPEND[by], *minutes, most)
        return (rows[0][1] if rows else 0), [bytes(name) for name, _ in rows]

    async def spend_of(
        self, minutes: Minutes, by: SpendName, names: Sequence[bytes], bucket_minutes: int
    ) -> list[tuple[bytes, int, SpendSum]]:
        """On the connection of what may take long."""
        await self._sums.fold()
        rows = await self._slow.fetch(statements.SPEND_OF[by], bucket_minutes, *minutes, list(names))
        return [(bytes(name), bucket, spend_of_row(sums)) for name, bucket, *sums in rows]

    async def sessions_started(self, since_ms: int) -> int:
        """On the side connection."""
        count: int = (await self._slow.fetch(statements.SESSIONS_STARTED, since_ms))[0][0]
        return count

    async def daily(self, query: UsageQuery) -> list[UsageRow]:
        """On the connection of what may take long."""
        await self._sums.fold()
        statement, values = daily.postgres_query(query)
        return [daily.postgres_row(row, query) for row in await self._slow.fetch(statement, *values)]

    async def drawn_by(self, payer: bytes, first_ms: int, after_ms: int) -> int | None:
        """On the connection of what may take long."""
        ((is_followed, paid_wei),) = await self._slow.fetch(statements.DRAWN_BY, payer, first_ms, after_ms)
        return int(paid_wei or 0) if is_followed else None

    async def open_sessions(self, auth_id: bytes, since_ms: int, most: int) -> list[OpenSession]:
        """On the connection of what may take long."""
        return sessions.open_sessions_of(await self._slow.fetch(sessions.POSTGRES_OPEN, auth_id, since_ms, most))

    async def usage_of(self, keys: Sequence[str]) -> dict[str, Usage]:
        """By their names."""
        return {key: parse_usage(amounts) for key, amounts in await self._slow.fetch(statements.USAGE_OF, list(keys))}

    # --- events ---

    async def unsent_events(self, limit: int, after_id: int) -> list[OutboxEvent]:
        """By the index of what is not sent."""
        return [OutboxEvent(*row) for row in await self._side.fetch(statements.UNSENT, after_id, limit)]

    async def events_since(self, since_ms: int, after_id: int, limit: int) -> list[OutboxEvent]:
        """The first one is found by index, the others follow by their ids."""
        if after_id == 0:
            ((first,),) = await self._slow.fetch(statements.FIRST_SINCE, since_ms, since_ms)
            after_id = first - 1 if first is not None else 0
        return [OutboxEvent(*row) for row in await self._slow.fetch(statements.SINCE, after_id, since_ms, limit)]

    async def mark_sent(self, ids: Sequence[int]) -> None:
        """In one statement."""
        if ids:
            await self._side.change(statements.MARK_SENT, list(ids))

    async def backlog(self) -> tuple[int, int | None, int]:
        """By the index of what is not sent."""
        ((count, oldest_ms, parked),) = await self._side.fetch(statements.BACKLOG)
        return count, oldest_ms, parked

    async def park(self, event: ParkedEvent) -> None:
        """On the side connection."""
        await self._side.change(statements.PARK, *parked_row(event))

    async def parked(self, limit: int, after: tuple[str, str]) -> list[ParkedEvent]:
        """By the table's key."""
        id, sink = after
        return [parked_event(row) for row in await self._side.fetch(statements.PARKED, id, text_bytes(sink), limit)]

    async def unpark(self, id: str, sink: str) -> bool:
        """On the side connection."""
        return await self._side.change(statements.UNPARK, id, text_bytes(sink)) > 0

    async def sink_faults(self) -> dict[str, str]:
        """A row for each sink that takes no events."""
        return sink_faults_of(await self._side.fetch(statements.SINK_FAULTS))

    async def put_sink_fault(self, sink: str, fault: str | None, now_ms: int) -> None:
        """On the side connection."""
        if fault is None:
            await self._side.change(statements.CLEAR_SINK_FAULT, text_bytes(sink))
        else:
            await self._side.change(statements.PUT_SINK_FAULT, text_bytes(sink), text_bytes(fault), now_ms)

    async def drop_unsent(self, keep: int) -> int:
        """What is too much is found by the statement that drops it."""
        return await self._side.change(statements.DROP_UNSENT, keep)

    async def take_lease(self, name: str, holder: str, milliseconds: int) -> bool:
        """By the database's clock."""
        return bool(await self._side.fetch(statements.TAKE_LEASE, name, holder, milliseconds))

    async def give_lease(self, name: str, holder: str) -> None:
        """On the side connection."""
        await self._side.change(statements.GIVE_LEASE, name, holder)

    # --- the sums that are kept beside the payments ---

    async def fold(self) -> None:
        """On the connection of what may take long."""
        await self._sums.fold()

    # --- forgetting ---

    async def oldest(self) -> dict[Aging, int]:
        """Each by its index."""
        (times,) = await self._slow.fetch(statements.OLDEST)
        return {kind: time for kind, time in zip(AGING, times, strict=True) if time is not None}

    async def forget(self, kind: Aging, before_ms: int, limit: int) -> Forgotten:
        """Rows that somebody else holds are left for the next step."""
        values = {"before": before_ms, "limit": limit}
        ((count, seconds),) = await self._slow.use(lambda c: _fetch_named(c, statements.FORGET[kind] + statements.FORGOTTEN, values))
        return Forgotten(count, seconds, seconds)

    async def list_usage(self, after: str, limit: int) -> list[tuple[str, int | None]]:
        """By their names."""
        return [(key, touched_ms) for key, touched_ms in await self._slow.fetch(statements.LIST_USAGE, after, limit)]

    async def touch_usage(self, keys: Sequence[str], now_ms: int) -> None:
        """Rows that a payment holds are left for the next time."""
        await self._slow.change(statements.TOUCH_USAGE, now_ms, list(keys))

    async def forget_usage(self, keys: Sequence[str], before_ms: int) -> int:
        """Rows that a payment holds are left for the next time."""
        return await self._slow.change(statements.FORGET_USAGE, list(keys), before_ms)

    async def give_back(self, limit: int) -> int:
        """The server's own vacuum does it."""
        return 0

    async def write_back(self) -> None:
        """A server does so by itself."""

    def log_bytes(self) -> int | None:
        """The server's own matter."""
        return None

    async def sweep_sessions(self, after: bytes, before_ms: int, limit: int) -> bytes | None:
        """For sessions whose payments another release has forgotten: with them `forget` forgets the session's place."""
        rows = await self._slow.fetch(statements.NEXT_SESSION, after, limit - 1)
        end = rows[0][0] if rows else None
        values = {"after": after, "end": end, "before": before_ms}

        async def sweep(connection: AsyncConnection[Row]) -> None:
            await connection.execute(statements.SWEEP_SESSIONS, values)

        await self._slow.use(sweep)
        return end


async def _commit(connection: AsyncConnection[Row]) -> None:
    ended = await connection.execute("COMMIT")
    if ended.statusmessage != "COMMIT":
        raise StoreFailed("PostgreSQL rolled the transaction back")


async def _rollback(connection: AsyncConnection[Row]) -> None:
    await connection.execute("ROLLBACK")


async def _take_steps(connection: AsyncConnection[Row]) -> None:
    """All steps that are missing, or none of them. Where none is, it is not called: nothing needs the right to make tables then."""
    async with connection.transaction():
        await connection.execute(sql.SQL(statements.SETUP_SETTINGS))
        await connection.execute("SELECT pg_advisory_xact_lock(%s)", (statements.SETUP_LOCK,))
        missing = await steps_to_take(connection)
        if missing and await _has_tables(connection):
            for statement in statements.LOCK_TABLES:
                await connection.execute(sql.SQL(statement))
        for step in missing:
            for statement in step.postgres:
                await connection.execute(sql.SQL(statement))  # no values of others in it
        for name, value in (("schema_version", SCHEMA_VERSION), ("schema_step", NEWEST_STEP)):
            await connection.execute(statements.PUT_META, (name, str(value)))


async def _has_tables(connection: AsyncConnection[Row]) -> bool:
    ((found,),) = await fetch(connection, "SELECT to_regclass('lrs_meta') IS NOT NULL")
    return bool(found)


async def steps_to_take(connection: AsyncConnection[Row]) -> Sequence[Step]:
    """What the tables lack. Raises StoreFailed for tables of a newer kind."""
    meta = dict(cast(Any, await fetch(connection, statements.META))) if await _has_tables(connection) else {}
    return missing_steps(int(meta.get("schema_version", "0")), int(meta.get("schema_step", "0")))


async def _fetch_named(connection: AsyncConnection[Row], statement: str, values: dict[str, Any]) -> list[Row]:
    cursor = await connection.execute(statement, values)
    return await cursor.fetchall()


def _first(rows: Sequence[Row]) -> Reservation | None:
    return reservations.reservation_of(rows[0]) if rows else None


async def _rows(cursor: AsyncCursor[Row] | None) -> list[Row]:
    return [] if cursor is None else await cursor.fetchall()
