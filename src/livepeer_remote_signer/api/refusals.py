"""Refusals outside the paying path: each has a line in the log by which its request id can be found.

What a request on a paying route comes to is told to the observer; this is for all else: other routes, requests that are no
HTTP, do not arrive, or are too large. Nothing of what the caller sent stands in the line.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from livepeer_remote_signer.api.errors import error_reply, status_of
from livepeer_remote_signer.api.paying import new_request_id
from livepeer_remote_signer.api.reply import Reply
from livepeer_remote_signer.core.errors import Overloaded, SignerError

OTHER_ROUTE = "other"
"""Where a reply belongs to no route."""

OUR_FAULTS = frozenset((500, 503))
"""What only the operator can mend, and reads of in the log alone: their reasons say nothing of what the caller sent."""

CALLER = "livepeer_remote_signer.caller"
"""Where a scope holds the address that its request counts under."""

_log = logging.getLogger(__name__)


def refusal_reply(error: SignerError, route: str = OTHER_ROUTE, caller: str = "") -> Reply:
    """The reply, and its line in the log; `route` is a route's pattern, `caller` the address that a request counts under."""
    request_id = new_request_id()
    status = status_of(error)
    reason = error.message if status in OUR_FAULTS else ""
    note_refusal(route, status, error.code, request_id, caller, is_callers_doing=isinstance(error, Overloaded), reason=reason)
    return error_reply(error, request_id)


def note_refusal(
    route: str, status: int, code: str, request_id: str, caller: str = "", *, is_callers_doing: bool = False, reason: str = ""
) -> None:
    """The line in the log: error with its reason where we are at fault; info where the caller is, so many of one caller a minute.

    `is_callers_doing` tells of a 5xx that it is one all the same: who sends too much must not fill the log with it.
    """
    told = {"error": reason} if reason else {}
    extra: dict[str, object] = {"fields": {"status": status, "code": code, **told, "route": route, "request_id": request_id}}
    if status < 500 or is_callers_doing:
        extra["refused_caller"] = caller
    _log.log(logging.ERROR if status >= 500 else logging.INFO, "request refused", extra=extra)


def caller_of(scope: Mapping[str, Any]) -> str:
    """The address that a request counts under, as the front noted it; for an application without one the peer's."""
    noted: str | None = scope.get(CALLER)
    return peer_of(scope) if noted is None else noted


def peer_of(scope: Mapping[str, Any]) -> str:
    """The address that a request came from, as ASGI has it; "" where that is not known."""
    client = scope.get("client")
    return client[0] if client else ""
