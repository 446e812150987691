"""What a stranger with a socket can do, without a credential: attacks for `rig.attacked`."""

from __future__ import annotations

import contextlib
import socket
import time

from tests.attack.rig import Target, is_due, open_many, send_some, throw
from tests.plans import orchestrator_info
from tests.served import live_body, post, read_answer

KIB = 1024
MIB = 1024 * KIB
TINY = b"GET /nothing HTTP/1.1\r\nHost:\r\n\r\n"


def long_heads_behind_a_request_in_work(target: Target, seconds: float) -> int:
    """A request that a webhook thinks about, and behind it a head of 50 MiB: one header, or the URL."""
    slow = post(live_body(), headers="X-Delay: 1\r\n")
    block = b"x" * MIB
    sent = 0
    going = is_due(seconds)
    while going():
        for start in (b"GET / HTTP/1.1\r\nX: ", b"GET /"):
            throw(target.port, slow, start, *[block] * 50, patience=2)
            sent += 1
    return sent


def requests_in_a_row(target: Target, seconds: float) -> int:
    """Forty connections, each filled with the shortest requests there are; what comes back is not read at first."""
    crowd = open_many(target.port, 40)
    rows = memoryview(TINY * (256 * KIB // len(TINY)))
    at = dict.fromkeys(crowd, 0)
    going, began = is_due(seconds), time.monotonic()
    sent = 0
    while going():
        for connection in list(at):
            taken = send_some(connection, rows[at[connection] :])
            if taken < 0:
                del at[connection]
                continue
            sent += taken
            at[connection] = (at[connection] + taken) % len(rows)
            if time.monotonic() - began > seconds / 2:
                with contextlib.suppress(OSError):
                    connection.recv(MIB)
        time.sleep(0.005)
    for connection in crowd:
        connection.close()
    return sent


def bodies_held_open(target: Target, seconds: float) -> int:
    """A thousand bodies of the largest size less a byte, all held open; the refused ones come again, five hundred a second."""
    body = 256 * KIB
    request = memoryview(
        f"POST /generate-live-payment HTTP/1.1\r\nHost: localhost\r\nContent-Length: {body}\r\n\r\n".encode() + bytes(body - 1)
    )
    at: dict[socket.socket, int] = {}
    going, began = is_due(seconds), time.monotonic()
    opened = refused = 0
    while going():
        allowed = int((time.monotonic() - began) * 500) - opened
        for connection in open_many(target.port, min(allowed, 1000 - len(at))):
            at[connection] = 0
            opened += 1
        for connection in list(at):
            taken = send_some(connection, request[at[connection] :])
            if taken >= 0:
                at[connection] += taken
                with contextlib.suppress(BlockingIOError, OSError):
                    taken = -1 if connection.recv(4096) is not None else 0
            if taken < 0:
                connection.close()
                del at[connection]
                refused += 1
        time.sleep(0.005)
    for connection in at:
        connection.close()
    return refused


def heads_for_the_admin_listener(target: Target, seconds: float) -> int:
    """A header of 76 MiB, then 20 MiB of the smallest headers."""
    block, small = b"x" * MIB, b"a:b\r\n" * (MIB // 5)
    going = is_due(seconds)
    count = 0
    while going():
        throw(target.admin_port, b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nX: ", *[block] * 76, patience=3)
        throw(target.admin_port, b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n", *[small] * 20, patience=3)
        count += 1
    return count


def shortest_pieces(target: Target, seconds: float) -> int:
    """Forty connections, each with some 200 KiB of the shortest headers, chunks or trailers there are, two hundred a second."""
    chunked = b"POST /generate-live-payment HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    kinds = [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"a:\r\n" * (50 * KIB),
        chunked + b"1\r\n{\r\n" * (35 * KIB),
        chunked + b"0\r\n" + b"a:\r\n" * (50 * KIB),
    ]
    at: dict[socket.socket, memoryview] = {}
    going, began = is_due(seconds), time.monotonic()
    sent = 0
    while going():
        allowed = int((time.monotonic() - began) * 200) - sent
        for connection in open_many(target.port, min(allowed, 40 - len(at))):
            at[connection] = memoryview(kinds[sent % len(kinds)])
            sent += 1
        for connection in list(at):
            taken = send_some(connection, at[connection])
            at[connection] = at[connection][max(0, taken) :]
            if taken < 0 or not at[connection]:
                connection.close()
                del at[connection]
        time.sleep(0.005)
    for connection in at:
        connection.close()
    return sent


def silent_connections(target: Target, seconds: float) -> int:
    """Two hundred connections that never say a word, opened again as soon as they are closed."""
    crowd: list[socket.socket] = []
    going = is_due(seconds)
    opened = 0
    while going():
        for connection in crowd:
            connection.setblocking(False)
        for connection in list(crowd):
            with contextlib.suppress(BlockingIOError):
                try:
                    gone = connection.recv(1) == b""
                except ConnectionError:
                    gone = True
                if gone:
                    connection.close()
                    crowd.remove(connection)
        fresh = open_many(target.port, 200 - len(crowd))
        opened += len(fresh)
        crowd += fresh
        time.sleep(0.05)
    for connection in crowd:
        connection.close()
    return opened


def refusals_for_the_log(target: Target, seconds: float) -> int:
    """Requests that are refused, as many as one connection takes: unknown routes, bodies that are none, expired sessions."""
    expired = live_body(info=orchestrator_info(now_ns=time.time_ns() - 3600 * 10**9))
    refused = [TINY, post(b"[]"), post(b"{}", "/signTicket"), post(expired), TINY]
    going = is_due(seconds)
    sent = 0
    while going():
        with socket.create_connection(("127.0.0.1", target.port), 5) as connection, connection.makefile("rb") as stream:
            for _ in range(50):
                connection.sendall(b"".join(refused))
                sent += len(refused)
                for _ in refused:
                    read_answer(stream)
    return sent


def a_page_in_the_operators_browser(target: Target, seconds: float) -> dict[str, int]:
    """Posts without a preflight, and by a name that points here; returns how many replies there were of each status."""
    here = f"Host: localhost:{target.port}\r\n"
    ways = [
        "Host: evil.example:8936\r\n",
        "Host: evil.example\r\nOrigin: http://evil.example\r\nSec-Fetch-Site: same-origin\r\n",
        here + "Origin: https://evil.example\r\nContent-Type: text/plain\r\nSec-Fetch-Site: cross-site\r\n",
        here + "Origin: null\r\n",
        here + "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors\r\n",
    ]
    seen: dict[str, int] = {}
    going = is_due(seconds)
    while going():
        body = live_body()
        with socket.create_connection(("127.0.0.1", target.port), 5) as connection, connection.makefile("rb") as stream:
            for path in ("/generate-live-payment", "/signTicket", "/getOrchestratorInfo", "/sign-orchestrator-info"):
                for lines in ways:
                    connection.sendall(f"POST {path} HTTP/1.1\r\n{lines}Content-Length: {len(body)}\r\n\r\n".encode() + body)
                    answer = read_answer(stream)
                    status = str(answer.status) if answer is not None else "none"
                    seen[status] = seen.get(status, 0) + 1
    return seen
