"""Replies as real clients read them: httpx, urllib and Go's net/http; and everything about routes, methods and statuses."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from base64 import b64decode, b64encode
from collections.abc import Callable
from typing import Any, NamedTuple

import httpx
import pytest

from tests.integration.conftest import Pair
from tests.plans import orchestrator_info
from tests.served import Served, live_body, post
from tests.signer import PAY

GO_CLIENT = """
package main

import ("encoding/json"; "fmt"; "io"; "net/http"; "os"; "strings")

func main() {
	body, _ := io.ReadAll(os.Stdin)
	for i := 0; i < 2; i++ { // the second call uses the first one's connection again
		reply, err := http.Post(os.Args[1], "application/json", strings.NewReader(string(body)))
		if err != nil { fmt.Println(err); os.Exit(1) }
		text, err := io.ReadAll(reply.Body)
		if err != nil { fmt.Println(err); os.Exit(1) }
		reply.Body.Close()
		if i == 1 {
			json.NewEncoder(os.Stdout).Encode(map[string]any{"status": reply.StatusCode, "headers": reply.Header, "body": string(text)})
		}
	}
}
"""


class Seen(NamedTuple):
    """A reply as a client saw it; header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


Client = Callable[[str, bytes], Seen]


def with_httpx(url: str, body: bytes) -> Seen:
    reply = httpx.post(url, content=body, trust_env=False)
    return Seen(reply.status_code, dict(reply.headers), reply.content)


def with_urllib(url: str, body: bytes) -> Seen:
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=60) as reply:
            return Seen(reply.status, {k.lower(): v for k, v in reply.headers.items()}, reply.read())
    except urllib.error.HTTPError as error:
        with error:
            return Seen(error.code, {k.lower(): v for k, v in error.headers.items()}, error.read())


@pytest.fixture(scope="module")
def with_go(tmp_path_factory: pytest.TempPathFactory) -> Client:
    """A client over Go's net/http, which is what go-livepeer's gateway uses."""
    go = shutil.which("go")
    if go is None:
        if os.environ.get("LRS_REQUIRE_ALL") == "1":
            pytest.fail("go is not installed")
        pytest.skip("go is not installed")
    folder = tmp_path_factory.mktemp("go")
    (folder / "main.go").write_text(GO_CLIENT)
    program = folder / "client"
    subprocess.run([go, "build", "-o", str(program), "main.go"], cwd=folder, check=True, env=os.environ | {"GO111MODULE": "off"})

    def ask(url: str, body: bytes) -> Seen:
        done = subprocess.run([str(program), url], input=body, capture_output=True, check=True, timeout=60)
        seen: dict[str, Any] = json.loads(done.stdout)
        return Seen(seen["status"], {k.lower(): v[0] for k, v in seen["headers"].items()}, seen["body"].encode())

    return ask


def seen_by(client: str, request: pytest.FixtureRequest) -> Client:
    """The client of this name."""
    if client == "go":
        go: Client = request.getfixturevalue("with_go")
        return go
    return {"httpx": with_httpx, "urllib": with_urllib}[client]


def paid_state(signer: Served) -> dict[str, str]:
    """The state after a first payment."""
    state: dict[str, str] = json.loads(signer.pay().body)["state"]
    return state


