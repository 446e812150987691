"""API keys as values: their spelling, the file that lists them, and whether one may be used now.

A key is `lrs_<id>_<secret>`: the id finds the record, the secret is 256 random bits. Only a salted SHA-256 of the secret is
kept. A slow password hash would add nothing: it defends secrets that can be guessed, and no hardware counts to 2^256; it
would, though, stop the event loop for every call.
"""

from __future__ import annotations

import hmac
import json
import re
from collections.abc import Iterable
from hashlib import sha256
from typing import Any, NamedTuple

from livepeer_remote_signer.core.protocol.strict_json import is_too_deep
from livepeer_remote_signer.core.rules.policy import MAX_AUTH_ID_CHARACTERS

KEY_PATTERN = re.compile(r"lrs_([0-9a-f]{16})_([A-Za-z0-9_-]{43})")
SALT_BYTES = 16
FILE_VERSION = 1
KEPT_SECONDS = 30 * 86_400
"""How long a key that was revoked or has expired stays in the file, so that `keys list` can show it."""

_HEAD, _TAIL = f'{{"version": {FILE_VERSION}, "keys": [', "]}"
MAX_NAME_CHARACTERS = 200
ROUTES = (
    "sign-orchestrator-info",
    "generate-live-payment",
    "discover-orchestrators",
    "signTicket",
    "getOrchestratorInfo",
    "sign-byoc-job",
)
"""What a key can be limited to: paths without their first slash."""


class KeyRecord(NamedTuple):
    """One key as the file holds it. Times in unix seconds, None: never; no `routes`: all of them."""

    id: str
    name: str
    auth_id: str
    salt: bytes
    hash: bytes
    created: int
    expires: int | None = None
    revoked: int | None = None
    routes: tuple[str, ...] = ()
    requests_per_minute: int | None = None


class KeysFileError(Exception):
    """The keys file cannot be used; the message names what is wrong, never a hash."""


def split_key(key: str) -> tuple[str, str] | None:
    """Id and secret of a key, None when it is not spelled like one."""
    match = KEY_PATTERN.fullmatch(key)
    return (match[1], match[2]) if match else None


def hash_secret(salt: bytes, secret: str) -> bytes:
    """What the file keeps of a secret."""
    return sha256(salt + secret.encode()).digest()


def is_secret(record: KeyRecord, secret: str) -> bool:
    """Whether `secret` is the record's, in constant time."""
    return hmac.compare_digest(hash_secret(record.salt, secret), record.hash)


def check_auth_id(auth_id: str) -> None:
    """ValueError for an auth id that could not travel in a state or a log line, or is nobody's: "" may spend on any session."""
    if not 0 < len(auth_id) <= MAX_AUTH_ID_CHARACTERS or not auth_id.isprintable():
        raise ValueError(f"an auth id is printable text of 1 to {MAX_AUTH_ID_CHARACTERS} characters, this one has {len(auth_id)}")


def encode_keys(records: Iterable[KeyRecord]) -> str:
    """The keys file: JSON that a person can read, one key a line."""
    return join_lines(encode_key(record) for record in records)


def encode_key(record: KeyRecord) -> str:
    """One key's line."""
    fields = {**record._asdict(), "salt": record.salt.hex(), "hash": record.hash.hex(), "routes": list(record.routes)}
    return json.dumps({name: value for name, value in fields.items() if value is not None and value != []})


def join_lines(lines: Iterable[str]) -> str:
    """The file whose keys are these lines."""
    return f"{_HEAD}\n" + ",\n".join(lines) + f"\n{_TAIL}\n"


def split_lines(text: str) -> list[str] | None:
    """The lines of the keys, each as `encode_key` makes it; None for a file in another form, which `parse_keys` reads all the same."""
    lines = text.split("\n")
    if len(lines) < 3 or lines[0] != _HEAD or lines[-2:] != [_TAIL, ""]:
        return None
    if lines[1:-2] == [""]:
        return []
    *others, last = lines[1:-2]
    if last.endswith(",") or not all(line.endswith(",") for line in others):
        return None
    return [line[:-1] for line in others] + [last]


def parse_key(line: str) -> KeyRecord:
    """The record of one line. Raises KeysFileError."""
    if is_too_deep(line.encode("utf-8", "replace")):
        raise KeysFileError("not JSON we read: nested too deeply")
    try:
        entry = json.loads(line)
    except ValueError as error:
        raise KeysFileError(f"not JSON: {error}") from None
    return _parse(entry, line[:40])


def is_forgotten(record: KeyRecord, now: int) -> bool:
    """Whether a key that ended is old enough to be left out of the file: then it is unknown, which opens as little."""
    ended = [time for time in (record.revoked, record.expires) if time is not None]
    return bool(ended) and min(ended) + KEPT_SECONDS <= now


def parse_keys(text: str) -> list[KeyRecord]:
    """The records of a keys file. Raises KeysFileError for anything that `encode_keys` would not write."""
    if is_too_deep(text.encode("utf-8", "replace")):
        raise KeysFileError("not JSON we read: nested too deeply")
    try:
        document = json.loads(text)
    except ValueError as error:
        raise KeysFileError(f"not JSON: {error}") from None
    if not isinstance(document, dict) or document.get("version") != FILE_VERSION or not isinstance(document.get("keys"), list):
        raise KeysFileError(f'not a keys file: {{"version": {FILE_VERSION}, "keys": [...]}} is expected')
    records = [_parse(entry, f"keys[{index}]") for index, entry in enumerate(document["keys"])]
    if len({record.id for record in records}) != len(records):
        raise KeysFileError("two keys have the same id")
    return records


def _parse(entry: Any, where: str) -> KeyRecord:
    if not isinstance(entry, dict) or entry.keys() - set(KeyRecord._fields):
        raise KeysFileError(f"{where}: an object with the keys {', '.join(KeyRecord._fields)} is expected")
    try:
        record = KeyRecord(
            id=_text(entry, "id"),
            name=_text(entry, "name"),
            auth_id=_text(entry, "auth_id"),
            salt=bytes.fromhex(_text(entry, "salt")),
            hash=bytes.fromhex(_text(entry, "hash")),
            created=_time(entry, "created") or 0,
            expires=_time(entry, "expires"),
            revoked=_time(entry, "revoked"),
            routes=tuple(entry.get("routes", ())),
            requests_per_minute=_time(entry, "requests_per_minute"),
        )
        check_auth_id(record.auth_id)
    except (ValueError, TypeError) as error:
        raise KeysFileError(f"{where}: {error}") from None
    if re.fullmatch(r"[0-9a-f]{16}", record.id) is None:
        raise KeysFileError(f"{where}: id must be 16 hex digits")
    if len(record.hash) != sha256().digest_size:
        raise KeysFileError(f"{where}: hash must be {2 * sha256().digest_size} hex digits")
    if unknown := [route for route in record.routes if route not in ROUTES]:
        raise KeysFileError(f"{where}: unknown route {str(unknown[0])[:64]!r}: one of {', '.join(ROUTES)}")
    return record


def _text(entry: dict[str, Any], key: str) -> str:
    value = entry.get(key)
    if not isinstance(value, str):
        raise TypeError(f"{key} must be a string")
    return value


def _time(entry: dict[str, Any], key: str) -> int | None:
    value = entry.get(key)
    if value is not None and (type(value) is not int or value < 0):
        raise TypeError(f"{key} must be a whole number that is not negative")
    return value
