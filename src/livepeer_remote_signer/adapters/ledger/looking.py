"""Looks at a PostgreSQL that is to hold the ledger, and changes nothing of it."""

from __future__ import annotations

import asyncio

import psycopg

from livepeer_remote_signer.adapters.ledger.postgres import steps_to_take
from livepeer_remote_signer.adapters.ledger.postgres_link import Server, fetch, translated
from livepeer_remote_signer.adapters.ledger.store import StoreFailed


async def look(url: str, timeout_seconds: float) -> str:
    """What is there, for people. Raises StoreFailed where it cannot be the ledger of this release, ValueError for no URL."""
    server = Server(url, timeout_seconds)
    try:
        async with asyncio.timeout(3 * timeout_seconds), await server.connect() as connection:
            ((may_create,),) = await fetch(connection, "SELECT has_schema_privilege(current_schema(), 'CREATE')")
            lacking = len(await steps_to_take(connection))
    except (psycopg.Error, OSError, TimeoutError) as error:
        raise translated(error) from None
    finally:
        await server.close()
    if lacking and not may_create:
        raise StoreFailed(f"its tables lack {lacking} steps of this release, and this user may make none: grant CREATE on the schema")
    return (
        f"takes writes; {lacking} steps are added to its tables at the next start" if lacking else "takes writes, and its tables are there"
    )
