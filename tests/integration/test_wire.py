"""What the server does with bytes on real connections: bounds, order, patience, and clients that behave oddly."""

from __future__ import annotations

import json
import random
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager
from typing import BinaryIO

import pytest

from tests.integration.conftest import BODY_TIMEOUT_SECONDS, MAX_IN_WORK, Pair
from tests.served import Answer, Served, live_body, post, read_answer
from tests.signer import PAY

MIB = 1024 * 1024
ROUTES = [PAY, "/signTicket", "/sign-orchestrator-info"]
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


@contextmanager
def connected(signer: Served) -> Iterator[tuple[socket.socket, BinaryIO]]:
    """A connection and what comes back on it."""
    with signer.connect() as connection, connection.makefile("rb") as stream:
        yield connection, stream


def expect(stream: BinaryIO, status: int) -> Answer:
    """The next reply, which must have this status."""
    answer = read_answer(stream)
    assert answer is not None, "the connection ended without a reply"
    assert answer.status == status, answer
    return answer


# --- bounds ---


@pytest.mark.parametrize("path", ROUTES)
def test_an_announced_body_above_the_limit_is_refused_before_it_is_sent(either: Served, path: str) -> None:
    with connected(either) as (connection, stream):
        connection.sendall(f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {2 * MIB}\r\n\r\n".encode())
        answer = expect(stream, 413)
        assert answer.error["code"] == "body_too_large"
        assert str(2 * MIB) in answer.error["message"]
        assert str(MIB) in answer.error["message"]
        assert answer.headers["connection"] == "close"
        assert stream.read() == b""


@pytest.mark.parametrize("path", ROUTES)
def test_a_chunked_body_above_the_limit_is_refused_and_the_sender_reads_why(either: Served, path: str) -> None:
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    with connected(either) as (connection, stream):
        connection.sendall(f"POST {path} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        for _ in range(4 * MIB // 0x10000):
            connection.sendall(chunk)
        assert expect(stream, 413).error["code"] == "body_too_large"


@pytest.mark.parametrize("length", [2 * MIB, 16 * MIB])
def test_a_client_that_sends_all_of_a_large_body_first_still_gets_the_reply(prompt: Served, length: int) -> None:
    request = urllib.request.Request(prompt.url + PAY, b" " * length, {"Content-Type": "application/json"})
    with pytest.raises(urllib.error.HTTPError) as refused, urllib.request.urlopen(request, timeout=20):
        pytest.fail("accepted")
    assert refused.value.code == 413
    assert json.load(refused.value)["error"]["code"] == "body_too_large"


def test_many_small_chunks_are_refused_by_what_travels(prompt: Served) -> None:
    with connected(prompt) as (connection, stream):
        connection.sendall(f"POST {PAY} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        extension = b"1;" + b"x" * 1000 + b"\r\n \r\n"
        for _ in range(12):
            connection.sendall(extension * 1000)
        assert expect(stream, 413).error["code"] == "body_too_large"


def test_headers_without_an_end_are_refused(either: Served) -> None:
    with connected(either) as (connection, stream):
        connection.sendall(f"POST {PAY} HTTP/1.1\r\nHost: localhost\r\n".encode())
        for number in range(1024):
            connection.sendall(f"X-{number}: {'x' * 1024}\r\n".encode())
        answer = expect(stream, 431)
        assert answer.error["code"] == "head_too_large"
        assert answer.headers["connection"] == "close"


def test_a_request_line_without_an_end_is_refused(prompt: Served) -> None:
    with connected(prompt) as (connection, stream):
        connection.sendall(b"POST /")
        for _ in range(1024):
            connection.sendall(b"x" * 1024)
        assert expect(stream, 431).error["code"] == "head_too_large"


@pytest.mark.parametrize("path", [PAY, "/sign-orchestrator-info"])
def test_a_body_that_does_not_arrive_is_refused_in_time_and_the_connection_closed(prompt: Served, path: str) -> None:
    with connected(prompt) as (connection, stream):
        connection.sendall(f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n".encode())
        began = time.monotonic()
        answer = expect(stream, 408)
        assert answer.error["code"] == "body_timeout"
        assert answer.headers["connection"] == "close"
        assert stream.read() == b""
        assert BODY_TIMEOUT_SECONDS - 0.1 < time.monotonic() - began < BODY_TIMEOUT_SECONDS + 15


@pytest.mark.parametrize("sent", [b"P", b"POST /generate-live-payment HTTP/1.1\r\nHost: localhost\r\nX-Sl"])
def test_a_head_that_does_not_arrive_ends_the_connection_in_time(prompt: Served, sent: bytes) -> None:
    with connected(prompt) as (connection, stream):
        connection.sendall(sent)
        expect(stream, 408)
        assert stream.read() == b""


def test_above_the_limit_of_requests_in_work_callers_are_told_to_come_again(asking: Pair) -> None:
    def pay(_: int) -> Answer:
        return asking.signer.exchange(post(live_body(), headers="X-Hold: 1\r\n"))

    before = len(asking.hook.questions)
    asking.hook.released.clear()
    with ThreadPoolExecutor(2 * MAX_IN_WORK) as pool:
        asked = [pool.submit(pay, number) for number in range(2 * MAX_IN_WORK)]
        try:
            asking.hook.wait_for_questions(before + MAX_IN_WORK)
            replies = as_completed(asked, timeout=60)
            refused = [next(replies).result() for _ in range(MAX_IN_WORK)]
            assert asking.signer.get("/healthz").status == 200
            busy = asking.signer.exchange(post(b"{}", "/getOrchestratorInfo"))
        finally:
            asking.hook.released.set()
        answers = [busy, *refused, *(reply.result() for reply in replies)]
    statuses = sorted(answer.status for answer in answers)
    assert statuses == [200] * MAX_IN_WORK + [503] * (MAX_IN_WORK + 1)
    for answer in answers:
        if answer.status == 503:
            assert answer.error["code"] == "overloaded"
            assert answer.headers["retry-after"] == "1"
            assert answer.error["limit"] == MAX_IN_WORK
    assert asking.signer.exchange(post(live_body())).status == 200


@pytest.mark.parametrize("half", [b"", b"POST /generate-live-payment HTTP/1.1\r\n", post(b"x" * 50)[:-40]], ids=["idle", "head", "body"])
def test_two_hundred_connections_that_do_nothing_keep_nobody_out(either: Served, half: bytes) -> None:
    with ExitStack() as stack:
        crowd = [stack.enter_context(either.connect()) for _ in range(200)]
        for connection in crowd:
            connection.sendall(half)
        began = time.monotonic()
        for _ in range(3):
            for connection in crowd[:50]:
                if half:
                    connection.sendall(b"x")
            assert either.pay().status == 200
        assert time.monotonic() - began < 60


# --- order and reuse ---


def test_pipelined_requests_are_answered_in_their_order(either: Served) -> None:
    pay = post(live_body())
    bad = post(b"[]")
    with connected(either) as (connection, stream):
        connection.sendall(pay + HEALTH + bad + post(b"", "/nothing") + pay + post(b"", "/sign-orchestrator-info") + bad)
        answers = [expect(stream, status) for status in (200, 200, 400, 404, 200, 200, 400)]
        assert b"payment" in answers[0].body
        assert answers[1].body == b'{"status":"ok"}'
        assert b"signature" in answers[5].body
        assert len({answer.headers["x-request-id"] for answer in answers}) == len(answers)


def test_a_slow_payment_does_not_let_a_later_reply_pass(asking: Pair) -> None:
    with connected(asking.signer) as (connection, stream):
        connection.sendall(post(live_body(), headers="X-Delay: 0.4\r\n"))
        time.sleep(0.1)
        connection.sendall(HEALTH)
        assert b"payment" in expect(stream, 200).body
        assert expect(stream, 200).body == b'{"status":"ok"}'


def test_a_request_that_begins_behind_a_slow_payment_is_taken_when_it_has_arrived(asking: Pair) -> None:
    second = post(live_body(), headers="Expect: 100-continue\r\n")
    head, body = second.split(b"\r\n\r\n", 1)
    with connected(asking.signer) as (connection, stream):
        connection.sendall(post(live_body(), headers="X-Delay: 0.4\r\n") + head + b"\r\n\r\n")
        expect(stream, 200)
        expect(stream, 100)
        connection.sendall(body)
        expect(stream, 200)


def test_what_cannot_be_read_behind_a_slow_payment_does_not_cost_its_reply(asking: Pair) -> None:
    with connected(asking.signer) as (connection, stream):
        connection.sendall(post(live_body(), headers="X-Delay: 0.4\r\n") + b"\0\0 nonsense\r\n\r\n")
        assert b"payment" in expect(stream, 200).body
        assert stream.read() == b""


def test_a_connection_is_used_again_and_again(either: Served) -> None:
    with connected(either) as (connection, stream):
        for _ in range(20):
            connection.sendall(post(live_body()))
            answer = expect(stream, 200)
            assert "connection" not in answer.headers


def test_nothing_after_a_last_request_is_looked_at(asking: Pair) -> None:
    last = post(live_body(), headers="Connection: close\r\n")
    asked = len(asking.hook.questions)
    with connected(asking.signer) as (connection, stream):
        connection.sendall(last + post(live_body()) + post(live_body()))
        assert expect(stream, 200).headers["connection"] == "close"
        assert stream.read() == b""
    assert len(asking.hook.questions) == asked + 1


def test_http_1_0_gets_one_reply_and_the_end(either: Served) -> None:
    with connected(either) as (connection, stream):
        connection.sendall(post(live_body(), version="1.0"))
        answer = expect(stream, 200)
        assert answer.headers["connection"] == "close"
        assert stream.read() == b""
    with connected(either) as (connection, stream):
        connection.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
        assert expect(stream, 200).body == b'{"status":"ok"}'
        assert stream.read() == b""


def test_a_client_that_closed_its_sending_side_still_gets_its_reply(either: Served) -> None:
    with connected(either) as (connection, stream):
        connection.sendall(post(live_body(), headers="X-Delay: 0.3\r\n"))
        connection.shutdown(socket.SHUT_WR)
        assert b"payment" in expect(stream, 200).body
        assert stream.read() == b""


# --- asking first, upgrades, trailers ---


def test_a_client_that_asks_first_is_told_to_go_on(either: Served) -> None:
    head, body = post(live_body(), headers="Expect: 100-continue\r\n").split(b"\r\n\r\n", 1)
    with connected(either) as (connection, stream):
        for _ in range(2):
            connection.sendall(head + b"\r\n\r\n")
            expect(stream, 100)
            connection.sendall(body)
            assert b"payment" in expect(stream, 200).body


def test_a_client_of_http_1_0_is_never_told_to_go_on(either: Served) -> None:
    head, body = post(live_body(), headers="Expect: 100-continue\r\n", version="1.0").split(b"\r\n\r\n", 1)
    with connected(either) as (connection, stream):
        connection.sendall(head + b"\r\n\r\n" + body[:10])
        connection.settimeout(0.3)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        connection.settimeout(20)
        connection.sendall(body[10:])
        assert b"payment" in expect(stream, 200).body


def test_a_client_that_asks_first_is_refused_at_once_where_it_sends_too_much(either: Served) -> None:
    request = f"POST {PAY} HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: {2 * MIB}\r\n\r\n"
    assert either.exchange(request.encode()).status == 413


def test_a_client_that_offers_http_2_is_served_as_if_it_had_not(either: Served) -> None:
    offer = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"
    with connected(either) as (connection, stream):
        connection.sendall(post(live_body(), headers=offer) + post(live_body(), headers=offer) + HEALTH)
        assert b"payment" in expect(stream, 200).body
        assert b"payment" in expect(stream, 200).body
        expect(stream, 200)


def test_headers_that_come_after_the_body_count_for_nothing(asking: Pair) -> None:
    body = live_body()
    with connected(asking.signer) as (connection, stream):
        connection.sendall(
            f"POST {PAY} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n{len(body):x}\r\n".encode()
            + body
            + b"\r\n0\r\nSigner-Auth-Id: somebody\r\nX-Late: 1\r\n\r\n"
        )
        expect(stream, 200)
    assert not {"X-Late", "Signer-Auth-Id"} & set(asking.hook.questions[-1]["headers"])


# --- what is no request at all ---


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # a TLS client
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"POST /generate-live-payment\r\n\r\n",
        b"POST /generate-live-payment HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"POST /generate-live-payment HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /generate-live-payment HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST /generate-live-payment HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        b"POST /generate-live-payment HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST /generate-live-payment HTTP/1.1\r\nX: a\0b\r\n\r\n",
        b"POST http://[ HTTP/1.1\r\n\r\n",
        b"CONNECT signer:443 HTTP/1.1\r\n\r\n",
        b"BREW /generate-live-payment HTTP/1.1\r\n\r\n",  # a method that HTTP does not know: 400, not 405
        "POST /générer HTTP/1.1\r\n\r\n".encode(),
    ],
)
def test_what_is_no_request_gets_the_envelope_and_the_end(either: Served, sent: bytes) -> None:
    with connected(either) as (connection, stream):
        connection.sendall(sent)
        answer = expect(stream, 400)
        assert answer.error["code"] == "bad_request"
        assert answer.headers["connection"] == "close"
        assert len(answer.error["message"]) < 200
        assert stream.read() == b""


def test_refusals_of_half_requests_are_counted(prompt: Served) -> None:
    too_large = f"POST {PAY} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {2 * MIB}\r\n\r\n".encode()
    refusals = {"413": too_large, "400": b"nonsense\r\n\r\n"}

    def counted(status: str) -> float:
        lines = [
            line for line in prompt.get("/metrics").body.decode().splitlines() if f'status="{status}"' in line and "requests_total" in line
        ]
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines)

    for status, request in refusals.items():
        before = counted(status)
        assert prompt.exchange(request).status == int(status)
        assert counted(status) == before + 1


def test_any_bytes_leave_the_server_as_it_was(prompt: Served) -> None:
    random_bytes = random.Random(11)
    whole = post(live_body())
    for _ in range(150):
        with prompt.connect() as connection:
            cut = random_bytes.randrange(len(whole))
            noise = random_bytes.randbytes(random_bytes.randrange(1, 200))
            connection.sendall(random_bytes.choice((noise, whole[:cut] + noise + whole[cut:], whole[:cut])))
    assert prompt.pay().status == 200
    assert "Traceback" not in prompt.log, prompt.log[prompt.log.index("Traceback") - 300 :][:3000]
