"""What operators read and change in the ledger: kill switches, shared settings, budgets' fill and spending over time.

Changes are one committed statement each; every process sees them with its next batch, or within half a second.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence

from livepeer_remote_signer.adapters.ledger.store import GLOBAL_SWITCH, SpendLine, Store, Switch, text_bytes
from livepeer_remote_signer.core.rules.budgets import Budget, BudgetUse, budget_uses
from livepeer_remote_signer.core.rules.ledger import NS_PER_MS, SpendSum, Switches


class Controls:
    """Switches, settings and figures. Every method raises LedgerUnavailable when the database cannot do it."""

    def __init__(self, store: Store, budgets: Sequence[Budget], clock_ns: Callable[[], int]) -> None:
        self._store = store
        self._budgets = budgets
        self._clock_ns = clock_ns
        self.on_switches: Callable[[Switches], None] | None = None
        """Told at once what this process changed; others learn it within a second."""

    async def suspend(self, auth_id: str | None) -> None:
        """Refuses every payment of an auth id, or with None every payment there is."""
        await self._store.set_switch(*_switch_name(auth_id), self._now_ms())
        await self._tell()

    async def resume(self, auth_id: str | None) -> bool:
        """Takes a switch back. False when it was not set."""
        was_set = await self._store.clear_switch(_switch_name(auth_id)[0])
        await self._tell()
        return was_set

    async def _tell(self) -> None:
        if self.on_switches is not None:
            self.on_switches(await self._store.switches())

    async def switches(self) -> list[Switch]:
        """The switches that are set, the global one first."""
        return sorted(await self._store.list_switches(), key=lambda switch: switch.auth_id is not None)

    async def suspended(self) -> list[str | None]:
        """Whose payments are refused, None: everybody's."""
        return [switch.auth_id for switch in await self.switches()]

    async def check(self, auth_id: str) -> None:
        """Raises Suspended where a switch is set for this auth id, or for all, as the database has it now."""
        (await self._store.switches()).check(auth_id)

    async def put_setting(self, name: str, value: str | None) -> None:
        """A value that all processes share, such as ceilings changed at runtime; None removes it."""
        await self._store.put_setting(name, value, self._now_ms())

    async def settings(self) -> Mapping[str, str]:
        """All shared values."""
        return await self._store.settings()

    async def usage(self) -> list[BudgetUse]:
        """How full every budget is, for every spender it was counted for, fullest first."""
        return budget_uses(self._budgets, await self._store.usage(), self._clock_ns())

    async def spend(self, since_ms: int, until_ms: int | None = None) -> list[SpendLine]:
        """Spending by minute, auth id and orchestrator, oldest first; times in unix milliseconds."""
        until_ms = self._now_ms() if until_ms is None else until_ms
        lines: dict[tuple[int, str, bytes], SpendSum] = {}
        for minute, auth_id, orchestrator, paid in await self._store.spend(since_ms // 60_000, until_ms // 60_000):
            key = (minute, auth_id, orchestrator)
            lines[key] = SpendSum(*(a + b for a, b in zip(lines.get(key, SpendSum()), paid, strict=True)))
        return [SpendLine(*key, paid) for key, paid in lines.items()]

    async def sessions(self, since_ms: int) -> int:
        """How many sessions started at or after a time and are still remembered."""
        return await self._store.sessions_started(since_ms)

    def _now_ms(self) -> int:
        return self._clock_ns() // NS_PER_MS


def _switch_name(auth_id: str | None) -> tuple[str, bytes]:
    """A switch's row: its name in ASCII, whatever the auth id holds."""
    if auth_id is None:
        return GLOBAL_SWITCH, b""
    return json.dumps(["auth_id", auth_id]), text_bytes(auth_id)
