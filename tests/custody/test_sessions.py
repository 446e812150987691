"""Sessions paid with a key outside the host: redeemed on Livepeer's own contracts, and what happens when the key's service fails."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from eth_utils.address import to_canonical_address

from tests.chain.evm import CHAIN_ID, ETH
from tests.chain.livepeer import LivepeerEvm
from tests.chain.signer_process import SignerProcess, is_ready, running_signer
from tests.chain.test_service import orchestrator, pay, redeem
from tests.custody.services import Kms
from tests.custody.test_services import aws
from tests.outside import OutsideKey, with_other_s

pytestmark = pytest.mark.timeout(600)
ROUTES = ("/generate-live-payment", "/signTicket")
PAY = ROUTES[0]
KEY = OutsideKey(b"\x58" * 32)


@contextmanager
def signer_with(folder: Path, evm: LivepeerEvm, key: dict[str, Any], **sections: Any) -> Iterator[SignerProcess]:
    """A signer as operators run it with a key outside: a ledger, and a MAC key of its own."""
    mac = folder / "mac.key"
    if not mac.exists():
        subprocess.run(
            [sys.executable, "-m", "livepeer_remote_signer", "signing-key", "mac", "--file", str(mac)], check=True, capture_output=True
        )
    parts = {"state": {"mac_key_file": str(mac)}, "ledger": {"backend": "sqlite", "path": str(folder / "ledger.sqlite")}, **sections}
    with running_signer(folder, [evm.url], evm.controller.address, CHAIN_ID, key=key, **parts) as running:
        yield running


def address_of(signer: SignerProcess) -> bytes:
    return to_canonical_address(signer.post("/sign-orchestrator-info", {}).json()["address"])


def fund(evm: LivepeerEvm, signer: SignerProcess) -> bytes:
    """Pays in for the signer's address, and waits until it is ready."""
    sender = address_of(signer)
    evm.fund(sender, deposit=ETH, reserve=ETH)
    orchestrator(evm)
    signer.wait(is_ready, 30)
    signer.wait(lambda s: f"round {evm.rounds.functions.lastInitializedRound().call()}" in s.ready().text, 30)
    return sender


