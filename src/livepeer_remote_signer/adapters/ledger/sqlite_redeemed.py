"""What a SQLite ledger keeps of redeemed tickets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from livepeer_remote_signer.adapters.ledger.redeemed import COLUMNS, RedeemedChange, RedeemedRow, row_of, values_of
from livepeer_remote_signer.adapters.ledger.sqlite_amounts import joined, sums_of
from livepeer_remote_signer.adapters.ledger.sqlite_connections import SqliteConnections
from livepeer_remote_signer.adapters.ledger.sqlite_sums import SqliteSums
from livepeer_remote_signer.adapters.ledger.store import Row
from livepeer_remote_signer.core.rules.luck import Drawn, DrawnLine
from livepeer_remote_signer.core.rules.redeemed import KnownParams, Verdict
from livepeer_remote_signer.core.rules.signed import DrawSum

FORGET_DRAWS = """DELETE FROM lrs_draws WHERE (minute, writer, recipient, round, terms) IN
    (SELECT minute, writer, recipient, round, terms FROM lrs_draws WHERE minute < ? / 60000 ORDER BY minute LIMIT ?)"""
FORGET_REDEEMED = """DELETE FROM lrs_redeemed WHERE ticket IN
    (SELECT ticket FROM lrs_redeemed WHERE found_ms < ? ORDER BY found_ms LIMIT ?)"""

_COLUMNS = ", ".join(COLUMNS)
_PUT = f"INSERT OR REPLACE INTO lrs_redeemed ({_COLUMNS}, is_gone) VALUES ({', '.join('?' * len(COLUMNS))}, 0)"  # noqa: S608 - our own names
_PUT_FOLLOWED = "INSERT INTO lrs_followed (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value"
_DRAWS = f"""SELECT recipient, round, terms, sum(tickets), {sums_of("winners")}, {sums_of("face_value_wei")} FROM lrs_draws
    WHERE minute >= ? GROUP BY recipient, round, terms"""  # noqa: S608 - our own names
_DRAWN = f"""SELECT recipient, round, terms, count(*), {sums_of("face_value_wei")}, {sums_of("paid_wei")} FROM lrs_redeemed
    WHERE (?1 IS NULL OR sender = ?1) AND round >= ?2 AND is_gone = 0 AND verdict = 'ours' GROUP BY recipient, round, terms"""  # noqa: S608 - our own names


class SqliteRedeemed:
    """The part of the store that the chain's follower uses."""

    _file: SqliteConnections
    _sums: SqliteSums

    async def followed(self, name: str) -> str | None:
        """By its name."""
        rows = await self._look("SELECT value FROM lrs_followed WHERE name = ?", name)
        return rows[0][0] if rows else None

    async def identity(self) -> str:
        """A file that is copied is another file."""
        return f"file {self._file.path.stat().st_ino}"

    async def unsigned_ms(self) -> int:
        """By an index of these rows alone."""
        ((used_ms,),) = await self._look("SELECT max(used_ms) FROM lrs_nonces INDEXED BY lrs_nonces_unsigned WHERE signed IS NULL")
        return used_ms or 0

    async def known_params(self, rand_hashes: Sequence[bytes]) -> dict[bytes, KnownParams]:
        """By the table's key, on what is committed."""
        found = {}
        for rand_hash in rand_hashes:
            for last_nonce, signed in await self._look("SELECT last_nonce, signed FROM lrs_nonces WHERE rand_hash = ?", rand_hash):
                found[rand_hash] = KnownParams(last_nonce, signed)
        return found

    async def redeemed(self, tickets: Sequence[bytes]) -> dict[bytes, RedeemedRow]:
        """By the table's key."""
        found = {}
        for ticket in tickets:
            for row in await self._look(f"SELECT {_COLUMNS} FROM lrs_redeemed WHERE ticket = ?", ticket):  # noqa: S608 - our own names
                found[ticket] = row_of(row)
        return found

    async def with_verdict(self, sender: bytes | None, verdict: Verdict, most: int) -> list[RedeemedRow]:
        """By an index of those that are not ours."""
        rows = await self._look(
            f"""SELECT {_COLUMNS} FROM lrs_redeemed WHERE verdict = ?1 AND (?2 IS NULL OR sender = ?2) AND is_gone = 0
            ORDER BY found_ms DESC LIMIT ?3""",  # noqa: S608 - our own names
            verdict,
            sender,
            most,
        )
        return [row_of(row) for row in rows]

    async def count_redeemed(self, sender: bytes | None) -> Mapping[str, int]:
        """By the index of verdicts."""
        return dict(
            await self._look(
                "SELECT verdict, count(*) FROM lrs_redeemed WHERE (?1 IS NULL OR sender = ?1) AND is_gone = 0 GROUP BY verdict", sender
            )
        )

    async def acknowledge_redeemed(self) -> int:
        """Between two batches."""
        _, count = await self._file.change("UPDATE lrs_redeemed SET verdict = 'unjudged' WHERE verdict IN ('foreign', 'suspected')")
        return count

    async def change_redeemed(self, change: RedeemedChange) -> None:
        """Between two batches."""
        statements: list[tuple[str, Sequence[object]]] = []
        if change.gone_from is not None:
            gone = "UPDATE lrs_redeemed SET is_gone = 1 WHERE sender = ? AND block >= ?"
            statements += [(gone, (sender, change.gone_from)) for sender in change.senders]
        statements += [(_PUT, values_of(row)) for row in change.rows]
        statements += [("INSERT INTO lrs_outbox (made_ms, payload) VALUES (?, ?)", event) for event in change.events]
        statements += [(_PUT_FOLLOWED, named) for named in change.followed.items()]
        await self._file.change_together(statements)

    async def draws_since(self, minute: int) -> list[DrawnLine]:
        """In the thread of what may take long, within SQLite."""
        await self._sums.fold()
        return [
            DrawnLine(bytes(recipient), round_, terms, DrawSum(tickets, *joined(halves)))
            for recipient, round_, terms, tickets, *halves in await self._look(_DRAWS, minute, is_long=True)
        ]

    async def drawn_since(self, sender: bytes | None, round_: int) -> list[Drawn]:
        """In the thread of what may take long, within SQLite."""
        return [
            Drawn(bytes(recipient), of, terms, tickets, *joined(halves))
            for recipient, of, terms, tickets, *halves in await self._look(_DRAWN, sender, round_, is_long=True)
        ]

    async def _look(self, sql: str, *parameters: object, is_long: bool = False) -> list[Row]:
        return await self._file.beside(lambda connection: connection.execute(sql, parameters).fetchall(), is_long=is_long)
