"""Heads that were parsed before: a request with one of them is answered as if it were parsed again, whatever comes around it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Iterator

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from livepeer_remote_signer.api.front import AdminFront, Front
from livepeer_remote_signer.api.heads import MAX_HEAD_BYTES, MAX_HEADS, Head, KnownHeads
from livepeer_remote_signer.api.reply import Reply
from livepeer_remote_signer.api.server_protocol import PaymentProtocol, payment_protocol
from livepeer_remote_signer.app import create_app
from livepeer_remote_signer.config.loading import parse_config
from tests.connections import Ears, connection_over
from tests.signer import PAY, configuration

KIB = 1024


class Wire:
    """A transport that notes what is done with it, in the order in which it is done."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.is_read = True
        self.is_ended = False

    def get_extra_info(self, name: str, default: object = None) -> object:
        return ("192.0.2.7", 50_000) if name == "peername" else default

    def is_closing(self) -> bool:
        return self.is_ended

    def write(self, data: bytes) -> None:
        self.events.append(re.sub("[0-9a-f]{32}", "an id", data.decode("latin-1")))

    def write_eof(self) -> None:
        self.events.append("half closed")

    def close(self) -> None:
        self.events.append("closed")
        self.is_ended = True

    def abort(self) -> None:
        self.events.append("cut")
        self.is_ended = True

    def pause_reading(self) -> None:
        self.events.append("read no more")
        self.is_read = False

    def resume_reading(self) -> None:
        self.events.append("read on")
        self.is_read = True


class NoHeads(KnownHeads):
    """Knows none."""

    def find(self, data: bytes) -> Head | None:
        return None


class Listener:
    """Connections that share the heads which were parsed on them."""

    def __init__(self, front: Front | AdminFront, *, knows_heads: bool = True) -> None:
        self._front = front
        self._protocol = payment_protocol(front)
        if not knows_heads:
            self._protocol.heads = NoHeads(0)

    @property
    def heads(self) -> KnownHeads:
        return self._protocol.heads

    def connect(self) -> tuple[PaymentProtocol, Wire, Ears]:
        """A connection; needs a running loop."""
        wire = Wire()
        protocol = connection_over(wire, self._front, self._protocol)
        ears = protocol.parser = Ears(protocol.parser)
        return protocol, wire, ears

    async def answers(self, *reads: bytes) -> tuple[list[str], int]:
        """What happens on a new connection that brings so much, and how much of it the parser is given."""
        protocol, wire, ears = self.connect()
        for read in reads:
            protocol.data_received(read)
            await settled()
        protocol.connection_lost(None)
        return wire.events, ears.heard


async def settled() -> None:
    """Until all that can be answered is answered: the longest way, through the application, takes some ten turns."""
    for _ in range(40):
        await asyncio.sleep(0)


def echo(path: str, headers: list[tuple[bytes, bytes]], body: bytes, peer: str, has_left: object = None) -> Reply | Awaitable[Reply]:
    """Says what it was asked: at once, or a little later where the body says so."""
    reply = Reply(200, (), repr((path, headers, body, peer)).encode())

    async def later() -> Reply:
        for _ in range(3):
            await asyncio.sleep(0)
        return reply

    return later() if body.startswith(b"later") else reply


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as one:
        yield one


@pytest.fixture(scope="module")
def front() -> Front:
    """Its paying routes are an echo."""
    one = create_app(parse_config(yaml.safe_dump(configuration()), {}))
    one.respond = echo
    one.paying.respond = echo  # type: ignore[method-assign, assignment]
    return one


def whole(body: bytes = b"[]", *lines: str, start: str = f"POST {PAY} HTTP/1.1", length: int | None = None) -> bytes:
    head = [start, "Host: localhost", f"Content-Length: {len(body) if length is None else length}", *lines]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


# --- which are known ---


async def test_a_head_is_parsed_once_and_means_the_same_on_every_connection(front: Front) -> None:
    lines = ("User-Agent: Go-http-client/1.1", "content-type: application/json", "Accept-Encoding: gzip", "Connection: keep-alive")
    first, second = whole(b"first!", *lines), whole(b"second", *lines)
    listener = Listener(front)
    assert await listener.answers(first) == (await Listener(front).answers(first))
    events, heard = await listener.answers(second, first)
    assert heard == 0
    assert events == (await Listener(front, knows_heads=False).answers(second, first))[0]
    assert [("second" in event, "first!" in event) for event in events] == [(True, False), (False, True), (False, False)]
    assert all("('content-type', 'application/json')" in event.replace("b'", "'") for event in events[:2])


