"""An export of a ledger's payments, and what it proves: that they are those which its chain of digests was made of.

An export is lines of JSON: one for each closing, each followed by its lines, and each of these by its payments in their
order. Whoever has one can work out every digest anew, also long after the ledger forgot the payments: it keeps the closings
for as long as usage. Sums of the payments are then those that a statement must show. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from livepeer_remote_signer.core.rules.digests import (
    NO_DIGEST,
    Account,
    Closing,
    Line,
    PaymentName,
    chain_payment,
    digest_closing,
    digest_lines,
)
from livepeer_remote_signer.core.rules.figures import Figures
from livepeer_remote_signer.core.rules.usage import UsageRow, UsageSum

MAX_RECORD_BYTES = 64 * 1024
MAX_FAULTS = 20
_MS_PER_DAY = 86_400_000


class NotAnExport(ValueError):
    """A line that no export has; says which, and why."""


class Exported(NamedTuple):
    """A payment as an export has it."""

    name: PaymentName
    account: Account

    @property
    def row(self) -> UsageRow:
        """What it counts for in usage."""
        figures = self.account.figures
        sums = UsageSum(
            1,
            int(self.name.sequence_number == 0),
            self.account.tickets,
            figures.ev_wei,
            figures.fee_wei,
            figures.billed_ns,
            figures.fee_usd or 0,
            int(figures.fee_usd is not None),
        )
        auth_id = self.name.auth_id.decode("utf-8", "surrogatepass")
        return UsageRow(self.account.paid_ms // _MS_PER_DAY, auth_id, self.name.orchestrator, sums)


def encode_closing(closing: Closing) -> str:
    """A closing's line of JSON."""
    return json.dumps(
        {
            "closing": closing.number,
            "minute": closing.minute,
            "closed_ms": closing.closed_ms,
            "payments": closing.payments,
            "lines": closing.lines.hex(),
            "digest": closing.digest.hex(),
        }
    )


def encode_line(line: Line, *, is_whole: bool) -> str:
    """A line's line of JSON; `is_whole`: all of its payments follow. Else some are forgotten, and none follow."""
    return json.dumps(
        {"line": line.tag.hex(), "minute": line.minute, "payments": line.payments, "digest": line.digest.hex(), "whole": is_whole}
    )


def encode_exported(payment: Exported) -> str:
    """A payment's line of JSON; amounts are decimal strings."""
    name, account = payment
    figures = account.figures
    return json.dumps(
        {
            "payment": account.place,
            "session_id": name.state_id.decode("utf-8", "surrogatepass"),
            "sequence_number": name.sequence_number,
            "request": name.request.hex(),
            "auth_id": name.auth_id.decode("utf-8", "surrogatepass"),
            "orchestrator": "0x" + name.orchestrator.hex(),
            "paid_ms": account.paid_ms,
            "updated_ms": name.updated_ms,
            "tickets": account.tickets,
            "total_ev_wei": str(figures.ev_wei),
            "fee_wei": str(figures.fee_wei),
            "billed_ns": str(figures.billed_ns),
            "fee_usd_e18": None if figures.fee_usd is None else str(figures.fee_usd),
        }
    )


