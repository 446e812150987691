"""The ledger's tables, as the numbered steps that made them: a file or a database takes the steps it lacks when it is opened.

Steps only add: tables, indexes, columns with a default, triggers. During a rolling update replicas of two releases use one
database; the older one neither knows nor needs what a step has added, and what it writes is read by the newer one. So
`SCHEMA_VERSION` stays as it is: it would grow with a step that an older release cannot live with, and a program refuses
tables whose version it does not know.

A release's steps are never changed afterwards; what is missing comes with the next number. Big whole numbers are text:
nothing is calculated in the database.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from livepeer_remote_signer.adapters.ledger.store import StoreFailed

SCHEMA_VERSION = 1
KEPT_SWITCH_CHANGES = 1000
"""Who is further behind reads all switches again."""


class Step(NamedTuple):
    """One change of the tables. Step 1 is taken by files that have its tables already: it must do nothing then."""

    number: int
    sqlite: Sequence[str]
    postgres: Sequence[str]


_REDEEMED_INDEXES = (
    "CREATE INDEX lrs_redeemed_found ON lrs_redeemed (found_ms)",
    "CREATE INDEX lrs_redeemed_block ON lrs_redeemed (sender, block)",
    "CREATE INDEX lrs_redeemed_round ON lrs_redeemed (sender, round)",
    "CREATE INDEX lrs_redeemed_verdict ON lrs_redeemed (sender, is_gone, verdict, found_ms)",
)

STEPS: Sequence[Step] = (
    Step(
        1,
        sqlite=(
            """CREATE TABLE IF NOT EXISTS lrs_payments (
                id INTEGER PRIMARY KEY, state_id BLOB NOT NULL, seq INTEGER NOT NULL, digest BLOB NOT NULL, auth_id BLOB NOT NULL,
                idempotency_key BLOB, is_healed INTEGER NOT NULL, made_ms INTEGER NOT NULL, state BLOB NOT NULL, kept BLOB NOT NULL)""",
            "CREATE UNIQUE INDEX IF NOT EXISTS lrs_payments_place ON lrs_payments (state_id, seq)",
            "CREATE INDEX IF NOT EXISTS lrs_payments_healed ON lrs_payments (state_id, digest) WHERE is_healed = 1",
            "CREATE UNIQUE INDEX IF NOT EXISTS lrs_payments_key ON lrs_payments (idempotency_key) WHERE idempotency_key IS NOT NULL",
            """CREATE TABLE IF NOT EXISTS lrs_nonces (
                rand_hash BLOB PRIMARY KEY, last_nonce INTEGER NOT NULL, used_ms INTEGER NOT NULL) WITHOUT ROWID""",
            "CREATE TABLE IF NOT EXISTS lrs_usage (key TEXT PRIMARY KEY, amounts TEXT NOT NULL, expires_ms INTEGER) WITHOUT ROWID",
            """CREATE TABLE IF NOT EXISTS lrs_spend (
                minute INTEGER NOT NULL, writer TEXT NOT NULL, auth_id BLOB NOT NULL, orchestrator BLOB NOT NULL, payments INTEGER NOT NULL,
                tickets INTEGER NOT NULL, ev_wei TEXT NOT NULL, face_value_wei TEXT NOT NULL, fee_wei TEXT NOT NULL,
                PRIMARY KEY (minute, writer, auth_id, orchestrator)) WITHOUT ROWID""",
            """CREATE TABLE IF NOT EXISTS lrs_outbox (
                id INTEGER PRIMARY KEY AUTOINCREMENT, made_ms INTEGER NOT NULL, sent INTEGER NOT NULL DEFAULT 0, payload BLOB NOT NULL)""",
            "CREATE INDEX IF NOT EXISTS lrs_outbox_pending ON lrs_outbox (id) WHERE sent = 0",
            "CREATE TABLE IF NOT EXISTS lrs_switches (name TEXT PRIMARY KEY, auth_id BLOB NOT NULL, set_ms INTEGER NOT NULL) WITHOUT ROWID",
            "CREATE TABLE IF NOT EXISTS lrs_leases (name TEXT PRIMARY KEY, holder TEXT NOT NULL, until_ms INTEGER NOT NULL) WITHOUT ROWID",
            "CREATE TABLE IF NOT EXISTS lrs_settings (name TEXT PRIMARY KEY, value TEXT NOT NULL, set_ms INTEGER NOT NULL) WITHOUT ROWID",
            "CREATE TABLE IF NOT EXISTS lrs_meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
        ),
        postgres=(  # lrs_sessions has the newest place of each session: its row is what several replicas queue for
            "CREATE TABLE IF NOT EXISTS lrs_meta (name text PRIMARY KEY, value text NOT NULL)",
            "CREATE TABLE IF NOT EXISTS lrs_sessions (state_id bytea PRIMARY KEY, seq bigint NOT NULL, made_ms bigint NOT NULL)",
            """CREATE TABLE IF NOT EXISTS lrs_payments (
                id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, state_id bytea NOT NULL, seq bigint NOT NULL, digest bytea NOT NULL,
                auth_id bytea NOT NULL, idempotency_key bytea, is_healed smallint NOT NULL, made_ms bigint NOT NULL, state bytea NOT NULL,
                kept bytea NOT NULL)""",
            "CREATE UNIQUE INDEX IF NOT EXISTS lrs_payments_place ON lrs_payments (state_id, seq)",
            "CREATE INDEX IF NOT EXISTS lrs_payments_healed ON lrs_payments (state_id, digest) WHERE is_healed = 1",
            "CREATE UNIQUE INDEX IF NOT EXISTS lrs_payments_key ON lrs_payments (idempotency_key) WHERE idempotency_key IS NOT NULL",
            "CREATE TABLE IF NOT EXISTS lrs_nonces (rand_hash bytea PRIMARY KEY, last_nonce bigint NOT NULL, used_ms bigint NOT NULL)",
            'CREATE TABLE IF NOT EXISTS lrs_usage (key text COLLATE "C" PRIMARY KEY, amounts text NOT NULL, expires_ms bigint)',
            """CREATE TABLE IF NOT EXISTS lrs_spend (
                minute bigint NOT NULL, writer text NOT NULL, auth_id bytea NOT NULL, orchestrator bytea NOT NULL, payments bigint NOT NULL,
                tickets bigint NOT NULL, ev_wei text NOT NULL, face_value_wei text NOT NULL, fee_wei text NOT NULL,
                PRIMARY KEY (minute, writer, auth_id, orchestrator))""",
            """CREATE TABLE IF NOT EXISTS lrs_outbox (
                id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, made_ms bigint NOT NULL, sent smallint NOT NULL DEFAULT 0,
                payload bytea NOT NULL)""",
            "CREATE INDEX IF NOT EXISTS lrs_outbox_pending ON lrs_outbox (id) WHERE sent = 0",
            "CREATE TABLE IF NOT EXISTS lrs_switches (name text PRIMARY KEY, auth_id bytea NOT NULL, set_ms bigint NOT NULL)",
            "CREATE TABLE IF NOT EXISTS lrs_leases (name text PRIMARY KEY, holder text NOT NULL, until_ms bigint NOT NULL)",
            "CREATE TABLE IF NOT EXISTS lrs_settings (name text PRIMARY KEY, value text NOT NULL, set_ms bigint NOT NULL)",
        ),
    ),
    Step(  # an index for each way of forgetting; a log of the kill switches' changes, whichever release made them
        2,
        sqlite=(
            "CREATE INDEX lrs_payments_made ON lrs_payments (made_ms)",
            "CREATE INDEX lrs_nonces_used ON lrs_nonces (used_ms)",
            "CREATE INDEX lrs_usage_expires ON lrs_usage (expires_ms) WHERE expires_ms IS NOT NULL",
            "CREATE INDEX lrs_outbox_sent ON lrs_outbox (made_ms) WHERE sent = 1",
            """CREATE TABLE lrs_switch_log (
                version INTEGER PRIMARY KEY, name TEXT NOT NULL, auth_id BLOB NOT NULL, is_set INTEGER NOT NULL)""",
            "INSERT INTO lrs_meta (name, value) VALUES ('switches_version', '0')",
            *(
                f"""CREATE TRIGGER lrs_switches_{word} AFTER {word} ON lrs_switches BEGIN
                UPDATE lrs_meta SET value = CAST(value AS INTEGER) + 1 WHERE name = 'switches_version';
                INSERT INTO lrs_switch_log (version, name, auth_id, is_set)
                SELECT CAST(value AS INTEGER), {row}.name, {row}.auth_id, {is_set} FROM lrs_meta WHERE name = 'switches_version';
                DELETE FROM lrs_switch_log WHERE version <= (SELECT CAST(value AS INTEGER) FROM lrs_meta WHERE name = 'switches_version')
                - {KEPT_SWITCH_CHANGES}; END"""  # noqa: S608 - our own names
                for word, row, is_set in (("insert", "NEW", 1), ("delete", "OLD", 0))
            ),
        ),
        postgres=(
            "CREATE INDEX lrs_payments_made ON lrs_payments (made_ms)",
            "CREATE INDEX lrs_nonces_used ON lrs_nonces (used_ms)",
            "CREATE INDEX lrs_usage_expires ON lrs_usage (expires_ms) WHERE expires_ms IS NOT NULL",
            "CREATE INDEX lrs_outbox_sent ON lrs_outbox (made_ms) WHERE sent = 1",
            """CREATE TABLE lrs_switch_log (
                version bigint PRIMARY KEY, name text NOT NULL, auth_id bytea NOT NULL, is_set smallint NOT NULL)""",
            "INSERT INTO lrs_meta (name, value) VALUES ('switches_version', '0')",
            f"""CREATE FUNCTION lrs_note_switches() RETURNS trigger LANGUAGE plpgsql AS $$
            DECLARE newest bigint; changes bigint;
            BEGIN
                SELECT count(*) INTO changes FROM changed;
                UPDATE lrs_meta SET value = (value::bigint + changes)::text WHERE name = 'switches_version' RETURNING value INTO newest;
                INSERT INTO lrs_switch_log (version, name, auth_id, is_set)
                SELECT newest - changes + row_number() OVER (), name, auth_id, TG_ARGV[0]::smallint FROM changed;
                DELETE FROM lrs_switch_log WHERE version <= newest - {KEPT_SWITCH_CHANGES};
                RETURN NULL;
            END $$""",  # noqa: S608 - our own number
            *(
                f"""CREATE TRIGGER lrs_switches_{word} AFTER {word} ON lrs_switches REFERENCING {rows} TABLE AS changed
                FOR EACH STATEMENT EXECUTE FUNCTION lrs_note_switches({is_set})"""
                for word, rows, is_set in (("insert", "NEW", 1), ("delete", "OLD", 0))
            ),
        ),
    ),
    Step(  # events that a sink refuses, for an operator; and why a sink takes none
        3,
        sqlite=(
            """CREATE TABLE lrs_parked (
                id TEXT NOT NULL, sink BLOB NOT NULL, reason BLOB NOT NULL, parked_ms INTEGER NOT NULL, made_ms INTEGER NOT NULL,
                payload BLOB NOT NULL, PRIMARY KEY (id, sink))""",
            "CREATE TABLE lrs_sinks (name BLOB PRIMARY KEY, fault BLOB NOT NULL, since_ms INTEGER NOT NULL) WITHOUT ROWID",
        ),
        postgres=(
            """CREATE TABLE lrs_parked (
                id text COLLATE "C" NOT NULL, sink bytea NOT NULL, reason bytea NOT NULL, parked_ms bigint NOT NULL,
                made_ms bigint NOT NULL, payload bytea NOT NULL, PRIMARY KEY (id, sink))""",
            "CREATE TABLE lrs_sinks (name bytea PRIMARY KEY, fault bytea NOT NULL, since_ms bigint NOT NULL)",
        ),
    ),
    Step(  # when a budget was last counted, so that those which nobody counts any more can be forgotten
        4,
        sqlite=("ALTER TABLE lrs_usage ADD COLUMN touched_ms INTEGER",),
        postgres=("ALTER TABLE lrs_usage ADD COLUMN touched_ms bigint",),
    ),
    Step(  # which tickets were signed, and what may be drawn; rows of a release that keeps none of it are found by their index
        5,
        sqlite=(
            "ALTER TABLE lrs_nonces ADD COLUMN signed BLOB",
            "CREATE INDEX lrs_nonces_unsigned ON lrs_nonces (used_ms) WHERE signed IS NULL",
            """CREATE TABLE lrs_draws (
                minute INTEGER NOT NULL, writer TEXT NOT NULL, recipient BLOB NOT NULL, round INTEGER NOT NULL, terms INTEGER NOT NULL,
                tickets INTEGER NOT NULL, winners TEXT NOT NULL, face_value_wei TEXT NOT NULL,
                PRIMARY KEY (minute, writer, recipient, round, terms)) WITHOUT ROWID""",
        ),
        postgres=(
            "ALTER TABLE lrs_nonces ADD COLUMN signed bytea",
            "CREATE INDEX lrs_nonces_unsigned ON lrs_nonces (used_ms) WHERE signed IS NULL",
            """CREATE TABLE lrs_draws (
                minute bigint NOT NULL, writer text NOT NULL, recipient bytea NOT NULL, round bigint NOT NULL, terms bigint NOT NULL,
                tickets bigint NOT NULL, winners text NOT NULL, face_value_wei text NOT NULL,
                PRIMARY KEY (minute, writer, recipient, round, terms))""",
        ),
    ),
    Step(  # what was paid by day, exact: an auth id's days follow each other, and what is old is found by its day
        6,
        sqlite=(
            """CREATE TABLE lrs_daily (
                auth_id BLOB NOT NULL, day INTEGER NOT NULL, orchestrator BLOB NOT NULL, writer TEXT NOT NULL, payments INTEGER NOT NULL,
                sessions INTEGER NOT NULL, tickets INTEGER NOT NULL, ev_wei TEXT NOT NULL, fee_wei TEXT NOT NULL, billed_ns TEXT NOT NULL,
                fee_usd TEXT NOT NULL, priced INTEGER NOT NULL, PRIMARY KEY (auth_id, day, orchestrator, writer)) WITHOUT ROWID""",
            "CREATE INDEX lrs_daily_day ON lrs_daily (day)",
        ),
        postgres=(
            """CREATE TABLE lrs_daily (
                auth_id bytea NOT NULL, day bigint NOT NULL, orchestrator bytea NOT NULL, writer text NOT NULL, payments bigint NOT NULL,
                sessions bigint NOT NULL, tickets bigint NOT NULL, ev_wei text NOT NULL, fee_wei text NOT NULL, billed_ns text NOT NULL,
                fee_usd text NOT NULL, priced bigint NOT NULL, PRIMARY KEY (auth_id, day, orchestrator, writer))""",
            "CREATE INDEX lrs_daily_day ON lrs_daily (day)",
        ),
    ),
    Step(  # an auth id's sessions, by what began them
        7,
        sqlite=("CREATE INDEX lrs_payments_begun ON lrs_payments (auth_id, made_ms) WHERE seq = 0",),
        postgres=("CREATE INDEX lrs_payments_begun ON lrs_payments (auth_id, made_ms) WHERE seq = 0",),
    ),
    Step(  # payments that a key outside the host is signing, and what it has signed once for a session
        8,
        sqlite=(
            """CREATE TABLE lrs_reservations (
                state_id BLOB PRIMARY KEY, token BLOB NOT NULL, seq INTEGER NOT NULL, digest BLOB NOT NULL, auth_id BLOB NOT NULL,
                idempotency_key BLOB, is_healed INTEGER NOT NULL, reserved_ms INTEGER NOT NULL, sender BLOB NOT NULL, plan BLOB NOT NULL,
                spent BLOB NOT NULL)""",
            "CREATE INDEX lrs_reservations_age ON lrs_reservations (reserved_ms)",
            """CREATE UNIQUE INDEX lrs_reservations_key ON lrs_reservations (idempotency_key)
                WHERE idempotency_key IS NOT NULL""",
            "CREATE TABLE lrs_seg_creds (message BLOB PRIMARY KEY, sig BLOB NOT NULL, made_ms INTEGER NOT NULL) WITHOUT ROWID",
            "CREATE INDEX lrs_seg_creds_made ON lrs_seg_creds (made_ms)",
        ),
        postgres=(
            """CREATE TABLE lrs_reservations (
                state_id bytea PRIMARY KEY, token bytea NOT NULL, seq bigint NOT NULL, digest bytea NOT NULL, auth_id bytea NOT NULL,
                idempotency_key bytea, is_healed smallint NOT NULL, reserved_ms bigint NOT NULL, sender bytea NOT NULL, plan bytea NOT NULL,
                spent bytea NOT NULL)""",
            "CREATE INDEX lrs_reservations_age ON lrs_reservations (reserved_ms)",
            """CREATE UNIQUE INDEX lrs_reservations_key ON lrs_reservations (idempotency_key)
                WHERE idempotency_key IS NOT NULL""",
            "CREATE TABLE lrs_seg_creds (message bytea PRIMARY KEY, sig bytea NOT NULL, made_ms bigint NOT NULL)",
            "CREATE INDEX lrs_seg_creds_made ON lrs_seg_creds (made_ms)",
        ),
    ),
    Step(  # API keys, budgets of single auth ids, who changed what: rows carry the number of the change that last touched them
        9,
        sqlite=(
            """CREATE TABLE lrs_api_keys (
                id TEXT PRIMARY KEY, name BLOB NOT NULL, auth_id BLOB NOT NULL, salt BLOB NOT NULL, hash BLOB NOT NULL,
                created INTEGER NOT NULL, expires INTEGER, revoked INTEGER, routes TEXT NOT NULL, requests_per_minute INTEGER,
                forget_ms INTEGER, version INTEGER NOT NULL, used_minute INTEGER) WITHOUT ROWID""",
            "CREATE INDEX lrs_api_keys_version ON lrs_api_keys (version, id)",
            "CREATE INDEX lrs_api_keys_auth_id ON lrs_api_keys (auth_id, id)",
            "CREATE INDEX lrs_api_keys_forget ON lrs_api_keys (forget_ms) WHERE forget_ms IS NOT NULL",
            """CREATE TABLE lrs_user_budgets (
                auth_id BLOB NOT NULL, spend_window TEXT NOT NULL, measure TEXT NOT NULL, limit_wei TEXT, forget_ms INTEGER,
                version INTEGER NOT NULL, PRIMARY KEY (auth_id, spend_window, measure)) WITHOUT ROWID""",
            "CREATE INDEX lrs_user_budgets_version ON lrs_user_budgets (version, auth_id, spend_window, measure)",
            "CREATE INDEX lrs_user_budgets_forget ON lrs_user_budgets (forget_ms) WHERE forget_ms IS NOT NULL",
            """CREATE TABLE lrs_audit (
                id INTEGER PRIMARY KEY AUTOINCREMENT, at_ms INTEGER NOT NULL, author BLOB NOT NULL, action TEXT NOT NULL,
                auth_id BLOB NOT NULL, kept TEXT NOT NULL)""",
            "CREATE INDEX lrs_audit_at ON lrs_audit (at_ms)",
            "CREATE INDEX lrs_audit_auth_id ON lrs_audit (auth_id, id)",
            """CREATE TABLE lrs_admin_requests (
                request BLOB PRIMARY KEY, digest BLOB NOT NULL, made_ms INTEGER NOT NULL, reply TEXT NOT NULL) WITHOUT ROWID""",
            "CREATE INDEX lrs_admin_requests_made ON lrs_admin_requests (made_ms)",
            "INSERT INTO lrs_meta (name, value) VALUES ('users_version', '0')",
        ),
        postgres=(
            """CREATE TABLE lrs_api_keys (
                id text COLLATE "C" PRIMARY KEY, name bytea NOT NULL, auth_id bytea NOT NULL, salt bytea NOT NULL, hash bytea NOT NULL,
                created bigint NOT NULL, expires bigint, revoked bigint, routes text NOT NULL, requests_per_minute bigint,
                forget_ms bigint, version bigint NOT NULL, used_minute bigint)""",
            "CREATE INDEX lrs_api_keys_version ON lrs_api_keys (version, id)",
            "CREATE INDEX lrs_api_keys_auth_id ON lrs_api_keys (auth_id, id)",
            "CREATE INDEX lrs_api_keys_forget ON lrs_api_keys (forget_ms) WHERE forget_ms IS NOT NULL",
            """CREATE TABLE lrs_user_budgets (
                auth_id bytea NOT NULL, spend_window text COLLATE "C" NOT NULL, measure text COLLATE "C" NOT NULL, limit_wei text,
                forget_ms bigint, version bigint NOT NULL, PRIMARY KEY (auth_id, spend_window, measure))""",
            "CREATE INDEX lrs_user_budgets_version ON lrs_user_budgets (version, auth_id, spend_window, measure)",
            "CREATE INDEX lrs_user_budgets_forget ON lrs_user_budgets (forget_ms) WHERE forget_ms IS NOT NULL",
            """CREATE TABLE lrs_audit (
                id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, at_ms bigint NOT NULL, author bytea NOT NULL, action text NOT NULL,
                auth_id bytea NOT NULL, kept text NOT NULL)""",
            "CREATE INDEX lrs_audit_at ON lrs_audit (at_ms)",
            "CREATE INDEX lrs_audit_auth_id ON lrs_audit (auth_id, id)",
            """CREATE TABLE lrs_admin_requests (
                request bytea PRIMARY KEY, digest bytea NOT NULL, made_ms bigint NOT NULL, reply text NOT NULL)""",
            "CREATE INDEX lrs_admin_requests_made ON lrs_admin_requests (made_ms)",
            "INSERT INTO lrs_meta (name, value) VALUES ('users_version', '0')",
        ),
    ),
    Step(  # tickets that the chain has paid, and how far it was followed
        10,
        sqlite=(
            """CREATE TABLE lrs_redeemed (
                ticket BLOB PRIMARY KEY, sender BLOB NOT NULL, block INTEGER NOT NULL, block_hash TEXT NOT NULL, tx TEXT NOT NULL,
                log_index INTEGER NOT NULL, recipient BLOB NOT NULL, round INTEGER NOT NULL, terms INTEGER NOT NULL,
                nonce INTEGER NOT NULL, rand_hash BLOB NOT NULL, face_value_wei TEXT NOT NULL, paid_wei TEXT NOT NULL,
                win_prob BLOB NOT NULL, payer BLOB NOT NULL, verdict TEXT NOT NULL, found_ms INTEGER NOT NULL,
                is_gone INTEGER NOT NULL) WITHOUT ROWID""",
            *_REDEEMED_INDEXES,
            "CREATE TABLE lrs_followed (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
        ),
        postgres=(
            """CREATE TABLE lrs_redeemed (
                ticket bytea PRIMARY KEY, sender bytea NOT NULL, block bigint NOT NULL, block_hash text NOT NULL, tx text NOT NULL,
                log_index bigint NOT NULL, recipient bytea NOT NULL, round bigint NOT NULL, terms bigint NOT NULL,
                nonce bigint NOT NULL, rand_hash bytea NOT NULL, face_value_wei text NOT NULL, paid_wei text NOT NULL,
                win_prob bytea NOT NULL, payer bytea NOT NULL, verdict text NOT NULL, found_ms bigint NOT NULL,
                is_gone smallint NOT NULL)""",
            *_REDEEMED_INDEXES,
            "CREATE TABLE lrs_followed (name text PRIMARY KEY, value text NOT NULL)",
        ),
    ),
    Step(  # a chain of digests over the payments: what a payment counts for, the lines of processes by minute, the closed minutes
        11,
        sqlite=(
            "ALTER TABLE lrs_payments ADD COLUMN account BLOB",
            """CREATE TABLE lrs_digests (
                minute INTEGER NOT NULL, tag BLOB NOT NULL, payments INTEGER NOT NULL, digest BLOB NOT NULL, closing INTEGER,
                PRIMARY KEY (minute, tag)) WITHOUT ROWID""",
            "CREATE INDEX lrs_digests_open ON lrs_digests (minute) WHERE closing IS NULL",
            """CREATE TABLE lrs_closings (
                number INTEGER PRIMARY KEY, minute INTEGER NOT NULL, closed_ms INTEGER NOT NULL, payments INTEGER NOT NULL,
                lines BLOB NOT NULL, digest BLOB NOT NULL)""",
        ),
        postgres=(
            "ALTER TABLE lrs_payments ADD COLUMN account bytea",
            """CREATE TABLE lrs_digests (
                minute bigint NOT NULL, tag bytea NOT NULL, payments bigint NOT NULL, digest bytea NOT NULL, closing bigint,
                PRIMARY KEY (minute, tag))""",
            "CREATE INDEX lrs_digests_open ON lrs_digests (minute) WHERE closing IS NULL",
            """CREATE TABLE lrs_closings (
                number bigint PRIMARY KEY, minute bigint NOT NULL, closed_ms bigint NOT NULL, payments bigint NOT NULL,
                lines bytea NOT NULL, digest bytea NOT NULL)""",
        ),
    ),
    Step(  # what payments add to the sums, until it is added
        12,
        sqlite=("CREATE TABLE lrs_tallies (id INTEGER PRIMARY KEY, tallies BLOB NOT NULL)",),
        postgres=("CREATE TABLE lrs_tallies (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, tallies bytea NOT NULL)",),
    ),
)

NEWEST_STEP = STEPS[-1].number


def missing_steps(version: int, taken: int) -> Sequence[Step]:
    """What tables of this version, that have taken so many steps, lack. Raises StoreFailed for tables of a newer kind."""
    if version > SCHEMA_VERSION:
        raise StoreFailed(
            f"the ledger has schema version {version}, this release knows {SCHEMA_VERSION}: start the release that wrote it, or a newer one"
        )
    return [step for step in STEPS if step.number > taken]
