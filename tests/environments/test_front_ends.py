"""nginx, HAProxy and Caddy before the signer, as docs/behind-a-proxy.md configures them: payments, and the console under a prefix."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from tests.environments.conftest import need_program
from tests.ports import free_port
from tests.served import Served, live_body, served
from tests.signer import PAY

PAGE = Path(__file__).parents[2] / "docs" / "behind-a-proxy.md"
TOKEN = "a-token-of-the-operator"
COMMANDS: dict[str, Callable[[Path], list[str]]] = {
    "nginx": lambda file: ["-p", str(file.parent), "-c", str(file), "-g", "daemon off;"],
    "haproxy": lambda file: ["-db", "-f", str(file)],
    "caddy": lambda file: ["run", "--adapter", "caddyfile", "--config", str(file)],
}


class Front(NamedTuple):
    """A running proxy: where browsers find it."""

    url: str
    signer: Served


def certificate(folder: Path) -> None:
    """For signer.example, made by itself; HAProxy wants the key in the same file."""
    key, pem = folder / "signer.key", folder / "signer.pem"
    made = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=signer.example", "-addext"]
    made += ["subjectAltName=DNS:signer.example", "-keyout", str(key), "-out", str(pem)]
    subprocess.run([need_program("openssl"), *made], check=True, capture_output=True)
    pem.write_text(pem.read_text() + key.read_text())


def written(kind: str, folder: Path, ports: dict[str, int], host: str) -> Path:
    """The page's configuration with this test's ports and files in it; what a daemon of its own needs is put around it."""
    found = re.search(rf"```{kind}\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found is not None, f"{PAGE} has no configuration for {kind}"
    text = found[1].replace("127.0.0.1:8936", f"127.0.0.1:{ports['signer']}").replace("127.0.0.1:8937", f"127.0.0.1:{ports['admin']}")
    text = text.replace("/etc/ssl/", f"{folder}/").replace("$host;", f"{host};")
    if kind == "nginx":
        text = text.replace("listen 443 ssl", f"listen 127.0.0.1:{ports['front']} ssl")
        paths = "".join(f"{name}_temp_path {folder}/{name};\n" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        text = f"pid {folder}/pid;\nerror_log {folder}/error.log;\nevents {{}}\nhttp {{\naccess_log off;\n{paths}{text}}}\n"
    elif kind == "haproxy":
        text = text.replace("bind :443", f"bind 127.0.0.1:{ports['front']}")
    else:
        text = f"{{\n admin off\n auto_https off\n storage file_system {folder}/caddy\n}}\n" + text.replace(
            "signer.example {", f"https://signer.example:{ports['front']} {{"
        )
    file = folder / f"{kind}.conf"
    file.write_text(text)
    return file


@contextmanager
def fronted(kind: str, folder: Path, *, host: str = "$host", **admin: object) -> Iterator[Front]:
    """A signer behind this proxy; `host` is what nginx sends as Host."""
    program = need_program(kind)
    certificate(folder)
    token = folder / "token"
    token.write_text(TOKEN)
    ports = {"admin": free_port(), "front": free_port()}
    url = f"https://signer.example:{ports['front']}"
    listener = {"listen": f"127.0.0.1:{ports['admin']}", "token_file": str(token), **admin}
    if listener.get("public_url") == "":
        listener["public_url"] = f"{url}/ops"
    with served(folder, admin=listener, allowed_hosts=["signer.example"]) as signer:
        ports["signer"] = signer.port
        file = written(kind, folder, ports, host)
        with (folder / "proxy.log").open("wb") as log:
            proxy = subprocess.Popen([program, *COMMANDS[kind](file)], stdout=log, stderr=log, cwd=folder)
        try:
            give_up = time.monotonic() + 30
            while True:
                assert proxy.poll() is None, (folder / "proxy.log").read_text()
                try:
                    socket.create_connection(("127.0.0.1", ports["front"]), 5).close()
                except OSError:
                    assert time.monotonic() < give_up
                    time.sleep(0.02)
                else:
                    break
            yield Front(url, signer)
        finally:
            proxy.terminate()
            proxy.wait(30)


@contextmanager
def browser(front: Front) -> Iterator[httpx.Client]:
    """Knows the name without a DNS, and believes the certificate."""

    def dialed(request: httpx.Request) -> None:
        request.headers["Host"] = f"signer.example:{request.url.port}"
        request.extensions["sni_hostname"] = "signer.example"
        request.url = request.url.copy_with(host="127.0.0.1")

    with httpx.Client(base_url=front.url, verify=False, trust_env=False, event_hooks={"request": [dialed]}) as client:
        yield client


def log_in(client: httpx.Client, front: Front, token: str = TOKEN, **headers: str) -> httpx.Response:
    """As the page's form does it; without the header that browsers add on trusted addresses, unless it is given."""
    return client.post("/ops/console/login", data={"token": token}, headers={"Origin": front.url, **headers})


@pytest.mark.parametrize("kind", COMMANDS)
def test_payments_and_the_console_work_as_the_page_says(tmp_path: Path, kind: str) -> None:
    with (
        fronted(kind, tmp_path, public_url="", trusted_proxies=["127.0.0.1/32"]) as front,
        browser(front) as client,
    ):
        for _ in range(20):
            assert client.post(PAY, content=live_body()).status_code == 200
        page = client.get("/ops/console")
        assert page.status_code == 200
        assert 'action="console/login"' in page.text
        answer = log_in(client, front)
        assert (answer.status_code, answer.headers["location"]) == (303, "../console")
        cookie = answer.headers["set-cookie"]
        assert "Secure" in cookie
        assert "path=" not in cookie.lower(), "the browser takes the folder that it asked, prefix and all"
        held = {"Cookie": cookie.partition(";")[0]}
        assert client.get("/ops/console/data?hours=1", headers=held).status_code == 200
        allowed = {"Authorization": f"Bearer {TOKEN}"}
        assert "ceilings" in client.get("/ops/admin/prices", headers=allowed).json()
        foreign = client.post("/ops/console/login", data={"token": TOKEN}, headers={"Origin": "https://elsewhere.example"})
        assert foreign.status_code == 403
        assert "admin.public_url" in json.dumps(foreign.json())


def test_wrong_logins_shut_out_their_own_address_behind_a_proxy_that_is_trusted(tmp_path: Path) -> None:
    with fronted("nginx", tmp_path, public_url="", trusted_proxies=["127.0.0.1/32"]) as front, browser(front) as client:
        # the proxy appends its own peer, which is trusted here as well: what stands before it is the caller
        for _ in range(10):
            assert log_in(client, front, "guess", **{"X-Forwarded-For": "198.51.100.9"}).headers["location"] == "../console?refused"
        assert log_in(client, front, **{"X-Forwarded-For": "198.51.100.9"}).status_code == 429
        assert log_in(client, front, **{"X-Forwarded-For": "198.51.100.10"}).headers["location"] == "../console"


@pytest.mark.parametrize("host", ["$proxy_host", "$host", "SIGNER.example", "signer.example:443"])
def test_whatever_host_the_proxy_sends_the_browsers_word_or_the_public_url_counts(tmp_path: Path, host: str) -> None:
    with fronted("nginx", tmp_path, host=host) as front, browser(front) as client:
        assert log_in(client, front).status_code == 403, "nothing says that the page is ours"
        assert log_in(client, front, **{"Sec-Fetch-Site": "same-origin"}).status_code == 303
        assert log_in(client, front, **{"Sec-Fetch-Site": "cross-site"}).status_code == 403