class Proof:
    """What an export's lines come to, taken one after the other. `faults` are told in words, the first of them."""

    def __init__(self) -> None:
        self.closings: dict[int, Closing] = {}
        """Those whose digests follow from their lines, and whose payments are all there or forgotten as the export says."""
        self.payments = 0
        self.faults: list[str] = []
        self.sums: dict[tuple[int, str, bytes], UsageSum] = {}
        """By day, auth id and orchestrator."""
        self._closing: Closing | None = None
        self._lines: list[Line] = []
        self._line: Line | None = None
        self._digest = NO_DIGEST
        self._count = 0
        self._is_told = self._counts = False
        self._whole: set[tuple[int, bytes]] = set()
        self._missing: dict[tuple[int, bytes], int] = {}

    @property
    def forgotten(self) -> int:
        """Payments that the export does not have: the ledger had forgotten them when it was made."""
        return sum(self._missing.values())

    def take(self, text: str | bytes) -> None:
        """One line of the export. Raises NotAnExport."""
        if len(text) > MAX_RECORD_BYTES:
            raise NotAnExport(f"a line of {len(text)} bytes, the longest of an export has {MAX_RECORD_BYTES}")
        try:
            record = json.loads(text)
            if "closing" in record:
                self._begin_closing(_closing_of(record))
            elif "line" in record:
                self._begin_line(_line_of(record), is_whole=record["whole"] is True)
            else:
                self._add(_exported_of(record, self._line.tag if self._line is not None else b""))
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
            raise NotAnExport(f"not a line of an export: {str(text[:80])!r}") from None

    def end(self) -> None:
        """No line follows."""
        self._end_closing()

    def of(self, auth_id: str, days: tuple[int, int]) -> list[UsageRow]:
        """The sums of an auth id by day and orchestrator, first and last day included."""
        found = [(key, sums) for key, sums in self.sums.items() if key[1] == auth_id and days[0] <= key[0] <= days[1]]
        return [UsageRow(day, None, orchestrator, sums) for (day, _, orchestrator), sums in sorted(found, key=lambda one: one[0])]

    def _begin_closing(self, closing: Closing) -> None:
        self._end_closing()
        self._closing, self._lines = closing, []

    def _begin_line(self, line: Line, *, is_whole: bool) -> None:
        self._end_line()
        if self._closing is None:
            self._fault(f"line {line.tag.hex()} of minute {line.minute} belongs to no closing")
        self._lines.append(line)
        name = (line.minute, line.tag)
        self._line, self._digest, self._count = line, NO_DIGEST, 0
        self._counts = is_whole and name not in self._whole  # else another export had it
        if is_whole:
            self._whole.add(name)
            self._missing.pop(name, None)
        elif name not in self._whole:
            self._missing[name] = line.payments
        self._is_told = is_whole

    def _add(self, payment: Exported) -> None:
        if self._line is None or payment.account.place != self._count or payment.account.minute != self._line.minute:
            self._fault(f"a payment of session {payment.name.state_id.decode('utf-8', 'replace')[:64]!r} is not in its place")
            return
        self._digest = chain_payment(self._digest, payment.name, payment.account.encode(payment.name.updated_ms))
        self._count += 1
        if not self._counts:
            return
        self.payments += 1
        row = payment.row
        key = (row.day or 0, row.auth_id or "", row.orchestrator or b"")
        self.sums[key] = self.sums.get(key, UsageSum()).plus(row.sums)

    def _end_line(self) -> None:
        line, self._line = self._line, None
        if line is not None and self._is_told and (self._digest, self._count) != (line.digest, line.payments):
            self._fault(f"the payments of line {line.tag.hex()} in minute {line.minute} are not those that its digest was made of")

    def _end_closing(self) -> None:
        self._end_line()
        closing, self._closing = self._closing, None
        if closing is None:
            return
        if digest_lines(self._lines) != closing.lines or sum(line.payments for line in self._lines) != closing.payments:
            self._fault(f"the lines of closing {closing.number} are not those that its digest was made of")
        elif self.closings.get(closing.number, closing) != closing:
            self._fault(f"closing {closing.number} is there twice, with two digests")
        else:
            self.closings[closing.number] = closing

    def _fault(self, text: str) -> None:
        if len(self.faults) < MAX_FAULTS:
            self.faults.append(text)


def broken_links(closings: Sequence[Closing], before: Closing | None) -> list[int]:
    """The numbers of closings that do not follow from the one before; `before` is the one before the first of them, where it is
    known. Closing 1 follows from nothing."""
    broken = []
    for closing in closings:
        if closing.number == 1:
            previous = NO_DIGEST
        elif before is not None and before.number == closing.number - 1:
            previous = before.digest
        else:
            before = closing
            continue
        if digest_closing(previous, closing) != closing.digest:
            broken.append(closing.number)
        before = closing
    return broken


def _closing_of(record: Mapping[str, Any]) -> Closing:
    number, minute, closed_ms, payments = (_whole(record[name]) for name in ("closing", "minute", "closed_ms", "payments"))
    return Closing(number, minute, closed_ms, payments, bytes.fromhex(record["lines"]), bytes.fromhex(record["digest"]))


def _line_of(record: Mapping[str, Any]) -> Line:
    return Line(_whole(record["minute"]), bytes.fromhex(record["line"]), _whole(record["payments"]), bytes.fromhex(record["digest"]))


def _exported_of(record: Mapping[str, Any], tag: bytes) -> Exported:
    name = PaymentName(
        record["session_id"].encode("utf-8", "surrogatepass"),
        _whole(record["sequence_number"]),
        bytes.fromhex(record["request"]),
        record["auth_id"].encode("utf-8", "surrogatepass"),
        bytes.fromhex(record["orchestrator"][2:]),
        _whole(record["updated_ms"]),
    )
    usd = record["fee_usd_e18"]
    figures = Figures(
        _amount(record["total_ev_wei"]), _amount(record["fee_wei"]), _amount(record["billed_ns"]), None if usd is None else _amount(usd)
    )
    account = Account(tag, _whole(record["payment"]), _whole(record["paid_ms"]), _whole(record["tickets"]), figures)
    return Exported(name, account)


def _whole(value: object) -> int:
    if type(value) is not int or not 0 <= value < 2**63:
        raise ValueError(value)
    return value


def _amount(text: str) -> int:
    if not (text.isascii() and text.isdecimal()) or len(text) > 80:
        raise ValueError(text)
    return int(text)
