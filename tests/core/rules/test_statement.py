"""A statement: it adds up, says when it is not final, and shows whatever an auth id holds as text."""

from __future__ import annotations

import csv
import io
from fractions import Fraction
from html.parser import HTMLParser
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from livepeer_remote_signer.core.rules.figures import decimal_text
from livepeer_remote_signer.core.rules.statement import STATEMENT_STYLE, Statement
from livepeer_remote_signer.core.rules.usage import UsageRow, UsageSum, days_of_month, parse_day

MONTH = "2026-11"
FIRST, LAST = days_of_month(MONTH)
OVER_NS = ((LAST + 1) * 86_400 + 60) * 10**9
TAGS = {
    "html",
    "head",
    "meta",
    "title",
    "style",
    "body",
    "h1",
    "dl",
    "dt",
    "dd",
    "div",
    "table",
    "caption",
    "thead",
    "tbody",
    "tr",
    "th",
} | {"td"}
AMOUNTS = ("payments", "sessions", "tickets", "total_ev_wei", "fee_wei", "seconds", "payments_without_usd")

sums = st.builds(
    UsageSum,
    st.integers(1, 10**6),
    st.integers(0, 10**6),
    st.integers(1, 10**8),
    st.integers(0, 10**30),
    st.integers(0, 10**30),
    st.integers(0, 10**20),
    st.integers(0, 10**30),
    st.integers(0, 1),
)
rows = st.lists(st.builds(UsageRow, st.integers(FIRST, LAST), st.none(), st.sampled_from([b"\1" * 20, b"\2" * 20]), sums), max_size=12)


class Cells(HTMLParser):
    """The page's tables, as a reader sees them."""

    def __init__(self) -> None:
        super().__init__()
        self.tables: list[list[list[str]]] = []
        self.tags: set[str] = set()
        self.text = ""
        self._cell: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        assert all(name not in ("src", "href", "onload", "style") for name, _ in attrs)
        if tag == "tbody":
            self.tables.append([])
        if tag == "tr" and self.tables:
            self.tables[-1].append([])
        if tag == "td":
            self._cell = ""

    def handle_endtag(self, tag: str) -> None:
        if tag == "td" and self._cell is not None:
            self.tables[-1][-1].append(self._cell)
            self._cell = None

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._cell is not None:
            self._cell += data


def read(page: str) -> Cells:
    cells = Cells()
    cells.feed(page)
    return cells


def totals(lines: list[dict[str, Any]]) -> list[Fraction]:
    return [sum((Fraction(line[name]) for line in lines), Fraction(0)) for name in AMOUNTS]


@given(rows)
def test_total_parts_table_and_page_are_the_same_to_the_wei(lines: list[UsageRow]) -> None:
    statement = Statement("a", MONTH, lines, OVER_NS, drawn_wei=5)
    told = statement.describe()
    assert told["total"]["drawn_wei"] == "5"
    assert totals([told["total"]]) == totals(told["by_orchestrator"]) == totals(told["by_day"])
    table = list(csv.DictReader(io.StringIO(statement.csv(), newline="")))
    assert totals(table) == totals([told["total"]])
    page = read(statement.html())
    (total,), by_orchestrator, by_day = ([line for line in tbody if line] for tbody in page.tables)
    assert total[1:4] == [str(told["total"][name]) for name in ("payments", "sessions", "tickets")]
    for column, name in ((4, "total_ev_wei"), (5, "fee_wei")):
        for part in ([total], by_orchestrator, by_day):
            assert sum(Fraction(line[column]) for line in part) * 10**18 == int(told["total"][name])


@given(st.text(max_size=60))
def test_an_auth_id_is_text_in_the_page_and_a_field_in_the_table(auth_id: str) -> None:
    row = UsageRow(FIRST, None, b"\1" * 20, UsageSum(1))
    statement = Statement(auth_id, MONTH, [row], OVER_NS)
    page = read(statement.html())
    assert page.tags <= TAGS
    shown = auth_id.encode("utf-8", "replace").decode()
    assert shown.replace("\r\n", "\n").replace("\r", "\n") in page.text.replace("\r\n", "\n").replace("\r", "\n")
    (line,) = csv.DictReader(io.StringIO(statement.csv(), newline=""))
    assert line["auth_id"] == auth_id


def test_markup_in_an_auth_id_does_nothing() -> None:
    page = Statement("<script>alert(1)</script><img src=x onerror='x'>\ud800", MONTH, [], OVER_NS).html()
    assert "<script" not in page
    assert "<img" not in page
    assert "?" in page


def test_a_month_that_is_not_over_is_not_final() -> None:
    assert Statement("a", MONTH, [], OVER_NS).is_final
    early = Statement("", MONTH, [], OVER_NS - 1)
    assert not early.is_final
    assert early.describe()["is_final"] is False
    assert early.describe()["from"] == "2026-11-01"
    assert early.describe()["to"] == "2026-11-30"
    assert parse_day("2026-11-30", "") == LAST
    assert "the month is not over" in early.html()
    assert "the month is not over" not in Statement("a", MONTH, [], OVER_NS).html()


def test_what_is_not_known_is_not_nought() -> None:
    row = UsageRow(FIRST, None, b"\1" * 20, UsageSum(3, fee_usd=5 * 10**17, priced=1))
    unknown = Statement("a", MONTH, [row._replace(sums=UsageSum(3))], OVER_NS)
    assert unknown.describe()["total"]["drawn_wei"] is None
    assert unknown.html().count("unknown") == 4
    partly = Statement("a", MONTH, [row], OVER_NS, drawn_wei=0).html()
    assert "0.5 (without 2 payments)" in partly
    assert "0 ETH" in partly
    assert STATEMENT_STYLE in partly
    whole = Statement("a", MONTH, [row._replace(sums=UsageSum(1, fee_usd=1, priced=1))], OVER_NS).html()
    assert f"<td>{decimal_text(1)}</td>" in whole
