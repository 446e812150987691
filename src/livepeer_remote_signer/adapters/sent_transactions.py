"""What the funding commands sent and do not know the end of: one small file for each configuration, chain and sender.

A command that ends without knowing whether its transaction arrived must not be repeated blindly: the next one looks the
transaction up first. What is sent then takes the same nonce, so that one of them at the most is mined; all are kept. Nothing
in the file is secret; what was sent is public.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

MAX_FILE_BYTES = 16 * 1024
_T = TypeVar("_T")


class RecordFault(Exception):
    """The file cannot be used; the message names it and says why."""


class RecordUnavailable(RecordFault):
    """There is no such place here: the folder cannot be read or written."""


class SentTransaction(NamedTuple):
    """A transaction that was sent, or nearly. `head` and `head_hash` name a block that was there before it, by which its chain
    is known again."""

    hash: str
    nonce: int
    command: str
    arguments: Mapping[str, str]
    sent_at: str
    head: int
    head_hash: str


class SentTransactions:
    """The file of one configuration, chain and sender."""

    def __init__(self, folder: Path, config: Path, chain_id: int, sender: bytes, now: Callable[[], float] = time.time) -> None:
        name = sha256(str(config.resolve()).encode("utf-8", "surrogateescape")).hexdigest()[:16]
        self.path = folder / f"sent-{chain_id}-{sender.hex()}-{name}.json"
        self._lock = folder / f"lock-{chain_id}-{sender.hex()}"
        self._now = now

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """No two commands of a sender are at work at once on this host, whatever their configurations. Raises RecordFault."""
        try:
            self._lock.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            file = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise RecordUnavailable(f"{self._lock} cannot be opened ({error.strerror})") from None
        try:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise RecordFault("another command of this sender is at work: wait for its end, and run this one again") from None
            yield
        finally:
            os.close(file)

    def remember(self, transaction_hash: str, nonce: int, command: str, arguments: Mapping[str, str], head: int, head_hash: str) -> None:
        """To be called before sending. What has the same nonce stays remembered. Raises RecordFault."""
        sent_at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self._now()))
        record = SentTransaction(transaction_hash, nonce, command, dict(arguments), sent_at, head, head_hash)
        self._write([earlier for earlier in self.load() if earlier.nonce == nonce and earlier.hash != transaction_hash] + [record])

    def _write(self, records: list[SentTransaction]) -> None:
        write_record(self.path, [record._asdict() for record in records])

    def load(self) -> list[SentTransaction]:
        """What was left open, all of one nonce; empty when the last command knew its end. Raises RecordFault."""
        return read_record(self.path, _record)

    def drop(self, transaction_hash: str) -> None:
        """This one was never taken; others of its nonce may have been. Raises RecordFault."""
        if kept := [earlier for earlier in self.load() if earlier.hash != transaction_hash]:
            self._write(kept)
        else:
            self.forget()

    def forget(self) -> None:
        """The end is known: the nonce is used. Raises RecordFault."""
        try:
            self.path.unlink(missing_ok=True)
        except OSError as error:
            raise RecordUnavailable(f"{self.path} cannot be deleted ({error.strerror})") from None


def write_record(path: Path, entries: list[dict[str, Any]]) -> None:
    """Puts a list in a file's place, whole or not at all. Raises RecordUnavailable."""
    temporary = path.with_suffix(".tmp")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(entries, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise RecordUnavailable(f"{path} cannot be written ({error.strerror})") from None


def read_record(path: Path, parse: Callable[[Any], _T], most_bytes: int = MAX_FILE_BYTES) -> list[_T]:
    """The list in a file; empty where there is none. Raises RecordFault."""
    try:
        with path.open("rb") as file:
            text = file.read(most_bytes + 1)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise RecordUnavailable(f"{path} cannot be read ({error.strerror})") from None
    try:
        documents = json.loads(text)
        if not isinstance(documents, list):
            raise TypeError("no list")
        return [parse(document) for document in documents]
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise RecordFault(f"{path} is not what a funding command wrote: look at it, and delete it") from None


def _record(document: Any) -> SentTransaction:
    record = SentTransaction(**document)
    texts = (record.hash, record.command, record.sent_at, record.head_hash, *record.arguments.values())
    if not all(type(value) is str for value in texts) or type(record.nonce) is not int or type(record.head) is not int:
        raise TypeError("another type")
    return record


def default_folder(environ: Mapping[str, str]) -> Path | None:
    """Where a user's programs keep such files: systemd's StateDirectory, or the XDG base directory; None without a home."""
    if folder := environ.get("STATE_DIRECTORY", "").partition(":")[0]:
        return Path(folder)
    if (folder := environ.get("XDG_STATE_HOME", "")) and Path(folder).is_absolute():
        return Path(folder) / "livepeer-remote-signer"
    home = environ.get("HOME", "")
    return Path(home) / ".local" / "state" / "livepeer-remote-signer" if Path(home).is_absolute() else None
