"""The ASGI front and the server's protocol class give the same reply to the same request; browsers; faults of ours."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from base64 import b64encode
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from livepeer_remote_signer.api.bounds import FIRST_WORD_SECONDS
from livepeer_remote_signer.api.front import Front
from livepeer_remote_signer.api.server_protocol import PaymentProtocol
from livepeer_remote_signer.app import create_app
from livepeer_remote_signer.config.loading import parse_config
from livepeer_remote_signer.core.errors import Overloaded
from livepeer_remote_signer.core.protocol.json_forms import info_to_json
from livepeer_remote_signer.wiring import live_payments
from tests.asgi import Answer, call
from tests.connections import connection_over
from tests.plans import NOW_NS, orchestrator_info
from tests.served import live_body
from tests.signer import PAY, configuration, counted_signatures

GO_IDLE_SECONDS = 90
"""How long Go's HTTP client keeps a connection: a server that closes earlier meets a request on its way."""

INFO = orchestrator_info(now_ns=NOW_NS)
EXPIRED = orchestrator_info(now_ns=NOW_NS - 3600 * 10**9)


class Wire:
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        self.written = bytearray()
        self.ended = False
        self.aborted = False

    def get_extra_info(self, name: str, default: object = None) -> object:
        return ("127.0.0.1", 50_000) if name == "peername" else default

    def is_closing(self) -> bool:
        return self.ended

    def write(self, data: bytes) -> None:
        assert not self.ended, "written after the end"
        self.written += data

    def write_eof(self) -> None: ...

    def close(self) -> None:
        self.ended = True

    def abort(self) -> None:
        self.ended = self.aborted = True

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


async def replied(protocol: PaymentProtocol) -> None:
    """Until the reply to the connection's last request is written."""
    async with asyncio.timeout(30):
        while not protocol.cycle.response_complete:  # noqa: ASYNC110 - a server's connection has no event to wait for
            await asyncio.sleep(0)


