"""What a tenant with a credential of its own can do to the others: attacks for `rig.attacked`. `told` is its credential's header."""

from __future__ import annotations

import contextlib
import itertools
import os
import selectors
import socket
import time
from collections import Counter
from collections.abc import Callable

from livepeer_remote_signer.proto import net_pb2
from tests.attack.rig import Target, is_due, open_many, throw
from tests.plans import orchestrator_info
from tests.served import live_body, post

DEAR = b'{"a":[' + b'{"b":1},' * 4000 + b"1]}"
"""A body of as many values as are read."""


def hundred_tickets_of_no_value(headers: str) -> bytes:
    """A payment of a hundred tickets, each worth next to nothing, with params of its own: a ledger gives no nonce twice."""
    info = net_pb2.OrchestratorInfo.FromString(orchestrator_info(now_ns=time.time_ns(), rand_hash=os.urandom(32)))
    chance = int.from_bytes(info.ticket_params.win_prob, "big") // 1000
    info.ticket_params.win_prob = chance.to_bytes(32, "big")
    info.price_info.pricePerUnit = 99_500_000_000
    return post(live_body(info=info.SerializeToString(), type="", inPixels=1), headers=headers)


def many_connections_with_many_tickets(target: Target, seconds: float) -> dict[str, int]:
    """Three hundred connections, each with such a payment in work at any time. Returns the answers by status."""
    return _in_parallel(target.port, lambda: hundred_tickets_of_no_value(target.told), 300, seconds)


def _in_parallel(port: int, request: Callable[[], bytes], count: int, seconds: float) -> dict[str, int]:
    """Sends a request on each of many connections, and again as soon as it was answered."""
    answers: Counter[str] = Counter()
    with selectors.DefaultSelector() as selector, contextlib.ExitStack() as stack:
        for connection in open_many(port, count):
            stack.enter_context(contextlib.closing(connection))
            connection.sendall(request())
            selector.register(connection, selectors.EVENT_READ, bytearray())
        going = is_due(seconds)
        while going():
            for key, _ in selector.select(0.1):
                _go_on(selector, key, request, answers)
    return dict(answers)


