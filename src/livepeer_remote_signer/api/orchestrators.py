"""`POST /getOrchestratorInfo`: the signer's own half, and with a URL the orchestrator's answer, as base64 and as JSON.

Source: section 5.2 of the protocol.
"""

from __future__ import annotations

from binascii import b2a_base64
from typing import Any, NamedTuple

from livepeer_remote_signer.core.errors import BadField
from livepeer_remote_signer.core.protocol.json_forms import capabilities_from_json, info_to_json
from livepeer_remote_signer.core.protocol.strict_json import JsonObject, base64_field, exact_object, parse_json, text_field


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
