"""The key of a wallet as the funding commands use it: it signs transactions. The service never does.

A key outside this host signs the transaction's hash like any other. Only the sender itself can unlock and withdraw its funds, so
without this they could not be taken out again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import rlp
from eth_account import Account

from livepeer_remote_signer.adapters.keys import SigningKeyError
from livepeer_remote_signer.core.errors import KeyThrottled, KeyUnavailable
from livepeer_remote_signer.core.protocol.eip191 import keccak256, normalise_signature

_DYNAMIC_FEE = b"\x02"
"""EIP-1559's type of a transaction; without it, it is of the oldest kind."""


class Signed(NamedTuple):
    """A signed transaction and its hash, by which it can be looked up whatever became of it."""

    hash: str
    raw: bytes


class LocalTransactionKey:
    """A key of this host."""

    def __init__(self, address: bytes, secret: bytes) -> None:
        self.address = address
        self._secret = secret

    def __repr__(self) -> str:
        return f"LocalTransactionKey(address=0x{self.address.hex()})"

    def sign_transaction(self, transaction: Mapping[str, Any]) -> Signed:
        """Nothing is sent yet: the hash can be told before anything may go wrong."""
        signed = Account.sign_transaction(dict(transaction), self._secret)
        return Signed("0x" + bytes(signed.hash).hex(), bytes(signed.raw_transaction))


class OutsideTransactionKey:
    """A key outside this host whose service signs digests as they are."""

    def __init__(self, address: bytes, sign_digest: Callable[[bytes], bytes]) -> None:
        self.address = address
        self._sign_digest = sign_digest

    def sign_transaction(self, transaction: Mapping[str, Any]) -> Signed:
        """The same. Raises SigningKeyError where the service does not sign, or not with this key."""
        legacy = "maxFeePerGas" not in transaction
        body = _legacy_fields(transaction) if legacy else _fields(transaction)
        preimage = rlp.encode([*body, *_numbers(transaction["chainId"], 0, 0)]) if legacy else _DYNAMIC_FEE + rlp.encode(body)
        digest = keccak256(preimage)
        try:
            returned = self._sign_digest(digest)
        except (KeyUnavailable, KeyThrottled) as error:
            raise SigningKeyError(f"the key's service {error.message}: nothing was sent") from None
        signature = normalise_signature(digest, returned, self.address)
        if signature is None:
            raise SigningKeyError(f"the key's service returned what is no signature of 0x{self.address.hex()}: nothing was sent")
        parity = signature[64] - 27
        r_s = _numbers(int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:64], "big"))
        v = _numbers(2 * transaction["chainId"] + 35 + parity if legacy else parity)
        raw = (b"" if legacy else _DYNAMIC_FEE) + rlp.encode([*body, *v, *r_s])
        return Signed("0x" + keccak256(raw).hex(), raw)


def _fields(transaction: Mapping[str, Any]) -> list[Any]:
    """EIP-1559: chain id, nonce, both fees, gas, target, value, data, and an access list that is empty."""
    numbers = _numbers(*(transaction[name] for name in ("chainId", "nonce", "maxPriorityFeePerGas", "maxFeePerGas", "gas")))
    return [*numbers, *_target(transaction), []]


def _legacy_fields(transaction: Mapping[str, Any]) -> list[Any]:
    return [*_numbers(*(transaction[name] for name in ("nonce", "gasPrice", "gas"))), *_target(transaction)]


def _target(transaction: Mapping[str, Any]) -> list[bytes]:
    data = transaction["data"]
    return [
        bytes.fromhex(transaction["to"][2:]),
        *_numbers(transaction["value"]),
        bytes.fromhex(data[2:]) if isinstance(data, str) else bytes(data),
    ]


def _numbers(*numbers: int) -> list[bytes]:
    """As RLP has them: big endian, without leading zeros, and nothing for 0."""
    return [number.to_bytes((number.bit_length() + 7) // 8, "big") for number in numbers]
