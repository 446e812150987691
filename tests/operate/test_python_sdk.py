"""Livepeer's Python SDK, as it is published: against the running signer and an orchestrator that checks what it is paid, and
its payment loop against every answer of the catalogue."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from livepeer_remote_signer.api.errors import error_reply, internal_reply
from livepeer_remote_signer.api.reply import Reply
from livepeer_remote_signer.core import errors
from tests.docs.test_docs import ROOT, error_classes, rows
from tests.operate.conftest import skip_or_fail
from tests.served import served
from tests.simulators import Chain, Clock, Network, Offer, Orchestrator, static_chain

pytestmark = [pytest.mark.operate, pytest.mark.timeout(600)]

HERE = Path(__file__).parent / "sdk"
CACHE = HERE.parents[2] / ".cache" / "sdk"
NEEDS = (3, 12)
"""The SDK's own demand on Python."""

WEI_A_SECOND = 200_000_000_000
RUNNER = {
    "url": "https://runner.example/",
    "app": "me/app",
    "price_info": {"price": 1, "currency": "wei", "unit": "seconds"},
}


def find_interpreter() -> str | None:
    """A Python that the SDK runs on: this one, one on the PATH, or one of pyenv's."""
    if sys.version_info >= NEEDS:
        return sys.executable
    for minor in (13, 12):
        pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
        found = shutil.which(f"python3.{minor}", path=os.environ["PATH"].replace("/.pyenv/shims", "/.no-shims"))
        for candidate in filter(None, (found, *map(str, pyenv.glob(f"3.{minor}.*/bin/python3")))):
            return candidate
    return None


@pytest.fixture(scope="module")
def sdk_python() -> Path:
    """An interpreter with the SDK in it, installed once from its lock."""
    interpreter = find_interpreter()
    if interpreter is None:
        skip_or_fail(f"the SDK needs Python {'.'.join(map(str, NEEDS))}, and none is here")
    lock = HERE / "requirements.lock"
    digest = hashlib.sha256(f"{interpreter}\n".encode() + lock.read_bytes()).hexdigest()[:16]
    place = CACHE / digest
    python = place / "bin" / "python"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as alone:
        fcntl.flock(alone, fcntl.LOCK_EX)  # suites run in several processes
        if not (place / "installed").exists():
            _install(interpreter, place, lock)
    return python


def _install(interpreter: str, place: Path, lock: Path) -> None:
    shutil.rmtree(place, ignore_errors=True)
    subprocess.run([interpreter, "-m", "venv", str(place)], check=True)
    install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes", "-r", str(lock)]
    subprocess.run([str(place / "bin" / "python"), *install], check=True)
    (place / "installed").touch()


async def keep_time(clock: Clock) -> None:
    """The orchestrator's clock is the wall's."""
    while True:
        clock.now_ns = time.time_ns()
        await asyncio.sleep(0.01)


async def test_the_published_sdk_finds_pays_refreshes_and_skips(sdk_python: Path, tmp_path: Path) -> None:
    clock, chain = Clock(time.time_ns()), Chain()
    # a ticket pays for three seconds; in the last 180 seconds of a token nothing is paid before it is renewed
    offer = Offer(WEI_A_SECOND, ticket_ev=3 * WEI_A_SECOND, token_seconds=183)
    orchestrator = Orchestrator(clock, chain, offer, runners=[RUNNER])
    async with Network() as network:
        await network.host_orchestrator(orchestrator)
        ticking = asyncio.create_task(keep_time(clock))
        discovery = {"enabled": True, "static": [orchestrator.url], "allow_private_addresses": True}
        with served(tmp_path, chain=static_chain(chain), discovery=discovery) as signer:
            while await asyncio.to_thread(lambda: signer.get("/discover-orchestrators").status) != 200:  # noqa: ASYNC110 - as a client asks
                await asyncio.sleep(0.1)
            command = [str(sdk_python), str(HERE / "client.py"), signer.url, orchestrator.url]
            done = await asyncio.to_thread(lambda: subprocess.run(command, capture_output=True, text=True, timeout=60, check=False))
        ticking.cancel()
    assert done.returncode == 0, done.stderr[-2000:] + signer.log[-2000:]
    seen = json.loads(done.stdout)
    assert seen["found"] == [orchestrator.url]
    assert seen["runners"] == 1
    assert orchestrator.refusals == []
    payments = sum(account.payments for account in orchestrator.accounts.values())
    assert payments == seen["paid"] >= 2
    assert seen["paid"] + seen["skipped"] == 8
    assert seen["skipped"] >= 1, "the credit of a ticket lasts"
    assert seen["refreshes"] >= 1, "a token of 183 seconds is renewed after three"


