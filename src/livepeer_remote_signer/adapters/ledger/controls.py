"""What operators read and change in the ledger: kill switches, shared settings, budgets' fill and spending over time.

Changes are one committed statement each; every process sees them with its next batch, or within half a second.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import NamedTuple

from livepeer_remote_signer.adapters.ledger.store import GLOBAL_SWITCH, Store, add_switch, bytes_text, text_bytes
from livepeer_remote_signer.core.rules.budgets import Budget, BudgetUse, budget_uses, parse_usage
from livepeer_remote_signer.core.rules.ledger import NS_PER_MS, SpendSum, Switches


class Switch(NamedTuple):
    """One kill switch that is set: `auth_id` None is the global one. `set_ms` in unix milliseconds."""

    auth_id: str | None
    set_ms: int


class SpendLine(NamedTuple):
    """What one auth id paid one orchestrator (20-byte address) within one unix minute."""

    minute: int
    auth_id: str
    orchestrator: bytes
    paid: SpendSum


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
        name, raw = _switch_name(auth_id)
        await self._store.execute(
            "INSERT INTO lrs_switches (name, auth_id, set_ms) VALUES (?, ?, ?) ON CONFLICT (name) DO NOTHING", (name, raw, self._now_ms())
        )
        await self._tell()

    async def resume(self, auth_id: str | None) -> bool:
        """Takes a switch back. False when it was not set."""
        was_set = await self._store.execute("DELETE FROM lrs_switches WHERE name = ?", (_switch_name(auth_id)[0],)) > 0
        await self._tell()
        return was_set

    async def _tell(self) -> None:
        if self.on_switches is not None:
            self.on_switches(await self.read_switches())

    async def switches(self) -> list[Switch]:
        """The switches that are set, the global one first."""
        rows = await self._store.query("SELECT name, auth_id, set_ms FROM lrs_switches ORDER BY set_ms")
        found = [Switch(None if name == GLOBAL_SWITCH else bytes_text(bytes(raw)), set_ms) for name, raw, set_ms in rows]
        return sorted(found, key=lambda switch: switch.auth_id is not None)

    async def read_switches(self) -> Switches:
        """The switches as payments are judged by them."""
        switches = Switches()
        for name, raw in await self._store.query("SELECT name, auth_id FROM lrs_switches"):
            switches = add_switch(switches, name, bytes(raw))
        return switches

    async def put_setting(self, name: str, value: str | None) -> None:
        """A value that all processes share, such as ceilings changed at runtime; None removes it."""
        if value is None:
            await self._store.execute("DELETE FROM lrs_settings WHERE name = ?", (name,))
            return
        await self._store.execute(
            """INSERT INTO lrs_settings (name, value, set_ms) VALUES (?, ?, ?)
            ON CONFLICT (name) DO UPDATE SET value = excluded.value, set_ms = excluded.set_ms""",
            (name, value, self._now_ms()),
        )

    async def settings(self) -> dict[str, str]:
        """All shared values."""
        return dict(await self._store.query("SELECT name, value FROM lrs_settings"))

    async def usage(self) -> list[BudgetUse]:
        """How full every budget is, for every spender it was counted for, fullest first."""
        rows = await self._store.query("SELECT key, amounts FROM lrs_usage")
        return budget_uses(self._budgets, {key: parse_usage(amounts) for key, amounts in rows}, self._clock_ns())

    async def spend(self, since_ms: int, until_ms: int | None = None) -> list[SpendLine]:
        """Spending by minute, auth id and orchestrator, oldest first; times in unix milliseconds."""
        rows = await self._store.query(
            """SELECT minute, auth_id, orchestrator, payments, tickets, ev_wei, face_value_wei, fee_wei FROM lrs_spend
            WHERE minute >= ? AND minute <= ? ORDER BY minute""",
            (since_ms // 60_000, (self._now_ms() if until_ms is None else until_ms) // 60_000),
        )
        lines: dict[tuple[int, bytes, bytes], SpendSum] = {}
        for minute, auth_id, orchestrator, *figures in rows:
            key = (minute, bytes(auth_id), bytes(orchestrator))
            lines[key] = SpendSum(*(a + int(b) for a, b in zip(lines.get(key, SpendSum()), figures, strict=True)))
        return [SpendLine(minute, bytes_text(auth_id), orchestrator, paid) for (minute, auth_id, orchestrator), paid in lines.items()]

    async def sessions(self, since_ms: int) -> int:
        """How many sessions started at or after a time and are still remembered."""
        rows = await self._store.query("SELECT count(*) FROM lrs_payments WHERE seq = 0 AND made_ms >= ?", (since_ms,))
        count: int = rows[0][0]
        return count

    def _now_ms(self) -> int:
        return self._clock_ns() // NS_PER_MS


def _switch_name(auth_id: str | None) -> tuple[str, bytes]:
    """A switch's row: its name in ASCII, whatever the auth id holds."""
    if auth_id is None:
        return GLOBAL_SWITCH, b""
    return json.dumps(["auth_id", auth_id]), text_bytes(auth_id)
