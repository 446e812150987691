"""`healthcheck` against a server of its own: it finds the signer where the configuration says, and starts light."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from livepeer_remote_signer.cli import main


class Health(BaseHTTPRequestHandler):
    """Answers with the server's `status`."""

    def do_GET(self) -> None:
        self.server.asked.append(self.path)  # type: ignore[attr-defined]
        self.send_response(self.server.status)  # type: ignore[attr-defined]
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing to the test's output."""


class Server(HTTPServer):
    """Remembers what was asked."""

    status = 200

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Health)
        self.asked: list[str] = []


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def check(folder: Path, text: str) -> int:
    """The exit status with a configuration of this text."""
    (folder / "config.yaml").write_text(text)
    return main(["healthcheck", "--config", str(folder / "config.yaml")])


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0", "", "[::]"])
def test_the_signer_is_asked_at_its_own_port(tmp_path: Path, server: Server, host: str) -> None:
    assert check(tmp_path, f"listen: '{host}:{server.server_port}'\nkey: {{not: looked at}}\n") == 0
    assert server.asked == ["/healthz"]


@pytest.mark.parametrize("text", ["listen: 127.0.0.1:1", "chain: {}", "", "listen: '127.0.0.1:${OTHER}'"])
def test_the_environments_port_stands_over_it(tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("OTHER", "2")
    monkeypatch.setenv("SIGNER_PORT", str(server.server_port))
    assert check(tmp_path, text) == 0


def test_variables_are_filled_in(tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HERE", str(server.server_port))
    monkeypatch.setenv("SIGNER_PORT", "")
    assert check(tmp_path, "listen: '127.0.0.1:${HERE}'") == 0


def test_another_status_than_200_fails(tmp_path: Path, server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    server.status = 503
    assert check(tmp_path, f"listen: 127.0.0.1:{server.server_port}") == 1
    assert "answered 503, not 200" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["listen: 127.0.0.1:1", "listen: 8936", "listen: [", "listen: '${NONE}'", "listen: {a: b}", "listen:"])
def test_whatever_keeps_it_from_an_answer_is_said_with_exit_status_1(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str) -> None:
    assert check(tmp_path, text) == 1
    assert str(tmp_path / "config.yaml") in capsys.readouterr().err


def test_a_missing_configuration_fails(tmp_path: Path) -> None:
    assert main(["healthcheck", "--config", str(tmp_path / "none.yaml")]) == 1


def test_it_imports_none_of_the_signers_libraries(tmp_path: Path) -> None:
    heavy = ["pydantic", "web3", "fastapi", "coincurve", "msgspec", "asyncio"]
    script = f"""
import sys
from livepeer_remote_signer.cli import main
main(["healthcheck", "--config", {str(tmp_path / "none.yaml")!r}])
print(*(name for name in {heavy!r} if name in sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == []
