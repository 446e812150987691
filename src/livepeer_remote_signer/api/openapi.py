"""The OpenAPI description: FastAPI's own, with the request bodies that our parsers read, and without replies that are never given."""

from __future__ import annotations

from functools import cache
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute
from pydantic import BaseModel

from livepeer_remote_signer.api import admin_schemas, schemas, user_schemas

REQUESTS: tuple[type[BaseModel], ...] = (
    schemas.LivePaymentRequest,
    schemas.SignTicketRequest,
    schemas.QuoteTicketRequest,
    schemas.GetOrchestratorInfoRequest,
    schemas.ByocJobRequest,
    admin_schemas.PriceChangeRequest,
    admin_schemas.PriceResetRequest,
    admin_schemas.SwitchRequest,
    user_schemas.CreateKeysRequest,
    user_schemas.RevokeKeysRequest,
    user_schemas.SetBudgetsRequest,
    user_schemas.TopUpBudgetsRequest,
    user_schemas.ResetBudgetsRequest,
)
"""Bodies that FastAPI never sees."""

_COMPONENT = "#/components/schemas/{model}"
_NEVER_GIVEN = ("HTTPValidationError", "ValidationError")


def body_of(model: type[BaseModel], *, required: bool = True) -> dict[str, Any]:
    """The request body of a route that reads it raw."""
    schema = {"$ref": _COMPONENT.format(model=model.__name__)}
    return {"requestBody": {"required": required, "content": {"application/json": {"schema": schema}}}}


_REFUSALS = {
    400: "malformed, or a value that cannot be",
    401: "no admin token",
    403: "this token may not do that: admin.manage_users",
    413: "body too large",
    503: "there is no ledger, or it does not answer",
}


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What admin routes refuse with."""
    return {status: {"model": schemas.ErrorReply, "description": _REFUSALS[status]} for status in statuses}


def operation_id(route: APIRoute) -> str:
    """The name that a generated client gives the call: the route's own, in camel case."""
    first, *others = route.name.split("_")
    return first + "".join(word.capitalize() for word in others)


_OPEN = ("/healthz", "/readyz")
"""Nobody is asked for a credential here."""

_KEYED = ("/admin/keys", "/admin/keys/revoke", "/admin/budgets", "/admin/budgets/top-up", "/admin/budgets/reset")
_PAYING = ("/generate-live-payment", "/signTicket")
_SCHEMES: dict[str, Any] = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "an API key, or a token of the configured issuer (auth.jwt)"},
    "apiKey": {"type": "apiKey", "in": "header", "name": "X-Api-Key", "description": "an API key (auth.api_keys_file)"},
    "admin": {
        "type": "http",
        "scheme": "bearer",
        "description": "the content of admin.token_file; for /metrics also of admin.metrics_token_file",
    },
}
_CALLER: list[dict[str, list[str]]] = [{"bearer": []}, {"apiKey": []}, {}]
"""The empty one: which of them is wanted is the operator's to say, and on loopback none may be."""

_IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "schema": {"type": "string"},
    "description": "with a ledger: the same key and body get the same reply again, also for a session's first payment",
}
_ADMIN_SERVER = [{"url": "http://127.0.0.1:8937", "description": "the admin listener (admin.listen)"}]


def describe_requests(app: FastAPI) -> None:
    """Completes what `app.openapi()` returns; all routes must have been added."""
    generate = app.openapi

    @cache
    def complete() -> dict[str, Any]:
        document = generate()
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                operation["responses"].pop("422", None)
                operation["tags"] = ["admin" if _is_admin(path) else "operation" if path in _OPEN else "signer"]
                operation["security"] = [] if path in _OPEN else [{"admin": []}] if _is_admin(path) else _CALLER
                if path in _PAYING or (path in _KEYED and method == "post"):
                    operation.setdefault("parameters", []).append(_IDEMPOTENCY_KEY)
        parts = document.setdefault("components", {})
        components = parts.setdefault("schemas", {})
        for name in _NEVER_GIVEN:
            components.pop(name, None)
        used = str(document["paths"])
        for model in REQUESTS:
            if _COMPONENT.format(model=model.__name__) in used:
                schema = model.model_json_schema(ref_template=_COMPONENT)
                components.update(schema.pop("$defs", {}))
                components[model.__name__] = schema
        parts["schemas"] = dict(sorted(components.items()))
        parts["securitySchemes"] = _SCHEMES
        return document

    app.openapi = complete  # type: ignore[method-assign]  # FastAPI's way to change the description


def _is_admin(path: str) -> bool:
    return path.startswith(("/admin/", "/set")) or path == "/metrics"


def with_admin(document: dict[str, Any], admin: dict[str, Any]) -> dict[str, Any]:
    """The public routes, and those of the admin listener with where it is."""
    paths = {
        path: {method: {**operation, "servers": _ADMIN_SERVER} for method, operation in operations.items()}
        for path, operations in admin["paths"].items()
    }
    schemas = dict(sorted({**document["components"]["schemas"], **admin["components"]["schemas"]}.items()))
    return {**document, "paths": {**document["paths"], **paths}, "components": {**document["components"], "schemas": schemas}}
