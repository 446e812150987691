"""Real signer processes on 127.0.0.1, and clients of them that keep what they were given."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from livepeer_remote_signer.proto import net_pb2
from tests.plans import orchestrator_info
from tests.ports import free_port
from tests.signer import PAY, configuration


class SignerProcess:
    """One signer with an address of its own."""

    def __init__(self, folder: Path, name: str, *, source: Path | None = None, workers: int = 1, **sections: Any) -> None:
        """`source`: the folder of the package that runs, where it is another release's. `workers`: how many processes serve."""
        self.url = f"http://127.0.0.1:{free_port()}"
        self.config = file = folder / f"{name}.yaml"
        file.write_text(json.dumps(configuration(listen=self.url.removeprefix("http://"), **sections)))
        command = [sys.executable, "-m", "livepeer_remote_signer", "serve", "--config", str(file), "--workers", str(workers)]
        environment = {**os.environ, "PYTHONWARNINGS": "ignore", **({"PYTHONPATH": str(source)} if source else {})}
        self.log = (folder / f"{name}.log").open("wb")
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log, env=environment)

    async def started(self) -> None:
        """Returns when it is ready."""
        deadline = time.monotonic() + 60
        async with httpx.AsyncClient(trust_env=False) as client:
            while True:
                assert self.process.poll() is None, "the signer ended"
                assert time.monotonic() < deadline, "the signer does not become ready"
                try:
                    if (await client.get(self.url + "/readyz")).status_code == 200:
                        return
                except httpx.TransportError:
                    await asyncio.sleep(0.05)

    def stop(self) -> None:
        """Ends it, if it still runs."""
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait(60)
        self.log.close()


@asynccontextmanager
async def signer_processes(folder: Path, count: int, **sections: Any) -> AsyncIterator[list[SignerProcess]]:
    """Several signers with one configuration."""
    signers = [SignerProcess(folder, f"signer-{n}", **sections) for n in range(count)]
    try:
        await asyncio.gather(*(signer.started() for signer in signers))
        yield signers
    finally:
        for signer in signers:
            signer.stop()


class UnitSession:
    """A client that buys a ticket a call (10 units cost a hair more than one), and keeps every ticket it was given."""

    def __init__(self, auth_id: str) -> None:
        self.headers = {"Signer-Auth-Id": auth_id}
        self.rand_hash = os.urandom(32)
        self.info = b64encode(orchestrator_info(rand_hash=self.rand_hash, now_ns=time.time_ns())).decode()
        self.state: Any = None
        self.tickets: list[tuple[bytes, int]] = []

    def body(self) -> bytes:
        """The next request: the same bytes until it is answered."""
        return json.dumps({"orchestrator": self.info, "state": self.state, "ManifestID": "m", "inPixels": 10}).encode()

    async def pay(self, client: httpx.AsyncClient, url: str) -> httpx.Response:
        """Asks for one payment, and goes on from its state when it was made."""
        headers = {**self.headers, "Idempotency-Key": self.rand_hash.hex()} if self.state is None else self.headers
        response = await client.post(url + PAY, content=self.body(), headers=headers)
        if response.status_code == 200:
            reply = response.json()
            payment = net_pb2.Payment.FromString(b64decode(reply["payment"]))
            self.tickets += [(payment.ticket_params.recipient_rand_hash, t.sender_nonce) for t in payment.ticket_sender_params]
            self.state = reply["state"]
        return response
