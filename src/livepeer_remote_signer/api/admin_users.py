"""The admin listener's routes for users: API keys, budgets of single auth ids, and who changed what.

Making keys and allowing somebody more needs a permission of its own (`admin.manage_users`): with it the admin token can let
money be spent. Looking, revoking and lowering need the token alone.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from hashlib import sha256
from typing import Any, NamedTuple, Protocol

from fastapi import FastAPI, Request, Response

from livepeer_remote_signer.api import user_schemas as shapes
from livepeer_remote_signer.api.admin_bodies import MAX_BULK_BYTES, read_body, read_count, read_query
from livepeer_remote_signer.api.errors import json_reply
from livepeer_remote_signer.api.openapi import body_of, refusals
from livepeer_remote_signer.api.paying import new_request_id
from livepeer_remote_signer.api.refusals import peer_of
from livepeer_remote_signer.api.responses import to_response
from livepeer_remote_signer.core.errors import BadField, Denied, LedgerUnavailable
from livepeer_remote_signer.core.protocol.strict_json import exact_object, json_type, parse_json, text_field
from livepeer_remote_signer.core.rules.audit import AdminRequest, AuditEntry, admin_request_key, author_of_token
from livepeer_remote_signer.core.rules.budgets import Budget, BudgetUse
from livepeer_remote_signer.core.rules.new_keys import (
    MAX_KEYS_AT_ONCE,
    MadeKey,
    NewKey,
    Revoked,
    StoredKey,
    describe_key,
    parse_ids,
    parse_new_keys,
)
from livepeer_remote_signer.core.rules.runtime_budgets import (
    BudgetChange,
    BudgetName,
    Step,
    budget_name,
    parse_budget_changes,
)

MAX_PAGE, DEFAULT_PAGE = 1000, 100
_INT63 = 2**63 - 1


class Users(Protocol):
    """The users that a ledger keeps. Raises BadField, Denied, LedgerUnavailable."""

    @property
    def holds_keys(self) -> bool:
        """Whether callers are identified by the keys here."""

    def request(self, author: str, key: bytes = b"", digest: bytes = b"") -> AdminRequest: ...

    def pays_as(self, auth_id: str) -> str: ...

    async def create_keys(self, wanted: Sequence[NewKey], request: AdminRequest) -> list[MadeKey]: ...

    async def revoke_keys(self, ids: Sequence[str], auth_id: str | None, request: AdminRequest) -> Revoked: ...

    async def keys(self, after: str, limit: int, auth_id: str | None = None) -> list[StoredKey]: ...

    async def change_budgets(
        self, changes: Sequence[BudgetChange], request: AdminRequest, *, may_raise: bool
    ) -> list[tuple[BudgetName, int | None]]: ...

    async def list_budgets(self, after: BudgetName | None, limit: int) -> list[tuple[BudgetName, int]]: ...

    def source_of(self, budget: Budget, auth_id: str) -> str: ...

    async def audit(self, before: int | None, limit: int, auth_id: str | None = None) -> list[AuditEntry]: ...


class UserParts(NamedTuple):
    """What the routes need. `budgets_of`: the budgets that hold for an auth id. `may_manage`: to make keys, and to raise budgets."""

    users: Users
    budgets_of: Callable[[str], Awaitable[Sequence[BudgetUse]]]
    may_manage: bool


def add_user_routes(app: FastAPI, parts: UserParts | None) -> None:
    """Adds the routes; without a ledger each says that it needs one."""
    _add_key_routes(app, parts)
    _add_budget_routes(app, parts)

    @app.get(
        "/admin/audit",
        response_model=shapes.AuditPage,
        responses=refusals(400, 401, 503),
        openapi_extra=shapes.query(before="goes on behind this id", **shapes.PAGE),
    )
    async def get_audit(request: Request) -> Response:
        """Who changed what, the newest first; `auth_id` tells of one alone, `before` goes on behind an id."""
        fields = read_query(request, frozenset(("auth_id", "before", "limit")))
        limit = read_count(fields, "limit", DEFAULT_PAGE, MAX_PAGE)
        before = read_count(fields, "before", 1, _INT63) if "before" in fields else None
        entries = await _users(parts).audit(before, limit, fields.get("auth_id"))
        return _reply({"entries": [entry.describe() for entry in entries], "next": entries[-1].id if len(entries) == limit else None})


def _add_key_routes(app: FastAPI, parts: UserParts | None) -> None:
    @app.post(
        "/admin/keys",
        status_code=201,
        response_model=shapes.MadeKeys,
        responses=refusals(400, 401, 403, 413, 503),
        openapi_extra=body_of(shapes.CreateKeysRequest),
    )
    async def create_keys(request: Request) -> Response:
        """Makes API keys: `{"count": N}` or `{"keys": [...]}`. Each key's text is told now and never again."""
        users = _users(parts)
        if parts is None or not parts.may_manage:
            raise Denied("this admin token may not make API keys", hint="making keys over the admin API needs admin.manage_users: true")
        if not users.holds_keys:
            raise Denied("keys of the ledger would open nothing here", hint="set auth.api_keys_in_ledger: true")
        body = await read_body(request, MAX_BULK_BYTES)
        asked = _request(users, request, body)
        made = await users.create_keys(parse_new_keys(parse_json(body), asked.now_ms // 1000), asked)
        keys = [{"id": key.id, "auth_id": key.auth_id, "name": key.name, "key": key.text} for key in made]
        return _reply({"keys": keys, "repeated": any(key.text is None for key in made)}, 201)

    @app.get(
        "/admin/keys",
        response_model=shapes.KeyPage,
        responses=refusals(400, 401, 503),
        openapi_extra=shapes.query(after="goes on behind this id", **shapes.PAGE),
    )
    async def get_keys(request: Request) -> Response:
        """The API keys by id, without anything secret: state, terms, when last used."""
        users = _users(parts)
        fields = read_query(request, frozenset(("auth_id", "after", "limit")))
        limit = read_count(fields, "limit", DEFAULT_PAGE, MAX_PAGE)
        found = await users.keys(fields.get("after", "")[:16], limit, fields.get("auth_id"))
        now = users.request("").now_ms // 1000
        keys = [describe_key(key.record, key.used_minute, now) | {"pays_as": users.pays_as(key.record.auth_id)} for key in found]
        return _reply({"keys": keys, "next": found[-1].record.id if len(found) == limit else None})

    @app.post(
        "/admin/keys/revoke",
        response_model=shapes.RevokedKeys,
        responses=refusals(400, 401, 413, 503),
        openapi_extra=body_of(shapes.RevokeKeysRequest),
    )
    async def revoke_keys(request: Request) -> Response:
        """Stops keys within a second: `{"ids": [...]}`, or all of `{"auth_id": TEXT}`."""
        users = _users(parts)
        body = await read_body(request, MAX_BULK_BYTES)
        fields = exact_object(parse_json(body), "the body", frozenset(("ids", "auth_id")))
        if len(fields) != 1:
            raise BadField('exactly one of {"ids": [...]} and {"auth_id": TEXT} is expected')
        auth_id, ids = text_field(fields, "auth_id", "auth_id") or None, fields.get("ids", [])
        if type(ids) is not list or ("auth_id" in fields and auth_id is None):
            raise BadField(f"ids must be an array, not {json_type(ids)}" if auth_id is None else "auth_id must not be empty")
        revoked = await users.revoke_keys(
            parse_ids(ids, MAX_KEYS_AT_ONCE) if auth_id is None else [], auth_id, _request(users, request, body)
        )
        return _reply({"revoked": revoked.ids, "unknown": revoked.unknown})


def _add_budget_routes(app: FastAPI, parts: UserParts | None) -> None:
    async def change(request: Request, step: Step) -> Response:
        users = _users(parts)
        body = await read_body(request, MAX_BULK_BYTES)
        asked = _request(users, request, body)
        changes = parse_budget_changes(parse_json(body), step)
        limits = await users.change_budgets(changes, asked, may_raise=parts is not None and parts.may_manage)
        return _reply({"budgets": [_described(name, limit_wei) for name, limit_wei in limits]})

    @app.get(
        "/admin/budgets",
        response_model=shapes.BudgetPage,
        responses=refusals(400, 401, 503),
        openapi_extra=shapes.query(after="the `next` of the page before", **shapes.PAGE),
    )
    async def get_budgets(request: Request) -> Response:
        """With `auth_id` all budgets that hold for it and how full they are; without it those that were set here, by name."""
        users = _users(parts)
        fields = read_query(request, frozenset(("auth_id", "after", "limit")))
        if parts is not None and (auth_id := fields.get("auth_id")):
            uses = await parts.budgets_of(auth_id)
            budgets = [use.describe() | {"source": users.source_of(use.budget, auth_id)} for use in uses]
            return _reply({"auth_id": auth_id, "budgets": budgets})
        limit = read_count(fields, "limit", DEFAULT_PAGE, MAX_PAGE)
        found = await users.list_budgets(_cursor(fields["after"]) if "after" in fields else None, limit)
        last = json.dumps(found[-1][0]) if len(found) == limit else None
        return _reply({"budgets": [_described(name, limit_wei) for name, limit_wei in found], "next": last})

    @app.post(
        "/admin/budgets",
        response_model=shapes.BudgetPage,
        responses=refusals(400, 401, 403, 413, 503),
        openapi_extra=body_of(shapes.SetBudgetsRequest),
    )
    async def set_budgets(request: Request) -> Response:
        """Sets budgets of single auth ids: `{"budgets": [{"auth_id", "window", "measure", "limit_wei"}]}`, all or none."""
        return await change(request, "set")

    @app.post(
        "/admin/budgets/top-up",
        response_model=shapes.BudgetPage,
        responses=refusals(400, 401, 403, 413, 503),
        openapi_extra=body_of(shapes.TopUpBudgetsRequest),
    )
    async def top_up_budgets(request: Request) -> Response:
        """Raises budgets by `add_wei`. Needs an Idempotency-Key: sent again without one, an amount would be added twice."""
        if not request.headers.get("idempotency-key"):
            raise BadField(
                "a top-up needs the header Idempotency-Key", hint="a key of its own for each top-up, the same one when it is sent again"
            )
        return await change(request, "top-up")

    @app.post(
        "/admin/budgets/reset",
        response_model=shapes.BudgetPage,
        responses=refusals(400, 401, 403, 413, 503),
        openapi_extra=body_of(shapes.ResetBudgetsRequest),
    )
    async def reset_budgets(request: Request) -> Response:
        """Takes budgets back: what the configuration says is in force again."""
        return await change(request, "reset")


def _users(parts: UserParts | None) -> Users:
    if parts is None:
        raise LedgerUnavailable("users need a ledger: set ledger.backend to sqlite or postgres")
    return parts.users


def _request(users: Users, request: Request, body: bytes) -> AdminRequest:
    """Who asks, and for what: the same key, route and body again are the same request."""
    key = admin_request_key(request.headers.get("idempotency-key", "").encode())
    return users.request(author_of_token(peer_of(request.scope)), key, sha256(request.scope["path"].encode() + b"\0" + body).digest())


def _cursor(text: str) -> BudgetName:
    try:
        auth_id, window, measure = json.loads(text)
        return budget_name(auth_id, window, measure, "after")
    except (ValueError, TypeError):
        raise BadField("after must be the `next` of the page before") from None


def _described(name: BudgetName, limit_wei: int | None) -> dict[str, Any]:
    return {**name._asdict(), "limit_wei": None if limit_wei is None else str(limit_wei)}


def _reply(body: dict[str, Any], status: int = 200) -> Response:
    return to_response(json_reply(status, body, new_request_id(), ((b"cache-control", b"no-store"),)))
