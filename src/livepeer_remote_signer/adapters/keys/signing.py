"""The one secp256k1 key, and the two ways to sign with it.

Source: section 2 of the protocol. Signing goes straight to libsecp256k1 (through coincurve), or through eth-account's
account object; tests hold both byte-equal. The secret stays in this module: other objects get signatures, an address,
or a key derived for another purpose.
"""

from __future__ import annotations

from typing import Literal, Protocol

import coincurve
from coincurve._libsecp256k1 import ffi, lib
from coincurve.context import GLOBAL_CONTEXT
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from livepeer_remote_signer.core.protocol.eip191 import personal_digest, public_key_address, recover_address

MAC_KEY_BYTES = 32
SECRET_BYTES = 32
_V = (b"\x1b", b"\x1c")
_PROBE = b"livepeer-remote-signer: is this the key of the address?"
_MAC_KEY_PURPOSE = b"livepeer-remote-signer signer state MAC v1"
_SENDER_MAC_KEY_PURPOSE = b"livepeer-remote-signer signer state MAC of a sender v1 "


def derive_sender_mac_key(mac_key: bytes, sender: bytes) -> bytes:
    """The key that seals the states of one sender (20 bytes), from one that several may share: HKDF-SHA256."""
    return HKDF(SHA256(), MAC_KEY_BYTES, salt=None, info=_SENDER_MAC_KEY_PURPOSE + sender).derive(mac_key)


class DigestSigner(Protocol):
    """Signs a 32-byte digest: 65 bytes r || s || v, low s, v in {27, 28}."""

    def sign_digest(self, digest: bytes) -> bytes: ...


class CoincurveSigner:
    """libsecp256k1 with buffers that are made once. For one thread: the event loop's.

    coincurve's public `sign_recoverable` makes them anew for each signature: 4 to 8 % more of what costs most in a payment.
    """

    def __init__(self, secret: bytes) -> None:
        if len(secret) != SECRET_BYTES:  # the buffer would be filled up with zeros at its end: another key
            raise ValueError(f"a secret has {SECRET_BYTES} bytes, not {len(secret)}")
        self._secret = ffi.new("unsigned char[32]", secret)
        self._context = GLOBAL_CONTEXT.ctx
        self._signature = ffi.new("secp256k1_ecdsa_recoverable_signature *")
        self._compact = ffi.new("unsigned char[64]")
        self._compact_bytes = ffi.buffer(self._compact, 64)
        self._recovery_id = ffi.new("int *")

    def __repr__(self) -> str:
        return "CoincurveSigner(<secret>)"

    def sign_digest(self, digest: bytes) -> bytes:
        """RFC 6979 deterministic; libsecp256k1 always returns the lower s."""
        if len(digest) != 32:
            raise ValueError(f"a digest has 32 bytes, not {len(digest)}")
        if not lib.secp256k1_ecdsa_sign_recoverable(self._context, self._signature, digest, self._secret, ffi.NULL, ffi.NULL):
            raise RuntimeError("libsecp256k1 could not sign")
        lib.secp256k1_ecdsa_recoverable_signature_serialize_compact(self._context, self._compact, self._recovery_id, self._signature)
        return self._compact_bytes[:] + _V[self._recovery_id[0]]  # type: ignore[no-any-return]


class EthAccountSigner:
    """eth-account's account object: slower, the reference that the other signer is held against."""

    def __init__(self, secret: bytes) -> None:
        from eth_account import Account  # imported where it is chosen: it costs a third of the start-up time

        self._account = Account.from_key(secret)

    def __repr__(self) -> str:
        return "EthAccountSigner(<secret>)"

    def sign_digest(self, digest: bytes) -> bytes:
        """The same bytes as CoincurveSigner's."""
        return bytes(self._account.unsafe_sign_hash(digest).signature)


class SigningKey:
    """The sender's key. Signs EIP-191 personal messages composed by this package."""

    def __init__(self, secret: bytes, signer: Literal["coincurve", "eth-account"] = "coincurve") -> None:
        digests: DigestSigner = CoincurveSigner(secret) if signer == "coincurve" else EthAccountSigner(secret)
        self._sign_digest = digests.sign_digest
        self._address = public_key_address(coincurve.PublicKey.from_secret(secret))
        proof = self.sign_personal(_PROBE)
        if recover_address(personal_digest(_PROBE), proof) != self._address:
            raise RuntimeError("the key's signature does not recover to its address: nothing is signed with it")
        self._mac_key = HKDF(SHA256(), MAC_KEY_BYTES, salt=None, info=_MAC_KEY_PURPOSE).derive(secret)

    def __repr__(self) -> str:
        return f"SigningKey(address=0x{self._address.hex()})"

    @property
    def address(self) -> bytes:
        """The 20-byte address of the key."""
        return self._address

    def sign_personal(self, message: bytes) -> bytes:
        """65 bytes over the EIP-191 personal message `message`."""
        return self._sign_digest(personal_digest(message))

    def derive_mac_key(self) -> bytes:
        """The key that seals states: HKDF-SHA256 of the signing key, so that replicas accept each other's states."""
        return self._mac_key
