"""`GET /admin/usage`: what was paid by day, auth id and orchestrator, as JSON or CSV, page by page. `GET /admin/statement`: a month
of one auth id. `GET /usage`: what a caller may know of itself.

For operators one page at a time is looked for, within a deadline: payments are never kept waiting for it.
"""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import FastAPI, Query, Request, Response

from livepeer_remote_signer.api import admin_schemas, schemas, user_schemas
from livepeer_remote_signer.api.deadline import answered_within
from livepeer_remote_signer.api.errors import json_reply
from livepeer_remote_signer.api.openapi import refusals
from livepeer_remote_signer.api.paying import new_request_id
from livepeer_remote_signer.api.reply import Headers, Reply
from livepeer_remote_signer.api.responses import to_response
from livepeer_remote_signer.core.errors import BadField, LedgerUnavailable, NotFound
from livepeer_remote_signer.core.rules.caller_usage import CallerUsage
from livepeer_remote_signer.core.rules.policy import Caller
from livepeer_remote_signer.core.rules.statement import STATEMENT_STYLE, Statement
from livepeer_remote_signer.core.rules.trail import Trail
from livepeer_remote_signer.core.rules.usage import UsageQuery, UsageRow, columns_of, csv_text, describe_query, page_of, parse_usage_query

PATH = "/admin/usage"
STATEMENT_PATH = "/admin/statement"
CALLER_PATH = "/usage"
ANSWER_SECONDS = 15.0
"""An operator waits longer than a gateway does, and a page may stand for millions of lines."""

MAX_PARAMETERS = 20

ReadUsage = Callable[[UsageQuery], Awaitable[Sequence[UsageRow]]]
"""A page of usage. Raises LedgerUnavailable."""

ReadStatement = Callable[[str, str], Awaitable[Statement]]
"""An auth id's statement of a month. Raises BadField, LedgerUnavailable."""

Today = Callable[[], int]
"""The day of UTC, since 1970."""


class OneAtATime:
    """What operators ask waits for what they asked before, and for no longer than ANSWER_SECONDS."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Raises TimedOut."""
        async with answered_within(ANSWER_SECONDS), self._lock:
            yield


Ask = Callable[[UsageQuery, Caller, Trail], Awaitable[CallerUsage]]
"""What a caller has spent, may spend, and has open. Raises what names and refuses callers, and LedgerUnavailable."""


def add_caller_usage_route(
    app: FastAPI,
    begin: Callable[[Caller], Trail],
    ask: Ask | None,
    today: Today,
    answer_seconds: float,
    errors: Mapping[int | str, dict[str, Any]],
) -> None:
    """Adds `GET /usage`; without `ask` nobody says who is asking, or there is no ledger: 404."""

    @app.get(
        CALLER_PATH,
        name="get_usage",
        response_model=schemas.CallerUsage,
        responses={status: errors[status] for status in (400, 401, 403, 404, 429, 502, 503)},
    )
    async def caller_usage(
        request: Request,
        first: Annotated[str | None, Query(alias="from", description="the first day of UTC, YYYY-MM-DD; of this month")] = None,
        last: Annotated[str | None, Query(alias="to", description="the last day; today")] = None,
        orchestrator: Annotated[str | None, Query(description="paid to this one alone: 0x and 40 hex digits")] = None,
        group: Annotated[
            str | None, Query(description="what rows are told apart by: day, orchestrator, with a comma between them; day")
        ] = None,
        limit: Annotated[str | None, Query(description="rows on a page, 1 to 1000")] = None,
        cursor: Annotated[str | None, Query(description="next_cursor of the page before")] = None,
    ) -> Response:
        """The caller's own spending, what its budgets leave it, and its open sessions."""
        if ask is None:
            raise NotFound("usage is not enabled", hint="it needs a ledger, and an authority under `auth` that says who is asking")
        names = {"from": first, "to": last, "orchestrator": orchestrator, "group": group or "day", "limit": limit, "cursor": cursor}
        asked = parameters_of(request)
        caller = Caller(tuple(request.headers.raw), request.client.host if request.client else "", CALLER_PATH)
        trail = begin(caller)
        query = parse_usage_query({**asked, **{name: value for name, value in names.items() if value}}, today())
        if "auth_id" in asked or "auth_id" in query.group:
            raise BadField("auth_id is the caller's own: it is neither asked for nor grouped by")
        async with answered_within(answer_seconds):
            usage = await ask(query, caller, trail)
        return to_response(json_reply(200, usage.describe(), trail.request_id, ((b"cache-control", b"no-store"),)))


