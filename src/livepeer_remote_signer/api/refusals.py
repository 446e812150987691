"""Refusals outside the paying path: each has a line in the log by which its request id can be found.

What a request on a paying route comes to is told to the observer; this is for all else: other routes, requests that are no
HTTP, do not arrive, or are too large. Nothing of what the caller sent stands in the line.
"""

from __future__ import annotations

import logging

from livepeer_remote_signer.api.errors import error_reply, status_of
from livepeer_remote_signer.api.paying import new_request_id
from livepeer_remote_signer.api.reply import Reply
from livepeer_remote_signer.core.errors import SignerError

OTHER_ROUTE = "other"
"""Where a reply belongs to no route."""

_log = logging.getLogger(__name__)


def refusal_reply(error: SignerError, route: str = OTHER_ROUTE) -> Reply:
    """The reply, and its line in the log; `route` is a route's pattern."""
    request_id = new_request_id()
    note_refusal(route, status_of(error), error.code, request_id)
    return error_reply(error, request_id)


def note_refusal(route: str, status: int, code: str, request_id: str) -> None:
    """The line in the log: info where the caller is at fault, error where we are."""
    fields = {"status": status, "code": code, "route": route, "request_id": request_id}
    _log.log(logging.ERROR if status >= 500 else logging.INFO, "request refused", extra={"fields": fields})