def _go_on(selector: selectors.BaseSelector, key: selectors.SelectorKey, request: Callable[[], bytes], answers: Counter[str]) -> None:
    """Reads what has come; where an answer is complete the request is sent again."""
    connection, received = key.fileobj, key.data
    assert isinstance(connection, socket.socket)
    try:
        more = connection.recv(1 << 20)
        received += more
        head, gap, body = bytes(received).partition(b"\r\n\r\n")
        length = next((int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0)
        if gap and len(body) >= length:
            answers[head.split(b" ")[1].decode()] += 1
            received.clear()
            connection.sendall(request())
    except OSError:
        more = b""
    if not more:
        answers["closed"] += 1
        selector.unregister(connection)


def bodies_of_nobody(target: Target, seconds: float) -> dict[str, int]:
    """Sixty connections with bodies of 250 KiB that are read as JSON before anybody can be asked."""
    body = b'{"orchestrator":"' + b"A" * 100_000 + b'","app":"' + b"\\u0041" * 25_000 + b'"}'
    return _in_parallel(target.port, lambda: post(body, headers="X-Forwarded-For: 192.0.2.66\r\n"), 60, seconds)


def bodies_that_end_in_401(target: Target, seconds: float) -> dict[str, int]:
    """Sixty connections with the dearest bodies there are, under a credential that nobody gave out."""
    return _in_parallel(target.port, lambda: post(DEAR, headers="X-Api-Key: lrs_made-up\r\n"), 60, seconds)


def values_of_nobody(target: Target, seconds: float) -> dict[str, int]:
    """Sixty connections with bodies of the shortest JSON values, each of which costs as much as a long text: as many as fit, and as
    many as are read."""
    bodies = itertools.cycle((b'{"a":[' + b"1," * 125_000 + b"1]}", DEAR, DEAR))
    paths = itertools.cycle(("/generate-live-payment", "/signTicket", "/quoteTicket", "/getOrchestratorInfo"))
    return _in_parallel(target.port, lambda: post(next(bodies), next(paths), "X-Forwarded-For: 192.0.2.66\r\n"), 60, seconds)


def values_of_a_tenant(target: Target, seconds: float) -> dict[str, int]:
    """Three hundred connections with bodies of as many values as are read, under a credential that is good."""
    return _in_parallel(target.port, lambda: post(DEAR, headers=target.told), 300, seconds)


def orchestrators_that_never_answer(target: Target, seconds: float) -> dict[str, int]:
    """A hundred questions at a time about an orchestrator that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0), backlog=512) as silent:
        body = f'{{"orchestrator":"https://127.0.0.1:{silent.getsockname()[1]}"}}'.encode()
        return _in_parallel(target.port, lambda: post(body, "/getOrchestratorInfo", "X-Forwarded-For: 192.0.2.66\r\n"), 100, seconds)


def one_payment_after_the_other(target: Target, seconds: float) -> dict[str, int]:
    """Dear first payments to one orchestrator, and none of the sessions goes on."""

    def request() -> bytes:
        info = orchestrator_info(now_ns=time.time_ns(), rand_hash=os.urandom(32))
        return post(live_body(info=info, type="", inPixels=150), headers=target.told)

    return _in_parallel(target.port, request, 4, seconds)


def questions_that_are_never_answered(target: Target, seconds: float) -> dict[str, int]:
    """Payments of nobody about which the webhook hangs up, as some do on what they cannot read."""
    return _in_parallel(target.port, lambda: post(live_body(), headers="X-Forwarded-For: 192.0.2.66\r\nX-Hang-Up: 1\r\n"), 5, seconds)


def questions_that_are_too_long(target: Target, seconds: float) -> dict[str, int]:
    """Payments of nobody with a name of 70,000 characters, which common webhooks do not read."""
    return _in_parallel(
        target.port, lambda: post(live_body(ManifestID="m" * 70_000), headers="X-Forwarded-For: 192.0.2.66\r\n"), 5, seconds
    )


def padded_auth_tokens(target: Target, seconds: float) -> dict[str, int]:
    """Payments whose auth token is padded to 100 KiB: it would be echoed, and kept with each of them."""
    info = net_pb2.OrchestratorInfo.FromString(orchestrator_info(now_ns=time.time_ns()))
    info.auth_token.token = bytes(100 * 1024)
    return _in_parallel(target.port, lambda: post(live_body(info=info.SerializeToString()), headers=target.told), 4, seconds)


def old_states_of_another(target: Target, seconds: float) -> dict[str, int]:
    """A state of somebody's session, caught on its way: a caller whom the webhook does not allow wants the newest one for it."""
    said: Counter[str] = Counter()
    going = is_due(seconds)
    while going():
        info = orchestrator_info(now_ns=time.time_ns(), rand_hash=os.urandom(32))
        request = post(
            live_body(info=info, state=target.told), headers="X-Forwarded-For: 192.0.2.66\r\nX-Hang-Up: 1\r\nConnection: close\r\n"
        )
        answer = throw(target.port, request)
        said[answer.split(b" ")[1].decode() if answer else "closed"] += 1
        said["states given out"] += b'"state"' in answer
    return dict(said)


def consoles_in_many_tabs(target: Target, seconds: float) -> dict[str, int]:
    """Tabs that ask for the figures of a day as fast as they are answered, and scrapers beside them. `told`: their headers."""
    cookie, token = target.told
    questions = [
        f"GET /console/data?hours=24 HTTP/1.1\r\nHost: localhost\r\n{cookie}\r\n".encode(),
        f"GET /metrics HTTP/1.1\r\nHost: localhost\r\n{token}\r\n".encode(),
    ]
    return _in_parallel(target.admin_port, lambda: questions[int(time.monotonic() * 1000) % 2], 2, seconds)


def jobs_of_nobody(target: Target, seconds: float) -> dict[str, int]:
    """BYOC jobs whose credentials nobody may have signed: the webhook says so, or nothing at all."""
    job = b'{"id":"1","capability":"c","request":"{}","parameters":"{}","timeout_seconds":30}'
    headers = "X-Forwarded-For: 192.0.2.66\r\nX-Hang-Up: 1\r\n"
    return _in_parallel(target.port, lambda: post(job, "/sign-byoc-job", headers), 5, seconds)
