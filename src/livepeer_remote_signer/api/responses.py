"""Replies as Starlette's responses, for the routes that FastAPI serves."""

from __future__ import annotations

from fastapi import Response

from livepeer_remote_signer.api.reply import Reply


def to_response(reply: Reply) -> Response:
    """A reply as Starlette's response; a doubled header keeps both values."""
    response = Response(reply.body, reply.status)
    del response.headers["content-length"]
    response.raw_headers = [*reply.headers, (b"content-length", str(len(reply.body)).encode())]
    return response
