"""Both ways to sign make the same bytes, and a verifier that is strict takes them."""

from __future__ import annotations

import coincurve
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from livepeer_remote_signer.adapters.keys import SigningKey
from livepeer_remote_signer.adapters.keys.signing import CoincurveSigner, EthAccountSigner
from livepeer_remote_signer.core.protocol.eip191 import personal_digest, recover_address

HALF_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141 // 2
SECRETS = st.integers(1, 2 * HALF_ORDER).map(lambda number: number.to_bytes(32, "big"))


@settings(max_examples=60)
@given(secret=SECRETS, message=st.binary(max_size=200))
def test_both_signers_make_the_same_bytes(secret: bytes, message: bytes) -> None:
    fast, reference = SigningKey(secret, "coincurve"), SigningKey(secret, "eth-account")
    signature = fast.sign_personal(message)
    assert signature == reference.sign_personal(message)
    assert fast.address == reference.address
    assert len(signature) == 65
    assert signature[64] in (27, 28)
    assert int.from_bytes(signature[32:64], "big") <= HALF_ORDER
    assert recover_address(personal_digest(message), signature) == fast.address


@settings(max_examples=60)
@given(secret=SECRETS, digest=st.binary(min_size=32, max_size=32))
def test_a_digest_is_signed_as_libsecp256k1_signs_it(secret: bytes, digest: bytes) -> None:
    raw = coincurve.PrivateKey(secret).sign_recoverable(digest, hasher=None)
    assert CoincurveSigner(secret).sign_digest(digest) == raw[:64] + bytes((raw[64] + 27,)) == EthAccountSigner(secret).sign_digest(digest)


def test_a_message_of_32_bytes_is_prefixed_like_any_other() -> None:
    key = SigningKey(b"\x2c" * 32)
    message = bytes(range(32))
    assert recover_address(personal_digest(message), key.sign_personal(message)) == key.address


def test_signatures_do_not_depend_on_those_before() -> None:
    key = SigningKey(b"\x2c" * 32)
    first = key.sign_personal(b"a")
    key.sign_personal(b"b")
    assert key.sign_personal(b"a") == first


@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_only_a_digest_is_signed(length: int) -> None:
    with pytest.raises(ValueError, match=f"not {length}"):
        CoincurveSigner(b"\x2c" * 32).sign_digest(bytes(length))


def test_nothing_secret_is_in_a_representation() -> None:
    secret = bytes(range(1, 33))
    for one in (CoincurveSigner(secret), EthAccountSigner(secret), SigningKey(secret)):
        assert secret.hex() not in repr(one)
        assert repr(secret) not in repr(one)


def test_the_mac_key_is_the_keys_own_and_not_the_key() -> None:
    first, second = SigningKey(b"\x2c" * 32), SigningKey(b"\x2d" * 32)
    assert len(first.derive_mac_key()) == 32
    assert first.derive_mac_key() == SigningKey(b"\x2c" * 32, "eth-account").derive_mac_key()
    assert len({first.derive_mac_key(), second.derive_mac_key(), b"\x2c" * 32, b"\x2d" * 32}) == 4


def test_the_derivation_of_the_mac_key_does_not_change_with_a_release() -> None:
    """Replicas of two versions must accept each other's states: HKDF-SHA256, no salt, by hand from RFC 5869."""
    from hashlib import sha256
    from hmac import digest

    secret = b"\x2c" * 32
    extracted = digest(bytes(32), secret, sha256)
    assert SigningKey(secret).derive_mac_key() == digest(extracted, b"livepeer-remote-signer signer state MAC v1\x01", sha256)