@pytest.mark.parametrize("kind", ["eth_sign", "aws_kms", "pkcs11"])
def test_what_each_service_signs_is_paid_by_livepeers_broker(
    kind: str, evm: LivepeerEvm, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if kind == "eth_sign":
        key: dict[str, Any] = {"url": evm.url, "address": evm.web3.eth.accounts[3]}
    elif kind == "aws_kms":
        key = aws(request.getfixturevalue("kms"))
    else:
        key = request.getfixturevalue("hsm").config()
    with signer_with(tmp_path, evm, {kind: key}) as signer:
        sender = fund(evm, signer)
        paid = 0
        for route in ROUTES:
            orch = orchestrator(evm)
            winners = pay(signer, orch, route)
            for winner in winners:
                redeem(evm, winner)
            paid += len(winners) * orch.face_value
        assert evm.deposit_of(sender) == ETH - paid
        assert '"name":"key","ok":true' in signer.ready().text.replace(" ", "")
        assert f'livepeer_signer_key_signatures_total{{backend="{kind}",outcome="wrong"}} 0' in signer.client.get("/metrics").text


@pytest.mark.parametrize("kind", ["aws_kms", "pkcs11"])
def test_a_session_goes_on_and_a_reply_is_repeated_to_the_byte(
    kind: str, evm: LivepeerEvm, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """With a random k another signature would be another draw."""
    key = aws(request.getfixturevalue("kms")) if kind == "aws_kms" else request.getfixturevalue("hsm").config()
    with signer_with(tmp_path, evm, {kind: key}) as signer:
        fund(evm, signer)
        orch = orchestrator(evm)
        body = orch.request(ManifestID="m1", type="", inPixels=8)
        seen: set[bytes] = set()
        count = 0
        for _ in range(5):
            replies = [signer.post(PAY, body) for _ in range(4)] if "state" in body else [signer.post(PAY, body)]
            assert {reply.status_code for reply in replies} == {200}, replies[0].text
            assert len({json.dumps([reply.json()[name] for name in ("payment", "segCreds", "state")]) for reply in replies}) == 1
            tickets = orch.tickets(replies[0].json()["payment"])
            assert not seen & {ticket.sig for ticket in tickets}
            seen |= {ticket.sig for ticket in tickets}
            count += len(tickets)
            body = {**body, "state": replies[0].json()["state"]}
        assert len(seen) == count >= 25


# --- a service that fails ---


class Server(ThreadingHTTPServer):
    """As many connections may wait as a signer opens at once."""

    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_: Any) -> None:
        """Who gave up waiting is not told."""


class Service:
    """JSON-RPC `eth_sign` in a thread of its own, whose every answer is the test's."""

    def __init__(self) -> None:
        self.answer: Callable[[bytes], bytes | None] = KEY_ANSWERS["good"]
        self.status = 200
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                question = json.loads(self.rfile.read(int(self.headers["content-length"])))
                raw = service.answer(bytes.fromhex(question["params"][1][2:]))
                if raw is None:
                    service.gate.wait(60)
                    raw = b""
                said = json.dumps({"jsonrpc": "2.0", "id": 1, "result": "0x" + raw.hex()}).encode()
                self.send_response(service.status)
                self.send_header("content-length", str(len(said)))
                self.end_headers()
                self.wfile.write(said)

            def log_message(self, *_: Any) -> None:
                """Says nothing."""

        self.gate = threading.Event()
        self._server = Server(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.key = {
            "eth_sign": {
                "url": f"http://127.0.0.1:{self._server.server_address[1]}",
                "address": "0x" + KEY.address.hex(),
                "timeout_seconds": 1,
            }
        }

    def close(self) -> None:
        self.gate.set()
        self._server.shutdown()
        self._server.server_close()


def _sign(message: bytes) -> bytes:
    from livepeer_remote_signer.core.protocol.eip191 import personal_digest

    return KEY.make_over(personal_digest(message))


def _high(message: bytes) -> bytes:
    raw = _sign(message)
    return raw if int.from_bytes(raw[32:], "big") > int.from_bytes(with_other_s(raw)[32:], "big") else with_other_s(raw)


KEY_ANSWERS: dict[str, Callable[[bytes], bytes | None]] = {
    "good": _sign,
    "high s": _high,
    "another key's": lambda message: OutsideKey(b"\x59" * 32).make_over(message),
    "garbage": lambda _: os.urandom(64),
    "too short": lambda _: b"\x01",
    "never": lambda _: None,
}


@pytest.fixture
def service() -> Iterator[Service]:
    one = Service()
    yield one
    one.close()


@pytest.mark.parametrize("answer", ["another key's", "garbage", "too short", "never", "throttled"])
def test_a_service_that_fails_costs_nothing_and_sessions_go_on_when_it_is_back(
    answer: str, service: Service, evm: LivepeerEvm, tmp_path: Path
) -> None:
    with signer_with(tmp_path, evm, service.key) as signer:
        fund(evm, signer)
        orch = orchestrator(evm)
        assert signer.post(PAY, orch.request(manifestID="before")).status_code == 200
        if answer == "throttled":
            service.status = 429
        else:
            service.answer = KEY_ANSWERS[answer]
        body = orch.request(manifestID="during")
        for _ in range(3):
            reply = signer.post(PAY, body)
            expected = (429, "key_throttled") if answer == "throttled" else (503, "key_unavailable")
            assert (reply.status_code, reply.json()["error"]["code"]) == expected, reply.text
            assert int(reply.headers["retry-after"]) >= 1
        assert is_ready(signer) == (answer == "throttled")
        service.status, service.answer = 200, KEY_ANSWERS["good"]
        service.gate.set()
        signer.wait(is_ready, 30)
        winners = pay(signer, orch, PAY)
        for winner in winners:
            redeem(evm, winner)
        assert signer.post(PAY, body).status_code == 200, "the call that failed is finished"


def test_either_half_of_s_is_paid(service: Service, evm: LivepeerEvm, tmp_path: Path) -> None:
    service.answer = KEY_ANSWERS["high s"]
    with signer_with(tmp_path, evm, service.key) as signer:
        fund(evm, signer)
        for winner in pay(signer, orchestrator(evm), PAY):
            redeem(evm, winner)


def test_a_kms_that_hangs_or_ends_refuses_and_payments_go_on_when_it_is_back(kms: Kms, evm: LivepeerEvm, tmp_path: Path) -> None:
    with signer_with(tmp_path, evm, {"aws_kms": aws(kms, timeout_seconds=1)}) as signer:
        fund(evm, signer)
        orch = orchestrator(evm)
        assert signer.post(PAY, orch.request(manifestID="before")).status_code == 200
        kms.process.send_signal(signal.SIGSTOP)
        try:
            reply = signer.post(PAY, orch.request(manifestID="during"))
            assert (reply.status_code, reply.json()["error"]["code"]) == (503, "key_unavailable")
            signer.wait(lambda s: not is_ready(s), 10)
        finally:
            kms.process.send_signal(signal.SIGCONT)
        signer.wait(is_ready, 30)
        for winner in pay(signer, orch, PAY):
            redeem(evm, winner)


def test_without_its_service_the_signer_starts_where_the_address_is_known_and_waits(evm: LivepeerEvm, tmp_path: Path) -> None:
    gone = {"aws_kms": {"key_id": "k", "region": "eu-west-2", "endpoint_url": "http://127.0.0.1:1"}, "address": "0x" + KEY.address.hex()}
    with signer_with(tmp_path, evm, gone) as signer:
        signer.wait(lambda s: "could not be reached" in s.ready().text, 30)
        assert not is_ready(signer)
