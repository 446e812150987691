"""The OpenAPI description: FastAPI's own, with the request bodies that our parsers read, and without replies that are never given."""

from __future__ import annotations

from functools import cache
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel

from livepeer_remote_signer.api import schemas

REQUESTS: tuple[type[BaseModel], ...] = (
    schemas.LivePaymentRequest,
    schemas.SignTicketRequest,
    schemas.QuoteTicketRequest,
    schemas.GetOrchestratorInfoRequest,
    schemas.ByocJobRequest,
)
"""Bodies that FastAPI never sees."""

_COMPONENT = "#/components/schemas/{model}"
_NEVER_GIVEN = ("HTTPValidationError", "ValidationError")


def body_of(model: type[BaseModel], *, required: bool = True) -> dict[str, Any]:
    """The request body of a route that reads it raw."""
    schema = {"$ref": _COMPONENT.format(model=model.__name__)}
    return {"requestBody": {"required": required, "content": {"application/json": {"schema": schema}}}}


def describe_requests(app: FastAPI) -> None:
    """Completes what `app.openapi()` returns; all routes must have been added."""
    generate = app.openapi

    @cache
    def complete() -> dict[str, Any]:
        document = generate()
        for path in document["paths"].values():
            for operation in path.values():
                operation["responses"].pop("422", None)
        components = document["components"]["schemas"]
        for name in _NEVER_GIVEN:
            components.pop(name, None)
        used = str(document["paths"])
        for model in REQUESTS:
            if _COMPONENT.format(model=model.__name__) in used:
                schema = model.model_json_schema(ref_template=_COMPONENT)
                components.update(schema.pop("$defs", {}))
                components[model.__name__] = schema
        document["components"]["schemas"] = dict(sorted(components.items()))
        return document

    app.openapi = complete  # type: ignore[method-assign]  # FastAPI's way to change the description
