"""The load generator: a process of its own, on the core that the server does not have.

    python -m benchmarks.load '{"port": 8936, "connections": 16, "seconds": 4, ...}'

Closed loop: every connection sends its next request when the reply is there. Open loop (`rate`): requests have a due
time, and latency counts from it, so a server that stalls cannot hide the requests it kept from being sent.
New sessions (`new_sessions`): each request begins a session with ticket params of its own.
Prints one JSON line with counts and latencies in seconds.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from functools import partial
from typing import Any

import uvloop

from benchmarks.bodies import payment_body

VARIANTS = 64
"""Sets of ticket params a session cycles through before its nonces run out."""

TICKETS_PER_VARIANT = 400


class Connection(asyncio.Protocol):
    """One keep-alive connection with one session, or with a new one for each request."""

    def __init__(self, plan: dict[str, Any], session: int, done: asyncio.Future[None], latencies: list[float]) -> None:
        self.plan = plan
        self.done = done
        self.latencies = latencies
        self.path = plan["path"]
        self.headers = plan.get("headers", "").encode()
        self.chained = plan["chained"]
        self.new_sessions = plan.get("new_sessions", False)
        self.session, self.begun = session, 0
        self.heads = [self._head(v) for v in range(VARIANTS if self.chained else 1)]
        self.variant = self.tickets = 0
        self.state = b""
        self.buffer = b""
        self.statuses: dict[int, int] = {}
        self.warm = False
        self.started = self.until = 0.0
        self.due: float | None = None

    def _head(self, variant: int) -> bytes:
        body = payment_body(self.session, variant, self.plan["tickets"], is_new=self.new_sessions)
        return json.dumps(body, separators=(",", ":")).encode()[:-1]

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def send(self) -> None:
        """Sends the session's next request, or the next session's first."""
        body = self.heads[self.variant] + (b',"state":' + self.state if self.state else b"") + b"}"
        self.transport.write(
            b"POST %s HTTP/1.1\r\nhost: localhost\r\n%scontent-length: %d\r\n\r\n%s" % (self.path, self.headers, len(body), body)
        )
        if self.new_sessions:  # the next one's is made while this one is paid
            self.begun += 1
            self.heads = [self._head(self.begun)]

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        at = self.buffer.find(b"content-length: ")
        length = int(self.buffer[at + 16 : self.buffer.find(b"\r", at)])
        if len(self.buffer) < end + 4 + length:
            return
        status, body = int(self.buffer[9:12]), self.buffer[end + 4 :]
        self.buffer = b""
        now = time.perf_counter()
        if self.warm:
            self.statuses[status] = self.statuses.get(status, 0) + 1
            self.latencies.append(now - self.started)
        self._keep_state(status, body)
        if now >= self.until:
            if not self.done.done():
                self.done.set_result(None)
        elif self.due is None:
            self.started = now
            self.send()

    def _keep_state(self, status: int, body: bytes) -> None:
        if status != 200 or self.new_sessions or (self.state and not self.chained):
            return
        self.state = body[body.index(b'"state":') + 8 : -1]
        self.tickets += self.plan["tickets"] + 1
        if self.tickets >= TICKETS_PER_VARIANT:
            self.variant, self.tickets = (self.variant + 1) % len(self.heads), 0


async def run(plan: dict[str, Any]) -> dict[str, Any]:
    """Drives the server for `seconds`; counts only what began after the warm-up."""
    loop = asyncio.get_running_loop()
    plan["path"] = plan.get("path", "/generate-live-payment").encode()
    latencies: list[float] = []
    connections: list[Connection] = []
    for index in range(plan["connections"]):
        done = loop.create_future()
        connection = Connection(plan, plan.get("first_session", 0) + index, done, latencies)
        await loop.create_connection(partial(_same, connection), "127.0.0.1", plan["port"])
        connections.append(connection)
    for connection in connections:  # one call to start the session, before anything is counted
        connection.until = 0.0
        connection.send()
        await connection.done
        connection.done = loop.create_future()
    begin = time.perf_counter()
    for connection in connections:
        connection.warm, connection.until = True, begin + plan["seconds"]
    if plan.get("rate"):
        await _open_loop(connections, plan, begin)
    else:
        for connection in connections:
            connection.started = time.perf_counter()
            connection.send()
        await asyncio.wait_for(asyncio.gather(*(c.done for c in connections)), plan["seconds"] + 30)
    took = time.perf_counter() - begin
    statuses: dict[int, int] = {}
    for connection in connections:
        connection.transport.close()
        for status, count in connection.statuses.items():
            statuses[status] = statuses.get(status, 0) + count
    latencies.sort()

    def at(quantile: float) -> float:
        return latencies[min(len(latencies) - 1, int(quantile * len(latencies)))] if latencies else 0.0

    return {
        "requests": len(latencies),
        "seconds": took,
        "statuses": statuses,
        "p50": at(0.5),
        "p90": at(0.9),
        "p99": at(0.99),
        "max": at(1),
    }


def _same(connection: Connection) -> Connection:
    return connection


async def _open_loop(connections: list[Connection], plan: dict[str, Any], begin: float) -> None:
    """Requests at a fixed rate; one that finds its connection busy waits, and its latency counts from its due time."""

    async def drive(connection: Connection, offset: int) -> None:
        every = len(connections) / plan["rate"]
        due = begin + offset / plan["rate"]
        while due < begin + plan["seconds"]:
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            connection.due = connection.started = due
            connection.until = 0.0
            connection.done = asyncio.get_running_loop().create_future()
            connection.send()
            await connection.done
            due += every

    await asyncio.wait_for(asyncio.gather(*(drive(c, i) for i, c in enumerate(connections))), plan["seconds"] + 30)


if __name__ == "__main__":
    print(json.dumps(uvloop.run(run(json.loads(sys.argv[1])))))
