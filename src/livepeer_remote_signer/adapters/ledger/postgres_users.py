"""Users in the PostgreSQL ledger, on the side connection. Changes take the row of their number first: one at a time, in order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from psycopg import AsyncConnection

from livepeer_remote_signer.adapters.ledger import postgres_statements as statements
from livepeer_remote_signer.adapters.ledger.postgres_link import Link, fetch
from livepeer_remote_signer.adapters.ledger.store import Row, text_bytes
from livepeer_remote_signer.adapters.ledger.user_store import (
    KEY_COLUMNS,
    MAX_REVOKED_AT_ONCE,
    Decide,
    Done,
    OtherRequest,
    UserRows,
    UserWanted,
    UserWrites,
    audit_of,
    audit_row,
    budget_name_of,
    budget_row,
    key_of,
    key_row,
    limit_of,
)
from livepeer_remote_signer.core.rules.api_keys import KeyRecord
from livepeer_remote_signer.core.rules.audit import AdminRequest, AuditEntry
from livepeer_remote_signer.core.rules.new_keys import StoredKey
from livepeer_remote_signer.core.rules.runtime_budgets import BudgetName

_VERSION = "SELECT value::bigint FROM lrs_meta WHERE name = 'users_version'"
_TURN = _VERSION + " FOR UPDATE"
_PUT_VERSION = "UPDATE lrs_meta SET value = %s WHERE name = 'users_version'"
_KNOWN = "SELECT digest, reply FROM lrs_admin_requests WHERE request = %s"
_KNOW = "INSERT INTO lrs_admin_requests (request, digest, made_ms, reply) VALUES (%s, %s, %s, %s)"
_PUT_KEYS = f"""INSERT INTO lrs_api_keys ({KEY_COLUMNS}, forget_ms, version)
SELECT * FROM unnest(%s::text[], %s::bytea[], %s::bytea[], %s::bytea[], %s::bytea[], %s::bigint[], %s::bigint[], %s::bigint[], %s::text[],
    %s::bigint[], %s::bigint[], %s::bigint[])
