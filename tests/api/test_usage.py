"""Usage as operators read it: exact, page by page, as JSON and CSV."""

from __future__ import annotations

import asyncio
import base64
import csv
import hashlib
import io
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from fractions import Fraction
from pathlib import Path

import httpx
import pytest

from livepeer_remote_signer.adapters.ceilings import LiveCeilings
from livepeer_remote_signer.adapters.ledger import controls
from livepeer_remote_signer.adapters.runtime_prices import RuntimePrices
from livepeer_remote_signer.api import usage as usage_routes
from livepeer_remote_signer.api.admin import AdminParts, Usage, create_admin
from livepeer_remote_signer.core.rules.ceilings import Amount, CeilingAmounts
from livepeer_remote_signer.core.rules.statement import Statement
from livepeer_remote_signer.core.rules.usage import UsageQuery, UsageRow, day_text
from tests.ledgers import OpenLedger, Session, opened
from tests.plans import NOW_NS, ORCHESTRATOR

TODAY = NOW_NS // (86_400 * 10**9)
TOKEN = "a-token-of-the-operator"


@asynccontextmanager
async def admin_of(usage: Usage | None) -> AsyncIterator[httpx.AsyncClient]:
    ceilings = LiveCeilings(CeilingAmounts(Amount(Fraction(5))))
    app = create_admin(AdminParts(TOKEN, RuntimePrices(ceilings.amounts, ceilings), lambda: (), None, lambda: b"", usage=usage))
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://admin", headers=headers) as client:
        yield client


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[OpenLedger]:
    """Three auth ids, one of them with a name that CSV has to quote, each with some payments."""
    async with opened(tmp_path / "ledger.sqlite") as (ledger,):
        for count, auth_id in enumerate(("alice", 'b"ob,\n', ""), 1):
            session = Session(auth_id=auth_id)
            for tickets in range(1, count + 1):
                assert await ledger.pay(session.next(tickets=tickets)) is None
        yield ledger


async def test_rows_add_up_and_name_who_paid_whom(ledger: OpenLedger) -> None:
    async with admin_of(ledger.controls) as admin:
        told = (await admin.get("/admin/usage", params={"group": "auth_id,day,orchestrator"})).json()
        assert (told["from"], told["to"], told["group"]) == (
            day_text(TODAY)[:8] + "01",
            day_text(TODAY),
            ["day", "auth_id", "orchestrator"],
        )
        assert told["next_cursor"] is None
        assert [(row["auth_id"], row["payments"], row["sessions"], row["tickets"]) for row in told["rows"]] == [
            ("", 3, 1, 6),
            ("alice", 1, 1, 1),
            ('b"ob,\n', 2, 1, 3),
        ]
        assert all(row["orchestrator"].lower() == "0x" + ORCHESTRATOR.hex() for row in told["rows"])
        (alice,) = (await admin.get("/admin/usage", params={"auth_id": "alice"})).json()["rows"]
        assert alice == {
            "auth_id": "alice",
            "payments": 1,
            "sessions": 1,
            "tickets": 1,
            "total_ev_wei": "1000000000000",
            "fee_wei": "1000000000000",
            "seconds": "10",
            "fee_usd": None,
            "payments_without_usd": 1,
        }
        yesterday = {"from": day_text(TODAY - 1), "to": day_text(TODAY - 1)}
        assert (await admin.get("/admin/usage", params=yesterday)).json()["rows"] == []


async def test_csv_has_the_same_rows_by_format_or_by_accept(ledger: OpenLedger) -> None:
    async with admin_of(ledger.controls) as admin:
        rows = (await admin.get("/admin/usage")).json()["rows"]
        for table in (
            await admin.get("/admin/usage", params={"format": "csv"}),
            await admin.get("/admin/usage", headers={"Accept": "text/csv"}),
        ):
            assert table.headers["content-type"] == "text/csv; charset=utf-8"
            read = list(csv.DictReader(io.StringIO(table.text, newline="")))
            assert read == [{name: "" if value is None else str(value) for name, value in row.items()} for row in rows]
        empty = await admin.get("/admin/usage", params={"format": "csv", "auth_id": "nobody"})
        assert empty.text.startswith("auth_id,payments,sessions,tickets,total_ev_wei,fee_wei,seconds,fee_usd,payments_without_usd\r\n")
        asked = await admin.get("/admin/usage", params={"format": "json"}, headers={"Accept": "text/csv"})
        assert asked.headers["content-type"] == "application/json"


