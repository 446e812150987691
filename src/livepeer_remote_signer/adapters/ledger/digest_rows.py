"""The digests over a ledger's payments: their rows in both databases, and the statements on them.

`lrs_digests` has the lines, each written by the process that it is of, until it is closed; `lrs_closings` the closed minutes.
A line that is closed is not changed any more: who would add to it begins another one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from livepeer_remote_signer.adapters.ledger.digest_store import ChainedPayment
from livepeer_remote_signer.adapters.ledger.store import Row
from livepeer_remote_signer.core.protocol.state import parse_state
from livepeer_remote_signer.core.rules.digests import Closing, Line, LineHead, LineName, PaymentName, line_tag

_PUT = """INSERT INTO lrs_digests (minute, tag, payments, digest) {values}
ON CONFLICT (minute, tag) DO UPDATE SET payments = excluded.payments, digest = excluded.digest WHERE lrs_digests.closing IS NULL"""
SQLITE_PUT = _PUT.format(values="VALUES (?, ?, ?, ?)")
POSTGRES_PUT = _PUT.format(values="SELECT * FROM unnest(%s::bigint[], %s::bytea[], %s::bigint[], %s::bytea[])")

OLDEST_OPEN = "SELECT min(minute) FROM lrs_digests WHERE closing IS NULL"
NEWEST_CLOSING = "SELECT number, minute, closed_ms, payments, lines, digest FROM lrs_closings ORDER BY number DESC LIMIT 1"
_OPEN_LINES = "SELECT minute, tag, payments, digest FROM lrs_digests WHERE closing IS NULL AND minute = {mark}"
_CLOSE = "UPDATE lrs_digests SET closing = {mark} WHERE closing IS NULL AND minute = {mark}"
_NEW_CLOSING = """INSERT INTO lrs_closings (number, minute, closed_ms, payments, lines, digest)
VALUES ({mark}, {mark}, {mark}, {mark}, {mark}, {mark})"""
_CLOSINGS = """SELECT number, minute, closed_ms, payments, lines, digest FROM lrs_closings
WHERE number > {mark} ORDER BY number LIMIT {mark}"""
_LINES = """SELECT minute, tag, payments, digest, closing FROM lrs_digests
WHERE (minute, tag) > ({mark}, {mark}) AND closing IS NOT NULL ORDER BY minute, tag LIMIT {mark}"""
_PAYMENTS = """SELECT id, made_ms, state_id, seq, digest, auth_id, state, account FROM lrs_payments
WHERE (made_ms, id) > ({mark}, {mark}) AND account IS NOT NULL ORDER BY made_ms, id LIMIT {mark}"""


class Statements(NamedTuple):
    """Those that take values, as one of the databases marks them."""

    open_lines: str
    close: str
    new_closing: str
    closings: str
    lines: str
    payments: str


def _marked(mark: str) -> Statements:
    return Statements(*(text.format(mark=mark) for text in (_OPEN_LINES, _CLOSE, _NEW_CLOSING, _CLOSINGS, _LINES, _PAYMENTS)))


SQLITE, POSTGRES = _marked("?"), _marked("%s")

_OLD_LINES = "FROM lrs_digests WHERE closing IS NOT NULL AND minute < {before} / 60000 ORDER BY minute LIMIT {limit}"
SQLITE_FORGET_LINES = f"DELETE FROM lrs_digests WHERE (minute, tag) IN (SELECT minute, tag {_OLD_LINES.format(before='?', limit='?')})"  # noqa: S608
POSTGRES_FORGET_LINES = f"""WITH old AS (DELETE FROM lrs_digests WHERE ctid = ANY(ARRAY(SELECT ctid
    {_OLD_LINES.format(before="%(before)s", limit="%(limit)s")} FOR UPDATE SKIP LOCKED)) RETURNING 1)"""  # noqa: S608

# in their order, and never the newest: what is left is a chain
_OLD_CLOSINGS = """WITH given (before, most) AS (SELECT {before}, {limit}),
    oldest AS (SELECT number, closed_ms FROM lrs_closings WHERE number > 0 ORDER BY number LIMIT (SELECT most FROM given))
    SELECT number FROM oldest WHERE number < (SELECT max(number) FROM lrs_closings)
    AND number < (SELECT coalesce(min(number), 9223372036854775807) FROM oldest WHERE closed_ms >= (SELECT before FROM given))"""
SQLITE_FORGET_CLOSINGS = f"DELETE FROM lrs_closings WHERE number IN ({_OLD_CLOSINGS.format(before='?', limit='?')})"  # noqa: S608
POSTGRES_FORGET_CLOSINGS = f"""WITH old AS (DELETE FROM lrs_closings WHERE number = ANY(ARRAY(
    {_OLD_CLOSINGS.format(before="%(before)s::bigint", limit="%(limit)s::bigint")})) RETURNING 1)"""  # noqa: S608
OLDEST_LINE = "(SELECT min(minute) * 60000 FROM lrs_digests)"
OLDEST_CLOSING = "(SELECT closed_ms FROM lrs_closings WHERE number = (SELECT min(number) FROM lrs_closings))"


def head_rows(heads: Mapping[LineName, LineHead], writer: str) -> list[Row]:
    """Lines as both databases take them."""
    return [(name.minute, line_tag(writer, name.part), head.payments, head.digest) for name, head in heads.items()]


def line_of(row: Row) -> Line:
    """A row of minute, tag, payments and digest."""
    minute, tag, payments, digest = row
    return Line(minute, bytes(tag), payments, bytes(digest))


def closing_of(row: Row) -> Closing:
    """A row of `lrs_closings`."""
    number, minute, closed_ms, payments, lines, digest = row
    return Closing(number, minute, closed_ms, payments, bytes(lines), bytes(digest))


def payment_of(row: Row) -> ChainedPayment:
    """A row of what `payments` asks."""
    id, made_ms, state_id, seq, digest, auth_id, state, account = row
    orchestrator = parse_state(bytes(state)).orchestrator_address
    return ChainedPayment(id, PaymentName(bytes(state_id), seq, bytes(digest), bytes(auth_id), orchestrator, made_ms), bytes(account))
