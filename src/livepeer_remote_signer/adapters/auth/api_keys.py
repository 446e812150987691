"""The keys file: read again when it changes, so that a revoked key stops working within a second and without a restart.

The file is looked at by its modification time at most once a second, on a call. A file that cannot be read fails closed:
nobody is let in by what it used to say.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from livepeer_remote_signer.core.errors import AuthFailed, Denied, RateExceeded, Unauthenticated
from livepeer_remote_signer.core.rules.api_keys import (
    SALT_BYTES,
    KeyRecord,
    KeysFileError,
    check_auth_id,
    encode_keys,
    hash_secret,
    is_secret,
    parse_keys,
    split_key,
)
from livepeer_remote_signer.core.rules.policy import Identity

LOOK_EVERY_SECONDS = 1.0
MAX_FILE_BYTES = 64 * 1024 * 1024
_NOBODY = KeyRecord("", "", "", bytes(SALT_BYTES), bytes(32), 0)
_Mark = tuple[int, int, int]


class ApiKeys:
    """The keys of one file. A lookup costs one hash, however many keys there are."""

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._monotonic = monotonic
        self._looked_at = monotonic()
        self._mark = _mark(path)
        self._records = {record.id: record for record in read_keys(path)}
        self._fault = ""
        self._free_at: dict[str, float] = {}

    def __repr__(self) -> str:
        return f"ApiKeys({len(self._records)} keys)"

    def verify(self, key: str, path: str) -> Identity:
        """Whose key it is.

        Raises Unauthenticated for a key that is unknown, expired or revoked, Denied for a route that it does not open,
        RateExceeded above its limit (counted in this process), AuthFailed when the keys file cannot be read.
        """
        if fault := self.look():
            raise AuthFailed(f"the API keys file cannot be used: {fault}")
        parts = split_key(key)
        record = self._records.get(parts[0], _NOBODY) if parts else _NOBODY
        if parts is None or not is_secret(record, parts[1]):
            raise Unauthenticated(
                "the API key is not known", hint="check that the whole key was sent, and that it was made for this signer"
            )
        now = self._clock()
        if record.revoked is not None:
            raise Unauthenticated("the API key is revoked", hint="ask the operator of this signer for a new one", key_id=record.id)
        if record.expires is not None and now >= record.expires:
            raise Unauthenticated("the API key has expired", key_id=record.id, expired=record.expires, now=int(now))
        if record.routes and path.strip("/") not in record.routes:
            raise Denied(
                f"this API key does not open {path}",
                hint="the operator can make a key for this route",
                key_id=record.id,
                routes=list(record.routes),
            )
        self._check_rate(record)
        return Identity(record.auth_id, record.hash)

    def _check_rate(self, record: KeyRecord) -> None:
        """At most `requests_per_minute`, evenly refilled, a minute's worth at once."""
        if record.requests_per_minute is None:
            return
        now = self._monotonic()
        cost = 60 / record.requests_per_minute if record.requests_per_minute else float("inf")
        free_at = max(self._free_at.get(record.id, 0.0), now - 60) + cost
        if free_at > now:
            wait = min(free_at - now, 3600)
            raise RateExceeded(
                f"this API key may call {record.requests_per_minute} times a minute",
                retry_after_seconds=max(1, int(wait + 0.999)),
                key_id=record.id,
                limit=record.requests_per_minute,
            )
        self._free_at[record.id] = free_at

    def look(self) -> str:
        """Reads the file again if it changed since it was last read. Why that failed, "" when it did not."""
        now = self._monotonic()
        if now - self._looked_at < LOOK_EVERY_SECONDS:
            return self._fault
        self._looked_at = now
        try:
            mark = _mark(self._path)
            if mark == self._mark and not self._fault:
                return ""
            self._records = {record.id: record for record in read_keys(self._path)}
            self._mark = mark
            self._fault = ""
        except KeysFileError as error:
            self._fault = str(error)
        return self._fault


def _mark(path: Path) -> _Mark:
    try:
        found = path.stat()
    except OSError as error:
        raise KeysFileError(f"{path} cannot be read: {error.strerror}; `keys create` makes the first key") from None
    return (found.st_mtime_ns, found.st_size, found.st_ino)


def read_keys(path: Path) -> list[KeyRecord]:
    """The records of the file. Raises KeysFileError when it cannot be trusted or read."""
    try:
        with path.open("rb") as file:
            found = os.fstat(file.fileno())
            if found.st_mode & stat.S_IWOTH:
                raise KeysFileError(f"{path} can be written by everybody: chmod 600 it")
            if found.st_size > MAX_FILE_BYTES:
                raise KeysFileError(f"{path} is larger than {MAX_FILE_BYTES} bytes")
            return parse_keys(file.read().decode("utf-8"))
    except OSError as error:
        raise KeysFileError(f"{path} cannot be read: {error.strerror}; `keys create` makes the first key") from None
    except UnicodeDecodeError:
        raise KeysFileError(f"{path} is not text") from None


@contextmanager
def _changing(path: Path) -> Iterator[list[KeyRecord]]:
    """The records, to be changed in place: written back whole, by one writer at a time, mode 0600."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        records = read_keys(path) if path.exists() else []
        yield records
        fresh = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        try:
            with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
                file.write(encode_keys(records))
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(path)
        finally:
            fresh.unlink(missing_ok=True)
        os.fsync(folder)
    finally:
        os.close(folder)


def create_key(
    path: Path,
    *,
    name: str,
    auth_id: str | None,
    now: int,
    expires: int | None = None,
    routes: tuple[str, ...] = (),
    requests_per_minute: int | None = None,
) -> tuple[str, KeyRecord]:
    """Adds a key. Returns its text, which is kept nowhere, and its record. `auth_id` None: `key:` and the key's id."""
    key_id, secret, salt = secrets.token_hex(8), secrets.token_urlsafe(32), secrets.token_bytes(SALT_BYTES)
    auth_id = f"key:{key_id}" if auth_id is None else auth_id
    check_auth_id(auth_id)
    record = KeyRecord(key_id, name, auth_id, salt, hash_secret(salt, secret), now, expires, None, routes, requests_per_minute)
    with _changing(path) as records:
        records.append(record)
    return f"lrs_{key_id}_{secret}", record


def revoke_key(path: Path, key_id: str, now: int) -> KeyRecord:
    """Marks a key as revoked. Raises KeysFileError when there is none of this id."""
    with _changing(path) as records:
        for index, record in enumerate(records):
            if record.id == key_id:
                records[index] = record._replace(revoked=record.revoked or now)
                return records[index]
        raise KeysFileError(f"{path} has no key {key_id[:64]!r}; `keys list` shows them")
