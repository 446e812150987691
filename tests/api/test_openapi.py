"""`docs/openapi.json` is what the routes are, and what they answer is what it says."""

from __future__ import annotations

import json
import time
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from livepeer_remote_signer.app import create_app
from livepeer_remote_signer.cli import main
from livepeer_remote_signer.config.loading import parse_config
from livepeer_remote_signer.core.protocol.json_forms import info_to_json
from tests.asgi import call, running
from tests.plans import orchestrator_info
from tests.signer import PAY, configuration

FILE = Path(__file__).parents[2] / "docs" / "openapi.json"
DOCUMENT: dict[str, Any] = json.loads(FILE.read_bytes())


def references(node: Any) -> Iterator[str]:
    """Every `$ref` below a node."""
    if isinstance(node, dict):
        if "$ref" in node:
            yield node["$ref"]
        for child in node.values():
            yield from references(child)
    elif isinstance(node, list):
        for child in node:
            yield from references(child)


def schema_of(path: str, *, method: str = "post", status: str | None = None) -> dict[str, Any]:
    """A reply's schema, or the request's, that can stand on its own."""
    operation = DOCUMENT["paths"][path][method]
    part = operation["requestBody"] if status is None else operation["responses"][status]
    return {**part["content"]["application/json"]["schema"], "components": DOCUMENT["components"]}


def check(instance: Any, schema: dict[str, Any]) -> None:
    Draft202012Validator(schema).validate(instance)


def check_all_named(instance: Any, schema: dict[str, Any]) -> None:
    """A reply as described, with no key that the description does not name."""
    check(instance, closed(schema))


def closed(node: Any) -> Any:
    """The schema with each object that names its properties allowing no others."""
    if isinstance(node, list):
        return [closed(child) for child in node]
    if not isinstance(node, dict):
        return node
    found = {key: closed(child) for key, child in node.items()}
    return (
        {"additionalProperties": False, **found} if isinstance(found.get("properties"), dict) and found.get("type") == "object" else found
    )


def bodies() -> dict[str, Any]:
    """A good request of each route that reads one."""
    info = orchestrator_info(now_ns=time.time_ns())
    ceiling = {"price": "1e18", "currency": "wei", "unit": "seconds"}
    return {
        PAY: {"orchestrator": b64encode(info).decode(), "state": None, "ManifestID": "m", "type": "live", "maxPrice": ceiling},
        "/signTicket": {
            "orchestratorInfo": info_to_json(info),
            "signerState": None,
            "manifestId": "m",
            "type": "live",
            "maxPrice": ceiling,
        },
        "/quoteTicket": {"orchestratorInfo": info_to_json(info), "type": "live", "maxPrice": ceiling, "authorize": False},
        "/getOrchestratorInfo": {},
        "/sign-byoc-job": {"id": "1", "capability": "c", "request": "r", "parameters": "{}", "timeout_seconds": 5},
    }


def test_the_committed_file_is_current(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["openapi"]) == 0
    assert capsys.readouterr().out == FILE.read_text(), "run make openapi"


def test_every_reference_leads_somewhere_and_every_component_is_used() -> None:
    wanted = {reference.removeprefix("#/components/schemas/") for reference in references(DOCUMENT)}
    assert wanted == set(DOCUMENT["components"]["schemas"])


def test_every_schema_is_one() -> None:
    for schema in DOCUMENT["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


def test_no_reply_is_promised_that_is_never_given() -> None:
    for path, operations in DOCUMENT["paths"].items():
        for operation in operations.values():
            assert "422" not in operation["responses"], path
            assert {"200", "201"} & operation["responses"].keys(), path


async def test_requests_and_replies_are_as_described() -> None:
    app = create_app(parse_config(yaml.safe_dump(configuration(byoc_jobs=True, auth={"allow_unauthenticated": True})), {}))
    async with running(app):
        for path, body in bodies().items():
            check(body, schema_of(path))
            answer = await call(app, "POST", path, {}, json.dumps(body).encode())
            assert answer.status == 200, answer
            check_all_named(json.loads(answer.body), schema_of(path, status="200"))
            refused = await call(app, "POST", path, {}, b"[]")
            assert refused.status == 400
            check(json.loads(refused.body), schema_of(path, status="400"))
        ready = await call(app, "GET", "/readyz", {}, b"")
        check_all_named(json.loads(ready.body), schema_of("/readyz", method="get", status="200"))
        signed = await call(app, "POST", "/sign-orchestrator-info", {}, b"")
        check_all_named(json.loads(signed.body), schema_of("/sign-orchestrator-info", status="200"))


async def test_a_session_in_json_is_as_described_to_its_end() -> None:
    app = create_app(parse_config(yaml.safe_dump(configuration()), {}))
    seen = set()
    async with running(app):
        body = bodies()["/signTicket"]
        for _ in range(6):
            answer = await call(app, "POST", "/signTicket", {}, json.dumps(body).encode())
            seen.add(answer.status)
            reply = json.loads(answer.body)
            check(reply, schema_of("/signTicket", status=str(answer.status)))
            if answer.status == 200:
                body["signerState"] = reply["signerState"]
                check(body, schema_of("/signTicket"))
    assert seen == {200, 482}


async def test_descriptions_are_served_only_where_asked_for() -> None:
    for enabled, status in ((False, 404), (True, 200)):
        app = create_app(parse_config(yaml.safe_dump(configuration(docs={"enabled": enabled})), {}))
        async with running(app):
            assert (await call(app, "GET", "/openapi.json", {}, b"")).status == status
            assert (await call(app, "GET", "/docs", {}, b"")).status == status
