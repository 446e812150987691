"""Every recorded case through the whole service, from HTTP request to reply: both paying routes must answer as recorded."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import groupby
from threading import Thread
from typing import Any

import pytest

from livepeer_remote_signer.app import create_app
from livepeer_remote_signer.config.loading import parse_config
from livepeer_remote_signer.config.models import Config
from livepeer_remote_signer.core.errors import SignerError
from livepeer_remote_signer.core.protocol.json_forms import info_from_json, info_to_json
from livepeer_remote_signer.core.protocol.strict_json import parse_json
from tests.asgi import Answer, call, running
from tests.recorded import PAYING_PATH, RecordedCase, check_message, check_payment, check_question, check_state, recorded_cases

GROUPS = [list(cases) for _, cases in groupby(recorded_cases(), lambda case: (case.key, case.chain, case.limits, case.has_webhook))]
JSON_KEYS = {"orchestrator": "orchestratorInfo", "ManifestID": "manifestId", "state": "signerState"}
SAME_KEYS = {"type", "app", "inPixels", "maxPrice", "capabilities"}


class Webhook:
    """An authorization webhook on a real socket that gives the recorded answer and keeps the question."""

    def __init__(self) -> None:
        self.url = ""
        self.answer: dict[str, Any] = {}
        self.question: bytes | None = None


@contextmanager
def serving_webhook() -> Iterator[Webhook]:
    """The webhook, listening on loopback."""
    webhook = Webhook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            webhook.question = self.rfile.read(int(self.headers["Content-Length"]))
            body = webhook.answer["body"].encode()
            self.send_response(webhook.answer["http_status"])
            for name, value in webhook.answer["headers"].items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Keeps the test's output clean."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        webhook.url = f"http://127.0.0.1:{server.server_address[1]}/authorize"
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield webhook
        server.shutdown()
        thread.join()


def configuration(case: RecordedCase, webhook: Webhook) -> Config:
    """What the recorded signer was configured with, in our file's words."""
    limits = case.limits
    tree = {
        "key": {"private_key": case.key.hex()},
        "state": {"seal": "signature"},
        "chain": {"source": "static", "static": case.chain},
        "limits": {name: limits[name] for name in ("max_ticket_ev_wei", "max_total_ev_wei", "deposit_multiplier")},
        "prices": {
            "max_price_per_unit": limits["max_price_per_unit"],
            "pixels_per_unit": limits["pixels_per_unit"],
            "max_price_per_capability": limits["capabilities_prices"],
        },
        "auth": {"webhook": {"url": webhook.url}} if case.has_webhook else {},
    }
    return parse_config(json.dumps(tree), {})


def check_refusal(case: RecordedCase, answer: Answer) -> None:
    """The envelope, the message where the protocol gives one, and the header of 480."""
    assert answer.headers["content-type"].split(";")[0] == "application/json"
    message = json.loads(answer.body)["error"]["message"]
    assert isinstance(message, str)
    assert message
    check_message(case, message)
    if answer.status == 480 == case.step["response"]["status"]:
        recorded_url = case.step["response"]["headers"].get("Livepeer-Orchestrator-Url", "")
        assert answer.headers.get("livepeer-orchestrator-url", "") == recorded_url


def check_live_payment(case: RecordedCase, answer: Answer) -> None:
    """The answer of go-livepeer's route."""
    assert answer.status == case.status, answer.body
    if answer.status != 200:
        check_refusal(case, answer)
    elif (recorded := case.recorded_reply) is not None:
        reply = json.loads(answer.body)
        check_payment(b64decode(reply["payment"]), b64decode(reply["segCreds"]), recorded)
        check_state(b64decode(reply["state"]["State"]), b64decode(reply["state"]["Sig"]), recorded)


def check_sign_ticket(case: RecordedCase, answer: Answer) -> None:
    """The answer of our own route: the same payment in other words."""
    assert answer.status == case.status, answer.body
    if answer.status == 200 and (recorded := case.recorded_reply) is not None:
        reply = json.loads(answer.body)
        check_payment(b64decode(reply["payment"]), b64decode(reply["segCreds"]), recorded)
        state, sig = (b64decode(part) for part in reply["signerState"].split("."))
        check_state(state, sig, recorded)
        assert len(reply["tickets"]) == case.step["decoded"]["tickets"]
        assert int(reply["tickets"][0]["senderNonce"]) == case.step["decoded"]["first_nonce"]


class Doubled(ValueError):
    """A key stands twice."""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({key.lower() for key, _ in pairs}) != len(pairs):
        raise Doubled
    return dict(pairs)


def as_sign_ticket(case: RecordedCase) -> bytes | None:
    """The same payment asked of POST /signTicket, OrchestratorInfo as JSON where that can say it; None where it cannot be asked."""
    try:
        asked = json.loads(case.step["request"]["body"], object_pairs_hook=_once)
    except ValueError:
        return None
    if not isinstance(asked, dict) or set(asked) - set(JSON_KEYS) - SAME_KEYS:
        return None
    said = {JSON_KEYS.get(key, key): value for key, value in asked.items()}
    if (state := said.get("signerState")) is not None:
        if not isinstance(state, dict) or not state.get("State") or not state.get("Sig"):
            return None
        said["signerState"] = f"{state['State']}.{state['Sig']}"
    if isinstance(info := said.get("orchestratorInfo"), str):
        said["orchestratorInfo"] = as_json_form(info) or info
    return json.dumps(said).encode()


def as_json_form(info: str) -> Any:
    """OrchestratorInfo as a JSON object, None where it is none or carries what that form cannot say."""
    try:
        raw = b64decode(info, validate=True)
        form = info_to_json(raw)
        back = info_from_json(parse_json(json.dumps(form).encode()))
    except (ValueError, SignerError):
        return None
    return form if back == raw and b64encode(raw).decode() == info else None


@pytest.mark.parametrize("cases", GROUPS, ids=lambda cases: cases[0].name)
async def test_both_routes_answer_as_recorded(cases: list[RecordedCase]) -> None:
    now = [0]
    with serving_webhook() as webhook:
        app = create_app(configuration(cases[0], webhook), clock_ns=lambda: now[0])
        async with running(app):
            for case in cases:
                now[0] = case.step["now_ns"]
                request = case.step["request"]
                webhook.answer, webhook.question = case.step.get("webhook", {}), None
                answer = await call(app, request["method"], request["path"], request["headers"], request["body"].encode())
                if request["path"] != PAYING_PATH:
                    assert answer.status == case.status
                    if answer.status == 200:
                        assert json.loads(answer.body) == json.loads(case.step["response"]["body"])
                    continue
                check_live_payment(case, answer)
                if case.has_webhook and not case.ours:
                    assert (webhook.question is not None) == (case.recorded_question is not None)
                    if webhook.question is not None:
                        check_question(json.loads(webhook.question), case.recorded_question or {})
                if (body := as_sign_ticket(case)) is not None:
                    headers = {**request["headers"], "Content-Type": "application/json"}
                    check_sign_ticket(case, await call(app, "POST", "/signTicket", headers, body))


def test_most_cases_can_be_asked_of_both_routes_and_many_in_json_throughout() -> None:
    bodies = [as_sign_ticket(case) for case in recorded_cases() if case.step["request"]["path"] == PAYING_PATH]
    asked = [json.loads(body) for body in bodies if body is not None]
    assert len(asked) > 600
    assert sum(isinstance(body.get("orchestratorInfo"), dict) for body in asked) > 400
