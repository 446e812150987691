"""Which requests a web page may have made, and which names are the signer's own: decided, and over both ways to the routes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from livepeer_remote_signer.api.front import Front
from livepeer_remote_signer.api.pages import PageRules, check_one_host
from livepeer_remote_signer.app import create_app
from livepeer_remote_signer.config.loading import parse_config
from livepeer_remote_signer.config.strict_yaml import ConfigError
from livepeer_remote_signer.core.errors import BadRequest
from tests.api.test_front_and_protocol import over_protocol
from tests.asgi import call
from tests.signer import PAY, configuration

ROUTES = [PAY, "/signTicket", "/sign-orchestrator-info", "/getOrchestratorInfo", "/readyz", "/metrics", "/nothing", "/docs"]


def rules(**options: Any) -> PageRules:
    told: dict[str, Any] = {"allow_origins": (), "allowed_hosts": (), "asked_paths": (), "is_loopback": True}
    return PageRules(**{**told, **options})


def headers(**values: str) -> list[tuple[bytes, bytes]]:
    return [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in values.items()]


@pytest.mark.parametrize(
    ("host", "is_own"),
    [
        ("127.0.0.1:8936", True),
        ("127.0.0.1", True),
        ("10.1.2.3:80", True),
        ("[::1]:8936", True),
        ("[::1]", True),
        ("localhost", True),
        ("LocalHost:9000", True),
        ("localhost.:9000", True),
        ("signer.localhost:1", True),
        ("host.docker.internal:8936", True),
        ("host.containers.internal", True),
        ("signer.example:8936", True),
        ("SIGNER.example", True),
        ("evil.example", False),
        ("notlocalhost", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("127.0.0.1:8936:1", False),
        ("127.1", False),
        ("2130706433", False),
        ("::1", False),
        ("[127.0.0.1]", False),
        ("[evil]", False),
        ("localhost:", True),
        ("localhost:x", False),
        ("x@localhost", False),
        ("sub.signer.example", False),
        ("", False),
        ("[", False),
        ("\xe9", False),
        (".localhost.", True),
    ],
)
def test_own_names_whatever_port_and_case(host: str, is_own: bool) -> None:
    assert rules(allowed_hosts=("signer.example",)).admits(PAY, headers(host=host)) == is_own
    assert rules(is_loopback=False).admits(PAY, headers(host=host))


@pytest.mark.parametrize(
    ("origin", "host", "passes"),
    [
        ("https://page.example", "localhost:8936", True),
        ("https://page.example:444", "localhost:8936", False),
        ("http://page.example", "localhost:8936", False),
        ("null", "localhost:8936", False),
        ("", "localhost:8936", False),
        ("http://localhost:8936", "localhost:8936", True),
        ("http://LOCALHOST:8936", "localhost:8936", True),
        ("http://localhost:9000", "localhost:9000", True),  # a tunnel
        ("http://localhost:3000", "localhost:8936", False),
        ("http://127.0.0.1:8936", "localhost:8936", False),
        ("http://localhost", "localhost:80", True),
        ("https://signer.example", "signer.example", True),  # a reverse proxy that passes the name on
        ("https://signer.example", "127.0.0.1:8936", False),
        ("https://evil.example", "evil.example", False),  # its name points here
        ("chrome-extension://abc", "localhost:8936", False),
        ("file://", "localhost:8936", False),
        ("localhost:8936", "localhost:8936", False),
    ],
)
@pytest.mark.parametrize("is_loopback", [True, False])
def test_pages_pass_by_name_or_as_the_signers_own(origin: str, host: str, passes: bool, is_loopback: bool) -> None:
    page = rules(allow_origins=("https://page.example",), allowed_hosts=("signer.example",), is_loopback=is_loopback)
    assert page.admits(PAY, headers(host=host, origin=origin)) == passes
    assert page.admits(PAY, headers(host=host, origin=origin, sec_fetch_site="cross-site")) == passes


def test_two_origins_are_none_and_null_never_passes() -> None:
    twice = [*headers(host="localhost", origin="https://page.example"), *headers(origin="https://page.example")]
    assert not rules(allow_origins=("https://page.example",)).admits(PAY, twice)
    for named in ("*", "null"):
        assert not rules(allow_origins=(named,)).admits("/readyz", headers(host="localhost", origin="null"))
    assert rules(allow_origins=("*",)).admits("/readyz", headers(host="localhost", origin="https://any.example"))


@pytest.mark.parametrize(
    ("site", "passes"), [("cross-site", False), ("Cross-Site", False), ("same-site", True), ("same-origin", True), ("none", True)]
)
def test_what_a_browser_says_of_the_site_counts_where_there_is_no_origin(site: str, passes: bool) -> None:
    assert rules(is_loopback=False).admits("/readyz", headers(host="signer", sec_fetch_site=site)) == passes


def test_of_two_words_on_the_site_the_worse_counts() -> None:
    both = [(b"sec-fetch-site", b"cross-site"), (b"sec-fetch-site", b"same-origin")]
    for told in (both, both[::-1]):
        assert not rules(is_loopback=False).admits(PAY, [*headers(host="signer"), *told])


def test_health_and_routes_that_ask_are_not_looked_at() -> None:
    page = rules(asked_paths=(PAY,))
    evil = headers(host="evil.example", origin="https://evil.example", sec_fetch_site="cross-site")
    assert page.admits("/healthz", evil)
    assert page.admits(PAY, evil)
    assert not page.admits("/signTicket", evil)
    assert not page.admits("/readyz", evil)


def test_a_client_of_the_last_century_may_name_no_host() -> None:
    assert rules().admits(PAY, [])
    check_one_host([], "1.0")
    check_one_host(headers(host=""), "1.1")
    with pytest.raises(BadRequest):
        check_one_host([], "1.1")
    for version in ("1.0", "1.1"):
        with pytest.raises(BadRequest):
            check_one_host(headers(host="a") * 2, version)


# --- both ways ---


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as one:
        yield one


def front(**sections: Any) -> Front:
    return create_app(parse_config(yaml.safe_dump(configuration(docs={"enabled": True}, **sections)), {}))


@pytest.mark.parametrize("way", ["asgi", "protocol"])
@pytest.mark.parametrize("method", ["POST", "GET", "OPTIONS"])
def test_a_foreign_page_gets_nothing_on_any_route_and_is_told_the_key(runner: asyncio.Runner, way: str, method: str) -> None:
    ask = call if way == "asgi" else over_protocol
    signer = front()
    for path in ROUTES:
        answer = runner.run(ask(signer, method, path, {"Origin": "https://evil.example", "Content-Type": "text/plain"}, b"{}"))
        error = json.loads(answer.body)["error"]
        assert (answer.status, error["code"]) == (403, "origin_refused")
        assert "cors.allow_origins" in error["hint"]
        assert answer.headers["x-request-id"] == error["request_id"]
        assert not [name for name in answer.headers if name.startswith("access-control")]


async def exchange(signer: Front, head: str) -> tuple[int, dict[str, Any]]:
    """Status and error of a request whose head is given whole."""
    from tests.api.test_bounds import connect, until

    protocol, wire = connect(signer)
    protocol.data_received(head.replace("\n", "\r\n").encode() + b"\r\n\r\n")
    await until(lambda: wire.statuses)
    body = bytes(wire.written).partition(b"\r\n\r\n")[2]
    return wire.statuses[0], json.loads(body).get("error", {})


async def test_the_host_is_looked_at_on_the_wire() -> None:
    signer = front(allowed_hosts=["Signer.Example"])
    for host in ("signer.example", "SIGNER.EXAMPLE:8936", "localhost:9999"):
        assert (await exchange(signer, f"POST {PAY} HTTP/1.1\nHost: {host}\nContent-Length: 0"))[0] == 400
        assert (await exchange(signer, f"GET /readyz HTTP/1.1\nHost: {host}"))[0] == 200
    for path in ROUTES:
        status, error = await exchange(signer, f"POST {path} HTTP/1.1\nHost: evil.example\nContent-Length: 0")
        assert (status, error["code"]) == (403, "origin_refused")
        assert "allowed_hosts" in error["hint"]
    assert (await exchange(signer, "GET /healthz HTTP/1.1\nHost: evil.example"))[0] == 200


@pytest.mark.parametrize("path", [PAY, "/healthz"])
@pytest.mark.parametrize("lines", ["", "Host: localhost\nhost: localhost\n", "Host: localhost\nHost: evil.example\n"])
async def test_a_doubled_or_missing_host_is_refused_on_every_route(path: str, lines: str) -> None:
    status, error = await exchange(front(), f"POST {path} HTTP/1.1\n{lines}Content-Length: 0")
    assert (status, error["code"]) == (400, "bad_request")
    assert "Host" in error["message"]


@pytest.mark.parametrize("path", [PAY, "/sign-orchestrator-info", "/healthz"])
async def test_a_target_that_names_another_host_is_refused(path: str) -> None:
    signer = front()
    status, error = await exchange(signer, f"POST http://evil.example{path} HTTP/1.1\nHost: localhost:8936\nContent-Length: 0")
    assert (status, error["code"]) == (400, "bad_request")
    assert "another host" in error["message"]
    status, error = await exchange(signer, f"POST http://LOCALHOST:8936{path} HTTP/1.1\nHost: localhost:8936\nContent-Length: 0")
    assert "another host" not in error.get("message", "")
    status, error = await exchange(signer, f"POST http://evil.example{path} HTTP/1.1\nHost: evil.example\nContent-Length: 0")
    assert path == "/healthz" or (status, error["code"]) == (403, "origin_refused")


@pytest.mark.parametrize(
    ("auth", "refused"),
    [
        ({"webhook": {"url": "http://127.0.0.1:9/"}}, {"/sign-orchestrator-info", "/getOrchestratorInfo", "/readyz", "/docs"}),
        (
            {"webhook": {"url": "http://127.0.0.1:9/", "ask_for_orchestrator_info": True}},
            {"/sign-orchestrator-info", "/readyz", "/docs"},
        ),
        ({"jwt": {"issuer": "https://login.example", "audience": "a"}}, {"/readyz", "/docs"}),
        ({"trusted_proxies": ["127.0.0.1/32"]}, {PAY, "/sign-orchestrator-info", "/getOrchestratorInfo", "/readyz", "/docs"}),
    ],
    ids=["webhook", "webhook for all", "jwt", "proxy"],
)
def test_only_routes_that_ask_nobody_are_closed_to_pages(runner: asyncio.Runner, auth: dict[str, Any], refused: set[str]) -> None:
    signer = front(auth=auth)
    answers = {
        path: runner.run(over_protocol(signer, "POST" if path[1] not in "rd" else "GET", path, {"Origin": "https://evil.example"}, b"{}"))
        for path in (PAY, "/sign-orchestrator-info", "/getOrchestratorInfo", "/readyz", "/docs")
    }
    assert {path for path, answer in answers.items() if b"origin_refused" in answer.body} == refused


def test_all_origins_need_somebody_who_is_asked() -> None:
    sections: dict[str, Any] = {"cors": {"allow_origins": ["*"]}}
    with pytest.raises(ConfigError, match=r"cors\.allow_origins"):
        parse_config(yaml.safe_dump(configuration(**sections, auth={"allow_unauthenticated": True})), {})
    with pytest.raises(ConfigError, match=r"cors\.allow_origins"):
        parse_config(yaml.safe_dump(configuration(**sections, auth={"trusted_proxies": ["10.0.0.0/8"]})), {})
    parse_config(yaml.safe_dump(configuration(**sections, auth={"webhook": {"url": "http://127.0.0.1:9/"}})), {})


@pytest.mark.parametrize("name", ["https://signer.example", "signer.example:80", "*", "*.example", "", "a b", "-x", "a..b"])
def test_an_allowed_host_is_a_name(name: str) -> None:
    with pytest.raises(ConfigError, match=r"allowed_hosts.*host name without scheme and port"):
        parse_config(yaml.safe_dump(configuration(allowed_hosts=[name])), {})


@pytest.mark.parametrize(
    ("written", "origin"),
    [
        ("https://page.example", "https://page.example"),
        ("HTTPS://Page.Example/", "https://page.example"),
        ("https://page.example:443", "https://page.example"),
        ("http://page.example:80/", "http://page.example"),
        ("https://page.example:80", "https://page.example:80"),
        ("http://[::1]:3000", "http://[::1]:3000"),
        ("chrome-extension://abc", "chrome-extension://abc"),
        ("*", "*"),
    ],
)
def test_an_origin_is_meant_as_browsers_spell_it(written: str, origin: str) -> None:
    auth = {"webhook": {"url": "http://127.0.0.1:9/"}}
    assert parse_config(yaml.safe_dump(configuration(cors={"allow_origins": [written]}, auth=auth)), {}).cors.allow_origins == (origin,)


@pytest.mark.parametrize(
    "written",
    ["null", "", "page.example", "https://", "https://a.b/app", "https://*.example", "https://a@b", "https://x:y", "//x"],
)
def test_what_no_page_has_as_its_origin_is_refused(written: str) -> None:
    with pytest.raises(ConfigError, match=r"allow_origins.*must be the origin of a page"):
        parse_config(yaml.safe_dump(configuration(cors={"allow_origins": [written]})), {})