async def over_protocol(front: Front, method: str, path: str, headers: dict[str, str], body: bytes, pieces: int = 1) -> Answer:
    """One request through the protocol class, in so many pieces."""
    wire = Wire()
    protocol = connection_over(wire, front)
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(body)}", *(f"{k}: {v}" for k, v in headers.items())]
    raw = "\r\n".join(lines).encode() + b"\r\n\r\n" + body
    step = -(-len(raw) // pieces)
    for start in range(0, len(raw), step):
        protocol.data_received(raw[start : start + step])
        await asyncio.sleep(0)
    await replied(protocol)
    head, _, rest = bytes(wire.written).partition(b"\r\n\r\n")
    status, *fields = head.decode("latin-1").split("\r\n")
    return Answer(int(status.split(" ")[1]), dict(field.split(": ", 1) for field in fields), rest)


def comparable(answer: Answer, *, has_body: bool) -> tuple[int, dict[str, str], Any]:
    """Without what differs from call to call."""
    headers = {k: v for k, v in answer.headers.items() if k not in ("x-request-id", "date", "connection")}
    body: Any = answer.body if has_body else b""
    if body.startswith(b"{"):
        body = json.loads(body)
        if "error" in body:
            body["error"].pop("request_id")
    return answer.status, headers, body


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as one:
        yield one


@pytest.fixture(scope="module")
def front() -> Iterator[Front]:
    """A signer whose every random name is the same, at a time that stands still."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(live_payments, "token_hex", lambda _: "ab" * 16)
        yield create_app(parse_config(yaml.safe_dump(configuration()), {}), clock_ns=lambda: NOW_NS)


def go_body(**fields: Any) -> bytes:
    return json.dumps({"orchestrator": b64encode(INFO).decode(), "ManifestID": "m", "type": "live", **fields}).encode()


def json_body(**fields: Any) -> bytes:
    return json.dumps({"orchestratorInfo": info_to_json(INFO), "manifestId": "m", "type": "live", **fields}).encode()


CEILING = {"price": 1, "currency": "wei", "unit": "seconds"}
BODIES = st.one_of(
    st.sampled_from(
        [
            b"",
            b"{}",
            b"null",
            go_body(),
            json_body(),
            go_body(type="lv2v"),
            go_body(maxPrice=CEILING),
            json_body(maxPrice=CEILING),
            go_body(orchestrator=b64encode(EXPIRED).decode()),
            json_body(orchestratorInfo=b64encode(EXPIRED).decode()),
            b" " * 2000,
        ]
    ),
    st.binary(max_size=60),
    st.dictionaries(st.text(max_size=4), st.integers() | st.text(max_size=4) | st.none(), max_size=3).map(lambda v: json.dumps(v).encode()),
)
HEADERS = st.dictionaries(
    st.sampled_from(["Content-Type", "Accept", "Authorization", "X-A", "Signer-Auth-Id", "Origin"]),
    st.text("abc123 /", max_size=8).map(str.strip),
)


@settings(max_examples=150)
@given(
    method=st.sampled_from(["POST", "POST", "POST", "GET", "PUT", "HEAD", "OPTIONS"]),
    path=st.sampled_from([PAY, "/signTicket", "/sign-orchestrator-info", "/getOrchestratorInfo", "/healthz", "/readyz", "/nothing"]),
    headers=HEADERS,
    body=BODIES,
    pieces=st.integers(1, 4),
)
def test_both_ways_give_the_same_reply(
    front: Front, runner: asyncio.Runner, method: str, path: str, headers: dict[str, str], body: bytes, pieces: int
) -> None:
    over_asgi = runner.run(call(front, method, path, headers, body))
    on_the_wire = runner.run(over_protocol(front, method, path, headers, body, pieces))
    has_body = method != "HEAD"
    assert comparable(on_the_wire, has_body=has_body) == comparable(over_asgi, has_body=has_body)


@pytest.mark.parametrize(("path", "body"), [(PAY, go_body()), ("/signTicket", json_body())])
def test_both_ways_pay_with_the_same_bytes(front: Front, runner: asyncio.Runner, path: str, body: bytes) -> None:
    over_asgi = runner.run(call(front, "POST", path, {}, body))
    on_the_wire = runner.run(over_protocol(front, "POST", path, {}, body))
    assert on_the_wire.status == 200
    assert on_the_wire.body == over_asgi.body


def test_both_ways_refuse_what_is_too_large(front: Front, runner: asyncio.Runner) -> None:
    body = b" " * (front.limits.max_bytes + 1)
    for path in (PAY, "/sign-orchestrator-info", "/nothing"):
        over_asgi = runner.run(call(front, "POST", path, {}, body))
        on_the_wire = runner.run(over_protocol(front, "POST", path, {}, body, pieces=3))
        assert over_asgi.status == on_the_wire.status == 413
        assert comparable(on_the_wire, has_body=True) == comparable(over_asgi, has_body=True)


def test_a_body_without_a_length_is_bounded_too(front: Front, runner: asyncio.Runner) -> None:
    sent: list[dict[str, Any]] = []
    pieces = iter(range(3))

    async def receive() -> dict[str, Any]:
        next(pieces)
        return {"type": "http.request", "body": b" " * (front.limits.max_bytes // 2 + 1), "more_body": True}

    async def send(message: Any) -> None:
        sent.append(message)

    runner.run(front({"type": "http", "method": "POST", "path": PAY, "headers": [], "client": None}, receive, send))
    assert sent[0]["status"] == 413
    assert next(pieces) == 2, "nothing is read beyond the limit"


def test_an_offer_to_speak_another_protocol_is_passed_over(front: Front, runner: asyncio.Runner) -> None:
    offer = {"Upgrade": "h2c", "Connection": "Upgrade, HTTP2-Settings, keep-alive", "HTTP2-Settings": "AAMAAABkAARAAAAAAAIAAAAA"}
    for pieces in (1, 4):
        answer = runner.run(over_protocol(front, "POST", PAY, {**offer, "X-A": "b"}, go_body(), pieces))
        assert answer.status == 200
        assert "connection" not in answer.headers


def test_while_draining_a_request_that_is_on_its_way_is_answered_and_its_connection_ends(front: Front, runner: asyncio.Runner) -> None:
    async def scenario() -> bytes:
        wire = Wire()
        protocol = connection_over(wire, front)
        protocol.data_received(b"POST /generate-live-payment HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n[")
        protocol.drain()
        protocol.data_received(b"]")
        await replied(protocol)
        return bytes(wire.written)

    head = runner.run(scenario()).partition(b"\r\n\r\n")[0].lower()
    assert b" 400 " in head
    assert b"connection: close" in head


def test_the_body_has_a_time_limit_under_any_server(runner: asyncio.Runner) -> None:
    limits = {"limits": {"body_timeout_seconds": 0.05}}
    patient = create_app(parse_config(yaml.safe_dump(configuration(**limits)), {}))
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(5)
        raise AssertionError("waited too long")

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": PAY, "headers": [(b"content-length", b"5")], "client": None}
    runner.run(patient(scope, receive, send))
    assert sent[0]["status"] == 408
    assert json.loads(sent[1]["body"])["error"]["code"] == "body_timeout"


def test_a_client_that_leaves_before_its_body_is_there_gets_no_reply(front: Front, runner: asyncio.Runner) -> None:
    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        raise AssertionError(message)

    runner.run(front({"type": "http", "method": "POST", "path": PAY, "headers": [], "client": None}, receive, send))


def test_nothing_is_signed_for_a_client_whose_connection_is_gone_before_its_turn(front: Front, runner: asyncio.Runner) -> None:
    async def scenario(*, leaves: bool) -> int:
        wire = Wire()
        protocol, body = connection_over(wire, front), go_body()
        before = signatures.made
        protocol.data_received(f"POST {PAY} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        if leaves:
            wire.abort()
        await replied(protocol)
        return signatures.made - before

    with counted_signatures() as signatures:
        assert runner.run(scenario(leaves=True)) == 0
        assert runner.run(scenario(leaves=False)) > 0


# --- time on a connection ---


def test_an_idle_connection_is_closed_in_time_and_one_that_takes_nothing_is_cut(front: Front, runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        now = asyncio.get_running_loop().time()
        idle, stuck = Wire(), Wire()
        protocol = connection_over(idle, front)
        protocol.sweep(now + FIRST_WORD_SECONDS - 1)
        assert not idle.ended
        protocol.sweep(now + FIRST_WORD_SECONDS + 1)
        assert idle.ended

        idle = Wire()
        protocol = connection_over(idle, front)
        protocol.data_received(b"POST /generate-live-payment HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n[]")
        await replied(protocol)
        assert front.bounds.idle_seconds > GO_IDLE_SECONDS + 5
        protocol.sweep(now + front.bounds.idle_seconds - 1)
        assert not idle.ended
        protocol.sweep(now + front.bounds.idle_seconds + 1)
        assert idle.ended
        assert not idle.aborted

        protocol = connection_over(stuck, front)
        protocol.pause_writing()
        protocol.sweep(now + front.limits.timeout_seconds - 1)
        assert not stuck.ended
        protocol.sweep(now + front.limits.timeout_seconds + 1)
        assert stuck.aborted

    runner.run(scenario())


def test_a_connection_that_takes_its_replies_late_is_kept(front: Front, runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        wire = Wire()
        protocol = connection_over(wire, front)
        protocol.pause_writing()
        protocol.data_received(b"POST /generate-live-payment HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n[]")
        await asyncio.sleep(0)
        assert not wire.written
        protocol.resume_writing()
        await replied(protocol)
        assert wire.written.startswith(b"HTTP/1.1 400 ")
        protocol.sweep(asyncio.get_running_loop().time() + front.limits.timeout_seconds + 1)
        assert not wire.ended

    runner.run(scenario())


# --- browsers ---


def browser_app(*origins: str, **sections: Any) -> Front:
    return create_app(parse_config(yaml.safe_dump(configuration(cors={"allow_origins": list(origins)}, **sections)), {}))


ASKED: dict[str, Any] = {"auth": {"webhook": {"url": "http://127.0.0.1:9/authorize"}}}
"""Somebody is asked before a payment is signed; in these tests none gets so far."""


PREFLIGHT = {
    "Origin": "https://page.example",
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "content-type,authorization",
}


@pytest.mark.parametrize("way", ["asgi", "protocol"])
@pytest.mark.parametrize("path", [PAY, "/signTicket", "/getOrchestratorInfo"])
def test_a_page_of_an_allowed_origin_may_ask_and_read_the_headers(runner: asyncio.Runner, way: str, path: str) -> None:
    ask = call if way == "asgi" else over_protocol
    front = browser_app("https://page.example")
    allowed = runner.run(ask(front, "OPTIONS", path, PREFLIGHT, b""))
    assert allowed.status == 200
    assert allowed.headers["access-control-allow-origin"] == "https://page.example"
    assert "POST" in allowed.headers["access-control-allow-methods"]
    assert {"content-type", "authorization"} <= set(allowed.headers["access-control-allow-headers"].replace(" ", "").split(","))
    assert "x-request-id" in allowed.headers

    answer = runner.run(ask(front, "POST", path, {"Origin": "https://page.example"}, b"[]"))
    assert answer.status == 400
    assert answer.headers["access-control-allow-origin"] == "https://page.example"
    assert "Livepeer-Orchestrator-URL" in answer.headers["access-control-expose-headers"]
    assert "Origin" in answer.headers["vary"]


@pytest.mark.parametrize("way", ["asgi", "protocol"])
def test_a_page_of_another_origin_may_not_read_what_is_said_to_those_who_are_asked(runner: asyncio.Runner, way: str) -> None:
    ask = call if way == "asgi" else over_protocol
    front = browser_app("https://page.example", **ASKED)
    refused = runner.run(ask(front, "OPTIONS", PAY, {**PREFLIGHT, "Origin": "https://evil.example"}, b""))
    assert refused.status == 400
    assert "access-control-allow-origin" not in refused.headers
    answer = runner.run(ask(front, "POST", PAY, {"Origin": "https://evil.example"}, b"[]"))
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("way", ["asgi", "protocol"])
def test_all_origins_may_be_allowed_and_refusals_carry_the_header_too(runner: asyncio.Runner, way: str) -> None:
    ask = call if way == "asgi" else over_protocol
    front = browser_app("*", **ASKED)
    body = live_body(info=orchestrator_info(now_ns=time.time_ns() - 3600 * 10**9))
    answer = runner.run(ask(front, "POST", PAY, {"Origin": "https://any.example"}, body))
    assert answer.status == 480
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["livepeer-orchestrator-url"] == "https://orch.example:8935"


@pytest.mark.parametrize("origins", [("*",), ("https://page.example",), ("https://other.example",)])
def test_a_page_may_also_read_why_its_request_was_ended_in_the_middle(runner: asyncio.Runner, origins: tuple[str, ...]) -> None:
    front = browser_app(*origins, **ASKED)
    headers = {"Origin": "https://page.example"}
    ways = [
        runner.run(ask)
        for ask in (
            call(front, "POST", PAY, headers, bytes(1_100_000)),
            over_protocol(front, "POST", PAY, headers, bytes(1_100_000), pieces=9),
        )
    ]
    first, second = (comparable(answer, has_body=True) for answer in ways)
    assert first[0] == second[0] == 413
    assert first[1] == second[1]
    assert ("access-control-allow-origin" in first[1]) == (origins != ("https://other.example",))


def test_head_is_answered_like_get_without_a_body(front: Front, runner: asyncio.Runner) -> None:
    for path, status in (("/healthz", 200), ("/readyz", 200), ("/metrics", 200), (PAY, 405), ("/nothing", 404)):
        answer = runner.run(over_protocol(front, "HEAD", path, {}, b""))
        assert (answer.status, answer.body) == (status, b"")
    answer = runner.run(over_protocol(front, "HEAD", "/healthz", {}, bytes(1_100_000), pieces=9))
    assert (answer.status, answer.body) == (413, b"")


def test_a_target_without_a_path_is_refused_in_words(front: Front, runner: asyncio.Runner) -> None:
    answer = runner.run(over_protocol(front, "POST", "http://signer", {}, b""))
    assert answer.status == 400
    assert json.loads(answer.body)["error"]["message"] == "not an HTTP/1.1 request: the request target is not a URL with a path"


@pytest.mark.parametrize("way", ["asgi", "protocol"])
def test_without_origins_nothing_is_said_to_browsers(runner: asyncio.Runner, way: str) -> None:
    ask = call if way == "asgi" else over_protocol
    front = create_app(parse_config(yaml.safe_dump(configuration(**ASKED)), {}))
    assert runner.run(ask(front, "OPTIONS", PAY, PREFLIGHT, b"")).status == 405
    answer = runner.run(ask(front, "POST", PAY, {"Origin": "https://page.example"}, b"[]"))
    assert not [name for name in answer.headers if name.startswith("access-control")]


# --- what the log says of refusals ---


def refusals_in(caplog: pytest.LogCaptureFixture) -> list[tuple[str, dict[str, Any]]]:
    """Level and fields of the lines about refusals."""
    return [(record.levelname, record.fields) for record in caplog.records if record.message == "request refused"]  # type: ignore[attr-defined]


@pytest.mark.parametrize("ask", [call, over_protocol])
@pytest.mark.parametrize(
    ("method", "path", "body", "route", "status", "code", "level"),
    [
        ("GET", PAY, b"", PAY, 405, "method_not_allowed", "INFO"),
        ("GET", "/planted", b"", "other", 404, "not_found", "INFO"),
        ("PUT", "/healthz", b"planted", "/healthz", 405, "method_not_allowed", "INFO"),
        ("POST", PAY, b"planted" * 200_000, PAY, 413, "body_too_large", "INFO"),
        ("POST", "/planted", b"planted" * 200_000, "other", 413, "body_too_large", "INFO"),
        ("POST", "/getOrchestratorInfo", b"planted", "/getOrchestratorInfo", 400, "bad_json", "INFO"),
        ("GET", "/discover-orchestrators", b"", "/discover-orchestrators", 404, "not_found", "INFO"),
    ],
)
def test_a_refusal_outside_the_paying_path_is_found_in_the_log_by_its_request_id(
    front: Front,
    runner: asyncio.Runner,
    caplog: pytest.LogCaptureFixture,
    ask: Any,
    method: str,
    path: str,
    body: bytes,
    route: str,
    status: int,
    code: str,
    level: str,
) -> None:
    with caplog.at_level(logging.INFO):
        answer = runner.run(ask(front, method, path, {"X-Planted": "planted"}, body))
    assert (answer.status, json.loads(answer.body)["error"]["code"]) == (status, code)
    fields = {"status": status, "code": code, "route": route, "request_id": answer.headers["x-request-id"]}
    assert refusals_in(caplog) == [(level, fields)]
    assert "planted" not in caplog.text


@pytest.mark.parametrize("ask", [call, over_protocol])
@pytest.mark.parametrize(("path", "body"), [("/nothing", b""), ("/getOrchestratorInfo", b"no JSON"), (PAY, b"x" * 300_000)])
@pytest.mark.parametrize(
    ("forwarded", "caller"), [("192.0.2.66", "192.0.2.66"), ("10.0.0.9, 192.0.2.7", "192.0.2.7"), ("2001:db8::5", "2001:db8::/64")]
)
def test_refusals_count_under_the_address_that_a_trusted_proxy_speaks_for(
    runner: asyncio.Runner, caplog: pytest.LogCaptureFixture, ask: Any, path: str, body: bytes, forwarded: str, caller: str
) -> None:
    """One caller behind it must not use up the lines of all."""
    behind = create_app(parse_config(yaml.safe_dump(configuration(auth={"trusted_proxies": ["127.0.0.1/32"]})), {}))
    with caplog.at_level(logging.INFO):
        assert runner.run(ask(behind, "POST", path, {"X-Forwarded-For": forwarded}, body)).status >= 400
    assert [record.refused_caller for record in caplog.records if record.message == "request refused"] == [caller]  # type: ignore[attr-defined]


def test_a_refusal_that_is_the_signers_fault_is_an_error_in_the_log(runner: asyncio.Runner, caplog: pytest.LogCaptureFixture) -> None:
    busy = create_app(parse_config(yaml.safe_dump(configuration(limits={"max_requests_in_work": 1})), {}))
    with busy.paying.place("127.0.0.1"), caplog.at_level(logging.INFO):
        answer = runner.run(call(busy, "POST", "/sign-orchestrator-info", {}, b""))
    ((level, fields),) = refusals_in(caplog)
    assert (level, fields["status"], fields["code"]) == ("ERROR", 503, "overloaded")
    assert fields["error"] == json.loads(answer.body)["error"]["message"]
    assert fields["request_id"] == answer.headers["x-request-id"]


def test_what_is_no_http_is_found_in_the_log_by_its_request_id(
    front: Front, runner: asyncio.Runner, caplog: pytest.LogCaptureFixture
) -> None:
    async def babble() -> bytes:
        wire = Wire()
        connection_over(wire, front).data_received(b"planted\r\n\r\n")
        return bytes(wire.written)

    with caplog.at_level(logging.INFO):
        written = runner.run(babble()).decode()
    ((level, fields),) = refusals_in(caplog)
    assert (level, fields["status"], fields["route"]) == ("INFO", 400, "other")
    assert f"x-request-id: {fields['request_id']}\r\n" in written
    assert "planted" not in caplog.text


def test_what_only_browsers_read_is_said_to_them_alone_and_where_pages_may_ask() -> None:
    page, nobody = [(b"origin", b"https://page.example")], [(b"host", b"x")]
    for origins, is_said in ([], False), (["https://page.example"], True), (["*"], True), (["https://other.example"], True):
        front = create_app(
            parse_config(
                yaml.safe_dump(configuration(cors={"allow_origins": origins}, auth={"webhook": {"url": "http://127.0.0.1:9/"}})), {}
            )
        )
        assert front.browser_headers(nobody) == ()
        assert bool(front.browser_headers(page)) is is_said
        granted = dict(front.browser_headers(page)).get(b"access-control-allow-origin")
        assert granted == {"*": b"*", "https://page.example": b"https://page.example"}.get("".join(origins))


@pytest.mark.parametrize("path", [PAY, "/signTicket"])
def test_a_refusal_on_the_paying_path_has_the_observers_line_alone(
    front: Front, runner: asyncio.Runner, caplog: pytest.LogCaptureFixture, path: str
) -> None:
    with caplog.at_level(logging.INFO):
        assert runner.run(call(front, "POST", path, {}, b"{")).status == 400
    assert not refusals_in(caplog)


# --- faults of ours ---


@pytest.mark.parametrize("path", [PAY, "/signTicket", "/getOrchestratorInfo"])
def test_a_fault_of_ours_is_logged_and_tells_the_caller_nothing(
    runner: asyncio.Runner, path: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("the secret detail")

    front = create_app(parse_config(yaml.safe_dump(configuration()), {}))
    monkeypatch.setattr("livepeer_remote_signer.service.payments.RemoteSigner.pay_inline", fail)
    monkeypatch.setattr("livepeer_remote_signer.api.rest.parse_orchestrator_query", fail)
    body = json_body() if path == "/signTicket" else go_body() if path == PAY else b"{}"
    for ask in (call, over_protocol):
        caplog.clear()
        with caplog.at_level(logging.ERROR):
            answer = runner.run(ask(front, "POST", path, {}, body))
        assert answer.status == 500
        error = json.loads(answer.body)["error"]
        assert error == {"message": "Internal Server Error", "code": "internal", "request_id": answer.headers["x-request-id"]}
        logged = [record for record in caplog.records if record.exc_info]
        assert len(logged) == 1
        assert error["request_id"] in logged[0].getMessage()


async def test_a_start_that_fails_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    front = create_app(parse_config(yaml.safe_dump(configuration()), {}))

    def broken(_: object) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(front._rest.router, "lifespan_context", broken)
    told: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "lifespan.startup"}

    async def send(message: Any) -> None:
        told.append(message)

    with pytest.raises(OSError, match="disk is full"):
        await front({"type": "lifespan", "asgi": {"version": "3.0"}}, receive, send)
    assert told == [{"type": "lifespan.startup.failed", "message": "OSError: the disk is full"}]
    assert front.startup_failure == "OSError: the disk is full"


def test_what_reads_only_memory_answers_also_when_all_places_are_taken(front: Front, runner: asyncio.Runner) -> None:
    def full(*_: object) -> None:
        raise Overloaded("full")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(front.paying, "place", full)
        for method, path, status in (("GET", "/healthz", 200), ("HEAD", "/healthz", 200), ("POST", "/sign-orchestrator-info", 503)):
            assert runner.run(call(front, method, path, {}, b"{}")).status == status, (method, path)
