"""What later versions of the protocol send beside what is known here: it is passed over, and nothing breaks on it."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

import pytest

from livepeer_remote_signer.core.protocol.timestamps import NS_PER_SECOND
from livepeer_remote_signer.proto import net_pb2
from tests.plans import SECRET, orchestrator_info
from tests.signer import running_signer
from tests.signing import PlainKey

LATER_FIELD = b"\x9a\x02\x03abc"
"""Field 35 of OrchestratorInfo, three bytes."""

LATER_KEYS = {"SignerAddress": "0x" + "ab" * 20, "QuoteID": "q-1", "Quote": {"price": [1, {"deep": None}]}}


NOW_NS = time.time_ns()


def later_info() -> bytes:
    return orchestrator_info(now_ns=NOW_NS) + LATER_FIELD


def body_of(route: str, state: dict[str, str] | None) -> dict[str, Any]:
    info = base64.b64encode(later_info()).decode()
    if route == "/signTicket":
        return {"orchestratorInfo": info, "type": "live", "signerState": state and f"{state['State']}.{state['Sig']}", "manifestId": "m"}
    return {"orchestrator": info, "type": "live", "state": state, "ManifestID": "m"}


def state_of(route: str, reply: dict[str, Any]) -> dict[str, str]:
    if route == "/signTicket":
        raw, sig = reply["signerState"].split(".")
        return {"State": raw, "Sig": sig}
    state: dict[str, str] = reply["state"]
    return state


@pytest.mark.parametrize("route", ["/generate-live-payment", "/signTicket"])
@pytest.mark.parametrize("backend", ["none", "sqlite"])
async def test_a_session_that_a_later_version_began_goes_on(route: str, backend: str, tmp_path: Any) -> None:
    key, now_ns = PlainKey(SECRET), NOW_NS
    ledger = {"backend": backend} | ({"path": str(tmp_path / "ledger.sqlite")} if backend == "sqlite" else {})
    async with running_signer(ledger=ledger, clock_ns=lambda: now_ns) as signer:
        first = await signer.client.post(route, json=body_of(route, None))
        assert first.status_code == 200, first.text
        state = json.loads(base64.b64decode(state_of(route, first.json())["State"]))
        later = json.dumps(state | LATER_KEYS, separators=(",", ":")).encode()
        sealed = {"State": base64.b64encode(later).decode(), "Sig": base64.b64encode(key.sign_personal(later)).decode()}
        now_ns += 30 * NS_PER_SECOND
        second = await signer.client.post(route, json=body_of(route, sealed))
        assert second.status_code == 200, second.text
    going_on = json.loads(base64.b64decode(state_of(route, second.json())["State"]))
    assert not going_on.keys() & LATER_KEYS.keys(), "a signer writes what it knows"
    assert (going_on["StateID"], going_on["SequenceNumber"]) == (state["StateID"], 1)


@pytest.mark.parametrize("route", ["/generate-live-payment", "/signTicket"])
async def test_a_later_field_of_the_orchestrators_info_is_passed_over(route: str) -> None:
    async with running_signer(clock_ns=lambda: NOW_NS) as signer:
        reply = (await signer.client.post(route, json=body_of(route, None))).json()
    payment = net_pb2.Payment.FromString(base64.b64decode(reply["payment"]))
    assert len(payment.ticket_sender_params) >= 1
    assert LATER_FIELD not in base64.b64decode(reply["payment"])
