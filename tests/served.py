"""The signer as its command runs it, a webhook that takes as long as it is told, and sockets that speak HTTP by hand."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any, BinaryIO, NamedTuple

import yaml

from tests.plans import orchestrator_info
from tests.ports import free_port
from tests.signer import PAY, configuration

DELAY_HEADER = "x-delay"
HOLD_HEADER = "x-hold"
HANG_UP_HEADER = "x-hang-up"
"""How many seconds the patient webhook takes for the request that carries it."""


class Answer(NamedTuple):
    """One reply as it stood on the wire; header names in lower case."""

    version: str
    status: int
    reason: str
    headers: dict[str, str]
    body: bytes

    @property
    def error(self) -> dict[str, Any]:
        """What the envelope holds."""
        error: dict[str, Any] = json.loads(self.body)["error"]
        return error


def read_answer(stream: BinaryIO, *, has_body: bool = True) -> Answer | None:
    """The next reply, None when the connection ended before it."""
    line = stream.readline()
    if not line:
        return None
    version, status, reason = line.decode("latin-1").rstrip("\r\n").split(" ", 2)
    headers = {}
    while (line := stream.readline()) not in (b"\r\n", b""):
        name, _, value = line.decode("latin-1").rstrip("\r\n").partition(": ")
        assert name.lower() not in headers, f"{name} stands twice"
        headers[name.lower()] = value
    length = int(headers.get("content-length", 0)) if has_body and int(status) >= 200 else 0
    return Answer(version, int(status), reason, headers, stream.read(length))


def live_body(**fields: Any) -> bytes:
    """A live session's first request to the go-livepeer route; `fields` stand over its own."""
    info = fields.pop("info", None) or orchestrator_info(now_ns=time.time_ns())
    return json.dumps({"orchestrator": b64encode(info).decode(), "ManifestID": "m1", "type": "live", **fields}).encode()


def post(body: bytes, path: str = PAY, headers: str = "", version: str = "1.1") -> bytes:
    """A request as bytes; `headers` are whole lines."""
    return f"POST {path} HTTP/{version}\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode() + body


class Served:
    """A running signer. `log` holds what it printed."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, config: Path, log: Path) -> None:
        self.process = process
        self.port = port
        self.config = config
        self._log = log

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        return self._log.read_text()

    def connect(self, timeout: float = 20) -> socket.socket:
        """A connection; reads and writes fail after `timeout` seconds."""
        return socket.create_connection(("127.0.0.1", self.port), timeout)

    def exchange(self, request: bytes, *, has_body: bool = True) -> Answer:
        """The first reply to these bytes on a connection of their own."""
        with self.connect() as connection, connection.makefile("rb") as stream:
            connection.sendall(request)
            answer = read_answer(stream, has_body=has_body)
            assert answer is not None, "no reply"
            return answer

    def get(self, path: str) -> Answer:
        """A GET on a connection of its own."""
        return self.exchange(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())

    def pay(self, **fields: Any) -> Answer:
        """A live session's first payment."""
        return self.exchange(post(live_body(**fields)))

    def end(self, number: int = signal.SIGTERM, seconds: float = 40) -> int:
        """Its exit status after a signal."""
        self.process.send_signal(number)
        return self.process.wait(seconds)

    def wait_for_log(self, text: str, times: int = 1, seconds: float = 60) -> None:
        """Until `text` was printed so often."""
        give_up = time.monotonic() + seconds
        while self.log.count(text) < times:
            assert time.monotonic() < give_up, f"{text!r} was not printed {times} times:\n{self.log}"
            time.sleep(0.05)


@contextmanager
def served(
    folder: Path,
    *,
    workers: int = 1,
    wait: bool = True,
    open_files: int | None = None,
    python: str | Path = sys.executable,
    **sections: Any,
) -> Iterator[Served]:
    """`serve` on a free port of 127.0.0.1, ended with the test. Log lines are for people, from level info.

    `open_files` is the limit of file descriptors, hard and soft; `python` the interpreter whose package is run.
    """
    port = free_port()
    config, log = folder / "config.yaml", folder / "signer.log"
    told = {"listen": f"127.0.0.1:{port}", "log": {"format": "console", "level": "info"}, **sections}
    config.write_text(yaml.safe_dump(configuration(**told)))
    command = [str(python), "-m", "livepeer_remote_signer", "serve", "--config", str(config)]
    if workers > 1:
        command += ["--workers", str(workers)]
    if open_files is not None:
        command = ["sh", "-c", f'ulimit -n {open_files} && exec "$@"', "sh", *command]
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, start_new_session=True, env=os.environ | {"PYTHONUNBUFFERED": "1"})
    signer = Served(process, port, config, log)
    try:
        if wait:
            _await_health(signer)
        yield signer
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _await_health(signer: Served) -> None:
    give_up = time.monotonic() + 60
    while True:
        assert signer.process.poll() is None, f"the signer ended:\n{signer.log}"
        assert time.monotonic() < give_up, f"the signer did not start:\n{signer.log}"
        with (
            contextlib.suppress(OSError, http.client.HTTPException),
            contextlib.closing(http.client.HTTPConnection("127.0.0.1", signer.port, timeout=5)) as connection,
        ):
            connection.request("GET", "/healthz")
            with connection.getresponse() as reply:
                assert reply.status == 200
            return
        time.sleep(0.03)


class PatientHook:
    """A webhook that agrees, after the seconds that the caller's request asked for in its `X-Delay` header; with `X-Hang-Up` never.

    With `X-Hold` it agrees once `released` is set.
    """

    def __init__(self) -> None:
        self.released = Event()
        self.questions: list[dict[str, Any]] = []
        self.url = ""

    def wait_for_questions(self, count: int, seconds: float = 60) -> None:
        """Until it was asked so often: then as many payments are in work, or were."""
        give_up = time.monotonic() + seconds
        while len(self.questions) < count:
            assert time.monotonic() < give_up, f"{len(self.questions)} of {count} questions were asked"
            time.sleep(0.01)


@contextmanager
def patient_hook() -> Iterator[PatientHook]:
    """The webhook on a free port of 127.0.0.1."""
    hook = PatientHook()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            hook.questions.append(question)
            headers = {name.lower(): values for name, values in question["headers"].items()}
            if HANG_UP_HEADER in headers:
                self.close_connection = True
                return
            if HOLD_HEADER in headers:
                hook.released.wait(60)
            time.sleep(float(headers.get(DELAY_HEADER, ["0"])[0]))
            body = b'{"status": 200}'
            with contextlib.suppress(OSError):
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hook.url = f"http://127.0.0.1:{server.server_address[1]}/authorize"
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hook
    finally:
        hook.released.set()
        server.shutdown()
        server.server_close()
        thread.join()
