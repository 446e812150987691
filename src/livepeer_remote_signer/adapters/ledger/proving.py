"""Reads the chain over the payments: to export it, to check that it holds, and to compare an export with it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import groupby
from typing import NamedTuple

from livepeer_remote_signer.adapters.ledger.digest_store import ChainedPayment, ClosedLine, DigestStore
from livepeer_remote_signer.core.rules.digests import MS_PER_MINUTE, Closing, parse_account
from livepeer_remote_signer.core.rules.ledger_proof import Exported, Proof, broken_links, encode_closing, encode_exported, encode_line

PAGE = 500


class _Payments:
    """The payments by line, read as far as they are needed: a payment's LastUpdate is never later than its moment."""

    def __init__(self, digests: DigestStore) -> None:
        self._digests = digests
        self._after = (-1, -1)
        self._is_over = False
        self._lines: dict[tuple[int, bytes], list[Exported]] = {}

    async def read_minute(self, minute: int) -> None:
        """Reads until all of this minute are there, and drops what stands on lines of earlier ones."""
        while not self._is_over and self._after[0] < (minute + 1) * MS_PER_MINUTE:
            page = await self._digests.payments(self._after, PAGE)
            self._is_over = len(page) < PAGE
            for row in page:
                self._put(row)
                self._after = (row.name.updated_ms, row.id)
        for line in [line for line in self._lines if line[0] < minute]:
            del self._lines[line]

    def _put(self, row: ChainedPayment) -> None:
        account = parse_account(row.account, row.name.updated_ms)
        self._lines.setdefault((account.minute, account.tag), []).append(Exported(row.name, account))

    def of(self, line: ClosedLine) -> list[Exported]:
        """A line's payments in their order."""
        return sorted(self._lines.get((line.line.minute, line.line.tag), ()), key=lambda payment: payment.account.place)


async def export_lines(digests: DigestStore) -> AsyncIterator[str]:
    """The lines of an export of all that is closed and not forgotten. Raises StoreFailed."""
    payments, known = _Payments(digests), dict[int, Closing]()
    waiting: list[ClosedLine] = []
    after, is_over = (-1, b""), False
    while not is_over or waiting:
        if not is_over:
            page = await digests.lines(after, PAGE)
            is_over = len(page) < PAGE
            waiting += page
            after = (page[-1].line.minute, page[-1].line.tag) if page else after
        minutes = [list(lines) for _, lines in groupby(waiting, key=lambda line: line.line.minute)]
        waiting = [] if is_over or not minutes else minutes.pop()  # the last minute may go on with the next page
        for lines in minutes:
            await payments.read_minute(lines[0].line.minute)
            for number, covered in groupby(sorted(lines, key=lambda line: line.closing), key=lambda line: line.closing):
                yield encode_closing(await _closing(digests, number, known))
                for line in covered:
                    found = payments.of(line)
                    is_whole = len(found) == line.line.payments
                    yield encode_line(line.line, is_whole=is_whole)
                    for payment in found if is_whole else ():
                        yield encode_exported(payment)


async def _closing(digests: DigestStore, number: int, known: dict[int, Closing]) -> Closing:
    if number not in known:
        known.clear()
        known.update((closing.number, closing) for closing in await digests.closings(number - 1, PAGE))
    return known[number]


class Compared(NamedTuple):
    """How many closings the ledger keeps, how many of a proof's are older than those, and what does not agree."""

    kept: int
    older: int
    faults: list[str]


async def compare(digests: DigestStore, proof: Proof) -> Compared:
    """Whether the ledger's closings follow from each other, and whether they are those of the proof. Raises StoreFailed."""
    faults: list[str] = []
    kept: dict[int, bool] = {}
    before: Closing | None = None
    while page := await digests.closings(before.number if before is not None else 0, PAGE):
        faults += [f"closing {number} does not follow from the one before it" for number in broken_links(page, before)]
        for closing in page:
            kept[closing.number] = proof.closings.get(closing.number, closing) == closing
        before = page[-1]
    oldest = min(kept, default=0)
    missing = [number for number in range(oldest, before.number if before is not None else 0) if number not in kept]
    faults += [f"closing {number} is missing in the ledger" for number in missing]
    faults += [f"closing {number} is another one in the ledger" for number, is_same in kept.items() if not is_same]
    faults += [f"closing {number} is not in the ledger" for number in proof.closings if number > max(kept, default=0)]
    return Compared(len(kept), sum(number < oldest for number in proof.closings), faults)