@pytest.mark.parametrize("form", ["json", "csv"])
async def test_pages_follow_each_other_by_their_links(ledger: OpenLedger, form: str) -> None:
    async with admin_of(ledger.controls) as admin:
        names, link = [], f"/admin/usage?limit=1&format={form}"
        for _ in range(3):
            page = await admin.get(link)
            rows = page.json()["rows"] if form == "json" else list(csv.DictReader(io.StringIO(page.text, newline="")))
            names += [row["auth_id"] for row in rows]
            if form == "json" and (cursor := page.json()["next_cursor"]):
                same = await admin.get("/admin/usage", params={"limit": "1", "cursor": cursor})
                assert same.json()["rows"] == (await admin.get(page.links["next"]["url"])).json()["rows"]
            link = page.links["next"]["url"] if "next" in page.links else ""
        assert (names, link) == (["", "alice", 'b"ob,\n'], "")


@pytest.mark.parametrize(
    ("query", "word"),
    [
        ("from=yesterday", "from must be a day"),
        ("format=xml", "format is json or csv"),
        ("auth_id=a&auth_id=b", "given once"),
        ("&".join(f"x{n}=1" for n in range(30)), "given once"),
        ("cursor=x", "the cursor"),
    ],
)
async def test_a_question_that_cannot_be_answered_is_refused(ledger: OpenLedger, query: str, word: str) -> None:
    async with admin_of(ledger.controls) as admin:
        refused = await admin.get(f"/admin/usage?{query}")
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "bad_field")
        assert word in refused.json()["error"]["message"]


async def test_without_a_ledger_it_says_so_and_without_the_token_nothing(ledger: OpenLedger) -> None:
    async with admin_of(None) as admin:
        refused = await admin.get("/admin/usage")
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "ledger_unavailable")
    async with admin_of(ledger.controls) as admin:
        assert (await admin.get("/admin/usage", headers={"Authorization": "Bearer x"})).status_code == 401


async def test_one_page_at_a_time_is_looked_for_and_none_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow:
        """Answers nobody."""

        asked = 0

        def today(self) -> int:
            return TODAY

        async def daily(self, query: UsageQuery) -> Sequence[UsageRow]:
            self.asked += 1
            await asyncio.Event().wait()
            raise AssertionError

        async def statement(self, auth_id: str, month: str) -> Statement:
            raise AssertionError

    monkeypatch.setattr(usage_routes, "ANSWER_SECONDS", 1.0)
    slow = Slow()
    async with admin_of(slow) as admin:
        answers = await asyncio.gather(*(admin.get("/admin/usage") for _ in range(5)))
        assert {(answer.status_code, answer.json()["error"]["code"]) for answer in answers} == {(503, "timed_out")}
        assert slow.asked < 5, "who waited for a turn left without one"
        assert json.loads(answers[0].text)["error"]["message"]


async def test_a_statement_is_the_months_usage_in_every_form(ledger: OpenLedger) -> None:
    month = day_text(TODAY)[:7]
    async with admin_of(ledger.controls) as admin:
        for auth_id, payments in (("alice", 1), ('b"ob,\n', 2), ("", 3), ("nobody", 0)):
            asked = {"auth_id": auth_id, "month": month}
            told = (await admin.get("/admin/statement", params=asked)).json()
            assert (told["auth_id"], told["month"], told["total"]["payments"]) == (auth_id, month, payments)
            usage = (await admin.get("/admin/usage", params={"group": "auth_id"})).json()["rows"]
            for row in usage:
                if row["auth_id"] == auth_id:
                    assert {**row, "drawn_wei": None} == {"auth_id": auth_id, **told["total"]}
            table = await admin.get("/admin/statement", params={**asked, "format": "csv"})
            lines = list(csv.DictReader(io.StringIO(table.text, newline="")))
            assert sum(int(line["total_ev_wei"]) for line in lines) == int(told["total"]["total_ev_wei"])
            page = await admin.get("/admin/statement", params={**asked, "format": "html"})
            style = page.text.split("<style>")[1].split("</style>")[0]
            digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
            assert page.headers["content-security-policy"].startswith(f"default-src 'none'; style-src 'sha256-{digest}'")
            assert page.headers["content-type"] == "text/html; charset=utf-8"
        for wrong in (
            {"auth_id": "a"},
            {"month": month},
            {"auth_id": "a", "month": "2026"},
            {**asked, "format": "pdf"},
            {**asked, "x": "1"},
        ):
            refused = await admin.get("/admin/statement", params=wrong)
            assert (refused.status_code, refused.json()["error"]["code"]) == (400, "bad_field")
    async with admin_of(None) as admin:
        assert (await admin.get("/admin/statement", params=asked)).status_code == 503


async def test_a_statement_that_is_too_long_says_so(ledger: OpenLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(controls, "MAX_STATEMENT_ROWS", 0)
    async with admin_of(ledger.controls) as admin:
        refused = await admin.get("/admin/statement", params={"auth_id": "alice", "month": day_text(TODAY)[:7]})
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "bad_field")
