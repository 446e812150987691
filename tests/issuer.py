"""An OIDC issuer on a real socket, whose keys and documents a test can change."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import jwt as pyjwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa

RSA_KEY = rsa.generate_private_key(65537, 2048)
OTHER_RSA_KEY = rsa.generate_private_key(65537, 2048)
SMALL_RSA_KEY = rsa.generate_private_key(65537, 1024)
EC_KEY = ec.generate_private_key(ec.SECP256R1())
P384_KEY = ec.generate_private_key(ec.SECP384R1())
AUDIENCE = "signer"


def jwk(key: Any, kid: str | None, **more: str) -> dict[str, Any]:
    algorithm = pyjwt.algorithms.RSAAlgorithm if isinstance(key, rsa.RSAPrivateKey) else pyjwt.algorithms.ECAlgorithm
    entry: dict[str, Any] = json.loads(algorithm.to_jwk(key.public_key()))
    return {**entry, **({"kid": kid} if kid else {}), **more}


class Issuer:
    """An OIDC issuer on 127.0.0.1: what it publishes can be changed, and it counts how often it is asked."""

    def __init__(self) -> None:
        self.keys: list[dict[str, Any]] = [jwk(RSA_KEY, "r1"), jwk(EC_KEY, "e1")]
        self.documents: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.drip_seconds = 0.0
        """Between two bytes of every answer."""

        self.status = "200 OK"

        self.url = ""

    def token(self, key: Any = RSA_KEY, algorithm: str = "RS256", kid: str | None = "r1", **claims: Any) -> str:
        body = {"iss": self.url, "aud": AUDIENCE, "sub": "alice", "exp": int(time.time()) + 600, **claims}
        body = {name: value for name, value in body.items() if value is not None}
        return pyjwt.encode(body, key, algorithm, headers={"kid": kid} if kid else {})

    def answer(self, path: str) -> bytes | None:
        if path in self.documents:
            return self.documents[path]
        if path == "/.well-known/openid-configuration":
            return json.dumps({"issuer": self.url, "jwks_uri": f"{self.url}/jwks"}).encode()
        return json.dumps({"keys": self.keys}).encode() if path == "/jwks" else None


@asynccontextmanager
async def running_issuer() -> AsyncIterator[Issuer]:
    """An issuer on a free port of 127.0.0.1."""
    found = Issuer()

    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            path = (await reader.readuntil(b"\r\n\r\n")).split(b" ")[1].decode()
            found.asked.append(path)
            body = found.answer(path)
            status = "404 Not Found" if body is None else found.status
            answer = f"HTTP/1.1 {status}\r\nContent-Length: {len(body or b'')}\r\nConnection: close\r\n\r\n".encode() + (body or b"")
            for piece in (bytes((byte,)) for byte in answer) if found.drip_seconds else (answer,):
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(found.drip_seconds)
        except ConnectionError:
            return
        finally:
            writer.close()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    found.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield found
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()
