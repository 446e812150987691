"""The ledger in one SQLite file, shared by the worker processes of one host.

Write-ahead log with `synchronous=FULL`: a commit is on disk when it returns. Statements run on the event loop's thread,
where they touch memory; what blocks (waiting for another process's transaction, and the commit) runs in a helper thread
that executes nothing but the one call, so that no Python code competes with the event loop.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from livepeer_remote_signer.adapters.ledger import daily, digest_rows, reservations, tallies
from livepeer_remote_signer.adapters.ledger.sqlite_books import TIP, answer_of, read_books
from livepeer_remote_signer.adapters.ledger.sqlite_connections import INCREMENTAL, SqliteConnections, translated
from livepeer_remote_signer.adapters.ledger.sqlite_digests import SqliteDigests
from livepeer_remote_signer.adapters.ledger.sqlite_figures import SqliteFigures, marks
from livepeer_remote_signer.adapters.ledger.sqlite_redeemed import FORGET_DRAWS, FORGET_REDEEMED, SqliteRedeemed
from livepeer_remote_signer.adapters.ledger.sqlite_sums import SqliteSums
from livepeer_remote_signer.adapters.ledger.sqlite_users import FORGET_USERS, SqliteUsers
from livepeer_remote_signer.adapters.ledger.store import (
    AGING,
    MAX_LEASE_MS,
    Aging,
    Conflict,
    Forgotten,
    KnownSwitches,
    Row,
    StoredPayment,
    StoreFailed,
    Switch,
    Wanted,
    Writes,
    bytes_text,
    parked_event,
    parked_row,
    sink_faults_of,
    switch_of,
    text_bytes,
    usage_expires_ms,
)
from livepeer_remote_signer.core.rules.budgets import Usage, encode_usage, parse_usage
from livepeer_remote_signer.core.rules.events import OutboxEvent, ParkedEvent
from livepeer_remote_signer.core.rules.ledger import Books, Switches, Tip
from livepeer_remote_signer.core.rules.reservation import Reservation
from livepeer_remote_signer.core.rules.tally import encode_tallies

MAX_REMEMBERED = 32_768
"""Sessions, and nonces, whose newest rows are kept in memory: some 10 MB."""

KEPT_PAGES = 1024
"""4 MB of free pages are not worth a write."""

_IDS_A_STATEMENT = 500
_SPACE = "SELECT page_count, freelist_count, auto_vacuum FROM pragma_page_count, pragma_freelist_count, pragma_auto_vacuum"

_NOW_MS = "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)"
_ANSWER = "SELECT digest, auth_id, kept, state FROM lrs_payments WHERE "
_HEALED = "state_id = ? AND digest = ? AND is_healed = 1"
_SWITCHES_VERSION = "SELECT CAST(value AS INTEGER) FROM lrs_meta WHERE name = 'switches_version'"
_SWITCH_CHANGES = "SELECT version, name, auth_id, is_set FROM lrs_switch_log WHERE version > ? AND version <= ? ORDER BY version"
_EVENTS = "SELECT id, made_ms, payload FROM lrs_outbox WHERE "
_SINCE = _EVENTS + "id > ? AND made_ms >= ? ORDER BY id LIMIT ?"
_FIRST_SINCE = """SELECT min(id) FROM lrs_outbox WHERE sent = 1 AND made_ms >= ?1
    UNION ALL SELECT min(id) FROM lrs_outbox INDEXED BY lrs_outbox_pending WHERE sent = 0 AND made_ms >= ?1"""
_PROBE = "INSERT INTO lrs_meta (name, value) VALUES ('probe', hex(randomblob(?))) ON CONFLICT (name) DO UPDATE SET value = excluded.value"

_OLDEST = f"""SELECT (SELECT min(made_ms) FROM lrs_payments), (SELECT min(used_ms) FROM lrs_nonces),
    (SELECT min(made_ms) FROM lrs_outbox WHERE sent = 1), (SELECT min(minute) * 60000 FROM lrs_spend),
    (SELECT min(expires_ms) FROM lrs_usage WHERE expires_ms IS NOT NULL), (SELECT min(minute) * 60000 FROM lrs_draws),
    (SELECT min(day) * 86400000 FROM lrs_daily), (SELECT min(made_ms) FROM lrs_seg_creds),
    (SELECT min(forget_ms) FROM lrs_api_keys WHERE forget_ms IS NOT NULL),
    (SELECT min(forget_ms) FROM lrs_user_budgets WHERE forget_ms IS NOT NULL), (SELECT min(at_ms) FROM lrs_audit),
    (SELECT min(made_ms) FROM lrs_admin_requests), (SELECT min(found_ms) FROM lrs_redeemed),
    {digest_rows.OLDEST_LINE}, {digest_rows.OLDEST_CLOSING}"""  # noqa: S608 - our own names
"""In the order of AGING."""

_SPEND_KEY = "(minute, writer, auth_id, orchestrator)"
_FORGET: dict[Aging, str] = {
    "payments": """DELETE FROM lrs_payments WHERE id IN
        (SELECT id FROM lrs_payments WHERE made_ms < ? ORDER BY made_ms LIMIT ?)""",
    "nonces": """DELETE FROM lrs_nonces WHERE rand_hash IN
        (SELECT rand_hash FROM lrs_nonces WHERE used_ms < ? ORDER BY used_ms LIMIT ?)""",
    "events": """DELETE FROM lrs_outbox WHERE id IN
        (SELECT id FROM lrs_outbox WHERE sent = 1 AND made_ms < ? ORDER BY made_ms LIMIT ?)""",
    "spend": f"""DELETE FROM lrs_spend WHERE {_SPEND_KEY} IN
        (SELECT minute, writer, auth_id, orchestrator FROM lrs_spend WHERE minute < ? / 60000 ORDER BY minute LIMIT ?)""",  # noqa: S608
    "usage": """DELETE FROM lrs_usage WHERE key IN
        (SELECT key FROM lrs_usage WHERE expires_ms IS NOT NULL AND expires_ms < ? ORDER BY expires_ms LIMIT ?)""",
    "draws": FORGET_DRAWS,
    "days": daily.SQLITE_FORGET,
    "digests": digest_rows.SQLITE_FORGET_LINES,
    "closings": digest_rows.SQLITE_FORGET_CLOSINGS,
    "seg_creds": """DELETE FROM lrs_seg_creds WHERE message IN
        (SELECT message FROM lrs_seg_creds WHERE made_ms < ? ORDER BY made_ms LIMIT ?)""",
    **FORGET_USERS,
    "redeemed": FORGET_REDEEMED,
}


_FORGOTTEN: dict[Aging, str] = {
    "payments": "SELECT group_concat(hex(state_id)) FROM (SELECT state_id FROM lrs_payments WHERE made_ms < ? ORDER BY made_ms LIMIT ?)",
    "nonces": "SELECT group_concat(hex(rand_hash)) FROM (SELECT rand_hash FROM lrs_nonces WHERE used_ms < ? ORDER BY used_ms LIMIT ?)",
}
"""The names of what the next step forgets, of kinds that are remembered. In one row: for each row that a thread reads it waits
for its turn with the event loop, and all that time it holds the write lock."""


class SqliteStore(SqliteFigures, SqliteRedeemed):
    """Rows as the ledger asks for them.

    What the writing connection has committed is remembered for as long as no other process commits: rows that a session's
    next payment needs are then not read again, which saves a seventh of what a payment costs here.
    """

    must_open = True

    def __init__(self, path: Path, *, writer: str, **options: Any) -> None:
        """`options` are those of `SqliteConnections`."""
        self.place = f"SQLite at {path}"
        self._file = SqliteConnections(path, **options)
        self.users = SqliteUsers(self._file)
        self.digests = SqliteDigests(self._file)
        self._sums = SqliteSums(self._file, writer)
        self.writer = writer
        self._is_batch = False
        self._tips: dict[str, Tip] = {}
        self._nonces: dict[bytes, tuple[int, bytes]] = {}
        self._data_version = -1
        self._switches = KnownSwitches()

    async def open(self) -> None:
        """Makes the file and takes the steps it lacks. Raises StoreFailed."""
        await self._file.open()
        await self._file.beside(self._follow_switches)

    async def close(self) -> None:
        """Waits for what is in work."""
        await self._file.close()

    @property
    def answered_at(self) -> float:
        """When the file was last read or written."""
        return self._file.answered_at

    async def check(self) -> None:
        """Reads a row of the file, and sees that it is the one that was opened."""
        await self._rows(_SWITCHES_VERSION)

    async def probe(self, size_bytes: int) -> None:
        """Two transactions on the writing connection."""
        await self._file.change(_PROBE, size_bytes // 2)
        await self._file.change(_PROBE, 0)

    # --- payments ---

    async def begin(self, wanted: Wanted, size_bytes: int) -> Books:
        """The write lock, and the rows."""
        self._file.check_space(size_bytes)
        self._file.check_file()
        await self._file.turn.acquire()
        self._is_batch = True
        try:
            await self._file.begin()
            with translated():
                return self._load(wanted)
        except StoreFailed:
            await self.rollback()
            raise

    def _load(self, wanted: Wanted) -> Books:
        execute = self._file.write.execute
        books = Books()
        version = execute("PRAGMA data_version").fetchone()[0]
        if version != self._data_version or max(len(self._tips), len(self._nonces)) > MAX_REMEMBERED:
            self._forget()
            self._data_version = version
        self._follow_switches(self._file.write)
        books.switches = self._switches.switches
        for state_id in wanted.state_ids:
            if (tip := self._tips.get(state_id)) is not None:
                books.tips[state_id] = tip
            elif (row := execute(TIP, (text_bytes(state_id),)).fetchone()) is not None:
                books.tips[state_id] = Tip(*row)
        for rand_hash in wanted.rand_hashes:
            known: tuple[int, bytes | None] | None = self._nonces.get(rand_hash)
            if known is None:
                known = execute("SELECT last_nonce, signed FROM lrs_nonces WHERE rand_hash = ?", (rand_hash,)).fetchone()
            if known is not None:
                books.nonces[rand_hash], books.signed[rand_hash] = known[0], known[1] or b""
        for key in wanted.usage_keys:
            row = execute("SELECT amounts FROM lrs_usage WHERE key = ?", (key,)).fetchone()
            books.usage[key] = parse_usage(row[0]) if row is not None else Usage()
        for idempotency_key in wanted.idempotency_keys:
            if execute("SELECT 1 FROM lrs_payments WHERE idempotency_key = ?", (idempotency_key,)).fetchone() is not None:
                books.idempotency_keys.add(idempotency_key)
        for state_id, digest in wanted.healed:
            if execute(_ANSWER + _HEALED, (text_bytes(state_id), digest)).fetchone() is not None:
                books.healed.add((state_id, digest))
        for state_id in wanted.reserved:
            if (row := execute(reservations.SQLITE_OF_SESSION, (text_bytes(state_id),)).fetchone()) is not None:
                books.reserved[state_id] = reservations.reservation_of(row)
        for idempotency_key in wanted.reserved_keys:
            if (row := execute(reservations.SQLITE_SESSION_OF_KEY, (idempotency_key,)).fetchone()) is not None:
                books.reserved_keys[idempotency_key] = bytes_text(bytes(row[0]))
        return books

    def _follow_switches(self, connection: sqlite3.Connection) -> None:
        """One look, whatever the number of switches, while none has changed."""
        known = self._switches
        version = connection.execute(_SWITCHES_VERSION).fetchone()[0]
        if version == known.version:
            return
        if version < known.version or not known.follow(version, connection.execute(_SWITCH_CHANGES, (known.version, version)).fetchall()):
            known.replace(version, connection.execute("SELECT name, auth_id FROM lrs_switches").fetchall())

    async def commit(self, writes: Writes) -> None:
        """Rows in memory, then the log on disk."""
        try:
            with translated():
                try:
                    self._put(writes)
                    await self._file.commit()
                except sqlite3.IntegrityError:
                    raise Conflict("a new session has the name of another one") from None
        except StoreFailed:
            await self.rollback()
            raise
        self._tips.update(writes.tips)
        self._nonces.update({name: (nonce, writes.signed[name]) for name, nonce in writes.nonces.items()})
        self._is_batch = False
        self._file.turn.release()

    def _put(self, writes: Writes) -> None:
        many = self._file.write.executemany
        many(
            """INSERT INTO lrs_payments (state_id, seq, digest, auth_id, idempotency_key, is_healed, made_ms, state, kept, account)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
            writes.payments,
        )
        many(
            """INSERT INTO lrs_nonces (rand_hash, last_nonce, used_ms, signed) VALUES (?, ?, ?, ?)
            ON CONFLICT (rand_hash) DO UPDATE SET last_nonce = excluded.last_nonce, used_ms = excluded.used_ms,
            signed = excluded.signed""",
            [(rand_hash, nonce, writes.nonces_ms, writes.signed[rand_hash]) for rand_hash, nonce in writes.nonces.items()],
        )
        if writes.usage:
            many(
                """INSERT INTO lrs_usage (key, amounts, expires_ms, touched_ms) VALUES (?, ?, ?, ?)
                ON CONFLICT (key) DO UPDATE SET amounts = excluded.amounts, expires_ms = excluded.expires_ms,
                touched_ms = excluded.touched_ms""",
                [(key, encode_usage(usage), usage_expires_ms(key, writes.now_ms), writes.now_ms) for key, usage in writes.usage.items()],
            )
        if writes.tallies:
            self._file.write.execute(tallies.SQLITE_NEW, (encode_tallies(writes.tallies),))
        heads = digest_rows.head_rows(writes.heads, self.writer)
        if heads and many(digest_rows.SQLITE_PUT, heads).rowcount != len(heads):
            raise Conflict("a line of digests was closed meanwhile")
        if writes.events:
            many("INSERT INTO lrs_outbox (made_ms, payload) VALUES (?, ?)", writes.events)
        if writes.ended:
            many(reservations.SQLITE_END, [(text_bytes(state_id), token) for state_id, token in writes.ended])
        if writes.reserved:
            many(reservations.SQLITE_NEW, [reservations.reservation_row(reservation) for reservation in writes.reserved])
        if writes.seg_creds:
            many(reservations.SQLITE_PUT_SEG_CREDS, [(*made, writes.now_ms) for made in writes.seg_creds])

    async def rollback(self) -> None:
        """What a failed transaction would have left is not known, so nothing is remembered."""
        if not self._is_batch:
            return
        try:
            await self._file.rollback()
        finally:
            self._forget()
            self._is_batch = False
            self._file.turn.release()

    def _forget(self) -> None:
        self._tips.clear()
        self._nonces.clear()

    async def look(self, wanted: Wanted) -> Books:
        """In the side thread."""
        books = Books(switches=await self.switches())
        return await self._file.beside(lambda connection: read_books(connection, wanted, books))

    async def tip(self, state_id: str) -> Tip | None:
        """Read at once."""
        row = self._file.one(TIP, text_bytes(state_id))
        return None if row is None else Tip(*row)

    async def payment(self, state_id: str, sequence_number: int, digest: bytes) -> StoredPayment | None:
        """In its own place, else where it was healed to."""
        name = text_bytes(state_id)
        row = self._file.one(_ANSWER + "state_id = ? AND seq = ? AND digest = ?", name, sequence_number, digest)
        if row is None:
            row = self._file.one(_ANSWER + _HEALED, name, digest)
        return answer_of(row)

    async def payment_of(self, idempotency_key: bytes) -> StoredPayment | None:
        """The new session that was started under this key."""
        return answer_of(self._file.one(_ANSWER + "idempotency_key = ?", idempotency_key))

    async def newest_state(self, state_id: str) -> bytes | None:
        """The state to go on from."""
        row = self._file.one("SELECT state FROM lrs_payments WHERE state_id = ? ORDER BY seq DESC LIMIT 1", text_bytes(state_id))
        return None if row is None else bytes(row[0])

    # --- keys outside this host ---

    async def reservation(self, state_id: str) -> Reservation | None:
        """Read at once."""
        row = self._file.one(reservations.SQLITE_OF_SESSION, text_bytes(state_id))
        return None if row is None else reservations.reservation_of(row)

    async def reservation_of(self, idempotency_key: bytes) -> Reservation | None:
        """Read at once."""
        row = self._file.one(reservations.SQLITE_OF_KEY, idempotency_key)
        return None if row is None else reservations.reservation_of(row)

    async def old_reservations(self, before_ms: int, after_ms: int, limit: int) -> list[Reservation]:
        """In the side thread."""
        return [reservations.reservation_of(row) for row in await self._rows(reservations.SQLITE_OLD, before_ms, after_ms, limit)]

    async def seg_creds(self, message: bytes) -> bytes | None:
        """Read at once."""
        row = self._file.one(reservations.SQLITE_SEG_CREDS, message)
        return None if row is None else bytes(row[0])

    # --- kill switches and settings ---

    async def switches(self) -> Switches:
        """Looked for by a reader, which waits for nobody."""
        self._file.check_file()
        with translated():
            self._follow_switches(self._file.read)
        return self._switches.switches

    async def list_switches(self, most: int | None = None) -> list[Switch]:
        """In the thread of what is short: nobody waits for figures before it is known who is suspended."""
        newest = "SELECT name, auth_id, set_ms FROM lrs_switches ORDER BY set_ms DESC, name DESC LIMIT ?"
        return [switch_of(row) for row in reversed(await self._rows(newest, -1 if most is None else most))]

    async def settings(self) -> dict[str, str]:
        """In the side thread."""
        return dict(await self._rows("SELECT name, value FROM lrs_settings"))

    async def keep_setting(self, name: str, value: str, now_ms: int) -> str:
        """One statement, between two batches."""
        kept = (
            "INSERT INTO lrs_settings (name, value, set_ms) VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE SET name = name RETURNING value"
        )
        rows, _ = await self._file.change(kept, name, value, now_ms)
        return str(rows[0][0])

    async def put_setting(self, name: str, value: str | None, now_ms: int) -> None:
        """Between two batches."""
        if value is None:
            await self._change("DELETE FROM lrs_settings WHERE name = ?", name)
            return
        await self._change(
            """INSERT INTO lrs_settings (name, value, set_ms) VALUES (?, ?, ?)
            ON CONFLICT (name) DO UPDATE SET value = excluded.value, set_ms = excluded.set_ms""",
            name,
            value,
            now_ms,
        )

    # --- events ---

    async def unsent_events(self, limit: int, after_id: int) -> list[OutboxEvent]:
        """By the index of what is not sent."""
        return _events(await self._rows(_EVENTS + "sent = 0 AND id > ? ORDER BY id LIMIT ?", after_id, limit))

    async def events_since(self, since_ms: int, after_id: int, limit: int) -> list[OutboxEvent]:
        """The first one is found by index, the others follow by their ids."""
        if after_id == 0:
            firsts = await self._many_rows(_FIRST_SINCE, since_ms)
            after_id = min((id for (id,) in firsts if id is not None), default=1) - 1
        return _events(await self._many_rows(_SINCE, after_id, since_ms, limit))

    async def mark_sent(self, ids: Sequence[int]) -> None:
        """Some at a time, between two batches."""
        for start in range(0, len(ids), _IDS_A_STATEMENT):
            some = ids[start : start + _IDS_A_STATEMENT]
            await self._change(f"UPDATE lrs_outbox SET sent = 1 WHERE id IN ({marks(some)})", *some)  # noqa: S608 - only marks

    async def backlog(self) -> tuple[int, int | None, int]:
        """By the index of what is not sent."""
        ((count, oldest_ms, parked),) = await self._rows(
            """SELECT (SELECT count(*) FROM lrs_outbox WHERE sent = 0),
            (SELECT made_ms FROM lrs_outbox WHERE sent = 0 ORDER BY id LIMIT 1), (SELECT count(*) FROM lrs_parked)"""
        )
        return count, oldest_ms, parked

    async def park(self, event: ParkedEvent) -> None:
        """Between two batches."""
        await self._change(
            """INSERT INTO lrs_parked (id, sink, reason, parked_ms, made_ms, payload) VALUES (?, ?, ?, ?, ?, ?)
            ON CONFLICT (id, sink) DO UPDATE SET reason = excluded.reason, parked_ms = excluded.parked_ms""",
            *parked_row(event),
        )

    async def parked(self, limit: int, after: tuple[str, str]) -> list[ParkedEvent]:
        """By the table's key."""
        id, sink = after
        rows = await self._rows(
            """SELECT id, sink, reason, parked_ms, made_ms, payload FROM lrs_parked WHERE (id, sink) > (?, ?)
            ORDER BY id, sink LIMIT ?""",
            id,
            text_bytes(sink),
            limit,
        )
        return [parked_event(row) for row in rows]

    async def unpark(self, id: str, sink: str) -> bool:
        """Between two batches."""
        return await self._change("DELETE FROM lrs_parked WHERE id = ? AND sink = ?", id, text_bytes(sink)) > 0

    async def sink_faults(self) -> dict[str, str]:
        """A row for each sink that takes no events."""
        return sink_faults_of(await self._rows("SELECT name, fault FROM lrs_sinks"))

    async def put_sink_fault(self, sink: str, fault: str | None, now_ms: int) -> None:
        """Between two batches."""
        if fault is None:
            await self._change("DELETE FROM lrs_sinks WHERE name = ?", text_bytes(sink))
            return
        await self._change(
            """INSERT INTO lrs_sinks (name, fault, since_ms) VALUES (?, ?, ?)
            ON CONFLICT (name) DO UPDATE SET fault = excluded.fault, since_ms = excluded.since_ms""",
            text_bytes(sink),
            text_bytes(fault),
            now_ms,
        )

    async def drop_unsent(self, keep: int) -> int:
        """What is too much is found by the statement that drops it."""
        return await self._change(
            "DELETE FROM lrs_outbox WHERE sent = 0 AND id <= (SELECT id FROM lrs_outbox WHERE sent = 0 ORDER BY id DESC LIMIT 1 OFFSET ?)",
            keep,
        )

    async def take_lease(self, name: str, holder: str, milliseconds: int) -> bool:
        """Between two batches."""
        rows, _ = await self._file.change(
            f"""INSERT INTO lrs_leases (name, holder, until_ms) VALUES (?, ?, {_NOW_MS} + ?)
            ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until_ms = excluded.until_ms
            WHERE lrs_leases.holder = excluded.holder OR lrs_leases.until_ms NOT BETWEEN {_NOW_MS} AND {_NOW_MS} + {MAX_LEASE_MS}
            RETURNING holder""",  # noqa: S608 - our own SQL
            name,
            holder,
            milliseconds,
        )
        return bool(rows)

    async def give_lease(self, name: str, holder: str) -> None:
        """Between two batches."""
        await self._change("DELETE FROM lrs_leases WHERE name = ? AND holder = ?", name, holder)

    # --- the sums that are kept beside the payments ---

    async def fold(self) -> None:
        """Between two batches."""
        await self._sums.fold()

    # --- forgetting ---

    async def oldest(self) -> dict[Aging, int]:
        """Each by its index."""
        (times,) = await self._many_rows(_OLDEST)
        return {kind: time for kind, time in zip(AGING, times, strict=True) if time is not None}

    async def forget(self, kind: Aging, before_ms: int, limit: int) -> Forgotten:
        """Between two batches."""
        names, forgotten = await self._file.forget(_FORGET[kind], _FORGOTTEN.get(kind), before_ms, limit)
        for name in map(bytes.fromhex, names):
            if kind == "payments":
                self._tips.pop(bytes_text(name), None)
            else:
                self._nonces.pop(name, None)
        return forgotten

    async def list_usage(self, after: str, limit: int) -> list[tuple[str, int | None]]:
        """By their names."""
        rows = await self._many_rows("SELECT key, touched_ms FROM lrs_usage WHERE key > ? ORDER BY key LIMIT ?", after, limit)
        return [(key, touched_ms) for key, touched_ms in rows]

    async def touch_usage(self, keys: Sequence[str], now_ms: int) -> None:
        """Between two batches."""
        statement = f"UPDATE lrs_usage SET touched_ms = ? WHERE touched_ms IS NULL AND key IN ({marks(keys)})"  # noqa: S608 - only marks
        await self._change(statement, now_ms, *keys)

    async def forget_usage(self, keys: Sequence[str], before_ms: int) -> int:
        """Between two batches."""
        statement = f"DELETE FROM lrs_usage WHERE touched_ms < ? AND key IN ({marks(keys)})"  # noqa: S608 - only marks
        return await self._change(statement, before_ms, *keys)

    async def give_back(self, limit: int) -> int:
        """Where the file was made for it. Pages that will soon be needed again stay: a sixteenth, and some more."""
        pages, free, mode = (await self._rows(_SPACE))[0]
        surplus: int = free - pages // 16 - KEPT_PAGES
        if mode != INCREMENTAL or surplus <= 0:
            return 0
        given = min(limit, surplus)
        await self._file.give_back(given)
        return surplus - given

    async def write_back(self) -> None:
        """In the thread of what may take long."""
        await self._file.write_back()

    def log_bytes(self) -> int | None:
        """The size of the write-ahead log."""
        return self._file.log_bytes()

    async def sweep_sessions(self, after: bytes, before_ms: int, limit: int) -> bytes | None:
        """A session's newest place is its newest payment here: there is nothing else to forget."""
        return None

    async def _rows(self, sql: str, *parameters: object) -> list[Row]:
        return await self._file.beside(lambda connection: connection.execute(sql, parameters).fetchall())

    async def _change(self, sql: str, *parameters: object) -> int:
        return (await self._file.change(sql, *parameters))[1]


def _events(rows: Sequence[Row]) -> list[OutboxEvent]:
    return [OutboxEvent(id, made_ms, bytes(payload)) for id, made_ms, payload in rows]
