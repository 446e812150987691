"""What operators read and change in the ledger: kill switches, shared settings, budgets' fill and spending over time.

Changes are one committed statement each; every process sees them with its next batch, or within half a second.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from livepeer_remote_signer.adapters.ledger.digest_store import DigestStore
from livepeer_remote_signer.adapters.ledger.store import GLOBAL_SWITCH, Minutes, SpendName, Store, Switch, text_bytes
from livepeer_remote_signer.adapters.ledger.users import Users
from livepeer_remote_signer.core.errors import BadField
from livepeer_remote_signer.core.protocol.timestamps import NS_PER_SECOND
from livepeer_remote_signer.core.rules.audit import AuditLine
from livepeer_remote_signer.core.rules.budgets import (
    Budget,
    BudgetUse,
    Spender,
    Usage,
    budget_uses,
    claims_of,
    fullness,
    global_keys,
    take_over,
)
from livepeer_remote_signer.core.rules.ledger import SpendSum, Switches
from livepeer_remote_signer.core.rules.policy import without_namespace
from livepeer_remote_signer.core.rules.signed import digest_payer
from livepeer_remote_signer.core.rules.statement import MAX_STATEMENT_ROWS, Statement
from livepeer_remote_signer.core.rules.usage import SECONDS_PER_DAY, UsageQuery, UsageRow, days_of_month, names_of

_MS_PER_DAY = SECONDS_PER_DAY * 1000
_USAGE_PAGE = 100
"""A millisecond or two of the event loop."""


class LargestSpend(NamedTuple):
    """How many names there are, and those with the most expected value, the largest first: each with its sums by bucket."""

    distinct: int
    names: list[tuple[bytes, list[tuple[int, SpendSum]]]]


class Controls:
    """Switches, settings and figures. Every method raises LedgerUnavailable when the database cannot do it."""

    def __init__(
        self, store: Store, budgets: Sequence[Budget], users: Users, clock_ns: Callable[[], int], *, namespaces: bool = False
    ) -> None:
        self.users = users
        self._store = store
        self._budgets = budgets
        self._clock_ns = clock_ns
        self._namespaces = namespaces
        self.on_switches: Callable[[Switches], None] | None = None
        """Told at once what this process changed; others learn it within a second."""

    async def suspend(self, auth_id: str | None, author: str) -> None:
        """Refuses every payment of an auth id, or with None every payment there is."""
        await self._switch(auth_id, author, is_set=True)

    async def resume(self, auth_id: str | None, author: str) -> bool:
        """Takes a switch back. False when it was not set."""
        return await self._switch(auth_id, author, is_set=False)

    async def _switch(self, auth_id: str | None, author: str, *, is_set: bool) -> bool:
        line = AuditLine("suspend" if is_set else "resume", auth_id or "", "all payments" if auth_id is None else "payments")
        was_set = await self.users.set_switch(*_switch_name(auth_id), is_set, line, self.users.request(author))
        await self._tell()
        return was_set

    async def _tell(self) -> None:
        if self.on_switches is not None:
            self.on_switches(await self._store.switches())

    async def switches(self, most: int | None = None) -> list[Switch]:
        """The switches that are set, the global one first; with `most` the newest of them alone."""
        return sorted(await self._store.list_switches(most), key=lambda switch: switch.auth_id is not None)

    async def in_force(self) -> Switches:
        """The switches as payments are judged by them."""
        return await self._store.switches()

    async def suspended(self) -> list[str | None]:
        """Whose payments are refused, None: everybody's."""
        return [switch.auth_id for switch in await self.switches()]

    async def check(self, auth_id: str) -> None:
        """Raises Suspended where a switch is set for this auth id, or for all, as the database has it now."""
        (await self._store.switches()).check(auth_id)

    async def put_setting(self, name: str, value: str | None, author: str) -> None:
        """A value that all processes share, such as ceilings changed at runtime; None removes it."""
        await self.users.put_setting(name, value, "setting.reset" if value is None else "setting.set", self.users.request(author))

    async def settings(self) -> Mapping[str, str]:
        """All shared values."""
        return await self._store.settings()

    async def usage(self, most: int | None = None) -> list[BudgetUse]:
        """How full every budget is, for every spender it was counted for, fullest first; with `most` the fullest of them alone.

        Read page by page, with other work between two of them: there may be hundreds of thousands of rows.
        """
        uses: list[BudgetUse] = []
        uncounted = {key: Usage() for key in global_keys(self._budgets)}
        after = ""
        while page := await self._store.usage(after, _USAGE_PAGE):
            after = max(page)
            uses += self._uses(page)
            if most is not None:
                uses = sorted(uses, key=fullness)[:most]
            uncounted = {key: nothing for key, nothing in uncounted.items() if key not in page}
        return sorted(uses + self._uses(uncounted), key=fullness)[:most]

    async def budgets_of(self, auth_id: str) -> list[BudgetUse]:
        """The budgets by auth id that hold for this one, and how full they are."""
        spender = Spender(auth_id, "", b"", without_namespace(auth_id) if self._namespaces else "")
        claims = [
            claim
            for claim in claims_of(self.users.budgets.beside(self._budgets, "auth_id", [auth_id]), spender)
            if claim.budget.scope == "auth_id"
        ]
        if not claims:
            return []
        keys = [key for _, *both in claims for key in both if key]
        used = {**{key: Usage() for key in keys}, **await self._store.usage_of(keys)}
        take_over(claims, used)
        now_ns = self._clock_ns()
        spent = [used[claim.key].spent(claim.budget.window, now_ns) for claim in claims]
        return [BudgetUse(b, auth_id, wei, max(0, b.limit_wei - wei)) for (b, _, _), wei in zip(claims, spent, strict=True)]

    async def fullest(self, most: int, first: int = 0, search: str = "") -> tuple[list[BudgetUse], int]:
        """Of the budgets whose id holds `search` the fullest ones from the `first` on, and how many there are."""
        uses, count, after = list[BudgetUse](), 0, ""
        uncounted = {key: Usage() for key in global_keys(self._budgets)}
        while page := await self._store.usage(after, _USAGE_PAGE):
            after = max(page)
            fitting = [use for use in self._uses(page) if search in use.id]
            count += len(fitting)
            uses = sorted(uses + fitting, key=fullness)[: first + most]
            uncounted = {key: nothing for key, nothing in uncounted.items() if key not in page}
        unspent = [use for use in self._uses(uncounted) if search in use.id]
        return sorted(uses + unspent, key=fullness)[first : first + most], count + len(unspent)

    def _uses(self, usage: Mapping[str, Usage]) -> list[BudgetUse]:
        now_ns = self._clock_ns()
        return [use for key, used in usage.items() for use in budget_uses(self.users.beside(key), key, used, now_ns)]

    @property
    def digests(self) -> DigestStore:
        """The chain over the payments."""
        return self._store.digests

    def today(self) -> int:
        """The day of UTC, since 1970."""
        return self._clock_ns() // (SECONDS_PER_DAY * NS_PER_SECOND)

    async def daily(self, query: UsageQuery) -> list[UsageRow]:
        """A page of what was paid by day."""
        return await self._store.daily(query)

    async def statement(self, auth_id: str, month: str) -> Statement:
        """What an auth id paid in a month, YYYY-MM. Raises BadField, also for one that has too many rows to be read at once."""
        query = UsageQuery(*days_of_month(month), auth_id, group=("day", "orchestrator"))
        rows: list[UsageRow] = []
        while page := await self._store.daily(query):
            rows += page
            query = query._replace(after=names_of(page[-1], query.group))
            if len(rows) > MAX_STATEMENT_ROWS:
                raise BadField(
                    f"this month has more than {MAX_STATEMENT_ROWS} days and orchestrators",
                    hint="read it as usage, page by page",
                    limit=MAX_STATEMENT_ROWS,
                )
        first_ms, after_ms = query.first_day * _MS_PER_DAY, (query.last_day + 1) * _MS_PER_DAY
        drawn_wei = await self._store.drawn_by(digest_payer(auth_id), first_ms, after_ms)
        return Statement(auth_id, month, rows, self._clock_ns(), drawn_wei)

    async def spend_over_time(self, minutes: Minutes, bucket_minutes: int) -> list[tuple[int, SpendSum]]:
        """What was paid, by `minute // bucket_minutes`, oldest first."""
        return await self._store.spend_over_time(minutes, bucket_minutes)

    async def paying(self, auth_ids: Sequence[str]) -> set[str]:
        """Those of these auth ids that have paid something that the ledger remembers."""
        names = {text_bytes(auth_id): auth_id for auth_id in auth_ids}
        ever = Minutes(0, self._clock_ns() // (60 * NS_PER_SECOND) + 1)
        return {names[name] for name, _, _ in await self._store.spend_of(ever, "auth_id", list(names), ever.last + 1)}

    async def largest_spend(self, minutes: Minutes, by: SpendName, most: int, bucket_minutes: int) -> LargestSpend:
        """Who paid most (or was paid most), and when."""
        distinct, names = await self._store.largest_spend(minutes, by, most)
        spent: dict[bytes, dict[int, SpendSum]] = {name: {} for name in names}
        for name, bucket, paid in await self._store.spend_of(minutes, by, names, bucket_minutes) if names else ():
            spent[name][bucket] = paid
        return LargestSpend(distinct, [(name, list(buckets.items())) for name, buckets in spent.items()])

    async def sessions(self, since_ms: int) -> int:
        """How many sessions started at or after a time and are still remembered."""
        return await self._store.sessions_started(since_ms)


def _switch_name(auth_id: str | None) -> tuple[str, bytes]:
    """A switch's row: its name in ASCII, whatever the auth id holds."""
    if auth_id is None:
        return GLOBAL_SWITCH, b""
    return json.dumps(["auth_id", auth_id]), text_bytes(auth_id)
