"""A month of one auth id: what was paid, to whom and when, exact; as JSON, as a table, and as a page that prints.

The figures are usage's: sums of what the payments' events say. The page loads nothing from anywhere, and what stands in it is
text, whatever an auth id holds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from livepeer_remote_signer.core.protocol.eip191 import checksum_address
from livepeer_remote_signer.core.protocol.timestamps import NS_PER_SECOND, encode_rfc3339_ns
from livepeer_remote_signer.core.rules.figures import decimal_text
from livepeer_remote_signer.core.rules.usage import UsageRow, UsageSum, csv_text, day_text, days_of_month

MAX_STATEMENT_ROWS = 50_000
"""Days and orchestrators of a month: more are read as usage, page by page."""

STATEMENT_STYLE = """
body { font: 11pt/1.4 system-ui, sans-serif; color: #111; background: #fff; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.4rem } dt { font-weight: 600 } dd { margin: 0 0 .5rem; overflow-wrap: anywhere }
.wide { overflow-x: auto } table { border-collapse: collapse; width: 100% } caption { text-align: left; font-weight: 600; padding: .5rem 0 }
th, td { border-bottom: 1px solid #bbb; padding: .25rem .5rem; text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }
th:first-child, td:first-child { text-align: left } thead { display: table-header-group } tr { break-inside: avoid }
@media print { body { margin: 0; max-width: none; font-size: 9pt } .wide { overflow: visible } }
"""

_HEADINGS = ("payments", "sessions", "tickets", "expected value, ETH", "fee, ETH", "fee, USD", "seconds")
_UNKNOWN = "unknown"


class Statement(NamedTuple):
    """`rows` are by day and orchestrator. `drawn_wei`: what orchestrators have redeemed of these tickets; None: it is not known.

    `made_ns` is the time of reading, unix nanoseconds: a month that is not over then is not final.
    """

    auth_id: str
    month: str
    rows: Sequence[UsageRow]
    made_ns: int
    drawn_wei: int | None = None

    @property
    def total(self) -> UsageSum:
        """All of the month."""
        return _added(self.rows)

    @property
    def is_final(self) -> bool:
        """Whether the month was over, and so were payments of its last moment: they are committed within a minute."""
        _, last_day = days_of_month(self.month)
        return self.made_ns >= ((last_day + 1) * 86_400 + 60) * NS_PER_SECOND

    def describe(self) -> dict[str, Any]:
        """As JSON."""
        first_day, last_day = days_of_month(self.month)
        drawn = None if self.drawn_wei is None else str(self.drawn_wei)
        return {
            "auth_id": self.auth_id,
            "month": self.month,
            "from": day_text(first_day),
            "to": day_text(last_day),
            "is_final": self.is_final,
            "made": encode_rfc3339_ns(self.made_ns),
            "total": {**self.total.describe(), "drawn_wei": drawn},
            "by_orchestrator": [{"orchestrator": name, **sums.describe()} for name, sums in self._by(_orchestrator_name)],
            "by_day": [{"day": name, **sums.describe()} for name, sums in self._by(_day_name)],
        }

    def csv(self) -> str:
        """A line for each day and orchestrator: the lines add up to the statement."""
        columns = ["month", "auth_id", "day", "orchestrator", *UsageSum().describe()]
        return csv_text(columns, [{"month": self.month, "auth_id": self.auth_id, **row.describe()} for row in self.rows])

    def html(self) -> str:
        """A page that prints; a browser may be told to allow its style alone."""
        drawn = _UNKNOWN if self.drawn_wei is None else f"{decimal_text(self.drawn_wei)} ETH"
        facts = {
            "Auth id": self.auth_id or "(payments without an auth id)",
            "Month": f"{self.month} (days of UTC)",
            "Made": encode_rfc3339_ns(self.made_ns) + ("" if self.is_final else ": the month is not over, the figures may grow"),
            "Drawn by orchestrators": drawn,
        }
        listed = "".join(f"<dt>{_escaped(name)}</dt><dd>{_escaped(text)}</dd>" for name, text in facts.items())
        return (
            '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
            f"<title>Statement {_escaped(self.month)}</title><style>{STATEMENT_STYLE}</style></head><body>"
            f"<h1>Statement</h1><dl>{listed}</dl>"
            f"{_table('Total', '', [('', self.total)])}{_table('By orchestrator', 'orchestrator', self._by(_orchestrator_name))}"
            f"{_table('By day', 'day', self._by(_day_name))}</body></html>\n"
        )

    def _by(self, name_of: Callable[[UsageRow], str]) -> list[tuple[str, UsageSum]]:
        found: dict[str, list[UsageRow]] = {}
        for row in self.rows:
            found.setdefault(name_of(row), []).append(row)
        return [(name, _added(rows)) for name, rows in sorted(found.items())]


def _orchestrator_name(row: UsageRow) -> str:
    return checksum_address(row.orchestrator or bytes(20))


def _day_name(row: UsageRow) -> str:
    return day_text(row.day or 0)


def _added(rows: Iterable[UsageRow]) -> UsageSum:
    total = UsageSum()
    for row in rows:
        total = total.plus(row.sums)
    return total


def _table(caption: str, name: str, lines: Sequence[tuple[str, UsageSum]]) -> str:
    head = "".join(f"<th>{_escaped(text)}</th>" for text in (name, *_HEADINGS))
    body = "".join(
        f"<tr>{''.join(f'<td>{_escaped(text)}</td>' for text in (title, *_cells(sums.describe())))}</tr>" for title, sums in lines
    )
    return (
        f'<div class="wide"><table><caption>{_escaped(caption)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def _cells(told: Mapping[str, Any]) -> list[str]:
    usd = told["fee_usd"]
    if usd is None:
        usd = _UNKNOWN
    elif told["payments_without_usd"]:
        usd = f"{usd} (without {told['payments_without_usd']} payments)"
    counts = [str(told[name]) for name in ("payments", "sessions", "tickets")]
    amounts = [decimal_text(int(told[name])) for name in ("total_ev_wei", "fee_wei")]
    return [*counts, *amounts, usd, told["seconds"]]


def _escaped(text: str) -> str:
    """Text between tags; what no page can hold is shown as a replacement."""
    for character, name in (("&", "amp"), ("<", "lt"), (">", "gt"), ('"', "quot"), ("'", "#39")):
        text = text.replace(character, f"&{name};")
    return text.encode("utf-8", "replace").decode()
