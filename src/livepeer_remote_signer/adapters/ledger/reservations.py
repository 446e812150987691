"""Rows of reservations and of segment credentials, and their statements in both databases. `steps` has the tables.

A reservation is there until it ends: it is deleted in the transaction that records or releases it. So there are as many rows as
payments are being signed, and `core.rules.custody` says what may be done with them.
"""

from __future__ import annotations

from livepeer_remote_signer.adapters.ledger.store import Row, bytes_text, text_bytes
from livepeer_remote_signer.core.rules.reservation import Reservation

COLUMNS = "token, state_id, seq, digest, auth_id, idempotency_key, is_healed, reserved_ms, sender, plan, spent"

# --- SQLite ---

SQLITE_OF_SESSION = f"SELECT {COLUMNS} FROM lrs_reservations WHERE state_id = ?"  # noqa: S608 - our own names
SQLITE_OF_KEY = f"SELECT {COLUMNS} FROM lrs_reservations WHERE idempotency_key = ?"  # noqa: S608
SQLITE_SESSION_OF_KEY = "SELECT state_id FROM lrs_reservations WHERE idempotency_key = ?"
SQLITE_OLD = f"SELECT {COLUMNS} FROM lrs_reservations WHERE reserved_ms < ? OR reserved_ms > ? LIMIT ?"  # noqa: S608
SQLITE_NEW = f"INSERT INTO lrs_reservations ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608
SQLITE_END = "DELETE FROM lrs_reservations WHERE state_id = ? AND token = ?"
SQLITE_SEG_CREDS = "SELECT sig FROM lrs_seg_creds WHERE message = ?"
SQLITE_PUT_SEG_CREDS = "INSERT INTO lrs_seg_creds (message, sig, made_ms) VALUES (?, ?, ?) ON CONFLICT (message) DO NOTHING"

# --- PostgreSQL ---

LOAD = f"SELECT {COLUMNS} FROM lrs_reservations WHERE state_id = ANY(%s::bytea[]) ORDER BY state_id FOR UPDATE"  # noqa: S608
LOAD_KEYS = "SELECT idempotency_key, state_id FROM lrs_reservations WHERE idempotency_key = ANY(%s::bytea[])"
OF_SESSION = f"SELECT {COLUMNS} FROM lrs_reservations WHERE state_id = %s"  # noqa: S608
OF_KEY = f"SELECT {COLUMNS} FROM lrs_reservations WHERE idempotency_key = %s"  # noqa: S608
OLD = f"SELECT {COLUMNS} FROM lrs_reservations WHERE reserved_ms < %s OR reserved_ms > %s LIMIT %s"  # noqa: S608
NEW = f"""INSERT INTO lrs_reservations ({COLUMNS}) SELECT * FROM unnest(%s::bytea[], %s::bytea[], %s::bigint[], %s::bytea[], %s::bytea[],
    %s::bytea[], %s::smallint[], %s::bigint[], %s::bytea[], %s::bytea[], %s::bytea[]) ON CONFLICT DO NOTHING"""  # noqa: S608
END = """DELETE FROM lrs_reservations r USING unnest(%s::bytea[], %s::bytea[]) AS u (state_id, token)
WHERE r.state_id = u.state_id AND r.token = u.token"""
SEG_CREDS = "SELECT sig FROM lrs_seg_creds WHERE message = %s"
PUT_SEG_CREDS = """INSERT INTO lrs_seg_creds (message, sig, made_ms)
SELECT * FROM unnest(%s::bytea[], %s::bytea[], %s::bigint[]) ON CONFLICT DO NOTHING"""


def reservation_row(reservation: Reservation) -> Row:
    """A reservation as both databases take it: in the order of COLUMNS."""
    return (
        reservation.token,
        text_bytes(reservation.state_id),
        reservation.sequence_number,
        reservation.digest,
        text_bytes(reservation.auth_id),
        reservation.idempotency_key or None,
        int(reservation.is_healed),
        reservation.reserved_ms,
        reservation.sender,
        reservation.plan,
        reservation.spent,
    )


def reservation_of(row: Row) -> Reservation:
    """The reverse of `reservation_row`."""
    token, state_id, seq, digest, auth_id, key, is_healed, reserved_ms, sender, plan, spent = row
    return Reservation(
        token=bytes(token),
        state_id=bytes_text(bytes(state_id)),
        sequence_number=seq,
        digest=bytes(digest),
        auth_id=bytes_text(bytes(auth_id)),
        idempotency_key=bytes(key or b""),
        is_healed=bool(is_healed),
        reserved_ms=reserved_ms,
        sender=bytes(sender),
        plan=bytes(plan),
        spent=bytes(spent),
    )
