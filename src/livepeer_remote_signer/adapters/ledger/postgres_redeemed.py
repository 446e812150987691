"""What a PostgreSQL ledger keeps of redeemed tickets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from psycopg import AsyncConnection

from livepeer_remote_signer.adapters.ledger.postgres_link import Link
from livepeer_remote_signer.adapters.ledger.postgres_sums import PostgresSums
from livepeer_remote_signer.adapters.ledger.redeemed import COLUMNS, RedeemedChange, RedeemedRow, row_of, values_of
from livepeer_remote_signer.adapters.ledger.store import ConnectionLost, Row, StoreFailed
from livepeer_remote_signer.core.rules.luck import Drawn, DrawnLine
from livepeer_remote_signer.core.rules.redeemed import KnownParams, Verdict
from livepeer_remote_signer.core.rules.signed import DrawSum

_COLUMNS = ", ".join(COLUMNS)
_PUT = f"""INSERT INTO lrs_redeemed ({_COLUMNS}, is_gone) VALUES ({", ".join(["%s"] * len(COLUMNS))}, 0)
    ON CONFLICT (ticket) DO UPDATE SET is_gone = 0, {", ".join(f"{name} = excluded.{name}" for name in COLUMNS[1:])}"""  # noqa: S608
_PUT_FOLLOWED = "INSERT INTO lrs_followed (name, value) VALUES (%s, %s) ON CONFLICT (name) DO UPDATE SET value = excluded.value"
_GONE = "UPDATE lrs_redeemed SET is_gone = 1 WHERE sender = %s AND block >= %s"
_NEW_EVENT = "INSERT INTO lrs_outbox (made_ms, payload) VALUES (%s, %s)"
_IDENTITY = "SELECT system_identifier::text || ' ' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) FROM pg_control_system()"
"""Of the cluster, and of its timeline: a restored one, and a standby that was promoted, have another."""

_DRAWS = """SELECT recipient, round, terms, sum(tickets), sum(winners::numeric), sum(face_value_wei::numeric) FROM lrs_draws
    WHERE minute >= %s GROUP BY 1, 2, 3"""
_DRAWN = """SELECT recipient, round, terms, count(*), sum(face_value_wei::numeric), sum(paid_wei::numeric) FROM lrs_redeemed
    WHERE sender = coalesce(%s, sender) AND round >= %s AND is_gone = 0 AND verdict = 'ours' GROUP BY 1, 2, 3"""


class PostgresRedeemed:
    """The part of the store that the chain's follower uses."""

    _side: Link
    _slow: Link
    _sums: PostgresSums

    async def followed(self, name: str) -> str | None:
        """On the side connection."""
        rows = await self._side.fetch("SELECT value FROM lrs_followed WHERE name = %s", name)
        return rows[0][0] if rows else None

    async def identity(self) -> str:
        """Where the server does not tell, as some that are hosted, the time since the last look alone tells of a restored one."""
        try:
            ((name,),) = await self._side.fetch(_IDENTITY)
        except ConnectionLost:
            raise
        except StoreFailed:
            await self._side.fetch("SELECT 1")  # it answers, but not this
            return "server"
        return str(name)

    async def unsigned_ms(self) -> int:
        """By an index of these rows alone."""
        ((used_ms,),) = await self._side.fetch("SELECT max(used_ms) FROM lrs_nonces WHERE signed IS NULL")
        return used_ms or 0

    async def known_params(self, rand_hashes: Sequence[bytes]) -> dict[bytes, KnownParams]:
        """By the table's key."""
        rows = await self._side.fetch(
            "SELECT rand_hash, last_nonce, signed FROM lrs_nonces WHERE rand_hash = ANY(%s::bytea[])", list(rand_hashes)
        )
        return {rand_hash: KnownParams(last_nonce, signed) for rand_hash, last_nonce, signed in rows}

    async def redeemed(self, tickets: Sequence[bytes]) -> dict[bytes, RedeemedRow]:
        """By the table's key."""
        rows = await self._side.fetch(f"SELECT {_COLUMNS} FROM lrs_redeemed WHERE ticket = ANY(%s::bytea[])", list(tickets))  # noqa: S608
        return {row[0]: row_of(row) for row in rows}

    async def with_verdict(self, sender: bytes | None, verdict: Verdict, most: int) -> list[RedeemedRow]:
        """By the index of verdicts."""
        rows = await self._side.fetch(
            f"""SELECT {_COLUMNS} FROM lrs_redeemed WHERE verdict = %s AND sender = coalesce(%s, sender) AND is_gone = 0
            ORDER BY found_ms DESC LIMIT %s""",  # noqa: S608 - our own names
            verdict,
            sender,
            most,
        )
        return [row_of(row) for row in rows]

    async def count_redeemed(self, sender: bytes | None) -> Mapping[str, int]:
        """By the index of verdicts."""
        rows = await self._side.fetch(
            "SELECT verdict, count(*) FROM lrs_redeemed WHERE sender = coalesce(%s, sender) AND is_gone = 0 GROUP BY verdict", sender
        )
        return dict(cast("list[tuple[str, int]]", rows))

    async def acknowledge_redeemed(self) -> int:
        """On the side connection."""
        return await self._side.change("UPDATE lrs_redeemed SET verdict = 'unjudged' WHERE verdict IN ('foreign', 'suspected')")

    async def change_redeemed(self, change: RedeemedChange) -> None:
        """On the side connection."""

        async def put(connection: AsyncConnection[Row]) -> None:
            async with connection.transaction():
                if self._side.is_pooled:
                    await connection.execute(*self._side.settings(is_local=True))
                if change.gone_from is not None:
                    for sender in change.senders:
                        await connection.execute(_GONE, (sender, change.gone_from))
                for row in change.rows:
                    await connection.execute(_PUT, values_of(row))
                for event in change.events:
                    await connection.execute(_NEW_EVENT, event)
                for named in change.followed.items():
                    await connection.execute(_PUT_FOLLOWED, named)

        await self._side.use(put)

    async def draws_since(self, minute: int) -> list[DrawnLine]:
        """On the connection of what may take long."""
        await self._sums.fold()
        return [
            DrawnLine(recipient, round_, terms, DrawSum(*map(int, sums)))
            for recipient, round_, terms, *sums in await self._slow.fetch(_DRAWS, minute)
        ]

    async def drawn_since(self, sender: bytes | None, round_: int) -> list[Drawn]:
        """On the connection of what may take long."""
        return [
            Drawn(recipient, of, terms, *map(int, sums)) for recipient, of, terms, *sums in await self._slow.fetch(_DRAWN, sender, round_)
        ]
