"""Orchestrators over real gRPC and TLS on loopback: trust, address policy, bounds, reuse."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import logging
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from livepeer_remote_signer.adapters.orchestrators import OrchestratorClient
from livepeer_remote_signer.core.errors import AddressRefused, BadCapabilities, BadField, OrchestratorUnreachable
from livepeer_remote_signer.core.protocol.eip191 import orchestrator_info_message
from livepeer_remote_signer.core.rules.addresses import AddressPolicy
from livepeer_remote_signer.proto import net_pb2
from tests.signing import PlainKey
from tests.simulators import Answers, Chain, Clock, HttpRequest, Network, Offer, Orchestrator, answers_of, url_of

KEY = PlainKey(bytes([7]) * 32)


@pytest.fixture
async def network() -> AsyncIterator[Network]:
    async with Network() as network:
        yield network


@dataclass
class Names:
    """A resolver whose answers are given, one a question; the last one stays."""

    answers: list[Sequence[str]]
    asked: int = 0

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked += 1
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def client(**changes: Any) -> OrchestratorClient:
    options: dict[str, Any] = {
        "sender": KEY.address,
        "signature": KEY.sign_personal(orchestrator_info_message(KEY.address)),
        "addresses": AddressPolicy(allow_private=True),
        "timeout_seconds": 3.0,
    }
    return OrchestratorClient(**options | changes)


def orchestrator() -> Orchestrator:
    return Orchestrator(Clock(), Chain(), Offer(1000))


def answering(raw: bytes, body: bytes = b"[]", status: int = 200) -> Answers:
    async def grpc(_: bytes) -> bytes:
        return raw

    async def http(_: HttpRequest) -> tuple[int, bytes]:
        return status, body

    return Answers(grpc, http)


async def restarted(network: Network, old: asyncio.Server, answers: Answers) -> None:
    """Another server, with another certificate, on the port of the old one."""
    port = old.sockets[0].getsockname()[1]
    old.close()
    await network.hang_up()
    await network.host(answers, port=port)


async def test_the_reply_is_the_orchestrators_info_and_the_connection_is_used_again(network: Network) -> None:
    node = orchestrator()
    await network.host_orchestrator(node)
    asking = client()
    for _ in range(3):
        info = net_pb2.OrchestratorInfo.FromString(await asking.fetch_orchestrator_info(node.url))
        assert info.address == node.address
        assert node.sessions[info.auth_token.session_id] == KEY.address
    assert network.connections == 1
    await asking.aclose()


async def test_capabilities_and_capacity_flag_are_forwarded(network: Network) -> None:
    seen: list[net_pb2.OrchestratorRequest] = []
    reply = net_pb2.OrchestratorInfo(address=b"\1" * 20).SerializeToString()

    async def grpc(raw: bytes) -> bytes:
        seen.append(net_pb2.OrchestratorRequest.FromString(raw))
        return reply

    server = await network.host(Answers(grpc, answering(b"").http))
    capabilities = net_pb2.Capabilities(bitstring=[8], version="0.9")
    asking = client()
    await asking.fetch_orchestrator_info(url_of(server), capabilities.SerializeToString(), ignore_capacity_check=True)
    await asking.fetch_orchestrator_info(url_of(server))
    assert seen[0].capabilities == capabilities
    assert [request.ignoreCapacityCheck for request in seen] == [True, False]
    assert not seen[1].HasField("capabilities")
    with pytest.raises(BadCapabilities):
        await asking.fetch_orchestrator_info(url_of(server), b"\xff\xff")
    await asking.aclose()


async def test_a_new_certificate_is_pinned_with_a_warning_when_the_address_stays(
    network: Network, caplog: pytest.LogCaptureFixture
) -> None:
    node = orchestrator()
    server = await network.host_orchestrator(node)
    asking = client()
    await asking.fetch_orchestrator_info(node.url)
    await restarted(network, server, answers_of(node))
    with caplog.at_level(logging.WARNING):
        await asking.fetch_orchestrator_info(node.url)
        await asking.fetch_orchestrator_info(node.url)
    assert [r.message for r in caplog.records if "certificate of orchestrator" in r.message and node.address.hex() in r.message]
    assert len([r for r in caplog.records if "certificate" in r.message]) == 1
    await asking.aclose()


async def test_a_new_certificate_with_another_address_is_refused(network: Network) -> None:
    node = orchestrator()
    server = await network.host_orchestrator(node)
    asking = client()
    await asking.fetch_orchestrator_info(node.url)
    await restarted(network, server, answers_of(orchestrator()))
    for _ in range(2):
        with pytest.raises(OrchestratorUnreachable, match=r"certificate of .* changed"):
            await asking.fetch_orchestrator_info(node.url)
    await asking.aclose()


async def test_pin_strict_refuses_a_new_certificate_before_anything_is_sent(network: Network) -> None:
    node = orchestrator()
    server = await network.host_orchestrator(node)
    asking = client(tls="pin-strict")
    await asking.fetch_orchestrator_info(node.url)
    await restarted(network, server, answers_of(node))
    calls = network.calls
    with pytest.raises(OrchestratorUnreachable, match="not the pinned one"):
        await asking.fetch_orchestrator_info(node.url)
    assert network.calls == calls
    await asking.aclose()


async def test_pin_strict_answers_again_and_again_on_new_connections_to_the_pinned_certificate(network: Network) -> None:
    node = orchestrator()
    await network.host_orchestrator(node)
    asking = client(tls="pin-strict")
    for connections in (1, 2, 3):
        info = net_pb2.OrchestratorInfo.FromString(await asking.fetch_orchestrator_info(node.url))
        assert info.address == node.address
        assert network.connections == connections
        await network.hang_up()
    await asking.aclose()


async def test_the_system_policy_refuses_self_signed_certificates(network: Network) -> None:
    node = orchestrator()
    await network.host_orchestrator(node)
    asking = client(tls="system")
    with pytest.raises(OrchestratorUnreachable, match="TLS failed"):
        await asking.fetch_orchestrator_info(node.url)
    with pytest.raises(OrchestratorUnreachable):
        await asking.fetch_discovery(node.url)
    assert network.calls == 0
    await asking.aclose()


async def test_the_system_policy_takes_a_certificate_it_can_verify_by_name(
    network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await network.host(answers_of(orchestrator()), name="orch.example")
    port = server.sockets[0].getsockname()[1]
    authority = tmp_path / "ca.pem"
    authority.write_text(await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", port)))
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    asking = client(tls="system", resolve=Names([["127.0.0.1"]]))
    assert await asking.fetch_orchestrator_info(f"https://orch.example:{port}")
    assert b"runners" in await asking.fetch_discovery(f"https://orch.example:{port}")
    with pytest.raises(OrchestratorUnreachable, match="TLS failed"):
        await asking.fetch_orchestrator_info(f"https://other.example:{port}")
    await asking.aclose()


async def test_a_discovery_without_a_length_ends_with_its_connection() -> None:
    for answer, outcome in (
        (b"HTTP/1.1 200 OK\r\n\r\n[1]", b"[1]"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n[1]", "hung up"),
        (b"", "hung up"),
        (b"SMTP ready\r\n", "not HTTP"),
        (b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 500_000, "more than"),
    ):

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: bytes = answer) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            with contextlib.suppress(ConnectionError):
                await writer.drain()
            writer.close()

        async with Network() as network:
            server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=network.certificate("127.0.0.1"))
            asking = client()
            if isinstance(outcome, bytes):
                assert await asking.fetch_discovery(url_of(server)) == outcome
            else:
                with pytest.raises(OrchestratorUnreachable, match=outcome):
                    await asking.fetch_discovery(url_of(server))
            await asking.aclose()
            server.close()


async def test_loopback_is_refused_by_default_by_number_and_by_name(network: Network) -> None:
    node = orchestrator()
    server = await network.host_orchestrator(node)
    port = server.sockets[0].getsockname()[1]
    asking = client(addresses=AddressPolicy(), resolve=Names([["127.0.0.1"]]))
    for url in (node.url, f"https://orch.example:{port}"):
        with pytest.raises(AddressRefused):
            await asking.fetch_orchestrator_info(url)
        with pytest.raises(AddressRefused):
            await asking.fetch_discovery(url)
    assert network.connections == 0
    await asking.aclose()


async def test_a_name_that_changes_between_check_and_dial_has_no_second_chance(network: Network) -> None:
    """The name first stands for a granted address, where nobody listens, then for 127.0.0.1, which is not granted."""
    server = await network.host_orchestrator(orchestrator())
    url = f"https://orch.example:{server.sockets[0].getsockname()[1]}"
    names = Names([["127.0.0.2"], ["127.0.0.1"]])
    asking = client(addresses=AddressPolicy(networks=(ip_network("127.0.0.2/32"),)), resolve=names)
    with pytest.raises(OrchestratorUnreachable, match=r"127\.0\.0\.2"):
        await asking.fetch_orchestrator_info(url)
    assert names.asked == 1
    with pytest.raises(AddressRefused, match=r"127\.0\.0\.1"):
        await asking.fetch_discovery(url)
    assert network.connections == 0
    await asking.aclose()


async def test_a_name_is_dialled_at_the_checked_address(network: Network) -> None:
    node = orchestrator()
    server = await network.host_orchestrator(node)
    names = Names([["127.0.0.1"]])
    asking = client(resolve=names)
    url = f"https://orch.example:{server.sockets[0].getsockname()[1]}"
    assert net_pb2.OrchestratorInfo.FromString(await asking.fetch_orchestrator_info(url)).address == node.address
    assert b"runners" in await asking.fetch_discovery(url)
    assert names.asked == 2
    await asking.aclose()


async def test_a_slow_orchestrator_costs_its_budget_and_no_more(network: Network) -> None:
    async def grpc(_: bytes) -> bytes:
        await asyncio.sleep(30)
        return b""

    server = await network.host(Answers(grpc, answering(b"").http))
    asking = client(timeout_seconds=0.3)
    loop = asyncio.get_running_loop()
    started = loop.time()
    with pytest.raises(OrchestratorUnreachable, match=r"within 0\.3 s"):
        await asking.fetch_orchestrator_info(url_of(server))
    assert loop.time() - started < 10
    await asking.aclose()


async def test_a_port_that_accepts_and_says_nothing_costs_the_budget() -> None:
    writers: list[asyncio.StreamWriter] = []
    silent = await asyncio.start_server(lambda _, writer: writers.append(writer), "127.0.0.1", 0)
    asking = client(timeout_seconds=0.3)
    with pytest.raises(OrchestratorUnreachable, match=r"within 0\.3 s"):
        await asking.fetch_orchestrator_info(f"https://127.0.0.1:{silent.sockets[0].getsockname()[1]}")
    for writer in writers:
        writer.transport.abort()
    silent.close()
    await asking.aclose()


async def test_one_callers_time_out_does_not_end_another_callers_answer(network: Network) -> None:
    release = asyncio.Event()
    reply = net_pb2.OrchestratorInfo(address=b"\1" * 20).SerializeToString()

    async def grpc(_: bytes) -> bytes:
        await release.wait()
        return reply

    server = await network.host(Answers(grpc, answering(b"").http))
    asking = client(timeout_seconds=4.0)
    first = asyncio.create_task(asking.fetch_orchestrator_info(url_of(server)))
    await asyncio.sleep(2)
    second = asyncio.create_task(asking.fetch_orchestrator_info(url_of(server)))
    with pytest.raises(OrchestratorUnreachable):
        await first
    release.set()
    assert await second == reply
    await asking.aclose()


@pytest.mark.parametrize("raw", [b"\xff\xff\xff", b"\x0a\xff" * 3])
async def test_a_reply_that_is_no_orchestrator_info_is_refused(network: Network, raw: bytes) -> None:
    server = await network.host(answering(raw))
    asking = client()
    with pytest.raises(OrchestratorUnreachable, match="something else"):
        await asking.fetch_orchestrator_info(url_of(server))
    await asking.aclose()


async def test_a_reply_above_the_size_limit_is_refused(network: Network) -> None:
    server = await network.host(answering(net_pb2.OrchestratorInfo(nodes=["x" * 1024] * 2048).SerializeToString()))
    asking = client()
    with pytest.raises(OrchestratorUnreachable, match="RESOURCE_EXHAUSTED"):
        await asking.fetch_orchestrator_info(url_of(server))
    await asking.aclose()


def h2_frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def h2_header(name: bytes, value: bytes) -> bytes:
    return b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value


async def end_well_without_a_message(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """HTTP/2 by hand, as no gRPC server would: settings, then trailers with status 0 and nothing before them."""
    await reader.read(65536)
    trailers = b"\x88" + h2_header(b"content-type", b"application/grpc") + h2_header(b"grpc-status", b"0")
    writer.write(h2_frame(4, 0, 0) + h2_frame(4, 1, 0))
    await asyncio.sleep(0.1)
    writer.write(h2_frame(1, 5, 1, trailers))
    with contextlib.suppress(ConnectionError):
        while await reader.read(65536):
            pass
    writer.close()


async def test_success_without_a_message_is_no_answer(network: Network) -> None:
    certificate = network.certificate("127.0.0.1")
    certificate.set_alpn_protocols(["h2"])
    server = await asyncio.start_server(end_well_without_a_message, "127.0.0.1", 0, ssl=certificate)
    asking = client()
    with pytest.raises(OrchestratorUnreachable, match="sent no message"):
        await asking.fetch_orchestrator_info(url_of(server))
    await asking.aclose()
    server.close()


async def test_an_orchestrators_own_words_are_cleaned_and_cut(network: Network) -> None:
    node = orchestrator()
    await network.host_orchestrator(node)
    asking = client(signature=bytes(65))
    with pytest.raises(OrchestratorUnreachable, match="PERMISSION_DENIED: orchestrator-info request") as caught:
        await asking.fetch_orchestrator_info(node.url)
    assert len(caught.value.message) < 400
    await asking.aclose()


async def test_what_does_not_listen_or_resolve_is_unreachable() -> None:
    asking = client(resolve=Names([[]]))
    with pytest.raises(OrchestratorUnreachable, match="does not resolve"):
        await asking.fetch_orchestrator_info("https://orch.example:8935")
    with pytest.raises(OrchestratorUnreachable, match="cannot be reached"):
        await asking.fetch_orchestrator_info("https://127.0.0.1:1")
    with pytest.raises(OrchestratorUnreachable):
        await asking.fetch_discovery("https://127.0.0.1:1")
    with pytest.raises(BadField):
        await asking.fetch_orchestrator_info("http://127.0.0.1:8935")
    await asking.aclose()


async def test_the_system_resolver_is_asked_for_names() -> None:
    asking = client(addresses=AddressPolicy())
    with pytest.raises(AddressRefused, match="localhost"):
        await asking.fetch_orchestrator_info("https://localhost:8935")
    await asking.aclose()


async def test_an_address_that_swallows_everything_does_not_use_up_the_others_time(network: Network) -> None:
    server = await network.host_orchestrator(orchestrator())
    port = server.sockets[0].getsockname()[1]
    streams: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
    silent = await asyncio.start_server(lambda *pair: streams.append(pair), "127.0.0.2", port)
    asking = client(resolve=Names([["127.0.0.2", "127.0.0.1"]]), timeout_seconds=4.0)
    assert await asking.fetch_orchestrator_info(f"https://orch.example:{port}")
    assert b"runners" in await asking.fetch_discovery(f"https://orch.example:{port}")
    assert len(streams) == 2
    for reader, writer in streams:
        with contextlib.suppress(ConnectionError):
            await asyncio.wait_for(reader.read(), 20)  # given up: its connection has an end
        writer.transport.abort()
    silent.close()
    await asking.aclose()


async def test_every_address_that_fails_is_told_of() -> None:
    asking = client(resolve=Names([["127.0.0.1", "127.0.0.2"]]))
    with pytest.raises(OrchestratorUnreachable, match=r"127\.0\.0\.1: .*127\.0\.0\.2: "):
        await asking.fetch_orchestrator_info("https://orch.example:1")
    await asking.aclose()


async def test_no_more_connections_are_kept_than_the_bound(network: Network) -> None:
    nodes = [orchestrator() for _ in range(4)]
    for node in nodes:
        await network.host_orchestrator(node)
    asking = client(max_connections=2)
    for node in nodes:
        await asking.fetch_orchestrator_info(node.url)
    async with asyncio.timeout(20):
        while network.open_connections != 2:  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.05)
    await asking.aclose()


async def test_discovery_is_bounded_and_follows_no_redirect(network: Network) -> None:
    asking = client()
    for answers, reason in (
        (answering(b"", b"x" * (2 << 20)), "more than 1048576 bytes"),
        (answering(b"", b"{}", 302), "status 302"),
        (answering(b"", b"{}", 500), "status 500"),
    ):
        with pytest.raises(OrchestratorUnreachable, match=reason):
            await asking.fetch_discovery(url_of(await network.host(answers)))
    await asking.aclose()


async def test_a_compressed_discovery_is_not_unpacked() -> None:
    body = gzip.compress(b"[" + b" " * (64 << 20) + b"]")
    assert len(body) < 1 << 20

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()
        writer.close()

    async with Network() as network:
        server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=network.certificate("127.0.0.1"))
        asking = client()
        with pytest.raises(OrchestratorUnreachable, match="compressed"):
            await asking.fetch_discovery(url_of(server))
        await asking.aclose()
        server.close()


async def test_discovery_of_another_certificates_holder_is_refused(network: Network) -> None:
    node = orchestrator()
    server = await network.host_orchestrator(node)
    asking = client()
    await asking.fetch_orchestrator_info(node.url)
    await restarted(network, server, answers_of(node))
    with pytest.raises(OrchestratorUnreachable, match="not the pinned one"):
        await asking.fetch_discovery(node.url)
    await asking.aclose()


async def test_a_fresh_connection_that_breaks_is_told_at_once_and_not_tried_again(network: Network) -> None:
    asked = 0

    async def grpc(_: bytes) -> bytes:
        nonlocal asked
        asked += 1
        await network.hang_up()
        return b""

    server = await network.host(Answers(grpc, answering(b"").http))
    asking = client()
    for number in (1, 2):
        with pytest.raises(OrchestratorUnreachable, match="UNAVAILABLE"):
            await asking.fetch_orchestrator_info(url_of(server))
        assert asked == number
    await asking.aclose()


async def test_a_connection_on_which_an_orchestrator_refused_is_ended(network: Network) -> None:
    node = orchestrator()
    await network.host_orchestrator(node)
    asking = client(signature=bytes(65))
    with pytest.raises(OrchestratorUnreachable, match="PERMISSION_DENIED"):
        await asking.fetch_orchestrator_info(node.url)
    await until(lambda: network.open_connections == 0)
    await asking.aclose()


async def test_those_who_want_one_orchestrator_at_the_same_time_share_a_connection(network: Network) -> None:
    node = orchestrator()
    await network.host_orchestrator(node)
    asking = client()
    await asyncio.gather(*(asking.fetch_orchestrator_info(node.url) for _ in range(5)))
    assert network.connections == 1
    await asking.aclose()


async def test_the_connection_that_was_used_longest_ago_makes_room(network: Network) -> None:
    nodes = [orchestrator() for _ in range(3)]
    for node in nodes:
        await network.host_orchestrator(node)
    asking = client(max_connections=2)
    for node in (nodes[0], nodes[1], nodes[0], nodes[2], nodes[0]):
        await asking.fetch_orchestrator_info(node.url)
    assert network.connections == 3
    await asking.aclose()


async def until(holds: Callable[[], bool]) -> None:
    """Waits for a condition."""
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.01)
