"""What clients notice of a signer that is told to end: nothing that they sent in time is lost."""

from __future__ import annotations

import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest

from tests.served import Served, live_body, patient_hook, post, read_answer, served
from tests.signer import PAY


def until_nobody_listens(signer: Served) -> None:
    """Until the signal was taken: then connections are drained, and idle ones stay for two seconds more."""
    give_up = time.monotonic() + 30
    while True:
        try:
            signer.connect(0.2).close()
        except ConnectionRefusedError:
            return
        except TimeoutError:  # the first packet was dropped: it is about to close
            pass
        assert time.monotonic() < give_up, signer.log


def test_what_is_in_work_is_answered_and_idle_connections_get_one_more_request(tmp_path: Path) -> None:
    with (
        patient_hook() as hook,
        served(
            tmp_path, auth={"webhook": {"url": hook.url, "timeout_seconds": 30}}, limits={"drain_seconds": 30, "answer_seconds": 30}
        ) as signer,
        signer.connect() as busy,
        signer.connect() as idle,
        signer.connect() as never_used,
        busy.makefile("rb") as busy_stream,
        idle.makefile("rb") as idle_stream,
    ):
        idle.sendall(post(live_body()))
        first = read_answer(idle_stream)
        assert first is not None
        assert "connection" not in first.headers
        busy.sendall(post(live_body(), headers="X-Hold: 1\r\n"))
        hook.wait_for_questions(2)

        signer.process.send_signal(signal.SIGTERM)
        until_nobody_listens(signer)
        idle.sendall(post(live_body()))
        last = read_answer(idle_stream)
        assert last is not None
        assert last.status == 200
        assert last.headers["connection"] == "close"
        assert idle_stream.read() == b""
        hook.released.set()
        answered = read_answer(busy_stream)
        assert answered is not None
        assert answered.status == 200
        assert answered.headers["connection"] == "close"
        with pytest.raises(ConnectionRefusedError):
            signer.connect()
        assert never_used.recv(1) == b""
        assert signer.process.wait(40) == 0
        assert "Traceback" not in signer.log


def test_a_body_on_its_way_is_waited_for_and_one_that_stalls_does_not_hold_the_end_up(tmp_path: Path) -> None:
    body = live_body()
    request = post(body)
    with (
        served(tmp_path, limits={"drain_seconds": 30, "body_timeout_seconds": 5}) as signer,
        signer.connect() as slow,
        signer.connect() as stalled,
        slow.makefile("rb") as slow_stream,
        stalled.makefile("rb") as stalled_stream,
    ):
        slow.sendall(request[:-10])
        stalled.sendall(request[:-10])
        time.sleep(0.2)
        signer.process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        slow.sendall(request[-10:])
        answer = read_answer(slow_stream)
        assert answer is not None
        assert answer.status == 200
        refused = read_answer(stalled_stream)
        assert refused is not None
        assert refused.status == 408
        assert signer.process.wait(25) == 0


def test_the_time_to_drain_has_an_end(tmp_path: Path) -> None:
    with (
        patient_hook() as hook,
        served(
            tmp_path, auth={"webhook": {"url": hook.url, "timeout_seconds": 90}}, limits={"drain_seconds": 1, "answer_seconds": 90}
        ) as signer,
        signer.connect() as busy,
    ):
        busy.sendall(post(live_body(), headers="X-Hold: 1\r\n"))
        hook.wait_for_questions(1)
        assert signer.end(seconds=50) == 0
        assert not hook.released.is_set(), "it did not wait for the webhook"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_nothing_to_do_ends_at_once_with_status_0(tmp_path: Path, number: signal.Signals) -> None:
    with served(tmp_path) as signer:
        began = time.monotonic()
        assert signer.end(number) == 0
        assert time.monotonic() - began < 30
        assert "Traceback" not in signer.log


def test_a_single_process_outlives_sighup_and_says_what_it_would_take(tmp_path: Path) -> None:
    with served(tmp_path) as signer:
        signer.process.send_signal(signal.SIGHUP)
        signer.wait_for_log("SIGHUP")
        assert "--workers" in signer.log
        assert signer.pay().status == 200


def test_no_request_is_lost_when_many_connections_are_told_to_close(tmp_path: Path) -> None:
    """Keep-alive clients that send without a pause: each gets a reply to everything it sent, then `connection: close`."""

    def client(connection: socket.socket) -> int:
        with connection, connection.makefile("rb") as stream:
            replies = 0
            while True:
                connection.sendall(post(b"", "/sign-orchestrator-info") if replies % 2 else post(live_body(), PAY))
                answer = read_answer(stream)
                assert answer is not None, "a request got no reply"
                assert answer.status == 200
                replies += 1
                if answer.headers.get("connection") == "close":
                    assert stream.read() == b""
                    return replies

    with served(tmp_path) as signer, ThreadPoolExecutor(16) as pool:
        clients = [pool.submit(client, signer.connect()) for _ in range(16)]
        time.sleep(0.7)
        assert signer.end() == 0
        assert all(future.result(60) >= 1 for future in clients)


def test_fresh_connections_that_the_kernel_took_are_served_to_the_end(tmp_path: Path) -> None:
    """Clients that connect anew for each request while the signer ends: whoever was connected is answered."""
    is_over, is_warm = Event(), Event()

    def client(signer: Served) -> int:
        answered = 0
        while not is_over.is_set():
            try:
                connection = signer.connect(3)
            except (ConnectionRefusedError, TimeoutError):
                return answered
            with connection, connection.makefile("rb") as stream:
                connection.sendall(b"POST /sign-orchestrator-info HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
                answer = read_answer(stream)
                assert answer is not None, "a connection was closed without a reply"
                assert answer.status == 200
                answered += 1
                if answered > 5:
                    is_warm.set()
        return answered

    with served(tmp_path) as signer, ThreadPoolExecutor(8) as pool:
        try:
            clients = [pool.submit(client, signer) for _ in range(8)]
            assert is_warm.wait(60)
            time.sleep(0.3)
            assert signer.end() == 0
        finally:
            is_over.set()
        assert sum(future.result(60) for future in clients) > 5


def test_what_arrived_during_a_pause_is_read_before_connections_are_swept(tmp_path: Path) -> None:
    with (
        served(tmp_path, limits={"idle_seconds": 4, "body_timeout_seconds": 4}) as signer,
        signer.connect() as kept,
        signer.connect() as half,
        signer.connect() as fresh,
        kept.makefile("rb") as kept_stream,
        half.makefile("rb") as half_stream,
        fresh.makefile("rb") as fresh_stream,
    ):
        request = post(live_body())
        kept.sendall(request)
        assert read_answer(kept_stream) is not None
        half.sendall(request[:-10])
        signer.process.send_signal(signal.SIGSTOP)
        try:
            kept.sendall(request)
            half.sendall(request[-10:])
            fresh.sendall(request)
            time.sleep(5.5)
        finally:
            signer.process.send_signal(signal.SIGCONT)
        for stream in (kept_stream, half_stream, fresh_stream):
            answer = read_answer(stream)
            assert answer is not None, "the connection was closed although the request had arrived"
            assert answer.status == 200
        began = time.monotonic()
        assert kept_stream.read() == b"", "an idle connection is closed in its time all the same"
        assert time.monotonic() - began < 19
