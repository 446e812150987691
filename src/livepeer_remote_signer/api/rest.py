"""Everything but the hot paying path: FastAPI with our envelope for its errors.

Bodies are read raw and parsed by our own strict parsers: FastAPI's validation would answer 422 in another envelope and
take numbers through floats.
"""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from inspect import isawaitable
from typing import Annotated, Any, NamedTuple

from fastapi import FastAPI, Query, Request, Response
from pydantic import BaseModel

from livepeer_remote_signer import __version__
from livepeer_remote_signer.api import schemas
from livepeer_remote_signer.api.byoc import add_byoc_route
from livepeer_remote_signer.api.deadline import answered_within
from livepeer_remote_signer.api.discovery import Discover, add_discovery_route
from livepeer_remote_signer.api.errors import json_reply
from livepeer_remote_signer.api.openapi import body_of, describe_requests, operation_id
from livepeer_remote_signer.api.orchestrators import orchestrator_half, parse_orchestrator_query
from livepeer_remote_signer.api.paying import GENERATE_LIVE_PAYMENT, SIGN_TICKET, PayingRoutes, new_request_id
from livepeer_remote_signer.api.quote import QuoteParts, add_quote_route
from livepeer_remote_signer.api.responses import add_error_handlers, to_response
from livepeer_remote_signer.api.usage import add_caller_usage_route
from livepeer_remote_signer.core.protocol.eip191 import checksum_address
from livepeer_remote_signer.core.rules.policy import ANONYMOUS, Caller, Identity
from livepeer_remote_signer.core.rules.readiness import ReadyCheck
from livepeer_remote_signer.core.rules.senders import BySender
from livepeer_remote_signer.service.byoc import ByocSigner
from livepeer_remote_signer.service.queries import OrchestratorQuestions
from livepeer_remote_signer.service.signing import InfoSignature
from livepeer_remote_signer.service.usage import UsageQuestions

_log = logging.getLogger(__name__)
_LATER = {"headers": {"Retry-After": {"description": "seconds to wait", "schema": {"type": "integer"}}}}
_HEADERS: dict[int, dict[str, Any]] = {
    429: _LATER,
    480: {"headers": {"Livepeer-Orchestrator-URL": {"description": "the orchestrator's transcoder", "schema": {"type": "string"}}}},
    482: _LATER,
    500: _LATER,
    503: _LATER,
}
_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": schemas.ErrorReply, "description": text, **_HEADERS.get(status, {})}
    for status, text in {
        400: "malformed or contradictory request",
        401: "no valid credential",
        403: "refused by policy",
        404: "not there, or not enabled",
        408: "the body did not arrive in time",
        409: "the state was used by another request",
        413: "body too large",
        429: "a rolling budget is used up, another call of the session is in work, or this orchestrator is paused",
        480: "fetch a fresh OrchestratorInfo and call again",
        481: "the orchestrator's price is above a ceiling",
        482: "no tickets needed now",
        483: "a total budget is used up",
        500: "the webhook or the token issuer could not be asked, or a fault of ours: nothing was signed",
        502: "the orchestrator or the webhook answered nonsense",
        503: "cannot serve now",
    }.items()
}


class RestParts(NamedTuple):
    """What the routes need, as values and callables."""

    info: BySender[InfoSignature]
    paying: PayingRoutes
    quotes: QuoteParts
    identify: Callable[[Caller], Awaitable[Identity]] | None
    questions: OrchestratorQuestions
    discover: Discover | None
    ready_checks: Callable[[], Sequence[ReadyCheck]]
    render_metrics: Callable[[], bytes] | None
    lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None] | AsyncIterator[None]]
    docs_enabled: bool
    answer_seconds: float
    byoc: ByocSigner | None = None
    usage: UsageQuestions | None = None


def create_rest(parts: RestParts) -> FastAPI:
    """The FastAPI application with the routes that are always there."""
    app = FastAPI(
        title="Livepeer remote signer",
        version=__version__,
        summary="Signs probabilistic-micropayment tickets for Livepeer gateways that hold no key.",
        lifespan=parts.lifespan,  # type: ignore[arg-type]
        docs_url="/docs" if parts.docs_enabled else None,
        redoc_url=None,
        openapi_url="/openapi.json" if parts.docs_enabled else None,
        redirect_slashes=False,
        generate_unique_id_function=operation_id,
    )
    add_error_handlers(app)
    _add_signing_routes(app, parts)
    _add_health_routes(app, parts)
    describe_requests(app)
    return app


