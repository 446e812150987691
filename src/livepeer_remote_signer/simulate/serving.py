"""Puts simulated orchestrators on the network as real ones are: one TLS port, gRPC and HTTP/1.1 side by side.

The certificate is self-signed and made anew at each start, without a subject, with the host as its only name, as
go-livepeer's is. TLS ends here; ALPN tells gRPC from HTTP. gRPC goes on to one plain gRPC server on loopback that all
orchestrators of the process share: it knows whom a call is for by the connection that the call came over.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import json
import ssl
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import grpc
import httptools
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from livepeer_remote_signer.proto import net_pb2
from livepeer_remote_signer.simulate.orchestrator import Orchestrator
from livepeer_remote_signer.simulate.recipient import PaymentRefused

_CHUNK = 65536


class HttpRequest(NamedTuple):
    """A request to the HTTP side; header names in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]


class Answers(NamedTuple):
    """How a host behaves: serialized messages for gRPC, (status, body) for HTTP."""

    grpc: Callable[[bytes], Awaitable[bytes]]
    http: Callable[[HttpRequest], Awaitable[tuple[int, bytes]]]


def answers_of(orchestrator: Orchestrator) -> Answers:
    """The honest behaviour: GetOrchestrator, `POST /payment`, `GET /discovery`."""

    async def get_orchestrator(raw: bytes) -> bytes:
        return orchestrator.get_info(net_pb2.OrchestratorRequest.FromString(raw)).SerializeToString()

    async def http(request: HttpRequest) -> tuple[int, bytes]:
        if (request.method, request.path) == ("GET", "/discovery"):
            return 200, json.dumps(orchestrator.discovery()).encode()
        if (request.method, request.path) == ("POST", "/payment"):
            try:
                _, result = orchestrator.take_payment(
                    request.headers.get("livepeer-payment", ""), request.headers.get("livepeer-segment", "")
                )
            except PaymentRefused as error:
                return 400, str(error).encode()
            return 200, result
        return 404, b"no such route"

    return Answers(get_orchestrator, http)


def make_certificate(host: str, directory: Path) -> ssl.SSLContext:
    """A server context with a fresh self-signed certificate for `host`."""
    key = ec.generate_private_key(ec.SECP256R1())
    nobody = x509.Name([])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(nobody)
        .issuer_name(nobody)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=365))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=True)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = directory / f"{certificate.serial_number:x}.pem"
    file.touch(0o600)
    file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    context.set_alpn_protocols(["h2", "http/1.1"])
    file.unlink()
    return context


class Network:
    """The simulated orchestrators of one process. An async context manager; `host` puts one on a port of its own."""

    def __init__(self) -> None:
        self._grpc: Any = None
        self._grpc_port = 0
        self._hosts: list[asyncio.Server] = []
        self._by_peer: dict[str, Answers] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._directory = tempfile.TemporaryDirectory()
        self.calls = 0
        """How many GetOrchestrator calls were answered or refused."""
        self.connections = 0
        """How many connections were accepted."""

    async def __aenter__(self) -> Network:
        self._grpc = grpc.aio.server()
        handler = grpc.unary_unary_rpc_method_handler(self._answer_grpc)
        self._grpc.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("net.Orchestrator", {"GetOrchestrator": handler}),))
        self._grpc_port = self._grpc.add_insecure_port("127.0.0.1:0")
        await self._grpc.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for server in self._hosts:
            server.close()
        await self.hang_up()
        await self._grpc.stop(None)
        self._directory.cleanup()

    async def host(self, answers: Answers, *, name: str = "127.0.0.1", address: str = "127.0.0.1", port: int = 0) -> asyncio.Server:
        """Serves `answers` over TLS on an address of loopback; the port is the server's first socket's."""

        def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.connections += 1
            task = asyncio.get_running_loop().create_task(self._serve(answers, reader, writer))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        server = await asyncio.start_server(connected, address, port, ssl=self.certificate(name), limit=1 << 20)
        self._hosts.append(server)
        return server

    def certificate(self, name: str) -> ssl.SSLContext:
        """A server context with a fresh certificate."""
        return make_certificate(name, Path(self._directory.name))

    @property
    def open_connections(self) -> int:
        """How many connections are open now."""
        return len(self._tasks)

    async def hang_up(self) -> None:
        """Ends every open connection, as orchestrators that stop do."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def host_orchestrator(self, orchestrator: Orchestrator) -> asyncio.Server:
        """Serves an honest orchestrator, and tells it its URL."""
        server = await self.host(answers_of(orchestrator))
        orchestrator.url = url_of(server)
        return server

    async def _serve(self, answers: Answers, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if writer.get_extra_info("ssl_object").selected_alpn_protocol() == "h2":
                await self._serve_grpc(answers, reader, writer)
            else:
                await _serve_http(answers, reader, writer)
        except (OSError, asyncio.IncompleteReadError, httptools.HttpParserError):
            writer.transport.abort()  # the client went away or sent nonsense: only its own connection ends
        finally:
            writer.close()

    async def _serve_grpc(self, answers: Answers, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back_reader, back_writer = await asyncio.open_connection("127.0.0.1", self._grpc_port)
        peer = f"ipv4:127.0.0.1:{back_writer.get_extra_info('sockname')[1]}"
        self._by_peer[peer] = answers
        try:
            pumps = [asyncio.ensure_future(_pump(reader, back_writer)), asyncio.ensure_future(_pump(back_reader, writer))]
            try:
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pump in pumps:
                    pump.cancel()
                await asyncio.gather(*pumps, return_exceptions=True)
        finally:
            back_writer.close()
            del self._by_peer[peer]

    async def _answer_grpc(self, raw: bytes, context: Any) -> bytes:
        self.calls += 1
        try:
            return await self._by_peer[context.peer().replace("%3A", ":")].grpc(raw)
        except PaymentRefused as error:
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, str(error))
            raise


def url_of(server: asyncio.Server) -> str:
    """Where a hosted orchestrator is reached."""
    return f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(_CHUNK):
        writer.write(chunk)
        await writer.drain()


class _Parsed:
    """One HTTP request as httptools reports it."""

    def __init__(self) -> None:
        self.path = b""
        self.headers: dict[str, str] = {}
        self.complete = False

    def on_url(self, url: bytes) -> None:
        self.path += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_message_complete(self) -> None:
        self.complete = True


async def _serve_http(answers: Answers, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Requests one after another on one connection, each read whole before it is answered."""
    while True:
        parsed = _Parsed()
        parser = httptools.HttpRequestParser(parsed)
        while not parsed.complete:
            chunk = await reader.read(_CHUNK)
            if not chunk:
                return
            parser.feed_data(chunk)
        request = HttpRequest(parser.get_method().decode(), parsed.path.decode("latin-1"), parsed.headers)
        status, body = await answers.http(request)
        writer.write(f"HTTP/1.1 {status} -\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body)
        with contextlib.suppress(ConnectionResetError):
            await writer.drain()
