"""The admin API's shapes for its OpenAPI description. Bodies are read by our own strict parsers, not through these."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from livepeer_remote_signer.api.schemas import Form, UsageLine


class PriceSpelled(BaseModel):
    """A ceiling as it was given. Numbers are exact decimals or fractions, as text."""

    price_per_unit: str
    pixels_per_unit: str
    currency: str


class CeilingInForce(PriceSpelled):
    """A ceiling: the global one without a pipeline."""

    pipeline: str | None
    model_id: str | None
    wei_per_unit: str | None = Field(description="null: no ceiling, or its currency has no fresh rate")
    source: Literal["config", "runtime"]
    configured: PriceSpelled | None = Field(description="what the configuration says, where that was changed")


class AbsoluteCeiling(BaseModel):
    """What an hour of work or a job may cost; not changed at runtime."""

    per: Literal["hour", "job"]
    price: str
    currency: str
    wei: str | None


class PricesInForce(BaseModel):
    """All ceilings."""

    ceilings: list[CeilingInForce]
    absolute: list[AbsoluteCeiling]
    kept_in: Literal["ledger", "file", "memory"]


class PriceChangeRequest(Form):
    """A ceiling: without a pipeline the global one, where 0 takes it away."""

    pipeline: str | None = None
    model_id: str | None = None
    price_per_unit: float | str = Field(description="may carry its currency: 0.50USD")
    pixels_per_unit: float | str | None = None
    currency: str | None = None


class PriceResetRequest(Form):
    """Which ceiling is the configuration's again."""

    pipeline: str | None = None
    model_id: str | None = None


class SwitchRequest(Form):
    """Exactly one of the two."""

    auth_id: str | None = None
    all: Literal[True] | None = None


class Suspended(BaseModel):
    """The kill switches that are set."""

    all: bool
    auth_ids: list[str]


class AdminUsageLine(UsageLine):
    """The same, told apart by auth id too."""

    auth_id: str | None = None


class AdminUsage(BaseModel):
    """A page of what was paid."""

    first_day: str = Field(alias="from")
    last_day: str = Field(alias="to")
    group: list[str]
    rows: list[AdminUsageLine]
    next_cursor: str | None


USAGE_PARAMETERS: dict[str, Any] = {
    "parameters": [
        {"name": name, "in": "query", "required": False, "schema": {"type": kind}, "description": text}
        for name, kind, text in (
            ("from", "string", "the first day of UTC, YYYY-MM-DD; of this month"),
            ("to", "string", "the last day; today"),
            ("auth_id", "string", "paid by this one alone"),
            ("orchestrator", "string", "paid to this one alone: 0x and 40 hex digits"),
            ("group", "string", "what rows are told apart by: day, auth_id, orchestrator, with commas between them"),
            ("limit", "integer", "rows of a page"),
            ("cursor", "string", "next_cursor of the page before"),
            ("format", "string", "json or csv"),
        )
    ]
}
