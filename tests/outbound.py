"""Whom the signer asks over HTTP, with a private authority, TLS of all kinds and a proxy between them; and its own five clients."""

from __future__ import annotations

import asyncio
import json
import ssl
import subprocess
from base64 import b64decode
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from livepeer_remote_signer.adapters.auth.jwt import JwksKeys
from livepeer_remote_signer.adapters.auth.webhook import WebhookAuthorizer
from livepeer_remote_signer.adapters.chain.json_rpc import JsonRpc, RpcRequest, open_client
from livepeer_remote_signer.adapters.discovery.asking import fetch_pool
from livepeer_remote_signer.adapters.events.http import HttpSink
from livepeer_remote_signer.adapters.outbound import Outbound
from livepeer_remote_signer.core.rules.policy import ANONYMOUS, Caller
from livepeer_remote_signer.core.rules.trail import Trail
from tests.adapters.events.making import make_event
from tests.issuer import RSA_KEY, jwk
from tests.plans import plan_payment


class Authority:
    """A private one: its own certificate stands in `file`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "an authority within the house")])
        self._own = self._signed(self._name, self._key, is_authority=True)
        self.file = folder / "authority.pem"
        self.file.write_bytes(self._own.public_bytes(serialization.Encoding.PEM))
        asked = ["openssl", "x509", "-hash", "-noout", "-in", str(self.file)]
        self.hash = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
        """What OpenSSL looks for in a folder of authorities."""

    def context(self, name: str = "127.0.0.1", *, ended: bool = False, wants_certificate: bool = False) -> ssl.SSLContext:
        """What a server for this name speaks TLS with."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._signed(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]), key, name=name, ended=ended)
        chain = self._folder / f"{certificate.serial_number}.pem"
        private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        chain.write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + private)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain)
        if wants_certificate:
            context.verify_mode = ssl.CERT_REQUIRED
            context.maximum_version = ssl.TLSVersion.TLSv1_2  # later ones end the connection after the handshake, perhaps without a word
            context.load_verify_locations(self.file)
        return context

    def _signed(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, *, name: str = "", is_authority: bool = False, ended: bool = False
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=10))
            .not_valid_after(now + timedelta(days=-1 if ended else 1))
            .add_extension(x509.BasicConstraints(is_authority, None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .add_extension(
                x509.KeyUsage(not is_authority, False, False, False, False, is_authority, is_authority, False, False), critical=True
            )
        )
        if name:
            alternative = x509.IPAddress(ip_address(name)) if name[0].isdigit() else x509.DNSName(name)
            builder = builder.add_extension(x509.SubjectAlternativeName([alternative]), critical=False)
        return builder.sign(self._key, hashes.SHA256())


ANSWERS = {
    "rpc": [{"jsonrpc": "2.0", "id": 0, "result": "0x1"}],
    "webhook": {"status": 200},
    "jwks": {"keys": [jwk(RSA_KEY, "r1")]},
    "discovery": [{"address": "https://a.example:1"}],
    "sink": {},
}
"""What each of the five is told, at the path of its name."""


@asynccontextmanager
async def answering(tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """A server on 127.0.0.1 that answers ANSWERS. Its base URL."""
    writers: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.add(writer)
        with suppress(asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            first = await reader.readexactly(1)
            if not first.isalpha():  # a client that speaks TLS to us
                writer.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
                first = b""
            while first:
                head = (first + await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
                if "content-length: " in head:
                    await reader.readexactly(int(head.split("content-length: ")[1].split("\r\n")[0]))
                name = head.split(" ")[1].rpartition("/")[2]
                body = json.dumps(ANSWERS[name]).encode()
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
                await writer.drain()
                first = await reader.readexactly(1)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()
        await asyncio.sleep(0)


class Proxy:
    """Notes whom it connected to, and who asked. `refuses` with this status instead."""

    def __init__(self) -> None:
        self.targets: list[str] = []
        self.users: list[str] = []
        self.refuses = 0
        self.address = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection: a tunnel, or one request that is handed on."""
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            head = await reader.readuntil(b"\r\n\r\n")
            method, target, _ = head.split(b"\r\n")[0].decode().split(" ")
            credentials = [
                line.split(" ")[-1] for line in head.decode("latin-1").split("\r\n") if line.lower().startswith("proxy-authorization")
            ]
            self.users += [b64decode(text).decode() for text in credentials]
            host = target if method == "CONNECT" else target.split("/")[2]
            self.targets.append(f"{method} {host}")
            if self.refuses:
                writer.write(f"HTTP/1.1 {self.refuses} no\r\ncontent-length: 0\r\n\r\n".encode())
            else:
                name, _, port = host.rpartition(":")
                behind_reader, behind_writer = await asyncio.open_connection(name, int(port))
                if method == "CONNECT":
                    writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                else:
                    behind_writer.write(head)
                await asyncio.gather(_copy(reader, behind_writer), _copy(behind_reader, writer))
        writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()


@asynccontextmanager
async def proxying(tls: ssl.SSLContext | None = None) -> AsyncIterator[Proxy]:
    """A proxy on a free port of 127.0.0.1."""
    proxy = Proxy()
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0, ssl=tls)
    proxy.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield proxy
    finally:
        server.close()
        await asyncio.sleep(0.01)


async def ask_rpc(base: str, outbound: Outbound) -> None:
    """An Ethereum endpoint. Raises RpcFault."""
    async with open_client(outbound) as client:
        assert await JsonRpc(client, f"{base}/rpc", 0).batch([RpcRequest("eth_chainId", [])], 5) == ["0x1"]


async def ask_webhook(base: str, outbound: Outbound) -> None:
    """The authorization webhook. Raises AuthFailed."""
    webhook = WebhookAuthorizer(f"{base}/webhook", timeout_seconds=5, outbound=outbound)
    try:
        trail = Trail("/r", "r1", "", asyncio.get_running_loop().time)
        assert (await webhook.authorize(Caller(()), ANONYMOUS, plan_payment(), trail)).status == 200
    finally:
        await webhook.aclose()


async def ask_issuer(base: str, outbound: Outbound) -> None:
    """A token issuer's keys. Raises AuthFailed; why stands in the log."""
    keys = JwksKeys(base, f"{base}/jwks", outbound=outbound)
    try:
        assert await keys.find("r1", "RS256") is not None
    finally:
        await keys.aclose()


async def ask_discovery(base: str, outbound: Outbound) -> None:
    """The discovery webhook. Raises ConnectionError with the fault that it would tell."""
    pool = await fetch_pool(f"{base}/discovery", outbound)
    if pool.urls is None:
        raise ConnectionError(pool.fault)
    assert pool.urls == ("https://a.example:1",)


async def ask_sink(base: str, outbound: Outbound) -> None:
    """A receiver of events. Raises SinkError."""
    sink = HttpSink(f"{base}/sink", timeout_seconds=5, outbound=outbound)
    try:
        await sink.publish([make_event()])
    finally:
        await sink.aclose()


ASKING: dict[str, Callable[[str, Outbound], Awaitable[None]]] = {
    "rpc": ask_rpc,
    "webhook": ask_webhook,
    "jwks": ask_issuer,
    "discovery": ask_discovery,
    "sink": ask_sink,
}
