"""Shapes of the user routes of the admin API for their OpenAPI description."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from livepeer_remote_signer.api.schemas import Form

WindowName = Literal["total", "minute", "hour", "day"]


class KeyTerms(Form):
    """What a key is for."""

    name: str | None = None
    expires: str | None = Field(None, description="RFC 3339")
    routes: list[str] | None = Field(None, description="the routes that it opens; all")
    requests_per_minute: int | None = None


class NewKeyEntry(KeyTerms):
    """One key of a list."""

    auth_id: str | None = Field(None, description="whose it is; its own id")


class CreateKeysRequest(KeyTerms):
    """So many keys of the same terms, or a list with the terms of each."""

    count: int | None = Field(None, description="in place of `keys`")
    keys: list[NewKeyEntry] | None = Field(None, description="in place of `count` and terms")


class RevokeKeysRequest(Form):
    """Exactly one of the two."""

    ids: list[str] | None = None
    auth_id: str | None = None


class BudgetEntry(Form):
    """A budget of one auth id."""

    auth_id: str
    window: WindowName
    measure: Literal["ev", "face_value"] | None = None


class BudgetLimit(BudgetEntry):
    """With its limit."""

    limit_wei: str


class BudgetTopUp(BudgetEntry):
    """With what is added to its limit."""

    add_wei: str


class SetBudgetsRequest(Form):
    """All of them are set, or none."""

    budgets: list[BudgetLimit]


class TopUpBudgetsRequest(Form):
    """All of them are raised, or none."""

    budgets: list[BudgetTopUp]


class ResetBudgetsRequest(Form):
    """All of them are the configuration's again, or none."""

    budgets: list[BudgetEntry]


class MadeKey(BaseModel):
    """A new key; its text is told once."""

    id: str
    auth_id: str
    name: str
    key: str | None = Field(description="null where the request was sent before: it was told then")


class MadeKeys(BaseModel):
    """The new keys."""

    keys: list[MadeKey]
    repeated: bool


class RevokedKeys(BaseModel):
    """What was stopped, and what there is no key of."""

    revoked: list[str]
    unknown: list[str]


class KeyPage(BaseModel):
    """A page of keys, without anything secret."""

    keys: list[dict[str, Any]]
    next: str | None


class BudgetPage(BaseModel):
    """Budgets: a page of those that were set here, or all of one auth id."""

    auth_id: str | None = None
    budgets: list[dict[str, Any]]
    next: str | None = None


class AuditPage(BaseModel):
    """Who changed what, the newest first."""

    entries: list[dict[str, Any]]
    next: int | None


def query(**texts: str) -> dict[str, Any]:
    """Parameters that our own parser reads."""
    return {
        "parameters": [
            {"name": n, "in": "query", "required": False, "schema": {"type": "string"}, "description": t} for n, t in texts.items()
        ]
    }


PAGE = {"limit": "entries of a page", "auth_id": "of this one alone"}