ON CONFLICT (id) DO UPDATE SET revoked = excluded.revoked, forget_ms = excluded.forget_ms, version = excluded.version"""  # noqa: S608
_PUT_BUDGETS = """INSERT INTO lrs_user_budgets (auth_id, spend_window, measure, limit_wei, forget_ms, version)
SELECT * FROM unnest(%s::bytea[], %s::text[], %s::text[], %s::text[], %s::bigint[], %s::bigint[])
ON CONFLICT (auth_id, spend_window, measure) DO UPDATE SET limit_wei = excluded.limit_wei, forget_ms = excluded.forget_ms,
version = excluded.version"""
_PUT_LINES = """INSERT INTO lrs_audit (at_ms, author, action, auth_id, kept) SELECT at_ms, author, action, auth_id, kept
FROM unnest(%s::bigint[], %s::bytea[], %s::text[], %s::bytea[], %s::text[])
    WITH ORDINALITY AS u (at_ms, author, action, auth_id, kept, place) ORDER BY place"""
_SET_SWITCH = "INSERT INTO lrs_switches (name, auth_id, set_ms) VALUES (%s, %s, %s) ON CONFLICT (name) DO NOTHING"
_CLEAR_SWITCH = "DELETE FROM lrs_switches WHERE name = %s"
_SOME_KEYS = f"SELECT {KEY_COLUMNS} FROM lrs_api_keys WHERE id = ANY(%s::text[])"  # noqa: S608 - our own names
_KEYS_OF = f"SELECT {KEY_COLUMNS} FROM lrs_api_keys WHERE auth_id = %s AND revoked IS NULL ORDER BY id LIMIT %s"  # noqa: S608
_SOME_BUDGETS = """SELECT b.auth_id, b.spend_window, b.measure, b.limit_wei
FROM unnest(%s::bytea[], %s::text[], %s::text[]) AS u (auth_id, spend_window, measure)
JOIN lrs_user_budgets b ON b.auth_id = u.auth_id AND b.spend_window = u.spend_window AND b.measure = u.measure"""
_SOME_SWITCHES = "SELECT name FROM lrs_switches WHERE name = ANY(%s::text[])"
_SOME_SETTINGS = "SELECT name, value FROM lrs_settings WHERE name = ANY(%s::text[])"
_COUNTS = "SELECT (SELECT count(*) FROM lrs_api_keys), (SELECT count(*) FROM lrs_user_budgets)"
_CHANGED_KEYS = f"""SELECT version, {KEY_COLUMNS} FROM lrs_api_keys
WHERE (version, id) > (%s, %s) ORDER BY version, id LIMIT %s"""  # noqa: S608
_CHANGED_BUDGETS = """SELECT version, auth_id, spend_window, measure, limit_wei FROM lrs_user_budgets
WHERE (version, auth_id, spend_window, measure) > (%s, %s, %s, %s) ORDER BY version, auth_id, spend_window, measure LIMIT %s"""
_LIST_KEYS = f"""SELECT {KEY_COLUMNS}, used_minute FROM lrs_api_keys
WHERE id > %s AND (%s::bytea IS NULL OR auth_id = %s) ORDER BY id LIMIT %s"""  # noqa: S608
_LIST_BUDGETS = """SELECT auth_id, spend_window, measure, limit_wei FROM lrs_user_budgets
WHERE (auth_id, spend_window, measure) > (%s, %s, %s) AND limit_wei IS NOT NULL AND (%s::bytea IS NULL OR auth_id = %s)
ORDER BY auth_id, spend_window, measure LIMIT %s"""
_NOTE_USED = """UPDATE lrs_api_keys SET used_minute = u.used_minute FROM unnest(%s::text[], %s::bigint[]) AS u (id, used_minute)
WHERE lrs_api_keys.id = u.id AND lrs_api_keys.id = ANY(ARRAY(SELECT id FROM lrs_api_keys WHERE id = ANY(%s::text[])
    ORDER BY id FOR UPDATE SKIP LOCKED)) AND (lrs_api_keys.used_minute IS NULL OR lrs_api_keys.used_minute < u.used_minute)"""
_AUDIT = """SELECT id, at_ms, author, action, auth_id, kept FROM lrs_audit
WHERE (%s::bigint IS NULL OR id < %s) AND (%s::bytea IS NULL OR auth_id = %s) ORDER BY id DESC LIMIT %s"""


class PostgresUsers:
    """The users' rows of one database."""

    def __init__(self, link: Link) -> None:
        self._link = link

    async def change(self, request: AdminRequest, wanted: UserWanted, decide: Decide) -> Done:
        """In one transaction. On a connection that broke it is tried again: had it been made after all, it is known then."""

        async def run(connection: AsyncConnection[Row]) -> Done:
            async with connection.transaction():
                if self._link.is_pooled:
                    await connection.execute(*self._link.settings(is_local=True))
                ((version,),) = await fetch(connection, _TURN)
                known = await fetch(connection, _KNOWN, request.key)
                if known:
                    if bytes(known[0][0]) != request.digest:
                        raise OtherRequest
                    return Done(known[0][1], was_known=True)
                writes = decide(await _load(connection, wanted))
                await _put(connection, writes, request, version + 1)
            return Done(writes.reply, was_known=False)

        return await self._link.use(run)

    async def version(self) -> int:
        """One row."""
        ((version,),) = await self._link.fetch(_VERSION)
        return int(version)

    async def changed_keys(self, after: tuple[int, str], limit: int) -> list[tuple[int, KeyRecord]]:
        """By their index."""
        return [(version, key_of(row)) for version, *row in await self._link.fetch(_CHANGED_KEYS, *after, limit)]

    async def changed_budgets(self, after: tuple[int, BudgetName], limit: int) -> list[tuple[int, BudgetName, int | None]]:
        """By their index."""
        version, name = after
        rows = await self._link.fetch(_CHANGED_BUDGETS, version, text_bytes(name.auth_id), name.window, name.measure, limit)
        return [(version, budget_name_of(row), limit_of(limit_wei)) for version, *row, limit_wei in rows]

    async def list_keys(self, after: str, limit: int, auth_id: str | None) -> list[StoredKey]:
        """By their key, or by the index of auth ids."""
        rows = await self._link.fetch(_LIST_KEYS, after, *_whose(auth_id), limit)
        return [StoredKey(key_of(row), used_minute) for *row, used_minute in rows]

    async def list_budgets(self, after: BudgetName, limit: int, auth_id: str | None) -> list[tuple[BudgetName, int]]:
        """By their key."""
        rows = await self._link.fetch(_LIST_BUDGETS, text_bytes(after.auth_id), after.window, after.measure, *_whose(auth_id), limit)
        return [(budget_name_of(row), int(limit_wei)) for *row, limit_wei in rows]

    async def note_used(self, minutes: Sequence[tuple[str, int]]) -> None:
        """Rows that somebody else holds are left: he notes this minute as well, or the key was revoked."""
        ids, used = [key_id for key_id, _ in minutes], [minute for _, minute in minutes]
        await self._link.change(_NOTE_USED, ids, used, ids)

    async def audit(self, before: int | None, limit: int, auth_id: str | None) -> list[AuditEntry]:
        """By the table's key, or by the index of auth ids."""
        return [audit_of(row) for row in await self._link.fetch(_AUDIT, before, before, *_whose(auth_id), limit)]