async def test_of_a_request_only_its_head_is_kept(front: Front) -> None:
    listener = Listener(front)
    await listener.answers(whole(b"the body"))
    head = listener.heads.find(whole(b"........"))
    assert head is not None
    assert "the body" not in repr(head)


@pytest.mark.parametrize(
    "line",
    [
        "Authorization: Bearer secret",
        "X-Api-Key: secret",
        "COOKIE: a=secret",
        "Signer-Auth-Id: secret",
        "X-Forwarded-For: 192.0.2.1",
        "X-Request-Id: one",
        "Origin: http://localhost",
        "Sec-Fetch-Site: same-origin",
        "Expect: 100-continue",
        "Upgrade: h2c",
        "Secret: a",
    ],
)
async def test_a_head_with_any_other_header_is_parsed_each_time(front: Front, line: str) -> None:
    """A credential stays in memory for as long as its request is in work."""
    listener, raw = Listener(front), whole(b"[]", line)
    first = await listener.answers(raw)
    assert listener.heads.find(raw) is None
    assert await listener.answers(raw) == first
    assert first[1] == len(raw)
    assert first[0][0].startswith("HTTP/1.1 200 ")


@pytest.mark.parametrize(
    "raw",
    [
        whole(b"[]", "Connection: close"),
        whole(start=f"POST {PAY} HTTP/1.0"),
        whole(start=f"GET {PAY} HTTP/1.1"),
        whole(start=f"POST {PAY}?a=secret HTTP/1.1"),
        whole(start="POST /nothing HTTP/1.1"),
        whole(b"{}", start="POST /sign-orchestrator-info HTTP/1.1"),
        whole().replace(b"localhost", b"page.example"),
        whole() + b"\r\n",
        whole() + whole(),
        whole(b"[] ", length=2),
        f"POST {PAY} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n[]\r\n0\r\n\r\n".encode(),
        b"\r\n\r\n" + whole(),
        whole(b"[]", "Accept: " + "a" * MAX_HEAD_BYTES),
        whole(b"1" * 20 * KIB),
        whole(b"[]", "Connection: upgrade", "Upgrade: secret"),
    ],
    ids=[
        "close",
        "1.0",
        "GET",
        "query",
        "nothing",
        "other",
        "host",
        "junk",
        "glued",
        "rest",
        "chunked",
        "before",
        "head",
        "large",
        "offer",
    ],
)
async def test_what_is_no_usual_payment_alone_is_parsed_each_time(front: Front, raw: bytes) -> None:
    listener = Listener(front)
    first = await listener.answers(raw)
    assert listener.heads.find(raw) is None
    assert await listener.answers(raw) == first
    assert first[1] == len(raw)


async def test_while_draining_no_head_is_learned_and_a_known_one_ends_its_connection(front: Front) -> None:
    listener = Listener(front)
    for is_known in (False, False, True):
        if is_known:
            await listener.answers(whole())
        protocol, wire, ears = listener.connect()
        protocol.drain()
        protocol.data_received(whole())
        await settled()
        protocol.connection_lost(None)
        assert "connection: close" in wire.events[0]
        assert "half closed" in wire.events
        assert ears.heard == (0 if is_known else len(whole()))


async def test_those_that_were_learned_last_are_known_and_there_are_not_many(front: Front) -> None:
    listener = Listener(front)
    raws = [whole(b"[]", f"User-Agent: {number}") for number in range(3 * MAX_HEADS)]
    protocol, _, _ = listener.connect()
    for raw in raws:
        protocol.data_received(raw)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    protocol.connection_lost(None)
    known = [listener.heads.find(raw) is not None for raw in raws]
    assert all(known[-MAX_HEADS:])
    assert sum(known) <= 2 * MAX_HEADS


# --- what comes after a head is known ---


@pytest.mark.parametrize(
    "reads",
    [
        [whole(b"[1]", length=2)],
        [whole(b"[", length=2)],
        [whole(b"[", length=2), b"]"],
        [whole() + whole()],
        [whole()[:9], whole()[9:]],
        [whole()[:-4], whole()[-4:]],
        [whole(b"", length=2), b"[]"],
        [b"\r\n" + whole()],
    ],
    ids=["longer", "shorter", "two reads", "glued", "split head", "split end", "head alone", "line before"],
)
async def test_what_is_not_exactly_a_request_that_is_known_is_parsed(front: Front, reads: list[bytes]) -> None:
    listener = Listener(front)
    await listener.answers(whole())
    assert listener.heads.find(whole()) is not None
    events, heard = await listener.answers(*reads)
    assert heard == sum(map(len, reads))
    assert events == (await Listener(front, knows_heads=False).answers(*reads))[0]


