"""The ledger's statements in PostgreSQL. `steps` has the tables."""

from __future__ import annotations

from livepeer_remote_signer.adapters.ledger import daily, digest_rows
from livepeer_remote_signer.adapters.ledger.store import MAX_LEASE_MS, Aging

SETUP_LOCK = 0x4C52_5300
"""Of pg_advisory_lock: processes that start together make the tables one after the other."""

SETUP_SETTINGS = "SET LOCAL lock_timeout = '10s'; SET LOCAL statement_timeout = '15min'"
"""An index over millions of rows takes its time, and payments wait for it."""

LOCK_TABLES = (
    "LOCK TABLE lrs_usage IN ACCESS EXCLUSIVE MODE",
    "LOCK TABLE lrs_sessions, lrs_nonces, lrs_payments, lrs_spend, lrs_outbox, lrs_switches IN SHARE ROW EXCLUSIVE MODE",
)
"""For the setup: all that steps change, in the order in which payments write it, before any of it is changed. A payment in
work then ends first; locked one after the other as the steps come to them, tables would be waited for in a circle."""

META = "SELECT name, value FROM lrs_meta WHERE name IN ('schema_version', 'schema_step')"
PUT_META = "INSERT INTO lrs_meta (name, value) VALUES (%s, %s) ON CONFLICT (name) DO UPDATE SET value = excluded.value"

BOUNDS = """SELECT set_config('lock_timeout', %s, %s), set_config('statement_timeout', %s, %s),
    set_config('idle_in_transaction_session_timeout', %s, %s), set_config('synchronous_commit',
        CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on' ELSE current_setting('synchronous_commit') END, %s)"""
BOUNDS_SINCE_17 = BOUNDS + ", set_config('transaction_timeout', %s, %s)"
"""A replica that hangs inside a transaction is cut off, so that the others can go on; a commit is on disk when it returns."""

REARM = "SELECT 1"
"""Psycopg ends a pipeline with a flush, which stops the server's clock of an idle transaction until the next statement: where
there is no clock of the whole transaction, one more statement follows."""

SWITCHES_VERSION = "SELECT value::bigint FROM lrs_meta WHERE name = 'switches_version'"
SWITCH_CHANGES = "SELECT version, name, auth_id, is_set FROM lrs_switch_log WHERE version > %s AND version <= %s ORDER BY version"
ALL_SWITCHES = "SELECT name, auth_id FROM lrs_switches"
LIST_SWITCHES = "SELECT name, auth_id, set_ms FROM lrs_switches ORDER BY set_ms DESC, name DESC LIMIT %s"
SETTINGS = "SELECT name, value FROM lrs_settings"
REMOVE_SETTING = "DELETE FROM lrs_settings WHERE name = %s"
PUT_SETTING = """INSERT INTO lrs_settings (name, value, set_ms) VALUES (%s, %s, %s)
ON CONFLICT (name) DO UPDATE SET value = excluded.value, set_ms = excluded.set_ms"""
KEEP_SETTING = """INSERT INTO lrs_settings AS kept (name, value, set_ms) VALUES (%s, %s, %s)
ON CONFLICT (name) DO UPDATE SET name = kept.name RETURNING kept.value"""
PROBE = "INSERT INTO lrs_meta (name, value) VALUES ('probe', %s) ON CONFLICT (name) DO UPDATE SET value = excluded.value"

MAKE_USAGE = "INSERT INTO lrs_usage (key, amounts, expires_ms) SELECT k, '[]', 0 FROM unnest(%s::text[]) AS k ON CONFLICT DO NOTHING"
LOAD_USAGE = "SELECT key, amounts FROM lrs_usage WHERE key = ANY(%s::text[]) ORDER BY key FOR UPDATE"
LOAD_TIPS = "SELECT state_id, seq, made_ms FROM lrs_sessions WHERE state_id = ANY(%s::bytea[]) ORDER BY state_id FOR UPDATE"
LOAD_NONCES = "SELECT rand_hash, last_nonce, signed FROM lrs_nonces WHERE rand_hash = ANY(%s::bytea[]) ORDER BY rand_hash FOR UPDATE"
LOAD_KEYS = "SELECT idempotency_key FROM lrs_payments WHERE idempotency_key = ANY(%s::bytea[])"
LOAD_HEALED = """SELECT p.state_id, p.digest FROM unnest(%s::bytea[], %s::bytea[]) AS u (state_id, digest)
JOIN lrs_payments p ON p.state_id = u.state_id AND p.digest = u.digest AND p.is_healed = 1"""

READ_USAGE = "SELECT key, amounts FROM lrs_usage WHERE key = ANY(%s::text[])"
READ_NONCES = "SELECT rand_hash, last_nonce FROM lrs_nonces WHERE rand_hash = ANY(%s::bytea[])"
READ_TIPS = "SELECT state_id, seq, made_ms FROM lrs_sessions WHERE state_id = ANY(%s::bytea[])"

NEW_TIPS = """INSERT INTO lrs_sessions (state_id, seq, made_ms)
SELECT * FROM unnest(%s::bytea[], %s::bigint[], %s::bigint[]) ON CONFLICT DO NOTHING"""
MOVE_TIPS = """UPDATE lrs_sessions SET seq = u.seq, made_ms = u.made_ms
FROM unnest(%s::bytea[], %s::bigint[], %s::bigint[]) AS u (state_id, seq, made_ms) WHERE lrs_sessions.state_id = u.state_id"""
NEW_NONCES = """INSERT INTO lrs_nonces (rand_hash, last_nonce, used_ms, signed)
SELECT * FROM unnest(%s::bytea[], %s::bigint[], %s::bigint[], %s::bytea[]) ON CONFLICT DO NOTHING"""
MOVE_NONCES = """UPDATE lrs_nonces SET last_nonce = u.last_nonce, used_ms = u.used_ms, signed = u.signed
FROM unnest(%s::bytea[], %s::bigint[], %s::bigint[], %s::bytea[]) AS u (rand_hash, last_nonce, used_ms, signed)
WHERE lrs_nonces.rand_hash = u.rand_hash"""
MOVE_USAGE = """UPDATE lrs_usage SET amounts = u.amounts, expires_ms = u.expires_ms, touched_ms = u.touched_ms
FROM unnest(%s::text[], %s::text[], %s::bigint[], %s::bigint[]) AS u (key, amounts, expires_ms, touched_ms) WHERE lrs_usage.key = u.key"""
NEW_PAYMENTS = """INSERT INTO lrs_payments (state_id, seq, digest, auth_id, idempotency_key, is_healed, made_ms, state, kept, account)
SELECT * FROM unnest(%s::bytea[], %s::bigint[], %s::bytea[], %s::bytea[], %s::bytea[],
    %s::smallint[], %s::bigint[], %s::bytea[], %s::bytea[], %s::bytea[])
ON CONFLICT DO NOTHING"""
NEW_EVENTS = """INSERT INTO lrs_outbox (made_ms, payload)
SELECT made_ms, payload FROM unnest(%s::bigint[], %s::bytea[]) WITH ORDINALITY AS u (made_ms, payload, place) ORDER BY place"""
PUT_SPEND = """INSERT INTO lrs_spend (minute, writer, auth_id, orchestrator, payments, tickets, ev_wei, face_value_wei, fee_wei)
SELECT * FROM unnest(%s::bigint[], %s::text[], %s::bytea[], %s::bytea[], %s::bigint[], %s::bigint[], %s::text[], %s::text[], %s::text[])
ON CONFLICT (minute, writer, auth_id, orchestrator) DO UPDATE SET payments = excluded.payments, tickets = excluded.tickets,
ev_wei = excluded.ev_wei, face_value_wei = excluded.face_value_wei, fee_wei = excluded.fee_wei"""
PUT_DRAWS = """INSERT INTO lrs_draws (minute, writer, recipient, round, terms, tickets, winners, face_value_wei)
SELECT * FROM unnest(%s::bigint[], %s::text[], %s::bytea[], %s::bigint[], %s::bigint[], %s::bigint[], %s::text[], %s::text[])
ON CONFLICT (minute, writer, recipient, round, terms) DO UPDATE SET tickets = excluded.tickets, winners = excluded.winners,
face_value_wei = excluded.face_value_wei"""

