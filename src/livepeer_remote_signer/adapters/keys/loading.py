"""Reads the key: a raw key from a secret file or the environment, or a geth V3 keystore with its password file.

A key is never created, and never silently replaced: a path that holds no key is an error, and so is a key whose address
is not the configured one (a wrong keystore path once made a new account without a word, and funds were sent to it).
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

_PRIVATE_KEY = re.compile(r"(?:0x)?([0-9a-fA-F]{64})")
_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
_MAX_FILE_BYTES = 64 * 1024


class SigningKeyError(Exception):
    """The key cannot be used; the message names the file and what to change, never its content."""


def read_secret_file(path: Path, what: str) -> str:
    """The text of a secret file without the line break at its end. Raises SigningKeyError."""
    try:
        if path.stat().st_size > _MAX_FILE_BYTES:
            raise SigningKeyError(f"{what} {path} is larger than {_MAX_FILE_BYTES} bytes: that is not a secret")
        return path.read_text("utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        raise SigningKeyError(f"{what} {path} is not text") from None
    except OSError as error:
        raise SigningKeyError(f"{what} {path} cannot be read: {error.strerror}") from None


def parse_private_key(text: str, where: str) -> bytes:
    """32 bytes of 64 hex digits (0x optional), in the curve's range. Raises SigningKeyError."""
    match = _PRIVATE_KEY.fullmatch(text.strip())
    if match is None:
        raise SigningKeyError(f"{where} is not a private key: 64 hex digits are expected, 0x before them optional")
    secret = bytes.fromhex(match[1])
    if not 0 < int.from_bytes(secret, "big") < _ORDER:
        raise SigningKeyError(f"{where} is not a private key: outside the range of the curve")
    return secret


def load_private_key_file(path: Path) -> bytes:
    """The raw key of a secret file. Raises SigningKeyError."""
    return parse_private_key(read_secret_file(path, "key.private_key_file"), f"key.private_key_file {path}")


def load_keystore(path: Path, password: str, address: bytes | None) -> bytes:
    """The key of a geth V3 keystore file, or of a folder that holds exactly one key of `address`. Raises SigningKeyError."""
    try:
        if path.is_dir():
            path = _only_key_in(path, address)
    except OSError as error:
        raise SigningKeyError(f"key.keystore_file {path} cannot be read: {error.strerror}") from None
    text = read_secret_file(path, "key.keystore_file")
    from eth_account import Account  # only where a keystore is used: scrypt and its imports are slow

    try:
        return bytes(Account.decrypt(json.loads(text), password))
    except (ValueError, TypeError, KeyError, AttributeError, NotImplementedError, RecursionError) as error:
        if isinstance(error, ValueError) and "MAC" in str(error):
            raise SigningKeyError(f"key.keystore_file {path}: the password is wrong") from None
        raise SigningKeyError(f"key.keystore_file {path} is not a geth V3 keystore") from None


def _only_key_in(folder: Path, address: bytes | None) -> Path:
    if address is None:
        raise SigningKeyError(f"key.keystore_file {folder} is a folder: key.address must say which key of it to use")
    found = [p for p in sorted(folder.iterdir()) if p.is_file() and _keystore_address(p) == address.hex()]
    if len(found) != 1:
        raise SigningKeyError(f"key.keystore_file {folder}: {len(found)} keys of 0x{address.hex()} in this folder, exactly one is needed")
    return found[0]


def _keystore_address(path: Path) -> str | None:
    """The address a keystore file names, lower case without 0x; None for files that are no keystore."""
    if path.stat().st_size > _MAX_FILE_BYTES:
        return None
    try:
        document: Any = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return None
    named = document.get("address") if isinstance(document, dict) else None
    return named.lower().removeprefix("0x") if isinstance(named, str) else None
