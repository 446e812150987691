"""Users in the SQLite ledger: changes on the writing connection, between two batches; reads in threads of their own."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from livepeer_remote_signer.adapters.ledger.sqlite_connections import SqliteConnections
from livepeer_remote_signer.adapters.ledger.store import Aging, Row, text_bytes
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

_VERSION = "SELECT CAST(value AS INTEGER) FROM lrs_meta WHERE name = 'users_version'"
_PUT_VERSION = "UPDATE lrs_meta SET value = ? WHERE name = 'users_version'"
_KNOWN = "SELECT digest, reply FROM lrs_admin_requests WHERE request = ?"
_KNOW = "INSERT INTO lrs_admin_requests (request, digest, made_ms, reply) VALUES (?, ?, ?, ?)"
_PUT_KEY = f"""INSERT INTO lrs_api_keys ({KEY_COLUMNS}, forget_ms, version) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (id) DO UPDATE SET revoked = excluded.revoked, forget_ms = excluded.forget_ms, version = excluded.version"""  # noqa: S608
_PUT_BUDGET = """INSERT INTO lrs_user_budgets (auth_id, spend_window, measure, limit_wei, forget_ms, version) VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT (auth_id, spend_window, measure) DO UPDATE SET limit_wei = excluded.limit_wei, forget_ms = excluded.forget_ms,
    version = excluded.version"""
_PUT_LINE = "INSERT INTO lrs_audit (at_ms, author, action, auth_id, kept) VALUES (?, ?, ?, ?, ?)"
_SET_SWITCH = "INSERT INTO lrs_switches (name, auth_id, set_ms) VALUES (?, ?, ?) ON CONFLICT (name) DO NOTHING"
_CLEAR_SWITCH = "DELETE FROM lrs_switches WHERE name = ?"
_PUT_SETTING = """INSERT INTO lrs_settings (name, value, set_ms) VALUES (?, ?, ?)
    ON CONFLICT (name) DO UPDATE SET value = excluded.value, set_ms = excluded.set_ms"""
_REMOVE_SETTING = "DELETE FROM lrs_settings WHERE name = ?"
_ONE_KEY = f"SELECT {KEY_COLUMNS} FROM lrs_api_keys WHERE id = ?"  # noqa: S608 - our own names
_KEYS_OF = f"SELECT {KEY_COLUMNS} FROM lrs_api_keys WHERE auth_id = ? AND revoked IS NULL ORDER BY id LIMIT ?"  # noqa: S608
_ONE_BUDGET = "SELECT limit_wei FROM lrs_user_budgets WHERE auth_id = ? AND spend_window = ? AND measure = ?"
_ONE_SWITCH = "SELECT 1 FROM lrs_switches WHERE name = ?"
_ONE_SETTING = "SELECT value FROM lrs_settings WHERE name = ?"
_COUNTS = "SELECT (SELECT count(*) FROM lrs_api_keys), (SELECT count(*) FROM lrs_user_budgets)"
_CHANGED_KEYS = f"""SELECT version, {KEY_COLUMNS} FROM lrs_api_keys
    WHERE (version, id) > (?, ?) ORDER BY version, id LIMIT ?"""  # noqa: S608
_CHANGED_BUDGETS = """SELECT version, auth_id, spend_window, measure, limit_wei FROM lrs_user_budgets
    WHERE (version, auth_id, spend_window, measure) > (?, ?, ?, ?) ORDER BY version, auth_id, spend_window, measure LIMIT ?"""
_LIST_KEYS = f"SELECT {KEY_COLUMNS}, used_minute FROM lrs_api_keys WHERE id > ? {{whose}} ORDER BY id LIMIT ?"  # noqa: S608
_LIST_BUDGETS = """SELECT auth_id, spend_window, measure, limit_wei FROM lrs_user_budgets
    WHERE (auth_id, spend_window, measure) > (?, ?, ?) AND limit_wei IS NOT NULL {whose} ORDER BY auth_id, spend_window, measure LIMIT ?"""
_NOTE_USED = "UPDATE lrs_api_keys SET used_minute = ?2 WHERE id = ?1 AND (used_minute IS NULL OR used_minute < ?2)"
_AUDIT = "SELECT id, at_ms, author, action, auth_id, kept FROM lrs_audit WHERE id < ? {whose} ORDER BY id DESC LIMIT ?"
_NEWEST = 2**63 - 1

FORGET_USERS: dict[Aging, str] = {
    "api_keys": """DELETE FROM lrs_api_keys WHERE id IN (SELECT id FROM lrs_api_keys
        WHERE forget_ms IS NOT NULL AND forget_ms < ? ORDER BY forget_ms LIMIT ?)""",
    "user_budgets": """DELETE FROM lrs_user_budgets WHERE (auth_id, spend_window, measure) IN
        (SELECT auth_id, spend_window, measure FROM lrs_user_budgets
        WHERE forget_ms IS NOT NULL AND forget_ms < ? ORDER BY forget_ms LIMIT ?)""",
    "audit": "DELETE FROM lrs_audit WHERE id IN (SELECT id FROM lrs_audit WHERE at_ms < ? ORDER BY at_ms LIMIT ?)",
    "admin_requests": """DELETE FROM lrs_admin_requests WHERE request IN
        (SELECT request FROM lrs_admin_requests WHERE made_ms < ? ORDER BY made_ms LIMIT ?)""",
}


class SqliteUsers:
    """The users' rows of one file."""

    def __init__(self, file: SqliteConnections) -> None:
        self._file = file

    async def change(self, request: AdminRequest, wanted: UserWanted, decide: Decide) -> Done:
        """In one transaction."""

        def run(connection: sqlite3.Connection) -> Done:
            known = connection.execute(_KNOWN, (request.key,)).fetchone()
            if known is not None:
                if bytes(known[0]) != request.digest:
                    raise OtherRequest
                return Done(known[1], was_known=True)
            writes = decide(_load(connection, wanted))
            _put(connection, writes, request)
            return Done(writes.reply, was_known=False)

        return await self._file.transact(run)

    async def version(self) -> int:
        """In the side thread."""
        ((version,),) = await self._rows(_VERSION)
        return int(version)

    async def changed_keys(self, after: tuple[int, str], limit: int) -> list[tuple[int, KeyRecord]]:
        """By their index."""
        return [(version, key_of(row)) for version, *row in await self._rows(_CHANGED_KEYS, *after, limit)]

    async def changed_budgets(self, after: tuple[int, BudgetName], limit: int) -> list[tuple[int, BudgetName, int | None]]:
        """By their index."""
        version, name = after
        rows = await self._rows(_CHANGED_BUDGETS, version, text_bytes(name.auth_id), name.window, name.measure, limit)
        return [(version, budget_name_of(row), limit_of(limit_wei)) for version, *row, limit_wei in rows]

    async def list_keys(self, after: str, limit: int, auth_id: str | None) -> list[StoredKey]:
        """By their key, or by the index of auth ids."""
        statement, parameters = _of(_LIST_KEYS, after, auth_id=auth_id)
        rows = await self._rows(statement, *parameters, limit)
        return [StoredKey(key_of(row), used_minute) for *row, used_minute in rows]

    async def list_budgets(self, after: BudgetName, limit: int, auth_id: str | None) -> list[tuple[BudgetName, int]]:
        """By their key."""
        statement, parameters = _of(_LIST_BUDGETS, text_bytes(after.auth_id), after.window, after.measure, auth_id=auth_id)
        rows = await self._rows(statement, *parameters, limit)
        return [(budget_name_of(row), int(limit_wei)) for *row, limit_wei in rows]

    async def note_used(self, minutes: Sequence[tuple[str, int]]) -> None:
        """In one transaction."""
        await self._file.transact(lambda connection: connection.executemany(_NOTE_USED, minutes))

    async def audit(self, before: int | None, limit: int, auth_id: str | None) -> list[AuditEntry]:
        """By the table's key, or by the index of auth ids."""
        first = _NEWEST if before is None else before
        statement, parameters = _of(_AUDIT, first, auth_id=auth_id)
        return [audit_of(row) for row in await self._rows(statement, *parameters, limit)]

    async def _rows(self, sql: str, *parameters: object) -> list[Row]:
        return await self._file.beside(lambda connection: connection.execute(sql, parameters).fetchall())


