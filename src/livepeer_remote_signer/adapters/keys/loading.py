"""Reads the key: a raw key from a secret file or the environment, or a geth V3 keystore with its password file.

A key is never created, and never silently replaced: a path that holds no key is an error, and so is a key whose address
is not the configured one (a wrong keystore path once made a new account without a word, and funds were sent to it).
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from livepeer_remote_signer.adapters.keys.signing import SECRET_BYTES, SigningKey
from livepeer_remote_signer.core.rules.secret_text import secret_text_fault

KEYSTORE_VERSION = 3
MAX_TRIED_KEYSTORES = 16
"""Of a folder's keystores that name no address so many are opened: each takes up to a second."""

_PRIVATE_KEY = re.compile(r"(?:0x)?([0-9a-fA-F]{64})")
_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
_MAX_FILE_BYTES = 64 * 1024
_log = logging.getLogger(__name__)


class SigningKeyError(Exception):
    """The key cannot be used; the message names the file and what to change, never its content."""


def read_secret_file(path: Path, what: str, *, one_line: bool = True) -> str:
    """The text of a secret file without the line break at its end. Raises SigningKeyError, also where a secret of one line has several."""
    try:
        if path.stat().st_size > _MAX_FILE_BYTES:
            raise SigningKeyError(f"{what} {path} is larger than {_MAX_FILE_BYTES} bytes: that is not a secret")
        text = path.read_text("utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        raise SigningKeyError(f"{what} {path} is not text") from None
    except OSError as error:
        raise SigningKeyError(f"{what} {path} cannot be read: {error.strerror}") from None
    if fault := secret_text_fault(text, one_line=one_line):
        raise SigningKeyError(f"{what} {path} {fault}")
    return text


def parse_private_key(text: str, where: str) -> bytes:
    """32 bytes of 64 hex digits (0x optional), in the curve's range. Raises SigningKeyError."""
    match = _PRIVATE_KEY.fullmatch(text.strip())
    if match is None:
        raise SigningKeyError(f"{where} is not a private key: 64 hex digits are expected, 0x before them optional")
    return _whole_secret(bytes.fromhex(match[1]), where)


def _whole_secret(raw: bytes, where: str) -> bytes:
    """A key of 32 bytes: one that some tool wrote without its leading zeros gets them back. Raises SigningKeyError."""
    if len(raw) > SECRET_BYTES:
        raise SigningKeyError(f"{where} is not a private key: it has {len(raw)} bytes, at most {SECRET_BYTES} are possible")
    if not 0 < int.from_bytes(raw, "big") < _ORDER:
        raise SigningKeyError(f"{where} is not a private key: outside the range of the curve")
    return raw.rjust(SECRET_BYTES, b"\0")


def load_private_key_file(path: Path) -> bytes:
    """The raw key of a secret file. Raises SigningKeyError."""
    return parse_private_key(read_secret_file(path, "key.private_key_file"), f"key.private_key_file {path}")


def read_password_file(path: Path) -> list[str]:
    """The passwords that the file may mean, the likeliest first: as go-livepeer reads it, without white space at both ends, and
    as it stands. Raises SigningKeyError, also for an empty file."""
    text = read_secret_file(path, "key.password_file", one_line=False)
    if not text.strip():
        raise SigningKeyError(
            f"key.password_file {path} is empty: go-livepeer tries a keystore with the empty password then, and asks on the terminal "
            'when that is wrong; for a keystore whose password is empty write key.password: ""'
        )
    return list(dict.fromkeys((text.strip(), text)))


def load_keystore(path: Path, passwords: Sequence[str], address: bytes | None) -> bytes:
    """The key of a geth V3 keystore file, or of a folder that holds exactly one key of `address`, under one of the passwords.

    Raises SigningKeyError.
    """
    try:
        if path.is_dir():
            return _open_in_folder(path, passwords, address)
    except OSError as error:
        raise SigningKeyError(f"key.keystore_file {path} cannot be read: {error.strerror}") from None
    return _open_keystore(path, passwords)


def _open_keystore(path: Path, passwords: Sequence[str]) -> bytes:
    document = _keystore_in(read_secret_file(path, "key.keystore_file", one_line=False))
    if document is None:
        raise SigningKeyError(f"key.keystore_file {path} is not a geth V3 keystore")
    if document.get("version") != KEYSTORE_VERSION:
        raise SigningKeyError(
            f"key.keystore_file {path} is a keystore of version {document.get('version')!r}, and only version {KEYSTORE_VERSION} is read: "
            "import it with a wallet that knows it, and export it anew"
        )
    if "x-ethers" in document and "mnemonicCiphertext" in str(document["x-ethers"]):
        _log.warning("key.keystore_file %s also holds a mnemonic, which is not used: keep that elsewhere", path)
    from eth_account import Account  # only where a keystore is used: scrypt and its imports are slow

    for password in passwords:
        try:
            return _whole_secret(bytes(Account.decrypt(document, password)), f"the key in key.keystore_file {path}")
        except (ValueError, TypeError, KeyError, AttributeError, NotImplementedError) as error:
            if not isinstance(error, ValueError) or "MAC" not in str(error):
                raise SigningKeyError(f"key.keystore_file {path} is not a geth V3 keystore") from None
    raise SigningKeyError(f"key.keystore_file {path}: the password is wrong")


def _open_in_folder(folder: Path, passwords: Sequence[str], address: bytes | None) -> bytes:
    """The folder's key of this address. Keystores that name none, as `cast` writes them, are opened where no other does."""
    if address is None:
        raise SigningKeyError(f"key.keystore_file {folder} is a folder: key.address must say which key of it to use")
    named: list[Path] = []
    nameless: list[Path] = []
    for path in sorted(folder.iterdir()):
        document = _keystore_at(path)
        if document is not None and isinstance(document.get("address"), str):
            if document["address"].lower().removeprefix("0x") == address.hex():
                named.append(path)
        elif document is not None and "crypto" in {key.lower() for key in document}:
            nameless.append(path)
    if len(named) == 1:
        return _open_keystore(named[0], passwords)
    if not named and len(nameless) <= MAX_TRIED_KEYSTORES:
        fitting = [secret for path in nameless if (secret := _open_if_it_is(path, passwords, address)) is not None]
        if len(fitting) == 1:
            return fitting[0]
    raise SigningKeyError(
        f"key.keystore_file {folder}: {len(named)} keys of 0x{address.hex()} in this folder, exactly one is needed"
        + (f"; {len(nameless)} keystores name no address, and none of them opens to it" if nameless and not named else "")
    )


def _open_if_it_is(path: Path, passwords: Sequence[str], address: bytes) -> bytes | None:
    try:
        secret = _open_keystore(path, passwords)
    except SigningKeyError:
        return None
    return secret if SigningKey(secret).address == address else None


def _keystore_at(path: Path) -> dict[str, Any] | None:
    """The document of a folder's file; None for what is none, and for what cannot be read: a neighbour is nobody's fault."""
    try:
        if not path.is_file() or path.stat().st_size > _MAX_FILE_BYTES:
            return None
        return _keystore_in(path.read_bytes())
    except OSError:
        return None


def _keystore_in(text: str | bytes) -> dict[str, Any] | None:
    try:
        document: Any = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) and document else None
