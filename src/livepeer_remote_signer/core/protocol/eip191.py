"""EIP-191 personal-message digests and strict verification of the 65-byte signatures over them.

Source: section 2 of the protocol. A signature is `r || s || v` with low s and v in {27, 28}. Anything else is refused,
although most libraries recover it: whether a ticket wins depends on the signature's bytes, so a second valid encoding
would be a second draw.
"""

from __future__ import annotations

import coincurve
from sha3 import keccak_256

SIGNATURE_BYTES = 65
_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
_HALF_ORDER = _ORDER // 2


def keccak256(data: bytes) -> bytes:
    """Ethereum's hash (not NIST SHA3-256), 32 bytes."""
    digest: bytes = keccak_256(data).digest()
    return digest


KECCAK_OF_NOTHING = keccak256(b"")


def personal_digest(message: bytes) -> bytes:
    """The 32 bytes that are signed for a personal message of any length."""
    return keccak256(b"\x19Ethereum Signed Message:\n%d%b" % (len(message), message))


def recover_address(digest: bytes, signature: bytes) -> bytes:
    """The 20-byte address whose key made `signature` over `digest`; ValueError when it is not strictly well formed."""
    if len(signature) != SIGNATURE_BYTES:
        raise ValueError(f"a signature has {SIGNATURE_BYTES} bytes, not {len(signature)}")
    if signature[64] not in (27, 28):
        raise ValueError(f"v is 27 or 28, not {signature[64]}")
    if int.from_bytes(signature[32:64], "big") > _HALF_ORDER:
        raise ValueError("s is in the upper half of the group order")
    try:
        key = coincurve.PublicKey.from_signature_and_message(signature[:64] + bytes((signature[64] - 27,)), digest, hasher=None)
    except Exception as error:
        raise ValueError("no public key belongs to this signature") from error
    return public_key_address(key)


def normalise_signature(digest: bytes, raw: bytes, address: bytes) -> bytes | None:
    """The one encoding of a signature over `digest` that a verifier takes, 65 bytes; None when it is not one of `address`.

    `raw` is r || s with any s, as hardware and key services make it; a recovery id after them is not believed but found.
    """
    if len(raw) not in (SIGNATURE_BYTES - 1, SIGNATURE_BYTES):
        return None
    s = int.from_bytes(raw[32:64], "big")
    if s > _HALF_ORDER:
        s = max(0, _ORDER - s)  # beyond the order: no signature, and 0 is none either
    for v in (27, 28):
        signature = raw[:32] + s.to_bytes(32, "big") + bytes((v,))
        try:
            if recover_address(digest, signature) == address:
                return signature
        except ValueError:
            continue
    return None


def public_key_address(key: coincurve.PublicKey) -> bytes:
    """The 20-byte Ethereum address of a public key."""
    return keccak256(key.format(compressed=False)[1:])[-20:]


def checksum_address(address: bytes) -> str:
    """EIP-55: `0x` and 40 hex digits whose case is a checksum."""
    plain = address.hex()
    mask = keccak256(plain.encode()).hex()
    return "0x" + "".join(c.upper() if int(m, 16) >= 8 else c for c, m in zip(plain, mask, strict=False))


def orchestrator_info_message(address: bytes) -> bytes:
    """What a sender signs so that orchestrators answer it: keccak256 of its checksummed address as ASCII text."""
    return keccak256(checksum_address(address).encode())
