"""Users without files: their API keys and budgets in the ledger, known in the memory of every process that follows it.

A process looks at one number twice a second and reads what changed beyond it; what it changes itself it knows at once. While
the database is away the keys that are known go on to identify their callers for `KEYS_HOLD_SECONDS`: nothing can be revoked
meanwhile, nothing can be spent either, and after it nobody is let in by what may be long revoked.
"""

from __future__ import annotations

import asyncio
import json
import math
import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from livepeer_remote_signer.adapters.ledger.store import StoreFailed
from livepeer_remote_signer.adapters.ledger.user_store import (
    OtherRequest,
    SwitchChange,
    UserRows,
    UserStore,
    UserWanted,
    UserWrites,
)
from livepeer_remote_signer.core.errors import BadField, LedgerUnavailable
from livepeer_remote_signer.core.protocol.timestamps import NS_PER_MS
from livepeer_remote_signer.core.rules.api_keys import SALT_BYTES, KeyRecord
from livepeer_remote_signer.core.rules.audit import AdminRequest, AuditEntry, AuditLine
from livepeer_remote_signer.core.rules.budgets import Budget, is_configured
from livepeer_remote_signer.core.rules.new_keys import MadeKey, NewKey, Revoked, StoredKey
from livepeer_remote_signer.core.rules.policy import NAMESPACES
from livepeer_remote_signer.core.rules.runtime_budgets import (
    BudgetChange,
    BudgetName,
    RuntimeBudgets,
    changed_limit,
    source_of,
)

KEYS_HOLD_SECONDS = 300.0
READ_AGAIN_SECONDS = 86_400.0
"""Rows that were forgotten meanwhile tell of no change: everything is read again now and then."""

NOTE_USED_SECONDS = 20.0
NOTED_AT_ONCE = 500
PAGE_ROWS = 500
"""Some milliseconds of the event loop."""

MAX_KEYS = 200_000
MAX_BUDGETS = 200_000
_FIRST_BUDGET = BudgetName("", "total", "ev")._replace(window="", measure="")  # type: ignore[arg-type] # before every name


