"""What the chain over the payments asks of a database. `sqlite_digests` and `postgres_digests` keep it."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from livepeer_remote_signer.core.rules.digests import Closing, Line, PaymentName


class ClosedLine(NamedTuple):
    """A line, and the number of the closing that covers it."""

    line: Line
    closing: int


class ChainedPayment(NamedTuple):
    """A payment that stands on a line: its row's number, its names, and its account as it is kept."""

    id: int
    name: PaymentName
    account: bytes


class DigestStore(Protocol):
    """The digests of a database. Raises StoreFailed."""

    async def oldest_open(self) -> int | None:
        """The oldest minute that has an open line."""

    async def close(self, minute: int, now_ms: int) -> None:
        """Closes the open lines of a minute, as far as there are any."""

    async def closings(self, after: int, limit: int) -> list[Closing]:
        """The next ones by number."""

    async def lines(self, after: tuple[int, bytes], limit: int) -> list[ClosedLine]:
        """The next closed lines by minute and tag."""

    async def payments(self, after: tuple[int, int], limit: int) -> list[ChainedPayment]:
        """The next payments by their LastUpdate (unix milliseconds) and row."""