def add_usage_route(app: FastAPI, read: ReadUsage | None, today: Today, turns: OneAtATime) -> None:
    """Adds the route; without `read` there is no ledger, and it answers 503."""

    @app.get(
        PATH,
        name="get_admin_usage",
        response_model=admin_schemas.AdminUsage,
        responses=refusals(400, 401, 503),
        openapi_extra=admin_schemas.USAGE_PARAMETERS,
    )
    async def usage(request: Request) -> Response:
        """What was paid, told apart by `group`."""
        if read is None:
            raise LedgerUnavailable("usage needs a ledger: set ledger.backend to sqlite or postgres")
        asked = parameters_of(request)
        is_csv = wants_csv(request, asked.pop("format", ""))
        query = parse_usage_query(asked, today())
        async with turns.turn():
            rows = await read(query._replace(limit=query.limit + 1))
        page, cursor = page_of(query, rows)
        headers: Headers = ()
        if cursor is not None:
            following = urlencode({**asked, "cursor": cursor, **({"format": "csv"} if is_csv else {})})
            headers = ((b"link", f'<{PATH}?{following}>; rel="next"'.encode()),)
        if is_csv:
            return to_response(file_reply(csv_text(columns_of(query), [row.describe() for row in page]), "usage.csv", headers))
        body = {**describe_query(query), "rows": [row.describe() for row in page], "next_cursor": cursor}
        return to_response(json_reply(200, body, new_request_id(), headers))


def add_statement_route(app: FastAPI, read: ReadStatement | None, turns: OneAtATime) -> None:
    """Adds `GET /admin/statement`; without `read` there is no ledger, and it answers 503."""

    @app.get(
        STATEMENT_PATH,
        name="get_statement",
        responses=refusals(400, 401, 503),
        openapi_extra=user_schemas.query(auth_id="whose", month="YYYY-MM, of UTC", format="json, csv or html"),
    )
    async def statement(request: Request) -> Response:
        """A month of one auth id, as JSON, CSV or a page that prints."""
        if read is None:
            raise LedgerUnavailable("statements need a ledger: set ledger.backend to sqlite or postgres")
        asked = parameters_of(request)
        if not {"auth_id", "month"} <= asked.keys() <= {"auth_id", "month", "format"}:
            raise BadField("auth_id and month are expected, and format may be given", hint="auth_id may be empty: payments without one")
        form = asked.get("format", "")
        if form not in ("", "json", "csv", "html"):
            raise BadField(f"format is json, csv or html, not {form[:32]!r}")
        async with turns.turn():
            made = await read(asked["auth_id"], asked["month"])
        if form == "csv":
            return to_response(file_reply(made.csv(), f"statement-{made.month}.csv"))
        if form == "html":
            return _page(made.html())
        return to_response(json_reply(200, made.describe(), new_request_id()))


def _page(text: str) -> Response:
    style = b64encode(sha256(STATEMENT_STYLE.encode()).digest()).decode()
    nothing_else = "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    headers = {
        "content-security-policy": f"default-src 'none'; style-src 'sha256-{style}'; {nothing_else}",
        "cache-control": "no-store",
        "x-content-type-options": "nosniff",
        "x-request-id": new_request_id(),
    }
    return Response(text, headers=headers, media_type="text/html; charset=utf-8")


def parameters_of(request: Request) -> dict[str, str]:
    """The query's parameters, each once. Raises BadField."""
    pairs = request.query_params.multi_items()
    asked = dict(pairs)
    if len(asked) < len(pairs) or len(pairs) > MAX_PARAMETERS:
        raise BadField("each parameter is given once")
    return asked


def wants_csv(request: Request, form: str) -> bool:
    """By `format`, or else by the header Accept. Raises BadField."""
    if form not in ("", "json", "csv"):
        raise BadField(f"format is json or csv, not {form[:32]!r}")
    return form == "csv" or (not form and "text/csv" in request.headers.get("accept", "").lower())


def file_reply(table: str, name: str, headers: Headers = ()) -> Reply:
    """A table as a file to keep."""
    own = (
        (b"content-type", b"text/csv; charset=utf-8"),
        (b"content-disposition", f'attachment; filename="{name}"'.encode()),
        (b"x-content-type-options", b"nosniff"),
        (b"x-request-id", new_request_id().encode()),
    )
    return Reply(200, (*own, *headers), table.encode("utf-8", "surrogatepass"))