class Users:
    """The users of one ledger. Every method that asks it raises LedgerUnavailable."""

    def __init__(
        self,
        store: UserStore,
        configured: Sequence[Budget],
        *,
        clock_ns: Callable[[], int],
        holds_keys: bool,
        namespaces: bool = False,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`holds_keys`: whether callers are identified by the keys here, which are kept in memory then."""
        self.budgets = RuntimeBudgets()
        self._store = store
        self._configured = configured
        self._clock_ns = clock_ns
        self.holds_keys = holds_keys
        self._namespaces = namespaces
        self._monotonic = monotonic
        self._keys: dict[str, KeyRecord] = {}
        self._version = -1
        self._read_at = self._followed_at = -math.inf
        self._following = asyncio.Lock()
        self._used: dict[str, int] = {}
        self._noted: dict[str, int] = {}
        self._note_at = 0.0

    def __repr__(self) -> str:
        return f"Users({len(self._keys)} keys, {len(self.budgets)} budgets)"

    # --- known in memory ---

    @property
    def _has_read(self) -> bool:
        return not math.isinf(self._followed_at)

    @property
    def fault(self) -> str:
        """Why keys cannot be told from revoked ones, "" when they can."""
        age = self._monotonic() - self._followed_at
        if age <= KEYS_HOLD_SECONDS:
            return ""
        return f"the ledger's API keys were last read {age:.0f} s ago" if self._has_read else "the ledger's API keys were not read yet"

    def key(self, key_id: str) -> KeyRecord | None:
        """The record of a key. Raises LedgerUnavailable where what is known is too old."""
        if fault := self.fault:
            raise LedgerUnavailable(fault, hint="the operator must mend the ledger's database", retry_after_seconds=1)
        return self._keys.get(key_id)

    def counts(self, key: str) -> bool:
        """Whether some budget, of the configuration or of the runtime, counts what is spent under this name."""
        if not self.budgets:
            return not self._has_read or is_configured(self._configured, key)
        former = [budget for namespace in NAMESPACES for budget in self.budgets.of(namespace + json.loads(key)[-1])]
        return not self._has_read or is_configured([*self.beside(key), *former], key)

    def beside(self, key: str) -> Sequence[Budget]:
        """The budgets that may count what is spent under a name: the configured ones and the runtime's of that spender."""
        if not self.budgets:
            return self._configured
        scope, _, _, *names = json.loads(key)
        return self.budgets.beside(self._configured, scope, names)

    def note_use(self, key_id: str) -> None:
        """A key let somebody in: written down later, once a minute at most."""
        minute = self._clock_ns() // 60_000_000_000
        if self._noted.get(key_id) != minute:
            self._noted[key_id] = self._used[key_id] = minute

    async def follow(self) -> None:
        """Takes what has changed."""
        async with self._following:
            version, started = await self._store.version(), self._monotonic()
            if version < self._version or started - self._read_at >= READ_AGAIN_SECONDS:
                await self._read_all()
                self._read_at = started
            elif version != self._version:
                await self._read_changes()
            self._version = version
            self._followed_at = started

    async def _read_all(self) -> None:
        self._version, self._read_at = -1, -math.inf  # until it is read to its end
        keys: dict[str, KeyRecord] = {}
        if self.holds_keys:
            await self._read_keys(keys)
        budgets = RuntimeBudgets()
        await self._read_budgets(budgets)
        self._keys = keys
        self._noted = {key_id: minute for key_id, minute in self._noted.items() if key_id in keys}
        self.budgets.replace(budgets)

    async def _read_changes(self) -> None:
        if self.holds_keys:
            await self._read_keys(self._keys)
        await self._read_budgets(self.budgets)

    async def _read_keys(self, keys: dict[str, KeyRecord]) -> None:
        after = (self._version + 1, "")
        while page := await self._store.changed_keys(after, PAGE_ROWS):
            keys.update((record.id, record) for _, record in page)
            after = (page[-1][0], page[-1][1].id)

    async def _read_budgets(self, budgets: RuntimeBudgets) -> None:
        after = (self._version + 1, _FIRST_BUDGET)
        while page := await self._store.changed_budgets(after, PAGE_ROWS):
            budgets.take((name, limit_wei) for _, name, limit_wei in page)
            after = page[-1][:2]

    async def note_used(self, *, at_once: bool = False) -> None:
        """Writes down which keys were used, some at a time; `at_once`: also where that was done a moment ago."""
        now = self._monotonic()
        if not self._used or (now < self._note_at and not at_once):
            return
        self._note_at = now + NOTE_USED_SECONDS
        used, self._used = sorted(self._used.items()), {}
        for start in range(0, len(used), NOTED_AT_ONCE):
            try:
                await self._store.note_used(used[start : start + NOTED_AT_ONCE])
            except StoreFailed:
                self._used = {**dict(used[start:]), **self._used}
                raise

    # --- keys ---

    async def create_keys(self, wanted: Sequence[NewKey], request: AdminRequest) -> list[MadeKey]:
        """Makes keys, all or none. The identical request again makes none, and is answered without their texts. Raises BadField."""
        texts: dict[str, str] = {}
        records = []
        for new in wanted:
            key_id, secret = secrets.token_hex(8), secrets.token_urlsafe(32)
            texts[key_id] = f"lrs_{key_id}_{secret}"
            records.append(new.record(key_id, secret, secrets.token_bytes(SALT_BYTES), request.now_ms // 1000))

        def decide(rows: UserRows) -> UserWrites:
            if rows.key_count + len(records) > MAX_KEYS:
                raise BadField(f"the ledger would hold {rows.key_count + len(records)} API keys, more than {MAX_KEYS}", limit=MAX_KEYS)
            lines = [AuditLine("key.create", record.auth_id, record.id, None, _terms(record)) for record in records]
            reply = json.dumps([[record.id, record.auth_id, record.name] for record in records])
            return UserWrites(keys=records, lines=lines, reply=reply)

        made = json.loads(await self._change(request, UserWanted(), decide))
        return [MadeKey(key_id, self.pays_as(auth_id), name, texts.get(key_id)) for key_id, auth_id, name in made]

    async def revoke_keys(self, ids: Sequence[str], auth_id: str | None, request: AdminRequest) -> Revoked:
        """Revokes these keys, or those of an auth id."""

        def decide(rows: UserRows) -> UserWrites:
            now = request.now_ms // 1000
            ended = [record._replace(revoked=now) for record in rows.keys.values() if record.revoked is None]
            lines = [AuditLine("key.revoke", record.auth_id, record.id, "active", "revoked") for record in ended]
            unknown = [key_id for key_id in ids if key_id not in rows.keys]
            return UserWrites(keys=ended, lines=lines, reply=json.dumps([list(rows.keys), unknown]))

        return Revoked(*json.loads(await self._change(request, UserWanted(key_ids=ids, of_auth_id=auth_id), decide)))

    async def keys(self, after: str, limit: int, auth_id: str | None = None) -> list[StoredKey]:
        """The next keys by id, revoked ones for a month as well."""
        return await self._store.list_keys(after, limit, auth_id)

    def pays_as(self, auth_id: str) -> str:
        """The auth id that a key's payments are made under: in its namespace, where there are any."""
        return f"key:{auth_id}" if self._namespaces and not auth_id.startswith("key:") else auth_id

    # --- budgets ---

    async def change_budgets(
        self, changes: Sequence[BudgetChange], request: AdminRequest, *, may_raise: bool
    ) -> list[tuple[BudgetName, int | None]]:
        """Changes budgets, all or none, and tells the runtime limits that are set then. Raises BadField, Denied."""
        names = [change.name for change in changes]
        if len(set(names)) < len(names):
            raise BadField("one budget stands twice: an auth id has one for each window and measure")
        bare = next((name.auth_id for name in names if self._namespaces and not name.auth_id.startswith(NAMESPACES)), None)
        if bare is not None:
            raise BadField(
                f"with auth.namespaces no auth id is {bare[:64]!r}",
                hint="say whose it is: " + ", ".join(f"{namespace}{bare[:64]}" for namespace in NAMESPACES),
            )

        def decide(rows: UserRows) -> UserWrites:
            count = rows.budget_count + len(set(names) - rows.budgets.keys())
            if count > MAX_BUDGETS:
                raise BadField(f"the ledger would hold {count} budgets of single auth ids, more than {MAX_BUDGETS}", limit=MAX_BUDGETS)
            limits, lines = [], []
            for change in changes:
                name, before = change.name, rows.budgets.get(change.name)
                after = changed_limit(self._configured, before, change, may_raise=may_raise)
                limits.append((name, after))
                lines.append(
                    AuditLine(f"budget.{change.step}", name.auth_id, f"{name.measure} per {name.window}", _wei(before), _wei(after))
                )
            return UserWrites(budgets=limits, lines=lines, reply=json.dumps([[*name, _wei(limit)] for name, limit in limits]))

        made = json.loads(await self._change(request, UserWanted(budgets=names), decide))
        return [(BudgetName(*name), None if limit is None else int(limit)) for *name, limit in made]

    async def list_budgets(self, after: BudgetName | None, limit: int) -> list[tuple[BudgetName, int]]:
        """The next runtime budgets by name."""
        return await self._store.list_budgets(after or _FIRST_BUDGET, limit, None)

    def source_of(self, budget: Budget, auth_id: str) -> str:
        """Where a budget of an auth id comes from: `runtime`, `default` (the configuration's `"*"`) or `config`."""
        return source_of(budget, self.budgets.of(auth_id))

    # --- who changed what ---

    async def set_switch(self, name: str, auth_id: bytes, is_set: bool, line: AuditLine, request: AdminRequest) -> bool:
        """Sets or clears a kill switch. Whether it was set before."""

        def decide(rows: UserRows) -> UserWrites:
            was_set = name in rows.switches
            told = [line._replace(before=was_set, after=is_set)] if was_set is not is_set else []
            return UserWrites(switches=[SwitchChange(name, auth_id, is_set)], lines=told, reply=json.dumps(was_set))

        return bool(json.loads(await self._change(request, UserWanted(switches=[name]), decide)))

    async def put_setting(self, name: str, value: str | None, action: str, request: AdminRequest) -> None:
        """Sets a value that all processes share; None removes it."""

        def decide(rows: UserRows) -> UserWrites:
            line = AuditLine(action, "", name, rows.settings.get(name), value)
            return UserWrites(settings=[(name, value)], lines=[line])

        await self._change(request, UserWanted(settings=[name]), decide)

    async def audit(self, before: int | None, limit: int, auth_id: str | None = None) -> list[AuditEntry]:
        """The log, the newest line first."""
        return await self._store.audit(before, limit, auth_id)

    async def _change(self, request: AdminRequest, wanted: UserWanted, decide: Callable[[UserRows], UserWrites]) -> str:
        try:
            done = await self._store.change(request, wanted, decide)
        except OtherRequest:
            raise BadField("this Idempotency-Key was sent with another request", hint="send a key of its own with every change") from None
        with suppress(StoreFailed):  # it is made, whatever comes; the next look tells of it
            await self.follow()
        return done.reply

    def request(self, author: str, key: bytes = b"", digest: bytes = b"") -> AdminRequest:
        """A request that is made now. Without a key it is its own: only a connection that breaks has it tried again."""
        return AdminRequest(author, key or secrets.token_bytes(32), digest, self._clock_ns() // NS_PER_MS)


def _terms(record: KeyRecord) -> dict[str, Any]:
    terms = {
        "name": record.name,
        "expires": record.expires,
        "routes": list(record.routes),
        "requests_per_minute": record.requests_per_minute,
    }
    return {key: value for key, value in terms.items() if value}


def _wei(limit_wei: int | None) -> str | None:
    return None if limit_wei is None else str(limit_wei)
