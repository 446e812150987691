"""`POST /sign-byoc-job`: credentials for one BYOC job. Off unless the configuration says `byoc_jobs: true`.

Source: section 14 of the protocol.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import FastAPI, Request, Response

from livepeer_remote_signer.api import schemas
from livepeer_remote_signer.api.deadline import answered_within
from livepeer_remote_signer.api.errors import json_reply
from livepeer_remote_signer.api.openapi import body_of
from livepeer_remote_signer.api.responses import to_response
from livepeer_remote_signer.core.protocol.eip191 import checksum_address
from livepeer_remote_signer.core.rules.policy import Caller
from livepeer_remote_signer.core.rules.trail import Trail
from livepeer_remote_signer.service.byoc import ByocSigner

PATH = "/sign-byoc-job"


def add_byoc_route(
    app: FastAPI,
    caller_of: Callable[[Request], Caller],
    begin: Callable[[Caller], Trail],
    signer: ByocSigner,
    answer_seconds: float,
    errors: dict[int | str, dict[str, Any]],
) -> None:
    """Adds the route to `app`; it gives up after `answer_seconds`."""

    @app.post(
        PATH,
        response_model=schemas.ByocJobReply,
        responses={status: errors[status] for status in (400, 401, 403, 413, 500, 503)},
        openapi_extra=body_of(schemas.ByocJobRequest),
    )
    async def sign_byoc_job(request: Request) -> Response:
        """The sender's address and its signature over the job's fields."""
        caller = caller_of(request)
        trail = begin(caller)
        async with answered_within(answer_seconds):
            sender, signature = await signer.sign(await request.body(), caller, trail)
        return to_response(json_reply(200, {"sender": checksum_address(sender), "signature": "0x" + signature.hex()}, trail.request_id))
