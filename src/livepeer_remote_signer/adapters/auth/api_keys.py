"""The keys file: read again when it changes, so that a revoked key stops working within a second and without a restart.

The file is looked at by its modification time at most once a second, on a call. A long one is read in a thread, and of its
lines only those that changed are parsed: payments go on meanwhile. A file that cannot be read fails closed: nobody is let in
by what it used to say.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import stat
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import NamedTuple

from livepeer_remote_signer.adapters.auth.key_checks import KeyChecks
from livepeer_remote_signer.core.errors import AuthFailed
from livepeer_remote_signer.core.rules.api_keys import (
    KEPT_SECONDS,
    SALT_BYTES,
    KeyRecord,
    KeysFileError,
    encode_key,
    is_forgotten,
    join_lines,
    parse_key,
    parse_keys,
    split_key,
    split_lines,
)
from livepeer_remote_signer.core.rules.new_keys import NewKey
from livepeer_remote_signer.core.rules.policy import Identity
from livepeer_remote_signer.core.rules.secret_text import secret_text_fault

LOOK_EVERY_SECONDS = 1.0
READ_AT_ONCE_BYTES = 64 * 1024
"""Some two hundred keys: a millisecond or two."""

MAX_FILE_BYTES = 64 * 1024 * 1024
_Mark = tuple[int, int, int, int]


class ApiKeys:
    """The keys of one file. A lookup costs one hash, however many keys there are."""

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._checks = KeyChecks(clock, monotonic)
        self._monotonic = monotonic
        self._looked_at = monotonic()
        self._mark = _mark(path)
        self._content = _Content.of(_read_text(path), {})
        self._fault = ""
        self._reading: Thread | None = None

    def __repr__(self) -> str:
        return f"ApiKeys({len(self._content.records)} keys)"

    def verify(self, key: str, path: str) -> Identity:
        """Whose key it is.

        Raises Unauthenticated for a key that is unknown, expired or revoked, Denied for a route that it does not open,
        RateExceeded above its limit (counted in this process), AuthFailed when the keys file cannot be read.
        """
        if fault := self.fault:
            raise AuthFailed(f"the API keys file cannot be used: {fault}")
        parts = split_key(key)
        return self._checks.admit(self._content.records.get(parts[0]) if parts else None, parts, path)

    @property
    def fault(self) -> str:
        """Why the file cannot be used, "" when it can."""
        self._look()
        return self._fault

    def _look(self) -> None:
        """Reads the file again if it changed since it was last read: a short one at once, a long one in a thread."""
        now = self._monotonic()
        if now - self._looked_at < LOOK_EVERY_SECONDS or self._reading is not None:
            return
        self._looked_at = now
        try:
            mark = _mark(self._path)
            if mark == self._mark and not self._fault:
                return
        except KeysFileError as error:
            self._fault = str(error)
            return
        if mark[1] <= READ_AT_ONCE_BYTES:
            self._read(mark)
        else:
            self._reading = Thread(target=self._read, args=(mark,), name="API keys", daemon=True)
            self._reading.start()

    def _read(self, mark: _Mark) -> None:
        try:
            self._content = _Content.of(_read_text(self._path), self._content.by_line)
            self._mark = mark
            self._fault = ""
        except KeysFileError as error:
            self._fault = str(error)
        finally:
            self._reading = None


class _Content(NamedTuple):
    """What the file says: keys by their id, and by the line that they stand on where each has one of its own."""

    records: Mapping[str, KeyRecord]
    by_line: Mapping[str, KeyRecord]

    @classmethod
    def of(cls, text: str, known: Mapping[str, KeyRecord]) -> _Content:
        """Of the lines only those that are not `known` are parsed. Raises KeysFileError."""
        lines = split_lines(text)
        if lines is None:
            return cls({record.id: record for record in parse_keys(text)}, {})
        by_line = {line: known.get(line) or parse_key(line) for line in lines}
        records = {record.id: record for record in by_line.values()}
        if len(records) != len(lines):
            raise KeysFileError("two keys have the same id")
        return cls(records, by_line)


def _mark(path: Path) -> _Mark:
    try:
        found = path.stat()
    except OSError as error:
        raise KeysFileError(f"{path} cannot be read: {error.strerror}; `keys create` makes the first key") from None
    return (found.st_mtime_ns, found.st_size, found.st_ino, found.st_ctime_ns)  # owner and mode change the last of them alone


def with_path(error: KeysFileError, path: Path) -> str:
    """What is wrong with the file, and which it is."""
    return str(error) if str(path) in str(error) else f"{path}: {error}"


def _read_text(path: Path) -> str:
    """Raises KeysFileError when the file cannot be trusted or read."""
    try:
        with path.open("rb") as file:
            found = os.fstat(file.fileno())
            if found.st_mode & stat.S_IWOTH:
                raise KeysFileError(f"{path} can be written by everybody: chmod 600 it")
            if found.st_size > MAX_FILE_BYTES:
                raise KeysFileError(f"{path} is larger than {MAX_FILE_BYTES} bytes")
            text = file.read().decode("utf-8")
    except OSError as error:
        raise KeysFileError(f"{path} cannot be read: {error.strerror}; `keys create` makes the first key") from None
    except UnicodeDecodeError:
        raise KeysFileError(f"{path} is not text") from None
    if fault := secret_text_fault(text, one_line=False):
        raise KeysFileError(f"{path} {fault}")
    return text


def read_keys(path: Path) -> list[KeyRecord]:
    """The records of the file. Raises KeysFileError when it cannot be trusted or read."""
    return parse_keys(_read_text(path))


@contextmanager
def _changing(path: Path, now: int) -> Iterator[list[str]]:
    """The keys' lines, to be changed in place: written back whole, by one writer at a time, for the same owner and mode.

    A new file has mode 0600 and the folder's owner, as far as this user may give it away: who serves must be able to read it.
    Keys that ended long ago are left out. Raises KeysFileError for what the reader would refuse.
    """
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        is_new = not path.exists()
        text = join_lines(()) if is_new else _read_text(path)
        lines = split_lines(text)
        lines = [encode_key(record) for record in parse_keys(text)] if lines is None else lines
        yield lines
        encoded = join_lines(line for line in lines if not (_may_have_ended(line) and is_forgotten(parse_key(line), now))).encode()
        if len(encoded) > MAX_FILE_BYTES:
            raise KeysFileError(
                f"{path} would have {len(encoded)} bytes, more than the {MAX_FILE_BYTES} that are read: revoke keys that are not "
                f"used; they leave the file after {KEPT_SECONDS // 86_400} days"
            )
        fresh = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        try:
            with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                _give(file.fileno(), path, os.fstat(folder) if is_new else path.stat(), 0o600 if is_new else None)
                file.write(encoded)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(path)
        finally:
            fresh.unlink(missing_ok=True)
        os.fsync(folder)
    finally:
        os.close(folder)


def _may_have_ended(line: str) -> bool:
    return '"revoked"' in line or '"expires"' in line


def _give(descriptor: int, path: Path, like: os.stat_result, mode: int | None) -> None:
    """Owner and mode of the file that is replaced. Raises KeysFileError where this user cannot give it to its owner."""
    if (like.st_uid, like.st_gid) != (os.geteuid(), os.getegid()) and (mode is None or os.geteuid() == 0):
        try:
            os.fchown(descriptor, like.st_uid, like.st_gid)
        except OSError:
            raise KeysFileError(f"{path} belongs to user {like.st_uid}: change it as that user, or as root") from None
    os.fchmod(descriptor, stat.S_IMODE(like.st_mode) if mode is None else mode)


def create_keys(path: Path, wanted: Sequence[NewKey], now: int) -> list[tuple[str, KeyRecord]]:
    """Adds keys. Returns their texts, which are kept nowhere, and their records."""
    made = []
    for new in wanted:
        key_id, secret = secrets.token_hex(8), secrets.token_urlsafe(32)
        made.append((f"lrs_{key_id}_{secret}", new.record(key_id, secret, secrets.token_bytes(SALT_BYTES), now)))
    with _changing(path, now) as lines:
        lines += [encode_key(record) for _, record in made]
    return made


def revoke_keys(path: Path, key_ids: Sequence[str], now: int) -> list[KeyRecord]:
    """Marks keys as revoked, all or none. Raises KeysFileError when there is none of one of these ids."""
    revoked: dict[str, KeyRecord] = {}
    with _changing(path, now) as lines:
        for index, line in enumerate(lines):
            if any(key_id in line for key_id in key_ids) and (record := parse_key(line)).id in key_ids:
                record = record._replace(revoked=record.revoked or now)
                lines[index] = encode_key(record)
                revoked[record.id] = record
        if unknown := [key_id for key_id in key_ids if key_id not in revoked]:
            raise KeysFileError(f"{path} has no key {unknown[0][:64]!r}; `keys list` shows them")
    return [revoked[key_id] for key_id in key_ids]