def _of(statement: str, *parameters: object, auth_id: str | None) -> tuple[str, list[object]]:
    """The statement for everybody, or for one auth id."""
    if auth_id is None:
        return statement.format(whose=""), [*parameters]
    return statement.format(whose="AND auth_id = ?"), [*parameters, text_bytes(auth_id)]


def _load(connection: sqlite3.Connection, wanted: UserWanted) -> UserRows:
    execute = connection.execute
    keys = [row for key_id in wanted.key_ids if (row := execute(_ONE_KEY, (key_id,)).fetchone()) is not None]
    if wanted.of_auth_id is not None:
        keys += execute(_KEYS_OF, (text_bytes(wanted.of_auth_id), MAX_REVOKED_AT_ONCE)).fetchall()
    budgets = {}
    for name in wanted.budgets:
        row = execute(_ONE_BUDGET, (text_bytes(name.auth_id), name.window, name.measure)).fetchone()
        if row is not None:
            budgets[name] = limit_of(row[0])
    switches = frozenset(name for name in wanted.switches if execute(_ONE_SWITCH, (name,)).fetchone() is not None)
    settings = {name: row[0] for name in wanted.settings if (row := execute(_ONE_SETTING, (name,)).fetchone()) is not None}
    return UserRows({row[0]: key_of(row) for row in keys}, budgets, switches, settings, *execute(_COUNTS).fetchone())


def _put(connection: sqlite3.Connection, writes: UserWrites, request: AdminRequest) -> None:
    many = connection.executemany
    version = connection.execute(_VERSION).fetchone()[0] + 1
    if writes.keys or writes.budgets:
        connection.execute(_PUT_VERSION, (str(version),))
        many(_PUT_KEY, [key_row(record, version) for record in writes.keys])
        many(_PUT_BUDGET, [budget_row(name, limit_wei, version, request.now_ms) for name, limit_wei in writes.budgets])
    many(_SET_SWITCH, [(switch.name, switch.auth_id, request.now_ms) for switch in writes.switches if switch.is_set])
    many(_CLEAR_SWITCH, [(switch.name,) for switch in writes.switches if not switch.is_set])
    many(_PUT_SETTING, [(name, value, request.now_ms) for name, value in writes.settings if value is not None])
    many(_REMOVE_SETTING, [(name,) for name, value in writes.settings if value is None])
    many(_PUT_LINE, [audit_row(line, request) for line in writes.lines])
    connection.execute(_KNOW, (request.key, request.digest, request.now_ms, writes.reply))