def refusals() -> dict[str, tuple[str, Reply]]:
    """An answer of each kind, with the code that the catalogue has it under."""
    made: list[errors.SignerError] = [
        errors.InvalidState("why"),
        errors.RefreshSession("token", "http://127.0.0.1"),
        errors.MethodNotAllowed("no", allow="POST"),
        errors.TimedOut(4.5, "ledger"),
    ]
    special = {type(error) for error in made} | {errors.Denied}
    tree = [kind for kind in error_classes(errors.SignerError) if kind.__module__ == errors.__name__]
    causes = [kind for kind in tree if kind not in (errors.Refused, errors.Failed)]
    made += [kind("why") for kind in causes if kind not in special]
    assert {type(error) for error in made} | {errors.Denied} == set(causes)
    cases = {type(error).__name__: (error.code, error_reply(error, "0" * 32)) for error in made}
    cases["internal"] = ("internal", internal_reply("0" * 32))
    for status in (401, 402, 403, 429, 483, 500, 503):
        cases[f"denied-{status}"] = ("denied", error_reply(errors.Denied("no", status=status), "0" * 32))
    return cases


@contextmanager
def answering(cases: dict[str, tuple[str, Reply]]) -> Iterator[str]:
    """A signer that pays the first call of a case and refuses the others, and the orchestrator that is paid."""
    paid = {"payment": "cA==", "segCreds": "cw==", "state": {"State": "e30=", "Sig": "cw=="}}
    fixed = {
        "/payment": {},
        "/refresh-payment": {"payment_params": "e30="},
        "/sign-orchestrator-info": {"address": "0x" + "11" * 20, "signature": "0x" + "22" * 65},
    }

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if self.path in fixed:
                self.reply(200, json.dumps(fixed[self.path]).encode())
            elif "state" not in json.loads(body):
                self.reply(200, json.dumps(paid).encode())
            else:
                _, refused = cases[self.headers["X-Case"]]
                self.reply(refused.status, refused.body, refused.headers)

        def reply(self, status: int, body: bytes, headers: Any = ((b"content-type", b"application/json"),)) -> None:
            self.send_response(status)
            for name, value in (*headers, (b"content-length", str(len(body)).encode())):
                self.send_header(name.decode(), value.decode())
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_the_sdks_payment_loop_does_what_the_catalogue_says(sdk_python: Path) -> None:
    said = {code.strip("| `"): sdk.strip("| ") for code, *_, sdk in rows(ROOT / "docs/errors.md")}
    cases = refusals()
    with answering(cases) as signer:
        command = [str(sdk_python), str(HERE / "statuses.py"), signer, *cases]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    seen = json.loads(done.stdout)
    for case, (code, refused) in cases.items():
        goes_on = refused.status >= 500 or refused.status in (408, 429)
        kind = said[code] if code != "denied" else "goes on" if goes_on else "**ends**"
        outcome = seen[case]
        assert outcome["ends"] == (kind == "**ends**"), (case, outcome)
        assert (outcome["turns"] == 1) == (kind == "**ends**"), (case, outcome)
        assert (outcome["refreshes"] > 0) == (kind == "refreshes"), (case, outcome)
