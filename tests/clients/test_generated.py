"""A client that a public generator makes of docs/openapi.json pays, and administers, through the running signer."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.clients.surroundings import AUTH_ID, surroundings
from tests.simulators import Chain, Clock, Network, Offer, Orchestrator

pytestmark = [pytest.mark.clients, pytest.mark.timeout(600)]

HERE = Path(__file__).parent / "generated"
DESCRIPTION = Path(__file__).parents[2] / "docs" / "openapi.json"
UV = Path(sys.executable).parent / "uv"
WEI_A_SECOND = 200_000_000_000


@pytest.fixture(scope="module")
def generator() -> Path:
    """The folder of the generator's programs, installed once from its lock."""
    lock = HERE / "requirements.lock"
    digest = hashlib.sha256(f"{sys.executable}\n".encode() + lock.read_bytes()).hexdigest()[:16]
    cache = Path(tempfile.gettempdir()) / f"lrs-generator-{os.getuid()}"
    place = cache / digest
    cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (cache / "lock").open("w") as alone:
        fcntl.flock(alone, fcntl.LOCK_EX)  # suites run in several processes
        if not (place / "installed").exists():
            shutil.rmtree(place, ignore_errors=True)
            subprocess.run([str(UV), "venv", "--quiet", "--python", sys.executable, str(place)], check=True)
            python = str(place / "bin" / "python")
            subprocess.run([str(UV), "pip", "install", "--quiet", "--require-hashes", "--python", python, "-r", str(lock)], check=True)
            (place / "installed").touch()
    return place / "bin"


@pytest.fixture(scope="module")
def package(generator: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the generated package in it."""
    folder = tmp_path_factory.mktemp("generated")
    environment = os.environ | {"PATH": f"{generator}:{os.environ['PATH']}"}
    command = [
        generator / "openapi-python-client",
        "generate",
        "--path",
        DESCRIPTION,
        "--output-path",
        folder / "signer_api",
        "--meta",
        "none",
    ]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, env=environment, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Warning" not in done.stdout + done.stderr, done.stdout + done.stderr
    return folder


def test_every_operation_becomes_a_call_under_a_name_of_its_own(package: Path) -> None:
    document = json.loads(DESCRIPTION.read_text())
    names = {operation["operationId"] for operations in document["paths"].values() for operation in operations.values()}
    made = {file.stem.replace("_", "") for file in (package / "signer_api" / "api").glob("*/*.py") if file.stem != "__init__"}
    assert made == {name.lower() for name in names}


async def test_it_pays_and_administers(generator: Path, package: Path, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("t" * 32)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        listen = f"127.0.0.1:{probe.getsockname()[1]}"
    node = Orchestrator(Clock(), Chain(), Offer(WEI_A_SECOND, ticket_ev=6 * WEI_A_SECOND))
    async with Network() as network:
        await network.host_orchestrator(node)
        admin = {"listen": listen, "token_file": str(token)}
        async with surroundings(tmp_path, "static", "sqlite", [node.url], admin=admin) as around:
            node.clock, node.chain = around.clock, around.chain
            key = around.headers["Authorization"].removeprefix("Bearer ")
            told = {"signer": around.signer.url, "admin": f"http://{listen}", "key": key, "token": "t" * 32, "orchestrator": node.url}
            command = [str(generator / "python"), str(HERE / "session.py"), json.dumps(told)]
            environment = os.environ | {"PYTHONPATH": str(package)}
            done = await asyncio.to_thread(
                lambda: subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=environment)
            )
            assert done.returncode == 0, done.stderr[-3000:] + around.signer.log[-3000:]
    seen = json.loads(done.stdout)
    assert (seen["health"], seen["ready"], seen["stranger"], seen["listed"]) == (200, True, "unauthenticated", [node.url])
    assert seen["address"].startswith("0x")
    assert seen["typed"] == ["AnsweredInfo", "TicketParams"]
    assert seen["same"] is True
    assert seen["later"] in (200, 482)
    assert seen["next"] >= 1
    assert seen["live"] == [True, True]
    assert seen["spent"] == (3 if seen["later"] == 200 else 2)
    assert (seen["kept_in"], seen["set"]) == ("ledger", ["1/2"])
    assert (seen["suspended"], seen["left"]) == (["mallory"], [])
    assert seen["rows"] == [[AUTH_ID, seen["spent"]]]
    assert seen["metrics"] is True