ANSWER = "SELECT digest, auth_id, kept, state FROM lrs_payments WHERE "
NEWEST_STATE = "SELECT state FROM lrs_payments WHERE state_id = %s ORDER BY seq DESC LIMIT 1"

USAGE = "SELECT key, amounts FROM lrs_usage WHERE key > %s ORDER BY key LIMIT %s"
DRAWN_BY = """SELECT (SELECT count(*) FROM lrs_followed), sum(paid_wei::numeric) FROM lrs_redeemed
WHERE payer = %s AND found_ms >= %s AND found_ms < %s AND verdict = 'ours' AND is_gone = 0"""
USAGE_OF = "SELECT key, amounts FROM lrs_usage WHERE key = ANY(%s::text[])"
_SPEND_SUMS = """sum(payments), sum(tickets), sum(ev_wei::numeric), sum(face_value_wei::numeric), sum(fee_wei::numeric)
FROM lrs_spend WHERE minute BETWEEN %s AND %s"""
SPEND_OVER_TIME = f"SELECT minute / %s, {_SPEND_SUMS} GROUP BY 1 ORDER BY 1"
SPEND_OF = {by: f"SELECT {by}, minute / %s, {_SPEND_SUMS} AND {by} = ANY(%s::bytea[]) GROUP BY 1, 2" for by in ("auth_id", "orchestrator")}
LARGEST_SPEND = {
    by: f"""SELECT {by}, count(*) OVER () FROM lrs_spend WHERE minute BETWEEN %s AND %s
    GROUP BY {by} ORDER BY sum(ev_wei::numeric) DESC, {by} LIMIT %s"""  # noqa: S608 - our own names
    for by in ("auth_id", "orchestrator")
}
SESSIONS_STARTED = "SELECT count(*) FROM lrs_payments WHERE seq = 0 AND made_ms >= %s"

UNSENT = "SELECT id, made_ms, payload FROM lrs_outbox WHERE sent = 0 AND id > %s ORDER BY id LIMIT %s"
SINCE = "SELECT id, made_ms, payload FROM lrs_outbox WHERE id > %s AND made_ms >= %s ORDER BY id LIMIT %s"
FIRST_SINCE = """SELECT least((SELECT min(id) FROM lrs_outbox WHERE sent = 1 AND made_ms >= %s),
    (SELECT min(id) FROM lrs_outbox WHERE sent = 0 AND made_ms >= %s))"""
MARK_SENT = "UPDATE lrs_outbox SET sent = 1 WHERE id = ANY(%s::bigint[])"
BACKLOG = """SELECT (SELECT count(*) FROM lrs_outbox WHERE sent = 0),
    (SELECT made_ms FROM lrs_outbox WHERE sent = 0 ORDER BY id LIMIT 1), (SELECT count(*) FROM lrs_parked)"""