async def test_a_known_request_behind_one_that_is_not_answered_yet_or_in_its_middle_is_parsed(front: Front) -> None:
    listener = Listener(front)
    await listener.answers(whole())
    for before in (whole(b"later"), whole(b"", length=100), b"GET /healthz HTTP/1.1\r\n"):
        protocol, _, ears = listener.connect()
        protocol.data_received(before)
        protocol.data_received(whole())
        assert ears.heard == len(before) + len(whole())
        await settled()
        protocol.connection_lost(None)


async def test_a_known_request_of_a_client_that_takes_no_replies_waits(front: Front) -> None:
    listener = Listener(front)
    await listener.answers(whole())
    protocol, wire, ears = listener.connect()
    protocol.pause_writing()
    protocol.data_received(whole())
    await settled()
    assert ears.heard == len(whole())
    assert not wire.events
    protocol.resume_writing()
    await settled()
    assert wire.events[0].startswith("HTTP/1.1 200 ")
    protocol.connection_lost(None)


# --- whatever comes ---

REQUESTS = [
    whole(),
    whole(b"{}"),
    whole(b"later"),
    whole(b"again"),
    whole(b"[]", "Accept: */*"),
    whole(b"[]", "Authorization: Bearer secret"),
    whole(b"[]", "Connection: close"),
    whole(b"[]", "Connection: upgrade", "Upgrade: h2c"),
    whole(b"[]", "Expect: 100-continue"),
    whole(b"[]", "Origin: https://page.example"),
    whole(b"[]", start=f"POST {PAY} HTTP/1.0"),
    whole(b"[]", start="POST /signTicket HTTP/1.1"),
    whole(b"[] ", length=2),
    whole(b"[", length=2),
    whole(b"\r\n" * 40),
    whole(b"1" * 20 * KIB),
    b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"HEAD /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n",
    f"POST {PAY} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n[]\r\n0\r\n\r\n".encode(),
    b"\r\n",
    b"P",
]
READS = st.tuples(
    st.just("read"),
    st.lists(st.sampled_from([*REQUESTS, *REQUESTS[:4]]), min_size=1, max_size=3).map(b"".join) | st.sampled_from(REQUESTS[:5]),
)
CUT_READS = st.tuples(st.just("read"), st.builds(lambda raw, at: raw[:at], st.sampled_from(REQUESTS), st.integers(1, 90)))
OTHER_STEPS = st.tuples(st.sampled_from(["turn", "settle", "settle", "drain", "pause", "resume", "eof"]), st.just(b""))
STEPS = st.lists(st.tuples(st.integers(0, 1), READS | READS | CUT_READS | OTHER_STEPS), min_size=1, max_size=12)


async def do(step: str, raw: bytes, protocol: PaymentProtocol, wire: Wire) -> None:
    """One thing that can happen to a connection; what comes where nothing is read is not brought."""
    if step == "read" and wire.is_read and not wire.is_ended:
        protocol.data_received(raw)
    elif step == "drain":
        protocol.drain()
    elif step == "pause":
        protocol.pause_writing()
    elif step == "resume":
        protocol.resume_writing()
    elif step == "eof" and not protocol.eof_received():
        wire.close()
    elif step == "turn":
        await asyncio.sleep(0)
    elif step == "settle":
        await settled()


@settings(max_examples=250)
@given(steps=STEPS)
@example(steps=[(0, ("read", whole(b"[]")[:-1])), (0, ("read", whole())), (0, ("read", b"]"))])
def test_whatever_comes_is_answered_as_if_no_head_were_known(
    front: Front, runner: asyncio.Runner, steps: list[tuple[int, tuple[str, bytes]]]
) -> None:
    async def happens(*, knows_heads: bool) -> list[tuple[list[str], bool]]:
        listener = Listener(front, knows_heads=knows_heads)
        for raw in (whole(), whole(b"later")):
            await listener.answers(raw)
        connections = [listener.connect()[:2] for _ in range(2)]
        for number, (step, raw) in steps:
            await do(step, raw, *connections[number])
        await settled()
        ends = [(wire.events.copy(), protocol.deadline is None) for protocol, wire in connections]
        for protocol, _ in connections:
            protocol.connection_lost(None)
        await settled()
        return ends

    assert runner.run(happens(knows_heads=True)) == runner.run(happens(knows_heads=False))
