"""What the ledger keeps of redeemed tickets, whichever its database: rows, and what is asked of them.

`RedeemedStore` is kept by `sqlite_redeemed.SqliteRedeemed` and `postgres_redeemed.PostgresRedeemed`, of which the stores are made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from livepeer_remote_signer.adapters.ledger.store import Row
from livepeer_remote_signer.core.rules.luck import Drawn, DrawnLine
from livepeer_remote_signer.core.rules.redeemed import KnownParams, Verdict

COLUMNS = (
    "ticket",
    "sender",
    "block",
    "block_hash",
    "tx",
    "log_index",
    "recipient",
    "round",
    "terms",
    "nonce",
    "rand_hash",
    "face_value_wei",
    "paid_wei",
    "win_prob",
    "payer",
    "verdict",
    "found_ms",
)


class RedeemedRow(NamedTuple):
    """One redeemed ticket. `ticket` is its hash, by which it is kept once; `round` its creation round, `terms` their class, `payer`
    the digest of the auth id that paid, empty where the ticket is not ours."""

    ticket: bytes
    sender: bytes
    block: int
    block_hash: str
    transaction: str
    log_index: int
    recipient: bytes
    round: int
    terms: int
    nonce: int
    rand_hash: bytes
    face_value_wei: int
    paid_wei: int
    win_prob: int
    payer: bytes
    verdict: Verdict
    found_ms: int


class RedeemedChange(NamedTuple):
    """What one step along the chain changes, together. `gone_from`: events of `senders` in this block and later ones are not on the
    chain any more, but for those in `rows`. `events` go into the outbox; `followed` is how far the chain was followed, by name."""

    followed: Mapping[str, str]
    rows: Sequence[RedeemedRow] = ()
    gone_from: int | None = None
    senders: Sequence[bytes] = ()
    events: Sequence[tuple[int, bytes]] = ()


class RedeemedStore(Protocol):
    """A database. Everything raises StoreFailed."""

    async def take_lease(self, name: str, holder: str, milliseconds: int) -> bool:
        """As `Store` has it."""

    async def give_lease(self, name: str, holder: str) -> None:
        """As `Store` has it."""

    async def followed(self, name: str) -> str | None:
        """How far the chain was followed, as `RedeemedChange` left it."""

    async def identity(self) -> str:
        """What tells this database from a copy of it that was put in its place."""

    async def unsigned_ms(self) -> int:
        """When params were last used first by a release that keeps no more than nonces, unix milliseconds; 0: never."""

    async def known_params(self, rand_hashes: Sequence[bytes]) -> dict[bytes, KnownParams]:
        """What is kept of ticket params."""

    async def redeemed(self, tickets: Sequence[bytes]) -> dict[bytes, RedeemedRow]:
        """Those of these tickets that were found before."""

    async def with_verdict(self, sender: bytes | None, verdict: Verdict, most: int) -> list[RedeemedRow]:
        """The newest tickets of this verdict that are on the chain; None: of whichever sender."""

    async def count_redeemed(self, sender: bytes | None) -> Mapping[str, int]:
        """How many tickets on the chain there are of each verdict; None: of whichever sender."""

    async def acknowledge_redeemed(self) -> int:
        """Nobody is told any more of tickets that were not signed here; how many there were."""

    async def change_redeemed(self, change: RedeemedChange) -> None:
        """One transaction. A row that is there already is replaced."""

    async def draws_since(self, minute: int) -> list[DrawnLine]:
        """What was signed at or after a unix minute, by recipient, round and class, over all times and processes."""

    async def drawn_since(self, sender: bytes | None, round_: int) -> list[Drawn]:
        """What was drawn of tickets that are ours, of a creation round or later, by recipient, round and
        class; `sender` None: of whichever sender."""


def values_of(row: RedeemedRow) -> Row:
    """A row as both databases take it."""
    values = row._asdict()
    values["face_value_wei"], values["paid_wei"] = str(row.face_value_wei), str(row.paid_wei)
    values["win_prob"] = row.win_prob.to_bytes(32, "big")
    return tuple(values.values())


def row_of(row: Row) -> RedeemedRow:
    """The reverse of `values_of`."""
    made = RedeemedRow(*row)
    return made._replace(
        ticket=bytes(made.ticket),
        sender=bytes(made.sender),
        recipient=bytes(made.recipient),
        rand_hash=bytes(made.rand_hash),
        face_value_wei=int(made.face_value_wei),
        paid_wei=int(made.paid_wei),
        win_prob=int.from_bytes(bytes(row[COLUMNS.index("win_prob")]), "big"),
        payer=bytes(made.payer),
    )
