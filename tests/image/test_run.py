"""The image as an engine runs it: as nobody, read-only, without capabilities; it pays, and it ends in order."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

import pytest
import yaml

from tests.image.engine import IMAGE, Engine
from tests.served import live_body
from tests.signer import PAY, configuration

PYTHON = "/opt/signer/bin/python"
HARDENED = ["--read-only", "--tmpfs", "/tmp:size=16m", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
CLIENT = f"""
import http.client, sys, time
body, once = sys.stdin.buffer.read(), sys.argv[1] == "once"
statuses, began = [], time.monotonic()
while True:
    try:
        connection = http.client.HTTPConnection("127.0.0.1", 8936, timeout=20)
        connection.request("POST", "{PAY}", body)
        statuses.append(connection.getresponse().status)
        connection.close()
    except ConnectionRefusedError:
        break
    if once:
        break
    if len(statuses) == 1:
        print("paying", flush=True)
print(sorted(set(statuses)), len(statuses))
"""


@pytest.fixture
def run(engine: Engine, tmp_path: Path) -> Iterator[Callable[..., str]]:
    """Starts a hardened container with this configuration; its name, when it is healthy."""
    with ExitStack() as started:

        def start(*options: str, **sections: object) -> str:
            config, name = tmp_path / f"{uuid4().hex[:6]}.yaml", f"lrs-{uuid4().hex[:8]}"
            config.write_text(yaml.safe_dump(configuration(listen="127.0.0.1:8936", **sections)))
            config.chmod(0o644)
            for folder in (tmp_path, *tmp_path.parents[:2]):
                folder.chmod(0o755)
            mounted = ["-v", f"{config}:/etc/livepeer-remote-signer/config.yaml:ro"]
            engine.docker("run", "-d", "--name", name, "--health-interval", "1s", *HARDENED, *mounted, *options, IMAGE)
            started.callback(engine.docker, "rm", "-fv", name)
            wait_until_healthy(engine, name)
            return name

        yield start


def wait_until_healthy(engine: Engine, name: str) -> None:
    """By the image's own check."""
    give_up = time.monotonic() + 90
    while (state := json.loads(engine.docker("inspect", name).stdout)[0]["State"])["Health"]["Status"] != "healthy":
        assert state["Running"], engine.docker("logs", name).stderr
        assert time.monotonic() < give_up, state
        time.sleep(0.1)


def paid(engine: Engine, name: str) -> str:
    """What one payment inside the container is answered."""
    return engine.docker("exec", "-i", name, PYTHON, "-c", CLIENT, "once", given=live_body().decode()).stdout.strip()


def test_it_is_nobody_and_can_write_nowhere_but_where_it_must(engine: Engine, run: Callable[..., str]) -> None:
    name = run("-v", "/data")
    assert paid(engine, name) == "[200] 1"
    assert engine.docker("exec", name, "id", "-u").stdout.strip() == "65532"
    assert engine.docker("exec", name, "grep", "-c", "^CapBnd:\t0*$", "/proc/1/status").stdout.strip() == "1"
    for place in ("/", "/opt/signer", "/etc"):
        assert engine.docker("exec", name, "touch", f"{place}/x", check=False).returncode != 0, place
    kept = engine.docker("exec", name, "sh", "-c", 'touch "$STATE_DIRECTORY/x" && echo "$STATE_DIRECTORY"').stdout.strip()
    assert kept == "/data", "the funding commands note here what they sent"


def test_any_number_of_group_0_may_run_it_and_keep_a_ledger(engine: Engine, run: Callable[..., str]) -> None:
    name = run("--user", "1234567:0", "-v", "/data", ledger={"backend": "sqlite", "path": "/data/ledger.sqlite"})
    assert paid(engine, name) == "[200] 1"
    assert engine.docker("exec", name, "stat", "-c", "%u:%g", "/data/ledger.sqlite").stdout.strip() == "1234567:0"


def test_sigterm_under_load_answers_everybody_and_ends_with_0(engine: Engine, run: Callable[..., str]) -> None:
    name = run("-v", "/data", ledger={"backend": "sqlite", "path": "/data/ledger.sqlite"})
    client = f"{name}-client"
    command = ["run", "-d", "-i", "--name", client, "--network", f"container:{name}", "--entrypoint", PYTHON, IMAGE]
    body = live_body().decode()
    engine.docker(*command, "-c", CLIENT.replace("sys.stdin.buffer.read()", repr(body.encode())), "until it ends")
    try:
        give_up = time.monotonic() + 30
        while "paying" not in engine.docker("logs", client).stdout:
            assert time.monotonic() < give_up
        engine.docker("stop", "--time", "30", name)
        assert json.loads(engine.docker("inspect", name).stdout)[0]["State"]["ExitCode"] == 0
        engine.docker("wait", client)
        told = engine.docker("logs", client).stdout.split("\n")[1]
        assert told.startswith("[200] "), engine.docker("logs", client).stderr
        assert int(told.split()[1]) > 10
    finally:
        engine.docker("rm", "-f", client)
