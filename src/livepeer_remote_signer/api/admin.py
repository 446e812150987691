"""The admin listener's routes: price ceilings, kill switches and metrics, for whoever holds the admin token.

Two routes take go-livepeer's forms and answer as it does; the others are JSON under `/admin`. Nothing here signs.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from fastapi import FastAPI, Request, Response
from starlette.middleware.base import RequestResponseEndpoint

from livepeer_remote_signer import __version__
from livepeer_remote_signer.api import admin_schemas
from livepeer_remote_signer.api.admin_bodies import read_body, read_form
from livepeer_remote_signer.api.admin_users import UserParts, add_user_routes
from livepeer_remote_signer.api.console import ConsoleParts, add_console_routes, is_console_path
from livepeer_remote_signer.api.errors import json_reply
from livepeer_remote_signer.api.openapi import body_of, describe_requests, operation_id, refusals
from livepeer_remote_signer.api.paying import new_request_id
from livepeer_remote_signer.api.refusals import caller_of, peer_of, refusal_reply
from livepeer_remote_signer.api.responses import add_error_handlers, to_response
from livepeer_remote_signer.api.usage import OneAtATime, add_statement_route, add_usage_route
from livepeer_remote_signer.core.errors import (
    BadField,
    LedgerUnavailable,
    Unauthenticated,
)
from livepeer_remote_signer.core.protocol.strict_json import JsonNumber, exact_object, json_type, parse_json, text_field
from livepeer_remote_signer.core.rules.audit import author_of_token
from livepeer_remote_signer.core.rules.runtime_prices import PriceChange, ceiling_name, parse_price_change
from livepeer_remote_signer.core.rules.statement import Statement
from livepeer_remote_signer.core.rules.usage import UsageQuery, UsageRow

_REFUSALS = refusals(400, 401, 413, 503)


def _form_of(*fields: str) -> dict[str, Any]:
    """A body as go-livepeer's command line sends it."""
    schema = {"type": "object", "properties": {field: {"type": "string"} for field in fields}}
    return {"requestBody": {"required": True, "content": {"application/x-www-form-urlencoded": {"schema": schema}}}}


_BROADCAST_FORM = _form_of("maxPricePerUnit", "pixelsPerUnit", "currency", "transcodingOptions")
_CAPABILITY_FORM = _form_of("maxPricePerUnit", "pixelsPerUnit", "currency", "pipeline", "modelID")


class Prices(Protocol):
    """The ceilings that can be changed."""

    @property
    def kept_in(self) -> str: ...

    def describe(self) -> list[dict[str, Any]]: ...

    def describe_absolute(self) -> list[dict[str, Any]]: ...

    async def change(self, change: PriceChange, author: str) -> None: ...


class Switches(Protocol):
    """The kill switches; None as auth id is the global one. Raises LedgerUnavailable."""

    async def suspend(self, auth_id: str | None, author: str) -> None: ...

    async def resume(self, auth_id: str | None, author: str) -> object: ...

    async def suspended(self) -> Sequence[str | None]:
        """What is suspended now."""


class Usage(Protocol):
    """What was paid by day. Raises LedgerUnavailable."""

    def today(self) -> int: ...

    async def daily(self, query: UsageQuery) -> Sequence[UsageRow]: ...

    async def statement(self, auth_id: str, month: str) -> Statement:
        """Raises BadField."""


class AdminParts(NamedTuple):
    """What the routes need. `feed_currencies`: what prices may be given in besides ETH. `switches`, `usage` and `users` None: there is no
    ledger. `metrics_token` opens GET /metrics and nothing else; empty: only `token` does."""

    token: str
    prices: Prices
    feed_currencies: Callable[[], Collection[str]]
    switches: Switches | None
    render_metrics: Callable[[], bytes]
    console: ConsoleParts | None = None
    metrics_token: str = ""
    usage: Usage | None = None
    users: UserParts | None = None


