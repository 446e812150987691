"""The rows that a payment would be judged by, read beside the payments: readers of a write-ahead log wait for nobody."""

from __future__ import annotations

import sqlite3

from livepeer_remote_signer.adapters.ledger.store import Row, StoredPayment, Wanted, bytes_text, text_bytes
from livepeer_remote_signer.core.rules.budgets import Usage, parse_usage
from livepeer_remote_signer.core.rules.ledger import Books, Tip

TIP = "SELECT seq, made_ms FROM lrs_payments WHERE state_id = ? ORDER BY seq DESC LIMIT 1"


def read_books(connection: sqlite3.Connection, wanted: Wanted, books: Books) -> Books:
    """Completes `books`, which has the switches: each row is found by its key."""
    execute = connection.execute
    for state_id in wanted.state_ids:
        if (tip := execute(TIP, (text_bytes(state_id),)).fetchone()) is not None:
            books.tips[state_id] = Tip(*tip)
    for rand_hash in wanted.rand_hashes:
        if (nonce := execute("SELECT last_nonce FROM lrs_nonces WHERE rand_hash = ?", (rand_hash,)).fetchone()) is not None:
            books.nonces[rand_hash] = nonce[0]
    for key in wanted.usage_keys:
        row = execute("SELECT amounts FROM lrs_usage WHERE key = ?", (key,)).fetchone()
        books.usage[key] = parse_usage(row[0]) if row is not None else Usage()
    return books


def answer_of(row: Row | None) -> StoredPayment | None:
    """What a row of digest, auth id, reply and state says of a payment."""
    return None if row is None else StoredPayment(bytes(row[0]), bytes_text(bytes(row[1])), bytes(row[2]), bytes(row[3]))
