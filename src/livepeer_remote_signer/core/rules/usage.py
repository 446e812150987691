"""Usage: what each auth id paid each orchestrator, by day of UTC. Sums of what the payments' events say, exact.

A day's line is written in the transaction that records its payments, so it counts each of them once. Budgets count
otherwise: they round up.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any, Literal, NamedTuple, TypeAlias

from livepeer_remote_signer.core.errors import BadField
from livepeer_remote_signer.core.protocol.eip191 import checksum_address
from livepeer_remote_signer.core.rules.figures import decimal_text, seconds_text
from livepeer_remote_signer.core.rules.ledger import Lines
from livepeer_remote_signer.core.rules.tally import Tally

UsageName: TypeAlias = Literal["day", "auth_id", "orchestrator"]

USAGE_NAMES: Sequence[UsageName] = ("day", "auth_id", "orchestrator")
"""By what usage is told apart, in the order in which rows come."""

MAX_USAGE_ROWS = 1000
"""On one page."""

MAX_CURSOR_CHARACTERS = 16_384
_MAX_DAY = 2_932_896
"""The last day that a date can name: 9999-12-31."""

SECONDS_PER_DAY = 86_400
MINUTES_PER_DAY = 1440
_EPOCH = date(1970, 1, 1)
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_MONTH = re.compile(r"[0-9]{4}-[0-9]{2}", re.ASCII)
_NEEDS_QUOTES = re.compile(r'[",\r\n]')
_ADDRESS = re.compile(r"0[xX][0-9a-fA-F]{40}", re.ASCII)


class UsageSum(NamedTuple):
    """What was paid: `sessions` began with it, `fee_usd` (10^-18 USD) is the fee of the `priced` payments that had a price in USD."""

    payments: int = 0
    sessions: int = 0
    tickets: int = 0
    ev_wei: int = 0
    fee_wei: int = 0
    billed_ns: int = 0
    fee_usd: int = 0
    priced: int = 0

    def plus(self, other: UsageSum) -> UsageSum:
        """Both together."""
        return UsageSum(*(a + b for a, b in zip(self, other, strict=True)))

    def describe(self) -> dict[str, Any]:
        """As it is read: amounts and seconds are exact decimals, as strings.

        `fee_usd` is null where no payment had a price; `payments_without_usd` are those that it does not cover.
        """
        return {
            "payments": self.payments,
            "sessions": self.sessions,
            "tickets": self.tickets,
            "total_ev_wei": str(self.ev_wei),
            "fee_wei": str(self.fee_wei),
            "seconds": seconds_text(self.billed_ns),
            "fee_usd": decimal_text(self.fee_usd) if self.priced else None,
            "payments_without_usd": self.payments - self.priced,
        }


class DayKey(NamedTuple):
    """A line of usage: the unix minute that its day of UTC begins with, who paid, and whom. `part`: see `core.rules.ledger.Lines`."""

    minute: int
    auth_id: str
    orchestrator: bytes
    part: int = 0


def open_days() -> Lines[DayKey, UsageSum]:
    """The lines that a process adds to."""
    return Lines(UsageSum())


def add_usage(days: dict[DayKey, UsageSum], tally: Tally, before: Lines[DayKey, UsageSum]) -> None:
    """Adds what was paid to its day's line in `days`, whose lines go on from those in `before`. Amounts of `tally` are whole numbers."""
    minute = tally.minute // MINUTES_PER_DAY * MINUTES_PER_DAY
    key = DayKey(minute, tally.auth_id.decode("utf-8", "surrogatepass"), tally.orchestrator, before.part(minute))
    more = UsageSum(
        tally.payments,
        tally.sessions,
        tally.tickets,
        int(tally.ev_wei),
        int(tally.fee_wei),
        int(tally.billed_ns),
        int(tally.fee_usd),
        tally.priced,
    )
    days[key] = (days.get(key) or before.get(key)).plus(more)


class UsageRow(NamedTuple):
    """Sums for a day, an auth id, an orchestrator (20 bytes), or several of them; what was not asked for apart is None."""

    day: int | None
    auth_id: str | None
    orchestrator: bytes | None
    sums: UsageSum

    def describe(self) -> dict[str, Any]:
        """The names that were asked for, and the sums."""
        named: dict[str, Any] = {}
        if self.day is not None:
            named["day"] = day_text(self.day)
        if self.auth_id is not None:
            named["auth_id"] = self.auth_id
        if self.orchestrator is not None:
            named["orchestrator"] = checksum_address(self.orchestrator)
        return {**named, **self.sums.describe()}


class UsageQuery(NamedTuple):
    """Which usage is asked for: days of UTC since 1970, both included; None: of all.

    `after`: the names of the row that the page before ended with, as many as `group` has.
    """

    first_day: int
    last_day: int
    auth_id: str | None = None
    orchestrator: bytes | None = None
    group: tuple[UsageName, ...] = ()
    after: tuple[int | str | bytes, ...] | None = None
    limit: int = MAX_USAGE_ROWS


def day_text(day: int) -> str:
    """A day of UTC as YYYY-MM-DD."""
    return (_EPOCH + timedelta(days=day)).isoformat()


def parse_day(text: str, name: str) -> int:
    """Days since 1970 of a date. Raises BadField."""
    try:
        if _DAY.fullmatch(text) is None:
            raise ValueError(text)
        return (date.fromisoformat(text) - _EPOCH).days
    except ValueError:
        raise BadField(f"{name} must be a day of UTC, YYYY-MM-DD, not {text[:32]!r}") from None


