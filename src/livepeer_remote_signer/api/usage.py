"""`GET /admin/usage`: what was paid by day, auth id and orchestrator, as JSON or CSV, page by page.

One page at a time is looked for, within a deadline: payments are never kept waiting for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlencode

from fastapi import FastAPI, Request, Response

from livepeer_remote_signer.api.deadline import answered_within
from livepeer_remote_signer.api.errors import json_reply
from livepeer_remote_signer.api.paying import new_request_id
from livepeer_remote_signer.api.reply import Headers, Reply
from livepeer_remote_signer.api.responses import to_response
from livepeer_remote_signer.core.errors import BadField, LedgerUnavailable
from livepeer_remote_signer.core.rules.usage import UsageQuery, UsageRow, columns_of, csv_text, describe_query, page_of, parse_usage_query

PATH = "/admin/usage"
ANSWER_SECONDS = 15.0
"""An operator waits longer than a gateway does, and a page may stand for millions of lines."""

MAX_PARAMETERS = 20

ReadUsage = Callable[[UsageQuery], Awaitable[Sequence[UsageRow]]]
"""A page of usage. Raises LedgerUnavailable."""

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


def add_usage_route(app: FastAPI, read: ReadUsage | None, today: Today, turns: OneAtATime) -> None:
    """Adds the route; without `read` there is no ledger, and it answers 503."""

    @app.get(PATH)
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
            return to_response(csv_reply(columns_of(query), [row.describe() for row in page], "usage.csv", headers))
        body = {**describe_query(query), "rows": [row.describe() for row in page], "next_cursor": cursor}
        return to_response(json_reply(200, body, new_request_id(), headers))


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


def csv_reply(columns: Sequence[str], rows: Sequence[dict[str, Any]], name: str, headers: Headers = ()) -> Reply:
    """A table as a file to keep."""
    own = (
        (b"content-type", b"text/csv; charset=utf-8"),
        (b"content-disposition", f'attachment; filename="{name}"'.encode()),
        (b"x-content-type-options", b"nosniff"),
        (b"x-request-id", new_request_id().encode()),
    )
    return Reply(200, (*own, *headers), csv_text(columns, rows).encode("utf-8", "surrogatepass"))
