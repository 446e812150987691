"""`POST /sign-byoc-job`: credentials for one BYOC job. Off unless the configuration says `byoc_jobs: true`.

Source: section 14 of the protocol.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import FastAPI, Request, Response

from livepeer_remote_signer.api import schemas
from livepeer_remote_signer.api.errors import json_reply
from livepeer_remote_signer.api.openapi import body_of
from livepeer_remote_signer.api.paying import new_request_id
from livepeer_remote_signer.api.responses import to_response
from livepeer_remote_signer.core.protocol.byoc import byoc_job_message, parse_byoc_job
from livepeer_remote_signer.core.protocol.eip191 import checksum_address
from livepeer_remote_signer.service.signing import MessageSigner


def add_byoc_route(
    app: FastAPI, identified: Callable[[Request], Awaitable[None]], signer: MessageSigner, errors: dict[int | str, dict[str, Any]]
) -> None:
    """Adds the route to `app`."""
    sender = checksum_address(signer.address)

    @app.post(
        "/sign-byoc-job",
        response_model=schemas.ByocJobReply,
        responses={status: errors[status] for status in (400, 401, 503)},
        openapi_extra=body_of(schemas.ByocJobRequest),
    )
    async def sign_byoc_job(request: Request) -> Response:
        """The sender's address and its signature over the job's fields."""
        await identified(request)
        signature = signer.sign_personal(byoc_job_message(parse_byoc_job(await request.body())))
        return to_response(json_reply(200, {"sender": sender, "signature": "0x" + signature.hex()}, new_request_id()))
