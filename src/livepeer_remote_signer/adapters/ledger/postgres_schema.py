"""The ledger's tables and statements in PostgreSQL.

`lrs_sessions` holds the newest place of each session: its row is what several replicas queue for. Big whole numbers are
text: nothing is calculated in the database.
"""

from __future__ import annotations

SCHEMA = """
CREATE TABLE IF NOT EXISTS lrs_meta (name text PRIMARY KEY, value text NOT NULL);
CREATE TABLE IF NOT EXISTS lrs_sessions (state_id bytea PRIMARY KEY, seq bigint NOT NULL, made_ms bigint NOT NULL);
CREATE TABLE IF NOT EXISTS lrs_payments (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, state_id bytea NOT NULL, seq bigint NOT NULL, digest bytea NOT NULL,
    auth_id bytea NOT NULL, idempotency_key bytea, is_healed smallint NOT NULL, made_ms bigint NOT NULL, state bytea NOT NULL,
    kept bytea NOT NULL);
CREATE UNIQUE INDEX IF NOT EXISTS lrs_payments_place ON lrs_payments (state_id, seq);
CREATE INDEX IF NOT EXISTS lrs_payments_healed ON lrs_payments (state_id, digest) WHERE is_healed = 1;
CREATE UNIQUE INDEX IF NOT EXISTS lrs_payments_key ON lrs_payments (idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE TABLE IF NOT EXISTS lrs_nonces (rand_hash bytea PRIMARY KEY, last_nonce bigint NOT NULL, used_ms bigint NOT NULL);
CREATE TABLE IF NOT EXISTS lrs_usage (key text COLLATE "C" PRIMARY KEY, amounts text NOT NULL, expires_ms bigint);
CREATE TABLE IF NOT EXISTS lrs_spend (
    minute bigint NOT NULL, writer text NOT NULL, auth_id bytea NOT NULL, orchestrator bytea NOT NULL, payments bigint NOT NULL,
    tickets bigint NOT NULL, ev_wei text NOT NULL, face_value_wei text NOT NULL, fee_wei text NOT NULL,
    PRIMARY KEY (minute, writer, auth_id, orchestrator));
CREATE TABLE IF NOT EXISTS lrs_outbox (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, made_ms bigint NOT NULL, sent smallint NOT NULL DEFAULT 0, payload bytea NOT NULL);
CREATE INDEX IF NOT EXISTS lrs_outbox_pending ON lrs_outbox (id) WHERE sent = 0;
CREATE TABLE IF NOT EXISTS lrs_switches (name text PRIMARY KEY, auth_id bytea NOT NULL, set_ms bigint NOT NULL);
CREATE TABLE IF NOT EXISTS lrs_leases (name text PRIMARY KEY, holder text NOT NULL, until_ms bigint NOT NULL);
CREATE TABLE IF NOT EXISTS lrs_settings (name text PRIMARY KEY, value text NOT NULL, set_ms bigint NOT NULL);
"""

SETUP_LOCK = 0x4C52_5300
"""Of pg_advisory_lock: processes that start together make the tables one after the other."""

SESSION_SETTINGS = """
SET lock_timeout = '3s';
SET statement_timeout = '10s';
SET idle_in_transaction_session_timeout = '5s';
SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off';
"""
"""A replica that hangs inside a transaction is cut off, so that the others can go on; a commit is on disk when it returns."""

LOAD_SWITCHES = "SELECT name, auth_id FROM lrs_switches"
MAKE_USAGE = "INSERT INTO lrs_usage (key, amounts, expires_ms) SELECT k, '[]', 0 FROM unnest(%s::text[]) AS k ON CONFLICT DO NOTHING"
LOAD_USAGE = "SELECT key, amounts FROM lrs_usage WHERE key = ANY(%s::text[]) ORDER BY key FOR UPDATE"
LOAD_TIPS = "SELECT state_id, seq, made_ms FROM lrs_sessions WHERE state_id = ANY(%s::bytea[]) ORDER BY state_id FOR UPDATE"
LOAD_NONCES = "SELECT rand_hash, last_nonce FROM lrs_nonces WHERE rand_hash = ANY(%s::bytea[]) ORDER BY rand_hash FOR UPDATE"
LOAD_KEYS = "SELECT idempotency_key FROM lrs_payments WHERE idempotency_key = ANY(%s::bytea[])"
LOAD_HEALED = """SELECT p.state_id, p.digest FROM unnest(%s::bytea[], %s::bytea[]) AS u (state_id, digest)
JOIN lrs_payments p ON p.state_id = u.state_id AND p.digest = u.digest AND p.is_healed = 1"""

READ_TIPS = "SELECT state_id, seq, made_ms FROM lrs_sessions WHERE state_id = ANY(%s::bytea[])"

NEW_TIPS = """INSERT INTO lrs_sessions (state_id, seq, made_ms)
SELECT * FROM unnest(%s::bytea[], %s::bigint[], %s::bigint[]) ON CONFLICT DO NOTHING"""
MOVE_TIPS = """UPDATE lrs_sessions SET seq = u.seq, made_ms = u.made_ms
FROM unnest(%s::bytea[], %s::bigint[], %s::bigint[]) AS u (state_id, seq, made_ms) WHERE lrs_sessions.state_id = u.state_id"""
NEW_NONCES = """INSERT INTO lrs_nonces (rand_hash, last_nonce, used_ms)
SELECT * FROM unnest(%s::bytea[], %s::bigint[], %s::bigint[]) ON CONFLICT DO NOTHING"""
MOVE_NONCES = """UPDATE lrs_nonces SET last_nonce = u.last_nonce, used_ms = u.used_ms
FROM unnest(%s::bytea[], %s::bigint[], %s::bigint[]) AS u (rand_hash, last_nonce, used_ms) WHERE lrs_nonces.rand_hash = u.rand_hash"""
MOVE_USAGE = """UPDATE lrs_usage SET amounts = u.amounts, expires_ms = u.expires_ms
FROM unnest(%s::text[], %s::text[], %s::bigint[]) AS u (key, amounts, expires_ms) WHERE lrs_usage.key = u.key"""
NEW_PAYMENTS = """INSERT INTO lrs_payments (state_id, seq, digest, auth_id, idempotency_key, is_healed, made_ms, state, kept)
SELECT * FROM unnest(%s::bytea[], %s::bigint[], %s::bytea[], %s::bytea[], %s::bytea[],
    %s::smallint[], %s::bigint[], %s::bytea[], %s::bytea[])
ON CONFLICT DO NOTHING"""
NEW_EVENTS = """INSERT INTO lrs_outbox (made_ms, payload)
SELECT made_ms, payload FROM unnest(%s::bigint[], %s::bytea[]) WITH ORDINALITY AS u (made_ms, payload, place) ORDER BY place"""
PUT_SPEND = """INSERT INTO lrs_spend (minute, writer, auth_id, orchestrator, payments, tickets, ev_wei, face_value_wei, fee_wei)
SELECT * FROM unnest(%s::bigint[], %s::text[], %s::bytea[], %s::bytea[], %s::bigint[], %s::bigint[], %s::text[], %s::text[], %s::text[])
ON CONFLICT (minute, writer, auth_id, orchestrator) DO UPDATE SET payments = excluded.payments, tickets = excluded.tickets,
ev_wei = excluded.ev_wei, face_value_wei = excluded.face_value_wei, fee_wei = excluded.fee_wei"""

ANSWER = "SELECT digest, auth_id, kept, state FROM lrs_payments WHERE "
NEWEST_STATE = "SELECT state FROM lrs_payments WHERE state_id = %s ORDER BY seq DESC LIMIT 1"