@pytest.mark.parametrize("client", ["httpx", "urllib", pytest.param("go", marks=pytest.mark.operate)])
class TestStatusesOfTheirOwn:
    """480, 481 and 482 have no phrase in the standard; every client must read them all the same."""

    def test_480_names_the_orchestrator(self, prompt: Served, client: str, request: pytest.FixtureRequest) -> None:
        expired = orchestrator_info(now_ns=time.time_ns() - 3600 * 10**9)
        seen = seen_by(client, request)(prompt.url + PAY, live_body(info=expired))
        assert seen.status == 480
        assert seen.headers["livepeer-orchestrator-url"] == "https://orch.example:8935"
        error = json.loads(seen.body)["error"]
        assert error["code"] == "refresh_session"
        assert error["message"].startswith("refresh session for remote signer")

    def test_481_names_both_prices(self, prompt: Served, client: str, request: pytest.FixtureRequest) -> None:
        ceiling = {"price": "5", "currency": "wei", "unit": "seconds"}
        seen = seen_by(client, request)(prompt.url + PAY, live_body(maxPrice=ceiling))
        assert seen.status == 481
        error = json.loads(seen.body)["error"]
        assert error["code"] == "price_exceeded"
        assert "100000000000" in error["message"]
        assert "5" in error["message"]

    def test_482_says_that_nothing_is_due(self, prompt: Served, client: str, request: pytest.FixtureRequest) -> None:
        state = paid_state(prompt)
        seen = seen_by(client, request)(prompt.url + PAY, live_body(state=state))
        while seen.status == 200:  # until the credit covers one more ticket
            seen = seen_by(client, request)(prompt.url + PAY, live_body(state=json.loads(seen.body)["state"]))
        assert seen.status == 482
        assert json.loads(seen.body)["error"]["message"] == "no tickets"

    def test_200_carries_the_payment(self, either: Served, client: str, request: pytest.FixtureRequest) -> None:
        seen = seen_by(client, request)(either.url + PAY, live_body())
        assert seen.status == 200
        assert seen.headers["content-type"] == "application/json"
        assert set(json.loads(seen.body)) == {"payment", "segCreds", "state"}


# --- routes and methods ---


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "REPORT"])
@pytest.mark.parametrize("path", [PAY, "/signTicket", "/sign-orchestrator-info", "/getOrchestratorInfo"])
def test_another_method_is_told_which_one_is_allowed(either: Served, method: str, path: str) -> None:
    request = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{{}}".encode()
    answer = either.exchange(request, has_body=method != "HEAD")
    assert answer.status == 405
    assert answer.headers["allow"] == "POST"
    assert int(answer.headers["content-length"]) > 0
    if method != "HEAD":
        assert answer.error["code"] == "method_not_allowed"
        assert answer.error["request_id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize(
    "path", ["/", "/nothing", "/signTicket/", "//signTicket", "/generate-live-payment/x", "/%00", "/docs", "/openapi.json"]
)
def test_an_unknown_route_is_404_in_the_envelope(either: Served, path: str) -> None:
    answer = either.get(path)
    assert answer.status == 404
    assert answer.headers["content-type"] == "application/json"
    assert answer.error["code"] == "not_found"
    assert answer.error["request_id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize(
    "target",
    [
        PAY + "?x=1",
        PAY + "?",
        PAY + "#x",
        "/generate%2Dlive%2dpayment",
        "/%67enerate-live-payment?x=%ff",
        "http://localhost/generate-live-payment",
    ],
)
def test_the_same_route_spelled_otherwise_pays_too(either: Served, target: str) -> None:
    answer = either.exchange(post(live_body(), target))
    assert answer.status == 200
    assert b"payment" in answer.body


@pytest.mark.parametrize("content_type", ["", "Content-Type: text/plain\r\n", "Content-Type: nonsense;;;\r\n"])
def test_the_content_type_is_ignored(either: Served, content_type: str) -> None:
    assert either.exchange(post(live_body(), headers=content_type)).status == 200


@pytest.mark.parametrize("body", [b"", b"{}", b"null", b"\xff\xfe", b"[" * 1000])
def test_the_orchestrator_info_route_ignores_its_body(either: Served, body: bytes) -> None:
    answer = either.exchange(post(body, "/sign-orchestrator-info"))
    assert answer.status == 200
    signed = json.loads(answer.body)
    assert list(signed) == ["address", "signature"]
    assert len(signed["address"]) == 42
    assert len(signed["signature"]) == 132