def days_of_month(text: str) -> tuple[int, int]:
    """The first and the last day of a month, YYYY-MM. Raises BadField."""
    try:
        if _MONTH.fullmatch(text) is None:
            raise ValueError(text)
        first = (date.fromisoformat(f"{text}-01") - _EPOCH).days
    except ValueError:
        raise BadField(f"month must be YYYY-MM, not {text[:32]!r}") from None
    return first, next(last for last in range(first + 30, first + 26, -1) if day_text(last)[:7] == text)


def parse_orchestrator(text: str) -> bytes:
    """The 20 bytes of an address. Raises BadField."""
    if _ADDRESS.fullmatch(text) is None:
        raise BadField(f"orchestrator must be 0x and 40 hex digits, not {text[:64]!r}")
    return bytes.fromhex(text[2:])


def parse_usage_query(asked: Mapping[str, str], today: int) -> UsageQuery:
    """A query's texts by name; empty ones count as absent. Raises BadField.

    `from` and `to`: days, both included; to the day `today` where it is not said, from the first of its month. `group`: names of
    USAGE_NAMES with commas between them; `limit`: rows on a page; `cursor`: what the page before gave.
    """
    if unknown := sorted(set(asked) - {"auth_id", "orchestrator", "from", "to", "group", "cursor", "limit"}):
        raise BadField(f"unknown parameter {unknown[0][:64]!r}", hint="auth_id, orchestrator, from, to, group, cursor and limit are known")
    last_day = parse_day(asked["to"], "to") if asked.get("to") else today
    first_day = parse_day(asked["from"], "from") if asked.get("from") else days_of_month(day_text(last_day)[:7])[0]
    if first_day > last_day:
        raise BadField(f"from is {day_text(first_day)}, which is after to, {day_text(last_day)}")
    group = _parse_group(asked.get("group", ""))
    return UsageQuery(
        first_day,
        last_day,
        asked.get("auth_id") or None,
        parse_orchestrator(asked["orchestrator"]) if asked.get("orchestrator") else None,
        group,
        decode_cursor(asked["cursor"], group) if asked.get("cursor") else None,
        _parse_limit(asked.get("limit", "")),
    )


def _parse_group(text: str) -> tuple[UsageName, ...]:
    wanted = text.split(",") if text else ["auth_id"]
    if unknown := [name for name in wanted if name not in USAGE_NAMES]:
        raise BadField(f"group has {unknown[0][:64]!r}", hint="day, auth_id and orchestrator are known, with commas between them")
    return tuple(name for name in USAGE_NAMES if name in wanted)


def _parse_limit(text: str) -> int:
    if text and not (text.isascii() and text.isdecimal() and len(text) <= 4 and 1 <= int(text) <= MAX_USAGE_ROWS):
        raise BadField(f"limit must be a number from 1 to {MAX_USAGE_ROWS}, not {text[:32]!r}")
    return int(text) if text else MAX_USAGE_ROWS


def encode_cursor(names: Sequence[int | str | bytes]) -> str:
    """The names of a page's last row as a text for URLs, which says nothing to anybody but `decode_cursor`."""
    plain = [name.hex() if isinstance(name, bytes) else name for name in names]
    return json.dumps(plain, ensure_ascii=False).encode("utf-8", "surrogatepass").hex()


def decode_cursor(text: str, group: Sequence[UsageName]) -> tuple[int | str | bytes, ...]:
    """The reverse. Raises BadField for a text that `encode_cursor` never made of a row with these names."""
    bad = BadField(
        "the cursor is not one that a page with this group gave", hint="begin without a cursor, or repeat the query of the page before"
    )
    if len(text) > MAX_CURSOR_CHARACTERS:
        raise bad
    try:
        names = json.loads(bytes.fromhex(text).decode("utf-8", "surrogatepass"))
        if not isinstance(names, list) or len(names) != len(group):
            raise bad
        return tuple(_decode_name(name, sort) for name, sort in zip(names, group, strict=True))
    except (ValueError, RecursionError):
        raise bad from None


def _decode_name(name: object, sort: UsageName) -> int | str | bytes:
    """Raises ValueError."""
    if sort == "day" and type(name) is int and 0 <= name <= _MAX_DAY:
        return name
    if sort == "auth_id" and isinstance(name, str):
        return name
    if sort == "orchestrator" and isinstance(name, str) and len(name) <= 40:
        return bytes.fromhex(name)
    raise ValueError(sort)


def names_of(row: UsageRow, group: Sequence[UsageName]) -> tuple[int | str | bytes, ...]:
    """What tells a row from the others of its query."""
    return tuple(getattr(row, name) for name in group)


def page_of(query: UsageQuery, rows: Sequence[UsageRow]) -> tuple[Sequence[UsageRow], str | None]:
    """Of one row more than a page has: the page, and where the next one begins; None where there is none."""
    page = rows[: query.limit]
    return page, encode_cursor(names_of(page[-1], query.group)) if len(rows) > query.limit else None


def columns_of(query: UsageQuery) -> list[str]:
    """The columns of a query's rows, also of none."""
    return [*query.group, *UsageSum().describe()]


def describe_query(query: UsageQuery) -> dict[str, Any]:
    """What was asked for."""
    return {"from": day_text(query.first_day), "to": day_text(query.last_day), "group": list(query.group)}


def csv_text(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    """A table with a line of names (RFC 4180); what is null stays empty."""
    lines = [columns, *([row[column] for column in columns] for row in rows)]
    return "".join(",".join(map(_csv_field, line)) + "\r\n" for line in lines)


def _csv_field(value: object) -> str:
    text = "" if value is None else str(value)
    return '"' + text.replace('"', '""') + '"' if _NEEDS_QUOTES.search(text) else text
