"""Replies as Starlette's responses, and errors as replies, for the routes that FastAPI serves."""

from __future__ import annotations

import logging

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException

from livepeer_remote_signer.api.errors import internal_reply, json_reply
from livepeer_remote_signer.api.paying import new_request_id
from livepeer_remote_signer.api.refusals import OTHER_ROUTE, caller_of, note_refusal, refusal_reply
from livepeer_remote_signer.api.reply import Reply
from livepeer_remote_signer.core.errors import MethodNotAllowed, NotFound, SignerError

_log = logging.getLogger(__name__)


def to_response(reply: Reply) -> Response:
    """A reply as Starlette's response; a doubled header keeps both values."""
    response = Response(reply.body, reply.status)
    del response.headers["content-length"]
    response.raw_headers = [*reply.headers, (b"content-length", str(len(reply.body)).encode())]
    return response


def route_of(request: Request) -> str:
    """The pattern of the route that a request was for."""
    route: str = getattr(request.scope.get("route"), "path", OTHER_ROUTE)
    return route


def add_error_handlers(app: FastAPI, kind: str = "route") -> None:
    """Our envelope for every error of `app`. Paths come from the scope: `request.url` raises for a malformed Host header."""

    @app.exception_handler(SignerError)
    async def refused(request: Request, error: SignerError) -> Response:
        return to_response(refusal_reply(error, route_of(request), caller_of(request.scope)))

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        path = request.scope["path"]
        if error.status_code == 405:
            allow = (error.headers or {}).get("Allow", "")
            refusal: SignerError = MethodNotAllowed(f"{path} takes {allow}, not {request.method}", allow=allow)
        elif error.status_code == 404:
            refusal = NotFound(f"no such {kind}: {path[:200]}")
        else:
            request_id = new_request_id()
            note_refusal(route_of(request), error.status_code, "error", request_id, caller_of(request.scope))
            return to_response(json_reply(error.status_code, {"error": {"message": str(error.detail)}}, request_id))
        return to_response(refusal_reply(refusal, route_of(request), caller_of(request.scope)))

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> Response:
        request_id = new_request_id()
        fields = {"request_id": request_id}
        _log.error("request %s to %s failed", request_id, request.scope["path"][:200], exc_info=error, extra={"fields": fields})
        return to_response(internal_reply(request_id))
