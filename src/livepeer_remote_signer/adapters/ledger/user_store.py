"""What is kept of users: API keys, budgets of single auth ids, who changed what, and which requests were obeyed already.

Every change is one transaction with the line that tells of it, and gets the next number: rows carry the number of the change
that last touched them. Whoever follows looks at the newest number, and reads the rows beyond the one it knows: that costs one
look while nothing changes, however many keys and budgets there are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias

from livepeer_remote_signer.adapters.ledger.store import Row, bytes_text, text_bytes
from livepeer_remote_signer.core.rules.api_keys import KEPT_SECONDS, KeyRecord
from livepeer_remote_signer.core.rules.audit import AdminRequest, AuditEntry, AuditLine
from livepeer_remote_signer.core.rules.new_keys import StoredKey
from livepeer_remote_signer.core.rules.runtime_budgets import BudgetName

REQUESTS_KEPT_MS = 30 * 86_400_000
"""How long a repeated request is known for one."""

MAX_REVOKED_AT_ONCE = 10_000


class UserWanted(NamedTuple):
    """The rows that a change needs. `of_auth_id`: all keys of this one that are not revoked, at most MAX_REVOKED_AT_ONCE."""

    key_ids: Sequence[str] = ()
    of_auth_id: str | None = None
    budgets: Sequence[BudgetName] = ()
    switches: Sequence[str] = ()
    settings: Sequence[str] = ()


class UserRows(NamedTuple):
    """What they are now. A missing entry is a missing row; a budget may be None: it was taken away."""

    keys: dict[str, KeyRecord]
    budgets: dict[BudgetName, int | None]
    switches: frozenset[str]
    settings: dict[str, str]
    key_count: int
    budget_count: int


class SwitchChange(NamedTuple):
    """A kill switch as its row has it."""

    name: str
    auth_id: bytes
    is_set: bool


class UserWrites(NamedTuple):
    """What one change records. `reply` is what the identical request gets again; nothing secret stands in it."""

    keys: Sequence[KeyRecord] = ()
    budgets: Sequence[tuple[BudgetName, int | None]] = ()
    switches: Sequence[SwitchChange] = ()
    settings: Sequence[tuple[str, str | None]] = ()
    lines: Sequence[AuditLine] = ()
    reply: str = ""


class Done(NamedTuple):
    """What a change came to: the reply that is kept of it, and whether an earlier request of the same key had made it."""

    reply: str
    was_known: bool


class OtherRequest(Exception):
    """The key of a request was used for another one."""


Decide: TypeAlias = Callable[[UserRows], UserWrites]
"""Judges a change by the rows; raises to leave everything as it is. Called within the transaction, perhaps again."""


class UserStore(Protocol):
    """Everything raises StoreFailed."""

    async def change(self, request: AdminRequest, wanted: UserWanted, decide: Decide) -> Done:
        """Makes a change, once for each request. Raises OtherRequest, and what `decide` raises."""

    async def version(self) -> int:
        """The number of the newest change."""

    async def changed_keys(self, after: tuple[int, str], limit: int) -> list[tuple[int, KeyRecord]]:
        """The next keys by the number of their change and their id, with that number."""

    async def changed_budgets(self, after: tuple[int, BudgetName], limit: int) -> list[tuple[int, BudgetName, int | None]]:
        """The next budgets by the number of their change and their name, with that number."""

    async def list_keys(self, after: str, limit: int, auth_id: str | None) -> list[StoredKey]:
        """The next keys by id; with `auth_id` those of this one alone."""

    async def list_budgets(self, after: BudgetName, limit: int, auth_id: str | None) -> list[tuple[BudgetName, int]]:
        """The next budgets that are set, by name; with `auth_id` those of this one alone."""

    async def note_used(self, minutes: Sequence[tuple[str, int]]) -> None:
        """Notes the minute that keys were last used in, where it is later than what is known."""

    async def audit(self, before: int | None, limit: int, auth_id: str | None) -> list[AuditEntry]:
        """Lines of the audit log, the newest first, from the one before this id on."""


KEY_COLUMNS = "id, name, auth_id, salt, hash, created, expires, revoked, routes, requests_per_minute"


def key_row(record: KeyRecord, version: int) -> Row:
    """A key as both databases take it: its columns, when it may be forgotten, and the number of the change."""
    ended = [time for time in (record.revoked, record.expires) if time is not None]
    return (
        record.id,
        text_bytes(record.name),
        text_bytes(record.auth_id),
        record.salt,
        record.hash,
        record.created,
        record.expires,
        record.revoked,
        " ".join(record.routes),
        record.requests_per_minute,
        (min(ended) + KEPT_SECONDS) * 1000 if ended else None,
        version,
    )


def key_of(row: Sequence[Any]) -> KeyRecord:
    """The reverse, of KEY_COLUMNS."""
    id, name, auth_id, salt, hashed, created, expires, revoked, routes, requests_per_minute = row
    return KeyRecord(
        id,
        bytes_text(bytes(name)),
        bytes_text(bytes(auth_id)),
        bytes(salt),
        bytes(hashed),
        created,
        expires,
        revoked,
        tuple(routes.split()),
        requests_per_minute,
    )


def budget_row(name: BudgetName, limit_wei: int | None, version: int, now_ms: int) -> Row:
    """A budget as both databases take it. One that was taken away stays for a while, so that everybody learns of it."""
    limit, forgotten = (None, now_ms + KEPT_SECONDS * 1000) if limit_wei is None else (str(limit_wei), None)
    return text_bytes(name.auth_id), name.window, name.measure, limit, forgotten, version


def budget_name_of(row: Sequence[Any]) -> BudgetName:
    """Of auth id, window and measure."""
    auth_id, window, measure = row
    return BudgetName(bytes_text(bytes(auth_id)), window, measure)


def limit_of(text: str | None) -> int | None:
    """A limit as it is kept."""
    return None if text is None else int(text)


def audit_row(line: AuditLine, request: AdminRequest) -> Row:
    """A line of the audit log as both databases take it."""
    return request.now_ms, text_bytes(request.author), line.action, text_bytes(line.auth_id), line.encode()


def audit_of(row: Sequence[Any]) -> AuditEntry:
    """A line as it is read back."""
    id, at_ms, author, action, auth_id, kept = row
    return AuditEntry(id, at_ms, bytes_text(bytes(author)), action, bytes_text(bytes(auth_id)), kept)