PARK = """INSERT INTO lrs_parked (id, sink, reason, parked_ms, made_ms, payload) VALUES (%s, %s, %s, %s, %s, %s)
ON CONFLICT (id, sink) DO UPDATE SET reason = excluded.reason, parked_ms = excluded.parked_ms"""
PARKED = """SELECT id, sink, reason, parked_ms, made_ms, payload FROM lrs_parked WHERE (id, sink) > (%s, %s)
ORDER BY id, sink LIMIT %s"""
UNPARK = "DELETE FROM lrs_parked WHERE id = %s AND sink = %s"
SINK_FAULTS = "SELECT name, fault FROM lrs_sinks"
CLEAR_SINK_FAULT = "DELETE FROM lrs_sinks WHERE name = %s"
PUT_SINK_FAULT = """INSERT INTO lrs_sinks (name, fault, since_ms) VALUES (%s, %s, %s)
ON CONFLICT (name) DO UPDATE SET fault = excluded.fault, since_ms = excluded.since_ms"""
DROP_UNSENT = """DELETE FROM lrs_outbox WHERE sent = 0
AND id <= (SELECT id FROM lrs_outbox WHERE sent = 0 ORDER BY id DESC LIMIT 1 OFFSET %s)"""
_NOW_MS = "(extract(epoch FROM clock_timestamp()) * 1000)::bigint"
"""The database's clock: leases of several hosts need one clock."""
TAKE_LEASE = f"""INSERT INTO lrs_leases (name, holder, until_ms) VALUES (%s, %s, {_NOW_MS} + %s)
ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until_ms = excluded.until_ms
WHERE lrs_leases.holder = excluded.holder OR lrs_leases.until_ms NOT BETWEEN {_NOW_MS} AND {_NOW_MS} + {MAX_LEASE_MS}
RETURNING holder"""  # noqa: S608 - our own SQL
GIVE_LEASE = "DELETE FROM lrs_leases WHERE name = %s AND holder = %s"

OLDEST = f"""SELECT (SELECT min(made_ms) FROM lrs_payments), (SELECT min(used_ms) FROM lrs_nonces),
    (SELECT min(made_ms) FROM lrs_outbox WHERE sent = 1), (SELECT min(minute) * 60000 FROM lrs_spend),
    (SELECT min(expires_ms) FROM lrs_usage WHERE expires_ms IS NOT NULL), (SELECT min(minute) * 60000 FROM lrs_draws),
    (SELECT min(day) * 86400000 FROM lrs_daily), (SELECT min(made_ms) FROM lrs_seg_creds),
    (SELECT min(forget_ms) FROM lrs_api_keys WHERE forget_ms IS NOT NULL),
    (SELECT min(forget_ms) FROM lrs_user_budgets WHERE forget_ms IS NOT NULL), (SELECT min(at_ms) FROM lrs_audit),
    (SELECT min(made_ms) FROM lrs_admin_requests), (SELECT min(found_ms) FROM lrs_redeemed),
    {digest_rows.OLDEST_LINE}, {digest_rows.OLDEST_CLOSING}"""  # noqa: S608 - our own names
"""In the order of AGING."""

_FORGET_BY: dict[Aging, tuple[str, str]] = {
    "api_keys": ("lrs_api_keys", "forget_ms"),
    "user_budgets": ("lrs_user_budgets", "forget_ms"),
    "audit": ("lrs_audit", "at_ms"),
    "admin_requests": ("lrs_admin_requests", "made_ms"),
    "redeemed": ("lrs_redeemed", "found_ms"),
}


def _forget(table: str, column: str) -> str:
    return f"""WITH old AS (DELETE FROM {table} WHERE ctid = ANY(ARRAY(SELECT ctid FROM {table} WHERE {column} IS NOT NULL
        AND {column} < %(before)s ORDER BY {column} LIMIT %(limit)s FOR UPDATE SKIP LOCKED)) RETURNING 1)"""  # noqa: S608 - our own names


