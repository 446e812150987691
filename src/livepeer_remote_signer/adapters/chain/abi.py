"""Call data for the contracts, and strict reading of what they return.

Source: section 10 of the protocol. Arguments and results are static 32-byte words but for Multicall3's `aggregate3` and
a feed's description, which eth-abi encodes and decodes. Whatever does not have the expected form raises AnswerFault.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from eth_abi.abi import decode as abi_decode
from eth_abi.abi import encode as abi_encode
from eth_abi.exceptions import DecodingError

from livepeer_remote_signer.core.protocol.eip191 import keccak256

WORD = 32


class AnswerFault(Exception):
    """An answer that is not what the contract's interface says; the message never holds a URL."""


class Call(NamedTuple):
    """One contract read: a 20-byte target and its call data."""

    target: bytes
    data: bytes


def call_data(signature: str, *arguments: bytes | int) -> bytes:
    """The selector of `signature` and its arguments: integers, 20-byte addresses or 32-byte words."""
    words = (a.to_bytes(WORD, "big") if isinstance(a, int) else a.rjust(WORD, b"\0") for a in arguments)
    return keccak256(signature.encode())[:4] + b"".join(words)


def contract_id(name: str) -> bytes:
    """The id by which Livepeer's Controller knows a contract."""
    return keccak256(name.encode())


_AGGREGATE3 = call_data("aggregate3((address,bool,bytes)[])")


def encode_aggregate3(calls: Sequence[Call]) -> bytes:
    """Call data that makes all reads at one block; each may fail on its own."""
    return _AGGREGATE3 + abi_encode(["(address,bool,bytes)[]"], [[(call.target, True, call.data) for call in calls]])


def decode_aggregate3(data: bytes, count: int) -> list[bytes | None]:
    """What each of `count` reads returned, None for one that reverted. Raises AnswerFault."""
    try:
        (results,) = abi_decode(["(bool,bytes)[]"], data)
    except (DecodingError, OverflowError) as error:
        raise AnswerFault(f"Multicall3 returned {len(data)} bytes that are no list of results ({type(error).__name__})") from None
    if len(results) != count:
        raise AnswerFault(f"Multicall3 returned {len(results)} results for {count} calls")
    return [bytes(value) if succeeded else None for succeeded, value in results]


def read_words(data: bytes | None, count: int, what: str) -> tuple[int, ...]:
    """`count` unsigned words. Raises AnswerFault, naming `what` was asked."""
    if data is None:
        raise AnswerFault(f"{what} reverted")
    if len(data) < count * WORD:
        raise AnswerFault(f"{what} returned {len(data)} bytes, not {count * WORD}: is there a contract of this interface at the address?")
    return tuple(int.from_bytes(data[i * WORD : (i + 1) * WORD], "big") for i in range(count))


def read_word(data: bytes | None, what: str) -> int:
    """One unsigned word. Raises AnswerFault."""
    return read_words(data, 1, what)[0]


def read_bool(data: bytes | None, what: str) -> bool:
    """A word that is 0 or 1. Raises AnswerFault."""
    value = read_word(data, what)
    if value > 1:
        raise AnswerFault(f"{what} returned a number where true or false is expected")
    return value == 1


def read_address(data: bytes | None, what: str, *, may_be_zero: bool = False) -> bytes:
    """20 bytes, not all zero unless that is allowed. Raises AnswerFault."""
    value = read_word(data, what)
    if (value == 0 and not may_be_zero) or value >> 160:
        raise AnswerFault(f"{what} names no contract")
    return value.to_bytes(20, "big")


def read_text(data: bytes | None, what: str) -> str:
    """A string. Raises AnswerFault."""
    if data is None:
        raise AnswerFault(f"{what} reverted")
    try:
        (text,) = abi_decode(["string"], data)
    except (DecodingError, OverflowError, UnicodeDecodeError):
        raise AnswerFault(f"{what} returned {len(data)} bytes that are no text") from None
    return str(text)
