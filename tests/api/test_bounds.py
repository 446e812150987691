"""What strangers can take of a process: bytes, parsed requests and places, each up to its bound and beyond it."""

from __future__ import annotations

import asyncio
import logging
import re
from typing import Any

import pytest
import yaml

from livepeer_remote_signer.api import server_protocol
from livepeer_remote_signer.api.bounds import Arrivals, Places, connections_within
from livepeer_remote_signer.api.front import AdminFront, Front
from livepeer_remote_signer.api.server_protocol import MAX_PARSED, PaymentProtocol, payment_protocol
from livepeer_remote_signer.app import create_app
from livepeer_remote_signer.config.loading import parse_config
from livepeer_remote_signer.core.errors import Overloaded
from tests.connections import Ears, connection_over
from tests.signer import PAY, configuration

TINY = b"GET / HTTP/1.1\r\nHost:\r\n\r\n"
KIB = 1024
MIB = 1024 * KIB


class Wire:
    """A transport that keeps what is written and whether it is read from."""

    def __init__(self) -> None:
        self.written = bytearray()
        self.is_read = True
        self.is_ended = False
        self.is_aborted = False
        self.is_gone = False
        """Whether the client has left, which the transport finds out when it writes to the end."""

    def get_extra_info(self, name: str, default: object = None) -> object:
        return ("127.0.0.1", 50_000) if name == "peername" else default

    def is_closing(self) -> bool:
        return self.is_aborted

    def write(self, data: bytes) -> None:
        assert not self.is_ended, "written after the end"
        self.written += data

    def write_eof(self) -> None:
        self.is_ended = True
        self.is_aborted = self.is_gone

    def close(self) -> None:
        self.is_ended = self.is_aborted = True

    def abort(self) -> None:
        self.is_ended = self.is_aborted = True

    def pause_reading(self) -> None:
        assert not self.is_aborted, "the handle is closed"
        self.is_read = False

    def resume_reading(self) -> None:
        assert not self.is_aborted, "the handle is closed"
        self.is_read = True

    @property
    def statuses(self) -> list[int]:
        """Of the replies so far."""
        return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", self.written)]


def a_front(**limits: Any) -> Front:
    return create_app(parse_config(yaml.safe_dump(configuration(limits=limits)), {}))


def connect(front: Front | AdminFront) -> tuple[PaymentProtocol, Wire]:
    """A connection; needs a running loop."""
    wire = Wire()
    return connection_over(wire, front), wire


async def until(condition: Any) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - a server's connection has no event to wait for
            await asyncio.sleep(0)


def whole(body: bytes, path: str = PAY) -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def head(length: int, path: str = PAY) -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n".encode()


# --- a refusal behind a request in work ---


@pytest.mark.parametrize("start", [b"GET / HTTP/1.1\r\nX: ", b"GET /", b"nonsense\r\n"], ids=["header", "url", "nonsense"])
async def test_nothing_is_parsed_after_a_refusal_behind_a_request_in_work(start: bytes) -> None:
    protocol, wire = connect(a_front())
    protocol.data_received(whole(b"[]"))
    assert protocol.cycle is not None
    ears = protocol.parser = Ears(protocol.parser)
    protocol.data_received(start)
    for _ in range(500):
        protocol.data_received(b"x" * 4 * KIB)
    assert ears.heard < 80 * KIB
    assert not wire.is_read
    assert not wire.written
    await until(lambda: wire.is_ended)
    assert wire.statuses == [400]
    assert wire.is_read  # what is still on its way is thrown away, or the reply would be lost with it
    protocol.data_received(b"x" * MIB)
    assert ears.heard < 80 * KIB


async def test_a_refusal_to_a_client_that_has_left_ends_the_connection() -> None:
    protocol, wire = connect(a_front())
    wire.is_gone = True
    protocol.data_received(b"nonsense\r\n\r\n")
    assert wire.statuses == [400]
    assert wire.is_aborted


