"""The signer as operators run it: its own process, its own configuration file, real HTTP."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.ports import free_port

SECRET = bytes.fromhex("0b" * 32)
"""The sender's key in these tests."""


class SignerProcess:
    """A running signer. `log` holds all that it printed."""

    def __init__(self, url: str, log: Path) -> None:
        self.client = httpx.Client(base_url=url, timeout=30)
        self._log = log

    @property
    def log(self) -> str:
        return self._log.read_text()

    def post(self, path: str, body: Any) -> httpx.Response:
        return self.client.post(path, json=body)

    def ready(self) -> httpx.Response:
        return self.client.get("/readyz")

    def wait(self, condition: Callable[[SignerProcess], bool], seconds: float) -> float:
        """Seconds until `condition` held; fails when it does not in time."""
        started = time.monotonic()
        while not condition(self):
            assert time.monotonic() - started < seconds, f"not within {seconds} s; readyz: {self.ready().text}"
            time.sleep(0.1)
        return time.monotonic() - started


def is_ready(signer: SignerProcess) -> bool:
    """Whether /readyz says 200."""
    return signer.ready().status_code == 200


@contextlib.contextmanager
def running_signer(folder: Path, rpc_urls: list[str], controller: str, chain_id: int, **sections: Any) -> Iterator[SignerProcess]:
    """A signer over live RPC with a poll of 1 s and an age limit of 8 s; `sections` are added to its configuration."""
    port = free_port()
    key, config, log = folder / "key", folder / "config.yaml", folder / "signer.log"
    key.write_text(SECRET.hex())
    key.chmod(0o600)
    rpc = {"urls": rpc_urls, "controller": controller, "chain_id": chain_id, "poll_seconds": 1, "max_age_seconds": 8}
    document = {"listen": f"127.0.0.1:{port}", "chain": {"source": "rpc", "rpc": rpc}, **sections}
    if "keys" not in document:
        document.setdefault("key", {"private_key_file": str(key)})
    config.write_text(yaml.safe_dump(document))
    command = [sys.executable, "-m", "livepeer_remote_signer", "serve", "--config", str(config)]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env={**os.environ, "PYTHONUNBUFFERED": "1"})
    signer = SignerProcess(f"http://127.0.0.1:{port}", log)
    try:
        _wait_for_socket(process, signer)
        yield signer
    finally:
        signer.client.close()
        process.terminate()
        process.wait(60)


def _wait_for_socket(process: subprocess.Popen[bytes], signer: SignerProcess) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end and process.poll() is None:
        try:
            signer.client.get("/healthz")
        except httpx.TransportError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError(f"the signer did not start:\n{signer.log}")
