"""Digests against eth-account's, and signatures that most libraries take but a recipient must not."""

from __future__ import annotations

import coincurve
import pytest
from eth_account import Account
from eth_account.messages import encode_defunct
from eth_utils import to_checksum_address
from hypothesis import given
from hypothesis import strategies as st

from livepeer_remote_signer.core.protocol.eip191 import (
    KECCAK_OF_NOTHING,
    checksum_address,
    keccak256,
    normalise_signature,
    orchestrator_info_message,
    personal_digest,
    public_key_address,
    recover_address,
)
from tests.signing import PlainKey

ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
SECRET = bytes.fromhex("4f" * 32)
KEY = PlainKey(SECRET)
DIGEST = keccak256(b"digest")


def signature(r: int, s: int, v: int) -> bytes:
    """The 65 bytes of these numbers."""
    return r.to_bytes(32, "big") + s.to_bytes(32, "big") + bytes((v,))


def numbers_of(sig: bytes) -> tuple[int, int, int]:
    """r, s and v."""
    return int.from_bytes(sig[:32], "big"), int.from_bytes(sig[32:64], "big"), sig[64]


def test_keccak_of_nothing_is_ethereums_and_not_nists() -> None:
    assert KECCAK_OF_NOTHING.hex() == "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"


@given(st.binary(max_size=300))
def test_signatures_are_the_bytes_that_eth_account_makes(message: bytes) -> None:
    theirs = Account.sign_message(encode_defunct(message), SECRET)
    assert personal_digest(message) == theirs.message_hash
    assert KEY.sign_personal(message) == theirs.signature
    assert recover_address(personal_digest(message), bytes(theirs.signature)) == KEY.address


@given(st.binary(min_size=20, max_size=20))
def test_addresses_are_checksummed_as_eth_utils_does(address: bytes) -> None:
    assert checksum_address(address) == to_checksum_address(address)


def test_the_orchestrator_info_message_is_the_hash_of_the_checksummed_text() -> None:
    assert orchestrator_info_message(KEY.address) == keccak256(to_checksum_address(KEY.address).encode("ascii"))


def test_an_address_is_the_end_of_the_public_keys_hash() -> None:
    key = coincurve.PrivateKey(SECRET).public_key
    assert public_key_address(key) == bytes.fromhex(Account.from_key(SECRET).address[2:])


def test_the_upper_s_of_the_same_signature_is_refused() -> None:
    r, s, v = numbers_of(KEY.sign_personal(b"message"))
    digest = personal_digest(b"message")
    twin = signature(r, ORDER - s, 55 - v)
    assert bytes.fromhex(Account._recover_hash(digest, signature=twin)[2:]) == KEY.address  # a second valid encoding
    with pytest.raises(ValueError, match="upper half"):
        recover_address(digest, twin)


@pytest.mark.parametrize("v", [0, 1, 2, 3, 26, 29, 30, 31, 34, 35, 255])
def test_v_is_27_or_28_and_nothing_else(v: int) -> None:
    r, s, _ = numbers_of(KEY.sign_personal(b"message"))
    with pytest.raises(ValueError, match="v is 27 or 28"):
        recover_address(personal_digest(b"message"), signature(r, s, v))


@pytest.mark.parametrize("r", [0, ORDER, ORDER + 1, 2**256 - 1])
def test_r_is_within_the_groups_order(r: int) -> None:
    with pytest.raises(ValueError, match="no public key"):
        recover_address(DIGEST, signature(r, 1, 27))


@pytest.mark.parametrize(
    ("s", "said"), [(0, "no public key"), (ORDER // 2 + 1, "upper half"), (ORDER, "upper half"), (2**256 - 1, "upper half")]
)
def test_s_is_positive_and_in_the_lower_half(s: int, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        recover_address(DIGEST, signature(ORDER // 3, s, 27))


@pytest.mark.parametrize("length", [0, 1, 64, 66, 130])
def test_a_signature_has_65_bytes(length: int) -> None:
    with pytest.raises(ValueError, match="65 bytes"):
        recover_address(DIGEST, b"\x1b" * length)


@given(st.binary(min_size=65, max_size=65), st.binary(min_size=32, max_size=32))
def test_any_65_bytes_give_an_address_or_a_value_error(sig: bytes, digest: bytes) -> None:
    try:
        address = recover_address(digest, sig[:64] + bytes((27 + sig[64] % 2,)))
    except ValueError:
        return
    assert len(address) == 20


@given(st.binary(max_size=64), st.integers(0, 65 * 8 - 1))
def test_no_flipped_bit_recovers_the_same_address(message: bytes, bit: int) -> None:
    sig = bytearray(KEY.sign_personal(message))
    sig[bit // 8] ^= 1 << bit % 8
    try:
        address = recover_address(personal_digest(message), bytes(sig))
    except ValueError:
        return
    assert address != KEY.address


@given(st.binary(min_size=32, max_size=32), st.booleans(), st.sampled_from([b"", b"\x00", b"\x1b", b"\xff"]))
def test_every_encoding_of_a_signature_is_brought_into_the_one_that_is_taken(digest: bytes, is_high: bool, ending: bytes) -> None:
    made = coincurve.PrivateKey(SECRET).sign_recoverable(digest, hasher=None)
    s = int.from_bytes(made[32:64], "big")
    raw = made[:32] + (ORDER - s if is_high else s).to_bytes(32, "big") + ending
    normal = normalise_signature(digest, raw, KEY.address)
    assert normal == made[:64] + bytes((27 + made[64],))
    assert recover_address(digest, normal) == KEY.address
    assert normalise_signature(keccak256(digest), raw, KEY.address) is None
    assert normalise_signature(digest, raw, bytes(20)) is None


@pytest.mark.parametrize("size", [0, 1, 63, 66, 130])
def test_what_has_another_length_is_no_signature(size: int) -> None:
    assert normalise_signature(DIGEST, b"\x01" * size, KEY.address) is None


@pytest.mark.parametrize("r", [0, 1, ORDER - 1, ORDER, 2**256 - 1])
@pytest.mark.parametrize("s", [0, 1, ORDER // 2, ORDER - 1, ORDER, ORDER + 1, 2**256 - 1])
def test_numbers_outside_the_order_are_no_signature(r: int, s: int) -> None:
    assert normalise_signature(DIGEST, signature(r, s, 27), KEY.address) is None
