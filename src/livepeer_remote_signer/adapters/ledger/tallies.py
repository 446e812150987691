"""The tallies of payments while they wait to be added to the sums: the rows of `lrs_tallies` in both databases."""

from __future__ import annotations

FOLDED_AT_ONCE = 32
"""Batches whose tallies are added in one transaction: some milliseconds, which payments wait for."""

NEWEST = "SELECT max(id) FROM lrs_tallies"

SQLITE_NEW = "INSERT INTO lrs_tallies (tallies) VALUES (?)"
SQLITE_OLDEST = "SELECT id, tallies FROM lrs_tallies WHERE id <= ? ORDER BY id LIMIT ?"
SQLITE_FOLDED = "DELETE FROM lrs_tallies WHERE id <= ?"

POSTGRES_NEW = "INSERT INTO lrs_tallies (tallies) VALUES (%s)"
POSTGRES_TAKE = """DELETE FROM lrs_tallies WHERE id = ANY(ARRAY(SELECT id FROM lrs_tallies WHERE id <= %s ORDER BY id LIMIT %s FOR UPDATE))
    RETURNING tallies"""
"""Whoever finds that another process has these waits until they are gone: who reads sums then has all of them."""

POSTGRES_LEFT = "SELECT EXISTS (SELECT FROM lrs_tallies WHERE id <= %s)"