def _whose(auth_id: str | None) -> tuple[bytes | None, bytes | None]:
    name = None if auth_id is None else text_bytes(auth_id)
    return name, name


async def _load(connection: AsyncConnection[Row], wanted: UserWanted) -> UserRows:
    keys = await fetch(connection, _SOME_KEYS, list(wanted.key_ids)) if wanted.key_ids else []
    if wanted.of_auth_id is not None:
        keys += await fetch(connection, _KEYS_OF, text_bytes(wanted.of_auth_id), MAX_REVOKED_AT_ONCE)
    names = [(text_bytes(name.auth_id), name.window, name.measure) for name in wanted.budgets]
    budgets = await fetch(connection, _SOME_BUDGETS, *_columns(names)) if names else []
    switches = await fetch(connection, _SOME_SWITCHES, list(wanted.switches)) if wanted.switches else []
    settings = await fetch(connection, _SOME_SETTINGS, list(wanted.settings)) if wanted.settings else []
    ((key_count, budget_count),) = await fetch(connection, _COUNTS)
    return UserRows(
        {row[0]: key_of(row) for row in keys},
        {budget_name_of(row): limit_of(limit_wei) for *row, limit_wei in budgets},
        frozenset(name for (name,) in switches),
        dict(cast(Any, settings)),
        key_count,
        budget_count,
    )


async def _put(connection: AsyncConnection[Row], writes: UserWrites, request: AdminRequest, version: int) -> None:
    execute = connection.execute
    async with connection.pipeline():
        if writes.keys or writes.budgets:
            await execute(_PUT_VERSION, (str(version),))
        if writes.keys:
            await execute(_PUT_KEYS, _columns([key_row(record, version) for record in writes.keys]))
        if writes.budgets:
            await execute(_PUT_BUDGETS, _columns([budget_row(name, limit, version, request.now_ms) for name, limit in writes.budgets]))
        for switch in writes.switches:
            if switch.is_set:
                await execute(_SET_SWITCH, (switch.name, switch.auth_id, request.now_ms))
            else:
                await execute(_CLEAR_SWITCH, (switch.name,))
        for name, value in writes.settings:
            if value is not None:
                await execute(statements.PUT_SETTING, (name, value, request.now_ms))
            else:
                await execute(statements.REMOVE_SETTING, (name,))
        if writes.lines:
            await execute(_PUT_LINES, _columns([audit_row(line, request) for line in writes.lines]))
        await execute(_KNOW, (request.key, request.digest, request.now_ms, writes.reply))


def _columns(rows: Sequence[Sequence[Any]]) -> tuple[list[Any], ...]:
    """Rows as one list a column: `unnest` makes rows of them again, and one statement serves any number."""
    return tuple(list(column) for column in zip(*rows, strict=True))
