"""`POST /getOrchestratorInfo`: the signer's own half, and with a URL the orchestrator's answer, as base64 and as JSON.
`GET /discover-orchestrators`: the list that is kept in memory.

Source: sections 5.2 and 11 of the protocol.
"""

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, NamedTuple

from fastapi import FastAPI, Query, Request, Response

from livepeer_remote_signer.api import schemas
from livepeer_remote_signer.core.errors import BadField, NotFound
from livepeer_remote_signer.core.protocol.json_forms import capabilities_from_json, info_to_json
from livepeer_remote_signer.core.protocol.strict_json import JsonObject, base64_field, exact_object, parse_json, text_field
from livepeer_remote_signer.core.rules.discovery import Filters

FetchInfo = Callable[[str, bytes], Awaitable[bytes]]
"""(URL, serialized Capabilities) -> serialized OrchestratorInfo."""

Discover = Callable[[Filters], bytes]
"""What a caller asks for -> the JSON list. Raises NotReady."""


class OrchestratorQuery(NamedTuple):
    """Which orchestrator is asked for ("": none), and the serialized capabilities that go to it."""

    url: str
    capabilities: bytes


def parse_orchestrator_query(body: bytes) -> OrchestratorQuery:
    """A /getOrchestratorInfo body: empty, or a JSON object. Raises BadJson, BadField or BadCapabilities."""
    if not body:
        return OrchestratorQuery("", b"")
    fields = exact_object(parse_json(body), "the body", frozenset({"orchestrator", "capabilities"}))
    url = text_field(fields, "orchestrator", "orchestrator")
    capabilities = fields.get("capabilities")
    if capabilities is not None and not url:
        raise BadField("capabilities without an orchestrator", hint="send orchestrator: https://host:port, or leave capabilities out")
    if isinstance(capabilities, JsonObject):
        return OrchestratorQuery(url, capabilities_from_json(capabilities))
    return OrchestratorQuery(url, base64_field(fields, "capabilities", "capabilities"))


def orchestrator_half(raw: bytes) -> dict[str, Any]:
    """The reply's keys about the orchestrator. Both forms are what /signTicket takes as `orchestratorInfo`."""
    return {"orchestrator": b2a_base64(raw, newline=False).decode(), "orchestratorInfo": info_to_json(raw)}


def add_discovery_route(
    app: FastAPI, identified: Callable[[Request], Awaitable[None]], discover: Discover | None, errors: dict[int | str, dict[str, Any]]
) -> None:
    """Adds the route; without `discover` it answers 404 and says what to configure."""

    @app.get(
        "/discover-orchestrators",
        response_model=list[schemas.DiscoveredOrchestrator],
        responses={status: errors[status] for status in (401, 404, 503)},
    )
    async def discover_orchestrators(
        request: Request,
        caps: Annotated[list[str] | None, Query(description="pipeline/model or a runner's app; repeated: any of them")] = None,
        app: Annotated[list[str] | None, Query(description="only runners of this app, and who has them; repeated: any of them")] = None,
        gpu: Annotated[list[str] | None, Query(description="only runners on a GPU of this name, likewise")] = None,
    ) -> Response:
        """Orchestrators, their capabilities within the price ceilings, and their runners."""
        await identified(request)
        if discover is None:
            raise NotFound("discovery is not enabled", hint="set discovery.enabled: true and a source")
        apps, gpus = (frozenset(filter(None, map(str.strip, names or ()))) for names in (app, gpu))
        wanted = Filters(frozenset(filter(None, caps or ())), apps, gpus)
        return Response(discover(wanted), media_type="application/json")
