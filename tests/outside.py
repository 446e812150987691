"""A key service in this process: it signs as hardware does, with a random k and either half of s, and can be told to misbehave."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from typing import Any

import coincurve

from livepeer_remote_signer.core.protocol.eip191 import personal_digest, public_key_address

NEEDED_BY_OUTSIDE_KEYS: dict[str, Any] = {
    "ledger": {"backend": "sqlite", "path": "/nonexistent/ledger.sqlite"},
    "state": {"mac_key": "0x" + "ab" * 32},
}
"""The sections without which no configuration may name a key outside this host."""

ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


def with_other_s(signature: bytes) -> bytes:
    """r || s with the other half of s: as good a signature, and another draw."""
    s = int.from_bytes(signature[32:64], "big")
    return signature[:32] + (ORDER - s).to_bytes(32, "big")


class OutsideKey:
    """A backend whose key is here. `answer` may stand in for what it returns."""

    name = "outside"

    def __init__(self, secret: bytes, max_parallel: int = 4) -> None:
        self.max_parallel = max_parallel
        self._key = coincurve.PrivateKey(secret)
        self.address = public_key_address(self._key.public_key)
        self.answer: Callable[[bytes], Awaitable[bytes]] = self.make
        self.asked: list[bytes] = []
        self.at_work = 0
        self.most_at_work = 0
        self.is_closed = False

    @property
    def public_point(self) -> bytes:
        return self._key.public_key.format(compressed=False)

    async def make(self, message: bytes) -> bytes:
        """r || s over the personal message."""
        return self.make_over(personal_digest(message))

    def make_over(self, digest: bytes) -> bytes:
        """r || s with a random k, s of either half."""
        signed = self._key.sign_recoverable(digest, hasher=None, custom_nonce=_random_nonce())
        return with_other_s(signed) if secrets.randbits(1) else signed[:64]

    async def sign(self, message: bytes) -> bytes:
        self.asked.append(message)
        self.at_work += 1
        self.most_at_work = max(self.most_at_work, self.at_work)
        try:
            await asyncio.sleep(0)
            return await self.answer(message)
        finally:
            self.at_work -= 1

    async def aclose(self) -> None:
        self.is_closed = True


def _random_nonce() -> tuple[object, object]:
    """libsecp256k1's own nonce function, with extra data: another k each time."""
    from coincurve._libsecp256k1 import ffi, lib

    data = ffi.new("unsigned char[32]", secrets.token_bytes(32))
    return lib.secp256k1_nonce_function_rfc6979, data
