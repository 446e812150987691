"""An auth id's sessions, found by the index of what began them: the statements of both databases."""

from __future__ import annotations

from collections.abc import Sequence

from livepeer_remote_signer.adapters.ledger.store import Row
from livepeer_remote_signer.core.protocol.state import parse_state
from livepeer_remote_signer.core.rules.caller_usage import OpenSession

MOST_LOOKED_AT = 1000
"""Of an auth id's sessions, the last begun first: who begins more within the retention has some that are not found."""

_OPEN = f"""SELECT begun.made_ms, newest.made_ms, newest.state
    FROM (SELECT state_id, made_ms FROM lrs_payments WHERE seq = 0 AND auth_id = {{mark}}
        ORDER BY made_ms DESC LIMIT {MOST_LOOKED_AT}) begun
    JOIN lrs_payments newest ON newest.state_id = begun.state_id
        AND newest.seq = (SELECT max(seq) FROM lrs_payments last WHERE last.state_id = begun.state_id)
    WHERE newest.made_ms >= {{mark}} ORDER BY newest.made_ms DESC, newest.state_id LIMIT {{mark}}"""  # noqa: S608 - our own number

SQLITE_OPEN = _OPEN.format(mark="?")
POSTGRES_OPEN = _OPEN.format(mark="%s")


def open_sessions_of(rows: Sequence[Row]) -> list[OpenSession]:
    """What either statement finds."""
    return [OpenSession(started_ms, paid_ms, parse_state(bytes(state))) for started_ms, paid_ms, state in rows]