FORGET: dict[Aging, str] = {
    # with a session's newest payment goes the session's place; a row that a payment holds is left for the next step
    "payments": """WITH old AS (DELETE FROM lrs_payments WHERE id = ANY(ARRAY(SELECT id FROM lrs_payments
        WHERE made_ms < %(before)s ORDER BY made_ms LIMIT %(limit)s FOR UPDATE SKIP LOCKED)) RETURNING state_id, seq),
    places AS (DELETE FROM lrs_sessions WHERE state_id = ANY(ARRAY(SELECT s.state_id FROM lrs_sessions s JOIN old
        ON old.state_id = s.state_id AND old.seq = s.seq WHERE s.made_ms < %(before)s FOR UPDATE OF s SKIP LOCKED)))""",
    "nonces": """WITH old AS (DELETE FROM lrs_nonces WHERE rand_hash = ANY(ARRAY(SELECT rand_hash FROM lrs_nonces
        WHERE used_ms < %(before)s ORDER BY used_ms LIMIT %(limit)s FOR UPDATE SKIP LOCKED)) RETURNING 1)""",
    "events": """WITH old AS (DELETE FROM lrs_outbox WHERE id = ANY(ARRAY(SELECT id FROM lrs_outbox WHERE sent = 1
        AND made_ms < %(before)s ORDER BY made_ms LIMIT %(limit)s FOR UPDATE SKIP LOCKED)) RETURNING 1)""",
    "spend": """WITH old AS (DELETE FROM lrs_spend WHERE ctid = ANY(ARRAY(SELECT ctid FROM lrs_spend
        WHERE minute < %(before)s / 60000 ORDER BY minute LIMIT %(limit)s FOR UPDATE SKIP LOCKED)) RETURNING 1)""",
    "usage": """WITH old AS (DELETE FROM lrs_usage WHERE key = ANY(ARRAY(SELECT key FROM lrs_usage WHERE expires_ms IS NOT NULL
        AND expires_ms < %(before)s ORDER BY expires_ms LIMIT %(limit)s FOR UPDATE SKIP LOCKED)) RETURNING 1)""",
    "draws": """WITH old AS (DELETE FROM lrs_draws WHERE ctid = ANY(ARRAY(SELECT ctid FROM lrs_draws
        WHERE minute < %(before)s / 60000 ORDER BY minute LIMIT %(limit)s FOR UPDATE SKIP LOCKED)) RETURNING 1)""",
    "days": daily.POSTGRES_FORGET,
    "digests": digest_rows.POSTGRES_FORGET_LINES,
    "closings": digest_rows.POSTGRES_FORGET_CLOSINGS,
    "seg_creds": """WITH old AS (DELETE FROM lrs_seg_creds WHERE message = ANY(ARRAY(SELECT message FROM lrs_seg_creds
        WHERE made_ms < %(before)s ORDER BY made_ms LIMIT %(limit)s FOR UPDATE SKIP LOCKED)) RETURNING 1)""",
    **{kind: _forget(table, column) for kind, (table, column) in _FORGET_BY.items()},
}
FORGOTTEN = " SELECT count(*), extract(epoch FROM clock_timestamp() - statement_timestamp())::float8 FROM old"
"""The end of each: what went, and how long the server worked at it. The client's clock also counts the time until it listens."""

LIST_USAGE = "SELECT key, touched_ms FROM lrs_usage WHERE key > %s ORDER BY key LIMIT %s"
TOUCH_USAGE = """UPDATE lrs_usage SET touched_ms = %s WHERE key = ANY(ARRAY(SELECT key FROM lrs_usage
WHERE key = ANY(%s::text[]) AND touched_ms IS NULL FOR UPDATE SKIP LOCKED))"""
FORGET_USAGE = """DELETE FROM lrs_usage WHERE key = ANY(ARRAY(SELECT key FROM lrs_usage
WHERE key = ANY(%s::text[]) AND touched_ms < %s FOR UPDATE SKIP LOCKED))"""
NEXT_SESSION = "SELECT state_id FROM lrs_sessions WHERE state_id > %s ORDER BY state_id LIMIT 1 OFFSET %s"
SWEEP_SESSIONS = """DELETE FROM lrs_sessions WHERE state_id = ANY(ARRAY(SELECT state_id FROM lrs_sessions
WHERE state_id > %(after)s AND (%(end)s::bytea IS NULL OR state_id <= %(end)s) AND made_ms < %(before)s FOR UPDATE SKIP LOCKED))"""