async def test_two_faults_in_one_read_get_one_refusal() -> None:
    protocol, wire = connect(a_front())
    protocol.data_received(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n")
    assert wire.statuses == [400]
    assert wire.is_ended


async def test_trailers_without_an_end_are_refused() -> None:
    protocol, wire = connect(a_front())
    protocol.data_received(f"POST {PAY} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n[]\r\n0\r\nX: ".encode())
    ears = protocol.parser = Ears(protocol.parser)
    for _ in range(500):
        protocol.data_received(b"x" * KIB)
    assert wire.statuses == [431]
    assert ears.heard < 70 * KIB


@pytest.mark.parametrize("pieces", [1, 400])
async def test_a_request_of_many_small_headers_is_refused(pieces: int) -> None:
    protocol, wire = connect(a_front())
    raw = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n" + b"a:b\r\n" * 2000 + b"\r\n"
    step = -(-len(raw) // pieces)
    for start in range(0, len(raw), step):
        protocol.data_received(raw[start : start + step])
    assert wire.statuses == [431]
    assert b"more than 256 headers" in wire.written


async def test_a_head_above_the_limit_is_refused_also_where_it_arrives_at_once() -> None:
    protocol, wire = connect(a_front())
    protocol.data_received(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 65 * KIB + b"\r\n\r\n")
    assert wire.statuses == [431]


# --- requests in a row ---


@pytest.mark.parametrize("first", [whole(b"[]"), TINY], ids=["paying", "other"])
async def test_of_requests_in_a_row_sixteen_are_parsed_and_all_are_answered(first: bytes) -> None:
    protocol, wire = connect(a_front())
    count = 500
    most = 0
    protocol.data_received(first + TINY * (count - 1))
    assert not wire.is_read

    def all_answered() -> bool:
        nonlocal most
        most = max(most, protocol._parsed())
        return len(wire.statuses) == count

    await until(all_answered)
    assert 8 < most <= MAX_PARSED
    assert wire.is_read
    assert protocol.front.bounds.arrivals.held_bytes == 0
    protocol.data_received(whole(b"[]"))
    await until(lambda: len(wire.statuses) == count + 1)


async def test_requests_in_a_row_that_come_one_by_one_are_bounded_too() -> None:
    protocol, wire = connect(a_front())
    sent = 0
    while wire.is_read and sent < 100:
        protocol.data_received(TINY)
        sent += 1
    assert protocol._parsed() <= MAX_PARSED
    assert sent <= MAX_PARSED + 1
    await until(lambda: len(wire.statuses) == sent)


async def test_a_body_with_many_lines_is_read_whole() -> None:
    protocol, wire = connect(a_front())
    protocol.data_received(whole(b"{\n" + b'"a": 1,\n' * 30_000 + b'"type": 5}', "/sign-orchestrator-info"))
    await until(lambda: wire.statuses)
    assert wire.statuses == [200]


# --- all connections together ---


async def test_what_has_arrived_is_bounded_and_the_largest_and_slowest_give_way() -> None:
    front = a_front(max_arriving_bytes=MIB)
    large = [connect(front) for _ in range(20)]
    small, small_wire = connect(front)
    for protocol, _ in large:
        protocol.data_received(head(200 * KIB))
    small.data_received(head(100) + b"x")
    for protocol, _ in large:
        protocol.data_received(b"x" * 60 * KIB)
        assert front.bounds.arrivals.held_bytes <= MIB
        await asyncio.sleep(0.002)
    refused = [wire for _, wire in large if wire.written]
    assert 3 <= len(refused) <= 10
    for wire in refused:
        assert wire.statuses == [503]
        assert b"limits.max_arriving_bytes" in wire.written
        assert b"retry-after: 1" in wire.written
    assert not small_wire.written
    small.data_received(b"x" * 99)
    await until(lambda: small_wire.statuses == [400])
    for protocol, _ in [*large, (small, small_wire)]:
        protocol.connection_lost(None)
    assert front.bounds.arrivals.held_bytes == 0


async def test_whole_requests_that_wait_for_their_turn_are_counted() -> None:
    front = a_front(max_arriving_bytes=MIB)
    crowd = [connect(front) for _ in range(12)]
    for protocol, _ in crowd:
        protocol.data_received(whole(b"x" * 200 * KIB))
        assert front.bounds.arrivals.held_bytes <= MIB
    await until(lambda: all(wire.statuses for _, wire in crowd))
    assert {status for _, wire in crowd for status in wire.statuses} == {400, 503}
    assert front.bounds.arrivals.held_bytes == 0


async def test_requests_that_wait_behind_another_are_counted_and_give_way_with_their_connection() -> None:
    front = a_front(max_arriving_bytes=MIB)
    protocol, wire = connect(front)
    protocol.data_received(whole(b"[]"))
    for _ in range(8):
        protocol.data_received(whole(b"x" * 200 * KIB, "/nothing"))
        assert front.bounds.arrivals.held_bytes <= MIB
    assert wire.is_aborted
    protocol.connection_lost(None)
    assert front.bounds.arrivals.held_bytes == 0


class Held:
    def __init__(self, since: float) -> None:
        self.holding_since = since
        self.error: Overloaded | None = None

    def give_way(self, error: Overloaded) -> None:
        self.error = error


def test_who_holds_little_for_a_short_time_stays(caplog: pytest.LogCaptureFixture) -> None:
    now = 100.0
    arrivals = Arrivals(1000, lambda: now)
    slow_small, slow_large, quick_large, quick_small = Held(0), Held(0), Held(99.9), Held(99.9)
    with caplog.at_level(logging.WARNING):
        arrivals.hold(slow_small, 10)
        arrivals.hold(slow_large, 500)
        arrivals.hold(quick_small, 10)
        arrivals.hold(quick_large, 485)
    assert [one.error is not None for one in (slow_small, slow_large, quick_large, quick_small)] == [False, True, False, False]
    assert arrivals.held_bytes == 505
    assert arrivals.given_way == 1
    assert ["limits.max_arriving_bytes" in record.message for record in caplog.records] == [True]
    arrivals.hold(slow_large, 0)
    assert arrivals.held_bytes == 505


# --- the admin listener ---


async def test_the_admin_listener_has_the_same_bounds_and_no_paying_routes() -> None:
    front = a_front()
    admin = AdminFront(front._rest, front.bounds)
    protocol, wire = connect(admin)
    protocol.data_received(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nX: ")
    for _ in range(100):
        protocol.data_received(b"x" * KIB)
    assert wire.statuses == [431]
    protocol, wire = connect(admin)
    protocol.data_received(head(257 * KIB, "/admin/prices") + b" ")
    assert wire.statuses == [413]
    assert not payment_protocol(admin).paying_urls


# --- places ---


class Guest:
    def __init__(self) -> None:
        self.is_gone = False

    def give_place(self) -> None:
        self.is_gone = True


def test_places_are_given_up_in_their_order(caplog: pytest.LogCaptureFixture) -> None:
    places = Places(4, lambda: 0.0)
    silent, unpaid, paid_long_ago, paid = (Guest() for _ in range(4))
    for guest in (paid, paid_long_ago, unpaid, silent):
        assert places.take(guest)
    for guest, ones in ((unpaid, places.unpaid), (paid_long_ago, places.paid), (paid, places.paid)):
        del places.silent[guest]
        ones[guest] = None
    with caplog.at_level(logging.WARNING):
        for gone in (silent, unpaid, paid_long_ago, paid):
            new = Guest()
            assert places.take(new)
            assert gone.is_gone
            del places.silent[new]  # it is at work
    assert not places.take(Guest())
    assert (places.taken, places.given_way, places.turned_away) == (4, 4, 1)
    assert ["limits.max_connections" in record.message for record in caplog.records] == [True]


@pytest.mark.parametrize(("open_files", "connections"), [(16, 8), (64, 32), (1024, 896), (4096, 3840), (2**30, 16_384), (-1, 16_384)])
def test_connections_leave_room_for_other_files(open_files: int, connections: int) -> None:
    assert connections_within(open_files) == connections


async def test_a_connection_at_work_or_that_paid_keeps_its_place_and_one_that_says_nothing_loses_it() -> None:
    front = a_front(max_connections=8)
    places = front.bounds.places
    busy, busy_wire = connect(front)
    busy.data_received(whole(b"[]", "/healthz"))
    refused, refused_wire = connect(front)
    refused.data_received(whole(b"[]"))
    await until(lambda: refused_wire.statuses == [400])
    crowd = [connect(front) for _ in range(20)]
    gone = [wire.is_aborted for _, wire in crowd]
    assert gone == [True] * 14 + [False] * 6
    assert not any(wire.is_aborted for wire in (busy_wire, refused_wire))
    for protocol, wire in crowd:
        if wire.is_aborted:
            protocol.connection_lost(None)
    assert places.taken == 8
    for protocol, _ in crowd[14:]:
        protocol.connection_lost(None)
    assert places.taken == 2


# --- what is large is read in turn ---


async def test_who_sends_much_is_read_again_in_the_next_turn_and_who_sends_little_at_once() -> None:
    front = a_front()
    (large, much), (small, little) = connect(front), connect(front)
    large.data_received(head(60 * KIB))
    small.data_received(head(60 * KIB))
    small.data_received(b" " * 16 * KIB)
    assert little.is_read
    for _ in range(3):
        large.data_received(b" " * 17 * KIB)
        assert not much.is_read
        await until(lambda: much.is_read)
    large.data_received(b" " * 9 * KIB)
    await until(lambda: much.statuses == [400])


async def test_a_connection_that_ends_meanwhile_takes_no_turn() -> None:
    front = a_front()
    (gone, wire), (stays, other) = connect(front), connect(front)
    for protocol in (gone, stays):
        protocol.data_received(head(60 * KIB) + b" " * 17 * KIB)
    wire.abort()
    await until(lambda: other.is_read)
    assert not wire.is_read


# --- a request that is on its way ---


async def test_a_request_on_its_way_has_its_time_from_its_first_byte_and_is_held_since_then() -> None:
    front = a_front()
    protocol, wire = connect(front)
    loop = asyncio.get_running_loop()
    limit, began = front.bounds.limits.timeout_seconds, loop.time()
    protocol.data_received(head(50))
    deadline, since = protocol.deadline, protocol.holding_since
    assert deadline is not None
    assert began + limit <= deadline <= loop.time() + limit
    for _ in range(3):
        protocol.data_received(b" ")
        assert (protocol.deadline, protocol.holding_since) == (deadline, since), "a byte now and then makes nobody younger"
    protocol.sweep(deadline - 0.001)
    assert wire.statuses == []
    protocol.sweep(deadline)
    assert wire.statuses == [408]


async def test_while_a_request_is_in_work_no_time_runs_and_the_next_ones_begins_after_it() -> None:
    protocol, wire = connect(a_front())
    protocol.data_received(whole(b"[]"))
    assert protocol.deadline is None
    protocol.sweep(float("inf"))
    protocol.data_received(head(50))
    protocol.sweep(float("inf"))
    assert wire.statuses == []
    await until(lambda: wire.statuses == [400])
    assert not wire.is_aborted
    assert protocol.deadline is not None
    protocol.sweep(protocol.deadline)
    assert wire.statuses == [400, 408]


@pytest.mark.parametrize(("version", "is_told"), [("1.1", True), ("1.0", False)])
async def test_a_client_that_waits_to_be_told_is_told_to_go_on_once(version: str, is_told: bool) -> None:
    protocol, wire = connect(a_front())
    asked = f"POST {PAY} HTTP/{version}\r\nHost: localhost\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n"
    protocol.data_received(asked.encode())
    assert bytes(wire.written) == (b"HTTP/1.1 100 Continue\r\n\r\n" if is_told else b"")
    protocol.data_received(b"[]")
    assert wire.statuses == ([100] if is_told else [])
    protocol.data_received(b"  ")
    await until(lambda: 400 in wire.statuses)


async def test_while_a_client_takes_no_replies_its_payments_go_the_way_that_waits_for_it() -> None:
    protocol, wire = connect(a_front())
    protocol.pause_writing()
    protocol.data_received(whole(b"[]"))
    assert not protocol.waiting
    for _ in range(20):
        await asyncio.sleep(0)
    assert wire.statuses == []
    protocol.resume_writing()
    await until(lambda: wire.statuses == [400])


async def test_a_client_that_says_no_more_is_let_go_unless_it_waits_for_a_reply() -> None:
    front = a_front()
    idle, _ = connect(front)
    assert idle.eof_received() is False
    busy, wire = connect(front)
    busy.data_received(whole(b"[]"))
    assert busy.eof_received() is True
    await until(lambda: wire.statuses == [400])
    assert b"connection: close" in wire.written


# --- after the last reply ---


async def test_after_a_refusal_a_connection_is_read_a_while_nothing_of_it_counts_and_then_it_is_cut(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server_protocol, "_MAX_LINGER_BYTES", 1000)
    front = a_front()
    (slow, late), (loud, much) = connect(front), connect(front)
    began = asyncio.get_running_loop().time()
    for protocol, wire in ((slow, late), (loud, much)):
        protocol.data_received(b"nonsense\r\n\r\n")
        assert (wire.statuses, wire.is_ended, wire.is_aborted) == ([400], True, False)
        protocol.data_received(whole(b"[]"))
        assert wire.statuses == [400]
    assert slow.deadline is not None
    assert began + server_protocol.LINGER_SECONDS <= slow.deadline
    slow.sweep(slow.deadline - 0.001)
    assert not late.is_aborted
    slow.sweep(slow.deadline)
    assert late.is_aborted
    loud.data_received(b"x" * (1000 - len(whole(b"[]"))))
    assert not much.is_aborted
    loud.data_received(b"x")
    assert much.is_aborted


async def test_a_client_that_does_not_take_its_end_is_cut() -> None:
    protocol, wire = connect(a_front())
    closed: list[float] = []
    wire.close = lambda: closed.append(1)  # type: ignore[method-assign]
    wire.is_closing = lambda: bool(closed)  # type: ignore[method-assign]
    assert protocol.deadline is not None
    protocol.sweep(protocol.deadline)
    assert closed
    assert not wire.is_aborted
    began = asyncio.get_running_loop().time()
    assert began < protocol.deadline <= began + server_protocol.LINGER_SECONDS
    protocol.sweep(protocol.deadline)
    assert wire.is_aborted


async def test_a_body_of_chunks_that_are_mostly_wrapping_is_refused() -> None:
    front = a_front(max_body_bytes=4096)
    protocol, wire = connect(front)
    protocol.data_received(f"POST {PAY} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
    sent = 0
    while not wire.statuses and sent < MIB:
        piece = b"1;" + b"e" * 200 + b"\r\nx\r\n"
        protocol.data_received(piece)
        sent += len(piece)
    assert wire.statuses == [413]


CHUNKED = f"POST {PAY} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n".encode()


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"a:\r\n" * 50 * KIB, 431),
        (CHUNKED + b"1\r\n{\r\n" * 35 * KIB, 413),
        (CHUNKED + b"0\r\n" + b"a:\r\n" * 50 * KIB, 431),
    ],
    ids=["headers", "chunks", "trailers"],
)
async def test_of_the_shortest_pieces_in_one_read_next_to_nothing_is_parsed(raw: bytes, status: int) -> None:
    """Each costs as much time as hundreds of bytes: the 200 KiB of forty connections would take more than a second."""
    protocol, wire = connect(a_front())
    ears = protocol.parser = Ears(protocol.parser)
    protocol.data_received(raw)
    assert wire.statuses == [status]
    assert ears.heard < 10 * KIB


async def test_a_long_head_in_two_reads_and_a_body_in_ordinary_pieces_are_taken() -> None:
    protocol, wire = connect(a_front())
    protocol.data_received(f"POST {PAY} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nX: ".encode())
    protocol.data_received(b"x" * 50 * KIB + b"\r\n\r\n")
    protocol.data_received(b"".join(b"1\r\n \r\n" for _ in range(100)))
    for _ in range(40):
        protocol.data_received(b"".join(b"40\r\n" + b" " * 64 + b"\r\n" for _ in range(50)))
    protocol.data_received(b"2\r\n[]\r\n0\r\n\r\n")
    await until(lambda: wire.statuses)
    assert b"must be a JSON object" in wire.written


async def test_who_is_gone_gives_way_in_silence() -> None:
    protocol, wire = connect(a_front())
    protocol.data_received(whole(b"[]") + head(50))
    wire.abort()
    protocol.give_way(Overloaded("full"))
    assert wire.statuses == []
