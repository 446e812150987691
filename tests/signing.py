"""A throw-away key for tests: EIP-191 signatures made with coincurve's public interface, and a seal made of them."""

from __future__ import annotations

import coincurve

from livepeer_remote_signer.core.protocol.eip191 import personal_digest, public_key_address, recover_address


class PlainKey:
    """The `MessageSigner` seam with nothing but coincurve behind it, independent of `adapters.keys`."""

    def __init__(self, secret: bytes) -> None:
        self._key = coincurve.PrivateKey(secret)
        self.address = public_key_address(self._key.public_key)

    def sign_personal(self, message: bytes) -> bytes:
        """65 bytes r || s || v."""
        raw = self._key.sign_recoverable(personal_digest(message), hasher=None)
        return raw[:64] + bytes((raw[64] + 27,))


class SignatureSeal:
    """The `Seal` seam as go-livepeer has it: the EIP-191 signature of the bytes, checked by strict recovery."""

    def __init__(self, key: PlainKey) -> None:
        self._key = key

    def seal(self, state: bytes) -> bytes:
        """65 bytes."""
        return self._key.sign_personal(state)

    def verify(self, state: bytes, sig: bytes) -> bool:
        """Whether the key signed exactly these bytes."""
        try:
            return recover_address(personal_digest(state), sig) == self._key.address
        except ValueError:
            return False