@pytest.mark.parametrize("host", ["[", "a b", "", "\xe9", "x:99999999"])
def test_a_host_header_that_makes_no_sense_is_nobodys_name_and_matters_only_where_nobody_is_asked(
    prompt: Served, asking: Pair, host: str
) -> None:
    def request(path: str) -> bytes:
        body = live_body() if path == PAY else b""
        return f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(body)}\r\n\r\n".encode("latin-1") + body

    assert asking.signer.exchange(request(PAY)).status == 200
    for path in (PAY, "/sign-orchestrator-info", "/nothing", "/getOrchestratorInfo"):
        assert prompt.exchange(request(path)).error["code"] == "origin_refused"


@pytest.mark.parametrize("transcoder", ["http://a\r\nX-Evil: 1", "http://a\nX: y", "http://\x00", "http://é", "x" * 2049, "\x7f"])
def test_no_header_is_made_of_what_an_orchestrator_calls_itself(either: Served, transcoder: str) -> None:
    info = orchestrator_info(now_ns=time.time_ns() - 3600 * 10**9, transcoder=transcoder)
    answer = either.exchange(post(live_body(info=info)))
    assert answer.status == 400
    assert answer.error["code"] == "bad_orchestrator"
    assert not {"x-evil", "x", "livepeer-orchestrator-url"} & set(answer.headers)


def test_a_printable_transcoder_stands_in_the_480_header_as_it_is(either: Served) -> None:
    transcoder = "https://o:1/?a=b c;\"'<>%0d%0aX-Evil: 1"
    info = orchestrator_info(now_ns=time.time_ns() - 3600 * 10**9, transcoder=transcoder)
    answer = either.exchange(post(live_body(info=info)))
    assert answer.status == 480
    assert answer.headers["livepeer-orchestrator-url"] == transcoder
    assert "x-evil" not in answer.headers


def test_every_reply_names_its_request(either: Served) -> None:
    answers = [either.get(path) for path in ("/healthz", "/readyz", "/metrics", "/nothing")]
    answers += [
        either.exchange(post(b"x", path)) for path in (PAY, "/signTicket", "/sign-orchestrator-info", "/getOrchestratorInfo", "/healthz")
    ]
    answers += [either.pay(), either.exchange(b"nonsense\r\n\r\n")]
    ids = [answer.headers["x-request-id"] for answer in answers]
    assert all(len(one) == 32 and int(one, 16) >= 0 for one in ids)
    assert len(set(ids)) == len(ids)
    assert all("date" in answer.headers for answer in answers[:-1])


def test_an_identity_that_the_caller_claims_is_not_echoed_as_a_header(either: Served) -> None:
    answer = either.exchange(post(live_body(), headers="X-Request-Id: mine\r\nServer: x\r\n"))
    assert answer.headers["x-request-id"] != "mine"
    assert "server" not in answer.headers


def test_health_and_readiness_are_plain_to_read(either: Served) -> None:
    assert json.loads(either.get("/healthz").body) == {"status": "ok"}
    ready = either.get("/readyz")
    assert ready.status == 200
    assert json.loads(ready.body)["ready"] is True
    assert all(check["ok"] and check["reason"] for check in json.loads(ready.body)["checks"])


def test_a_session_goes_on_over_the_other_route(prompt: Served) -> None:
    state = paid_state(prompt)
    body = {
        "signerState": f"{state['State']}.{state['Sig']}",
        "orchestratorInfo": b64encode(orchestrator_info(now_ns=time.time_ns(), rand_hash=b"\x31" * 32)).decode(),
        "manifestId": "m1",
        "type": "live",
    }
    answer = prompt.exchange(post(json.dumps(body).encode(), "/signTicket"))
    assert answer.status == 200
    reply = json.loads(answer.body)
    assert json.loads(b64decode(reply["signerState"].split(".")[0]))["SequenceNumber"] == 1
    assert [ticket["senderNonce"] for ticket in reply["tickets"]] == [1]