def create_admin(parts: AdminParts) -> FastAPI:
    """The admin application. Every route, also an unknown one, wants the token first; the console asks for it on its page."""
    app = FastAPI(
        title="Livepeer remote signer: administration",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        generate_unique_id_function=operation_id,
    )
    add_error_handlers(app, "admin route")
    _add_gate(app, parts.token, parts.metrics_token)
    _add_price_routes(app, parts)
    _add_switch_routes(app, parts)
    _add_usage_routes(app, parts.usage)
    add_user_routes(app, parts.users)
    if parts.console is not None:
        add_console_routes(app, parts.token, parts.console)

    @app.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}})
    async def metrics() -> Response:
        """Prometheus text."""
        return Response(parts.render_metrics(), media_type="text/plain; version=0.0.4; charset=utf-8")

    describe_requests(app)
    return app


def _add_usage_routes(app: FastAPI, usage: Usage | None) -> None:
    turns = OneAtATime()
    add_usage_route(app, usage.daily if usage else None, usage.today if usage else lambda: 0, turns)
    add_statement_route(app, usage.statement if usage else None, turns)


def _add_gate(app: FastAPI, token: str, metrics_token: str) -> None:
    tokens = {"/metrics": [text.encode() for text in (token, metrics_token) if text]}
    always = [token.encode()]

    @app.middleware("http")
    async def gate(request: Request, call_next: RequestResponseEndpoint) -> Response:
        """The token, in constant time, before anything is looked at."""
        if is_console_path(request.scope["path"]):
            return await call_next(request)
        scheme, _, sent = request.headers.get("authorization", "").partition(" ")
        offered = sent.strip().encode()
        admitted = [hmac.compare_digest(offered, expected) for expected in tokens.get(request.scope["path"], always)]
        if scheme.lower() != "bearer" or not any(admitted):
            refusal = Unauthenticated("the admin token is needed", hint="send Authorization: Bearer with the content of admin.token_file")
            return to_response(refusal_reply(refusal, caller=caller_of(request.scope)))
        return await call_next(request)


def _add_price_routes(app: FastAPI, parts: AdminParts) -> None:
    @app.post("/setBroadcastConfig", responses=_REFUSALS, openapi_extra=_BROADCAST_FORM)
    async def set_broadcast_config(request: Request) -> Response:
        """go-livepeer's form for the global ceiling; 0 takes it away. Transcoding options mean nothing to a signer."""
        form = await read_form(request)
        price, pixels = form.get("maxPricePerUnit", ""), form.get("pixelsPerUnit", "")
        if not (price and pixels) and not form.get("transcodingOptions"):
            raise BadField("missing form params (maxPricePerUnit AND pixelsPerUnit) or transcodingOptions")
        if price and pixels:
            name = ceiling_name("", "")
            change = parse_price_change(name, price, pixels, form.get("currency", ""), parts.feed_currencies())
            await parts.prices.change(change, _author(request))
        return Response()

    @app.post("/setMaxPriceForCapability", responses=_REFUSALS, openapi_extra=_CAPABILITY_FORM)
    async def set_max_price_for_capability(request: Request) -> Response:
        """go-livepeer's form for the ceiling of one pipeline and model."""
        form = await read_form(request)
        needed = ("maxPricePerUnit", "pixelsPerUnit", "currency", "pipeline", "modelID")
        if missing := [name for name in needed if not form.get(name)]:
            raise BadField(f"missing form param: {', '.join(missing)}")
        name = ceiling_name(form["pipeline"], form["modelID"])
        change = parse_price_change(name, form["maxPricePerUnit"], form["pixelsPerUnit"], form["currency"], parts.feed_currencies())
        await parts.prices.change(change, _author(request))
        return Response()

    def in_force() -> Response:
        body = {
            "ceilings": parts.prices.describe(),
            "absolute": parts.prices.describe_absolute(),
            "kept_in": parts.prices.kept_in,
        }
        return to_response(json_reply(200, body, new_request_id()))

    @app.get("/admin/prices", response_model=admin_schemas.PricesInForce, responses=_REFUSALS)
    async def get_prices() -> Response:
        """The ceilings in force: where each came from, and what it is in wei."""
        return in_force()

    @app.post(
        "/admin/prices",
        response_model=admin_schemas.PricesInForce,
        responses=_REFUSALS,
        openapi_extra=body_of(admin_schemas.PriceChangeRequest),
    )
    async def set_price(request: Request) -> Response:
        """Sets the global ceiling, or with `pipeline` and `model_id` that of one model."""
        keys = frozenset(("pipeline", "model_id", "price_per_unit", "pixels_per_unit", "currency"))
        fields = exact_object(parse_json(await read_body(request)), "the body", keys)
        if "price_per_unit" not in fields:
            raise BadField("price_per_unit is missing")
        name = ceiling_name(text_field(fields, "pipeline", "pipeline"), text_field(fields, "model_id", "model_id"))
        price, pixels = _number(fields, "price_per_unit"), _number(fields, "pixels_per_unit")
        change = parse_price_change(name, price, pixels, text_field(fields, "currency", "currency"), parts.feed_currencies())
        await parts.prices.change(change, _author(request))
        return in_force()

    @app.post(
        "/admin/prices/reset",
        response_model=admin_schemas.PricesInForce,
        responses=_REFUSALS,
        openapi_extra=body_of(admin_schemas.PriceResetRequest),
    )
    async def reset_price(request: Request) -> Response:
        """Takes a change back: the configuration's ceiling is in force again."""
        fields = exact_object(parse_json(await read_body(request)), "the body", frozenset(("pipeline", "model_id")))
        name = ceiling_name(text_field(fields, "pipeline", "pipeline"), text_field(fields, "model_id", "model_id"))
        await parts.prices.change(PriceChange(name, None), _author(request))
        return in_force()


def _author(request: Request) -> str:
    return author_of_token(peer_of(request.scope))


def _number(fields: Mapping[str, Any], key: str) -> str:
    """A JSON number, or a string that spells one, as text; "" when absent. Raises BadField."""
    value = fields.get(key, "")
    if not isinstance(value, str):
        raise BadField(f"{key} must be a number or a string, not {json_type(value)}")
    return str(value) if isinstance(value, JsonNumber) else value.strip()


def _add_switch_routes(app: FastAPI, parts: AdminParts) -> None:
    def switches() -> Switches:
        if parts.switches is None:
            raise LedgerUnavailable("kill switches need a ledger: set ledger.backend to sqlite or postgres")
        return parts.switches

    async def in_force() -> Response:
        suspended = await switches().suspended()
        body = {"all": None in suspended, "auth_ids": sorted(auth_id for auth_id in suspended if auth_id is not None)}
        return to_response(json_reply(200, body, new_request_id()))

    @app.get("/admin/suspended", response_model=admin_schemas.Suspended, responses=_REFUSALS)
    async def get_suspended() -> Response:
        """The kill switches that are set."""
        return await in_force()

    @app.post(
        "/admin/suspend",
        response_model=admin_schemas.Suspended,
        responses=_REFUSALS,
        openapi_extra=body_of(admin_schemas.SwitchRequest),
    )
    async def suspend(request: Request) -> Response:
        """Stops payments of one auth id (`{"auth_id": ...}`) or all (`{"all": true}`)."""
        await switches().suspend(_target(await read_body(request)), _author(request))
        return await in_force()

    @app.post(
        "/admin/resume",
        response_model=admin_schemas.Suspended,
        responses=_REFUSALS,
        openapi_extra=body_of(admin_schemas.SwitchRequest),
    )
    async def resume(request: Request) -> Response:
        """Ends what `suspend` began."""
        await switches().resume(_target(await read_body(request)), _author(request))
        return await in_force()


def _target(body: bytes) -> str | None:
    """The auth id that a body names, None for all. Raises BadField unless it is exactly one of the two."""
    fields = exact_object(parse_json(body), "the body", frozenset(("auth_id", "all")))
    auth_id = text_field(fields, "auth_id", "auth_id")
    if fields.get("all", False) not in (True, False) or ("all" in fields) == ("auth_id" in fields) or not (auth_id or fields.get("all")):
        raise BadField('exactly one of {"auth_id": TEXT} and {"all": true} is expected')
    return auth_id or None
