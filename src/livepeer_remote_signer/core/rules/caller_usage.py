"""What a caller may know of itself: what it has spent, what its budgets leave it, and its open sessions.

Budgets are those by auth id. Those of an app, an orchestrator and all callers together are counted for others too, and are
the operator's to know.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from livepeer_remote_signer.core.protocol.eip191 import checksum_address
from livepeer_remote_signer.core.protocol.state import SignerState
from livepeer_remote_signer.core.protocol.timestamps import NS_PER_MS, encode_rfc3339_ns
from livepeer_remote_signer.core.rules.budgets import BudgetUse
from livepeer_remote_signer.core.rules.figures import rounded
from livepeer_remote_signer.core.rules.usage import UsageQuery, UsageRow, UsageSum, describe_query, page_of

OPEN_SECONDS = 300
"""A session is open while its last payment is younger: no session that goes on pays more rarely."""

MAX_OPEN_SESSIONS = 100
"""Told of one caller, the last paid first."""


class OpenSession(NamedTuple):
    """A session that was paid for lately: when it began and was paid (its LastUpdate, unix milliseconds), and its newest state."""

    started_ms: int
    paid_ms: int
    state: SignerState

    def describe(self) -> dict[str, Any]:
        """As its caller reads it; names are those of the billing event."""
        state = self.state
        return {
            "session_id": state.state_id,
            "orchestrator": checksum_address(state.orchestrator_address),
            "app": state.app,
            "type": state.type,
            "started": encode_rfc3339_ns(self.started_ms * NS_PER_MS),
            "last_payment": encode_rfc3339_ns(self.paid_ms * NS_PER_MS),
            "payments": state.sequence_number + 1,
            "session_balance_wei": str(rounded(*state.balance.as_integer_ratio())),
        }


class CallerUsage(NamedTuple):
    """What is told. `rows` may be one more than a page has; so may `sessions`."""

    query: UsageQuery
    total: UsageSum
    rows: Sequence[UsageRow]
    budgets: Sequence[BudgetUse]
    sessions: Sequence[OpenSession]

    def describe(self) -> dict[str, Any]:
        """As its caller reads it."""
        page, cursor = page_of(self.query, self.rows)
        return {
            "auth_id": self.query.auth_id,
            **describe_query(self.query),
            "total": self.total.describe(),
            "rows": [row.describe() for row in page],
            "next_cursor": cursor,
            "budgets": [{name: text for name, text in use.describe().items() if name not in ("scope", "id")} for use in self.budgets],
            "open_sessions": [session.describe() for session in self.sessions[:MAX_OPEN_SESSIONS]],
            "more_open_sessions": len(self.sessions) > MAX_OPEN_SESSIONS,
        }
