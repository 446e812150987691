"""Transactions that a key outside this host signs are those that eth-account makes of the same key, to the byte."""

from __future__ import annotations

from typing import Any

import coincurve
import pytest
from eth_account import Account
from hypothesis import given
from hypothesis import strategies as st

from livepeer_remote_signer.adapters.keys import SigningKeyError
from livepeer_remote_signer.adapters.transaction_keys import LocalTransactionKey, OutsideTransactionKey
from livepeer_remote_signer.core.errors import KeyUnavailable
from livepeer_remote_signer.core.protocol.eip191 import checksum_address, public_key_address
from tests.outside import OutsideKey, with_other_s

SECRET = b"\x56" * 32
KEY = coincurve.PrivateKey(SECRET)
ADDRESS = public_key_address(KEY.public_key)
LOCAL = LocalTransactionKey(ADDRESS, SECRET)
WEI = st.integers(0, 2**128)


def sign(digest: bytes) -> bytes:
    """The signature that RFC 6979 says, in the other half of s."""
    return with_other_s(KEY.sign_recoverable(digest, hasher=None))


@given(
    st.fixed_dictionaries(
        {
            "nonce": st.integers(0, 2**32),
            "gas": st.integers(21_000, 2**32),
            "value": WEI,
            "chainId": st.sampled_from([1, 31337, 42161]),
            "to": st.binary(min_size=20, max_size=20).map(checksum_address),
            "data": st.binary(max_size=100).map(lambda data: "0x" + data.hex()),
        }
    ),
    st.fixed_dictionaries({"gasPrice": WEI}) | st.fixed_dictionaries({"maxFeePerGas": WEI, "maxPriorityFeePerGas": WEI}),
)
def test_they_are_eth_accounts_to_the_byte(common: dict[str, Any], fees: dict[str, Any]) -> None:
    transaction = {**common, **fees}
    signed = OutsideTransactionKey(ADDRESS, sign).sign_transaction({"from": checksum_address(ADDRESS), **transaction})
    assert signed == LOCAL.sign_transaction(transaction)
    assert Account.recover_transaction(signed.raw) == checksum_address(ADDRESS)


TRANSACTION = {"nonce": 1, "gas": 21_000, "value": 0, "chainId": 1, "to": "0x" + "ab" * 20, "data": "0x", "gasPrice": 7}


@pytest.mark.parametrize("sign", [OutsideKey(b"\x57" * 32).make_over, lambda _: b"", lambda _: bytes(64)])
def test_what_is_not_its_signature_is_not_sent(sign: Any) -> None:
    with pytest.raises(SigningKeyError, match=r"returned what is no signature of 0x[0-9a-f]{40}: nothing was sent"):
        OutsideTransactionKey(ADDRESS, sign).sign_transaction(TRANSACTION)


def test_a_service_that_is_away_is_told_and_nothing_is_sent() -> None:
    def away(_: bytes) -> bytes:
        raise KeyUnavailable("is away")

    with pytest.raises(SigningKeyError, match="the key's service is away: nothing was sent"):
        OutsideTransactionKey(ADDRESS, away).sign_transaction(TRANSACTION)


def test_no_secret_is_shown() -> None:
    assert SECRET.hex() not in repr(LOCAL)