def caller_of(request: Request) -> Caller:
    """Who sent a request."""
    return Caller(tuple(request.headers.raw), request.client.host if request.client else "", request.scope["path"])


def _add_signing_routes(app: FastAPI, parts: RestParts) -> None:
    async def address_and_signature(identity: Identity) -> dict[str, str]:
        info = parts.info.of(identity)
        return {"address": checksum_address(info.address), "signature": "0x" + (await info.get()).hex()}

    async def identified(request: Request) -> Identity:
        if parts.identify is None:
            return ANONYMOUS
        async with answered_within(parts.answer_seconds):
            return await parts.identify(caller_of(request))

    @app.post(
        "/sign-orchestrator-info",
        response_model=schemas.AddressAndSignature,
        responses={status: _ERRORS[status] for status in (401, 429, 500, 503)},
    )
    async def sign_orchestrator_info(request: Request) -> Response:
        """go-livepeer's route: the signature a gateway shows to orchestrators. The body is ignored."""
        identity = await identified(request)
        async with answered_within(parts.answer_seconds):
            return to_response(json_reply(200, await address_and_signature(identity), new_request_id()))

    @app.post(
        "/getOrchestratorInfo",
        response_model=schemas.OrchestratorInfoReply,
        responses={status: _ERRORS[status] for status in (400, 401, 403, 413, 429, 500, 502, 503)},
        openapi_extra=body_of(schemas.GetOrchestratorInfoRequest, required=False),
    )
    async def get_orchestrator_info(request: Request) -> Response:
        """The signer's address and signature; with an orchestrator's URL also that orchestrator's info."""
        caller, half = caller_of(request), {}
        trail = parts.paying.begin(caller)
        async with answered_within(parts.answer_seconds):
            identity = await parts.questions.identify(caller)
            query = parse_orchestrator_query(await request.body())
            if query.url:
                half = orchestrator_half(await parts.questions.ask(*query, caller, identity, trail))
            return to_response(json_reply(200, {**await address_and_signature(identity), **half}, trail.request_id))

    def add_paying_route(path: str, reply: type[BaseModel], request_model: type[BaseModel], text: str) -> None:
        async def pay(request: Request) -> Response:
            caller = caller_of(request)
            answer = parts.paying.respond(path, list(caller.headers), await request.body(), caller.peer)
            return to_response(await answer if isawaitable(answer) else answer)

        name = path.strip("/").replace("-", "_")
        app.post(path, response_model=reply, responses=_ERRORS, openapi_extra=body_of(request_model), name=name, description=text)(pay)

    add_paying_route(
        GENERATE_LIVE_PAYMENT,
        schemas.LivePaymentReply,
        schemas.LivePaymentRequest,
        "go-livepeer's route: one payment, ready to be two headers, and the session's new state.",
    )
    add_paying_route(
        SIGN_TICKET,
        schemas.SignTicketReply,
        schemas.SignTicketRequest,
        "One payment: checks, signs and returns the tickets, segment credentials and the session's new state.",
    )
    usage = parts.usage
    add_caller_usage_route(
        app, parts.paying.begin, usage.ask if usage else None, usage.today if usage else lambda: 0, parts.answer_seconds, _ERRORS
    )
    add_quote_route(app, caller_of, parts.quotes, _ERRORS)
    add_discovery_route(app, identified, parts.discover, _ERRORS)
    if parts.byoc is not None:
        add_byoc_route(app, caller_of, parts.paying.begin, parts.byoc, parts.answer_seconds, _ERRORS)


def _add_health_routes(app: FastAPI, parts: RestParts) -> None:
    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        """The process is up."""
        return {"status": "ok"}

    @app.get("/readyz", response_model=schemas.Readiness, responses={503: {"model": schemas.Readiness}})
    async def readyz(
        exclude: Annotated[list[str] | None, Query(description="a check that does not count here; repeated: several")] = None,
    ) -> Response:
        """Whether payments can be signed now; each check with its reason. A balancer excludes what all replicas share: without it none
        of them could say what is wrong."""
        checks = parts.ready_checks()
        ready = all(check.ok or check.name in (exclude or ()) for check in checks)
        body = {"ready": ready, "checks": [check._asdict() for check in checks]}
        return Response(json.dumps(body), 200 if ready else 503, media_type="application/json")

    if parts.render_metrics is not None:
        render = parts.render_metrics

        @app.get("/metrics")
        async def metrics() -> Response:
            """Prometheus text."""
            return Response(render(), media_type="text/plain; version=0.0.4; charset=utf-8")
