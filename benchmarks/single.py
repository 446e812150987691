"""Where the time of a single call goes: one client that calls now and then, as a gateway with one session does.

    python -m benchmarks.single

The signer runs as it is served, but for a look at each payment's trail. Between two calls it rests for 2 ms, so that the
processor's caches are as cold as they are then. Medians, in microseconds; what no phase accounts for is the event loop, HTTP,
the kernel and the client.
"""

from __future__ import annotations

import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

from benchmarks.bodies import STATIC_CHAIN, payment_body
from benchmarks.load import TICKETS_PER_VARIANT
from benchmarks.measure import signature_seconds

CALLS = 1000
REST_SECONDS = 0.002
NOTED_EVERY = 100
PATH = b"/generate-live-payment"


def main() -> int:
    """Prints a line for each way to record payments."""
    print(f"one signature takes {signature_seconds() * 1e6:.1f} us")
    shared = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory() as disk, tempfile.TemporaryDirectory(dir=shared) as memory:
        ledgers = {
            "stateless": {},
            "SQLite in memory": {"ledger": {"backend": "sqlite", "path": f"{memory}/ledger.sqlite"}},
            "SQLite on disk": {"ledger": {"backend": "sqlite", "path": f"{disk}/ledger.sqlite"}},
        }
        for name, extra in ledgers.items():
            call, noted = measure(Path(disk), extra)
            phases = ", ".join(f"{phase} {seconds * 1e6:.0f}" for phase, seconds in noted.items())
            print(f"{name}: {call:.0f} us a call; {phases}")
    return 0


def measure(folder: Path, extra: dict[str, Any]) -> tuple[float, dict[str, float]]:
    """The median of a call in microseconds, and of each phase in seconds."""
    notes = folder / "notes"
    notes.unlink(missing_ok=True)
    config = {"listen": "127.0.0.1:0", "key": {"private_key": "0x" + "07" * 32}, "chain": {"source": "static", "static": STATIC_CHAIN}}
    command = [sys.executable, "-m", "benchmarks.single", yaml.safe_dump({**config, **extra}), str(notes)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        try:
            if process.stdout is None:
                raise RuntimeError("the signer has no output")
            calls = drive(int(process.stdout.readline()))
        finally:
            process.terminate()
    return statistics.median(calls) * 1e6, json.loads(notes.read_text())


def drive(port: int) -> list[float]:
    """The seconds that each call of one session took, by a client that costs next to nothing."""
    state, calls = None, []
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection, connection.makefile("rb") as replies:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for number in range(CALLS):
            body = {**payment_body(1, number // TICKETS_PER_VARIANT, 1), **({"state": state} if state else {})}
            encoded = json.dumps(body).encode()
            began = time.perf_counter()
            connection.sendall(b"POST %s HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n%s" % (PATH, len(encoded), encoded))
            status, length = replies.readline(), 0
            while (line := replies.readline()) != b"\r\n":
                if line.lower().startswith(b"content-length:"):
                    length = int(line[15:])
            reply = replies.read(length)
            calls.append(time.perf_counter() - began)
            if b" 200 " not in status:
                raise RuntimeError(f"not every call was paid: {reply.decode()}")
            state = json.loads(reply)["state"]
            time.sleep(REST_SECONDS)
    return calls


def serve(config_text: str, notes: Path) -> None:
    """The signer, on a free port that is printed. Now and then the medians so far are written to `notes`."""
    from livepeer_remote_signer.adapters.logs import LogWriter
    from livepeer_remote_signer.adapters.metrics.payments import PaymentMetrics
    from livepeer_remote_signer.app import create_app
    from livepeer_remote_signer.config.loading import parse_config
    from livepeer_remote_signer.core.rules.payment import PaymentPlan
    from livepeer_remote_signer.core.rules.trail import Trail
    from livepeer_remote_signer.process.listening import bind
    from livepeer_remote_signer.process.server import make_server

    seconds: dict[str, list[float]] = {"service": []}
    told = PaymentMetrics.paid

    def paid(self: PaymentMetrics, plan: PaymentPlan, trail: Trail) -> None:
        seconds["service"].append(time.perf_counter() - trail.started)
        for phase, began, ended in trail.marks:
            seconds.setdefault(phase, []).append(ended - began)
        if len(seconds["service"]) % NOTED_EVERY == 0:
            notes.write_text(json.dumps({phase: statistics.median(noted) for phase, noted in seconds.items()}))
        told(self, plan, trail)

    PaymentMetrics.paid = paid  # type: ignore[method-assign]
    listener = bind("127.0.0.1", 0)
    logs = LogWriter(descriptor=os.open(os.devnull, os.O_WRONLY))
    server = make_server(create_app(parse_config(config_text, {}), logs=logs), 1)
    print(listener.getsockname()[1], flush=True)
    server.run(sockets=[listener])


if __name__ == "__main__":
    if len(sys.argv) == 3:
        serve(sys.argv[1], Path(sys.argv[2]))
    else:
        raise SystemExit(main())
