"""The one table of statuses, and the envelope that every error travels in.

A status is a promise: clients end a session for good on a 4xx other than 408, 429, 480 and 482, and go on after those and after
every 5xx. So 4xx is for what no repetition can mend, and what may pass by itself is 429 or 5xx, with `Retry-After`.

Source: section 5.1 of the protocol: `{"error": {"message": ...}}` with keys of ours inside `error`. A 500 never says
more than "Internal Server Error"; a 503 of ours says what is wrong, since that is the operator's fault and no secret.
"""

from __future__ import annotations

import json
from typing import Any

from livepeer_remote_signer.api.reply import Headers, Reply
from livepeer_remote_signer.core import errors as e

STATUSES: dict[type[e.SignerError], int] = {
    e.BadJson: 400,
    e.BadField: 400,
    e.MissingOrchestrator: 400,
    e.BadOrchestrator: 400,
    e.BadPrice: 400,
    e.MissingTicketParams: 400,
    e.BadTicketParams: 400,
    e.InvalidSig: 400,
    e.SenderChanged: 400,
    e.InvalidState: 400,
    e.StateMismatch: 400,
    e.MissingManifestId: 400,
    e.BadCapabilities: 400,
    e.MissingAuthToken: 400,
    e.BadJobType: 400,
    e.NoBillableUnits: 400,
    e.BadMaxPrice: 400,
    e.TooManyTickets: 400,
    e.TicketEvTooLow: 400,
    e.TicketEvExceeded: 400,
    e.TotalEvExceeded: 400,
    e.FaceValueTooLow: 400,
    e.CreditExceeded: 400,
    e.BadRequest: 400,
    e.Unauthenticated: 401,
    e.AuthIdChanged: 403,
    e.Suspended: 403,
    e.NoSender: 403,
    e.RecipientRefused: 403,
    e.AddressRefused: 403,
    e.OriginRefused: 403,
    e.NotFound: 404,
    e.MethodNotAllowed: 405,
    e.BodyTimeout: 408,
    e.CallerLeft: 408,
    e.StaleState: 409,
    e.BodyTooLarge: 413,
    e.ShareExceeded: 429,
    e.RateExceeded: 429,
    e.SessionBusy: 429,
    e.OrchestratorPaused: 429,
    e.KeyThrottled: 429,
    e.HeadTooLarge: 431,
    e.RefreshSession: 480,
    e.PriceExceeded: 481,
    e.NoTickets: 482,
    e.BudgetExceeded: 483,
    e.AuthFailed: 500,
    e.AuthBadMaxPrice: 502,
    e.OrchestratorUnreachable: 502,
    e.NoDeposit: 503,
    e.NoReserve: 503,
    e.DepositUnlocking: 503,
    e.DepositTooSmall: 503,
    e.ProtocolPaused: 503,
    e.RoundUnknown: 503,
    e.ChainStale: 503,
    e.ClockWrong: 503,
    e.PriceFeedStale: 503,
    e.RecipientUndetermined: 503,
    e.LedgerUnavailable: 503,
    e.OutboxFull: 503,
    e.KeyUnavailable: 503,
    e.TimedOut: 503,
    e.Overloaded: 503,
    e.NotReady: 503,
}
"""Every cause but Denied, which carries the status that the webhook asked for."""

DEFAULT_RETRY_AFTER_SECONDS = 5
_EXACT_IN_JSON = 2**53
_RESERVED = {"message", "code", "request_id", "hint"}


def status_of(error: e.SignerError) -> int:
    """The HTTP status of an error of the tree; 500 for a cause without one."""
    if isinstance(error, e.Denied):
        return error.status
    return next((STATUSES[kind] for kind in type(error).__mro__ if kind in STATUSES), 500)


def error_reply(error: e.SignerError, request_id: str) -> Reply:
    """The reply to a refused or failed request."""
    status = status_of(error)
    return json_reply(status, {"error": error_body(error, status, request_id=request_id)}, request_id, _headers_of(error, status))


def error_body(error: e.SignerError, status: int, **names: str) -> dict[str, Any]:
    """What is told of an error: its message, its code, `names`, and unless it is a fault of ours what to change and both numbers."""
    body: dict[str, Any] = {"message": error.message, "code": error.code, **names}
    if status == 500:
        body["message"] = "Internal Server Error"
        return body
    if isinstance(error, e.Denied) and error.webhook_code:
        body["code"] = error.webhook_code[:64]
    if error.hint:
        body["hint"] = error.hint
    body.update({key: _plain(value) for key, value in error.values.items() if key not in _RESERVED and value is not None})
    return body


def internal_reply(request_id: str) -> Reply:
    """The reply to a fault of ours: the log knows more, the caller only the request id."""
    return error_reply(e.SignerError("internal"), request_id)


def json_reply(status: int, value: Any, request_id: str, headers: Headers = ()) -> Reply:
    """A JSON reply with its request id."""
    body = json.dumps(value, separators=(",", ":")).encode()
    return Reply(status, ((b"content-type", b"application/json"), (b"x-request-id", request_id.encode()), *headers), body)


def _headers_of(error: e.SignerError, status: int) -> Headers:
    headers: list[tuple[bytes, bytes]] = []
    if isinstance(error, e.RefreshSession) and error.orchestrator_url:
        headers.append((b"livepeer-orchestrator-url", error.orchestrator_url.encode("ascii")))
    if isinstance(error, e.MethodNotAllowed):
        headers.append((b"allow", error.allow.encode()))
    if isinstance(error, e.Unauthenticated):
        headers.append((b"www-authenticate", b"Bearer"))
    if status == 429 or status >= 500 or error.retry_after_seconds:
        headers.append((b"retry-after", str(error.retry_after_seconds or DEFAULT_RETRY_AFTER_SECONDS).encode()))
    return tuple(headers)


def _plain(value: Any) -> Any:
    """A value as JSON can carry it exactly: whole numbers beyond 2^53 as text."""
    if isinstance(value, bool | str | float | dict):
        return value
    if isinstance(value, int):
        return value if abs(value) < _EXACT_IN_JSON else str(value)
    return str(value)
