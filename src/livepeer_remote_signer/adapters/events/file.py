"""Events as JSON lines in a file, one record a line, on the disk before they count as sent.

The file may be rotated by renaming it: it is opened anew for each batch. Several processes may write to one file. A line
that a crash left unfinished is mended before anything is appended: the whole record is still in the outbox and comes again.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path

from livepeer_remote_signer.adapters.events.sink import SinkError

_log = logging.getLogger(__name__)
_CHUNK_BYTES = 64 * 1024


class FileSink:
    """Appends to the file at `path`, made with mode 0640 when it is not there."""

    kind = "file"

    def __init__(self, path: Path) -> None:
        self._path = path.absolute()
        self.name = f"file:{self._path}"

    async def start(self) -> None:
        """Mends what a crash left, and shows early that the file cannot be written. Raises SinkError."""
        await asyncio.to_thread(self._append, b"")

    async def publish(self, events: Sequence[bytes]) -> None:
        """Appends and waits for the disk."""
        await asyncio.to_thread(self._append, b"".join(event + b"\n" for event in events))

    async def aclose(self) -> None:
        """Nothing is kept open."""

    def _append(self, lines: bytes) -> None:
        try:
            is_new = not self._path.exists()
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                mend_last_line(descriptor)
                _append_whole(descriptor, lines)
            finally:
                os.close(descriptor)
            if is_new:
                _sync_folder(self._path.parent)
        except OSError as error:
            raise SinkError(f"the events file {self._path} cannot be written: {error.strerror}") from None


def _append_whole(descriptor: int, lines: bytes) -> None:
    """All of it, on the disk, or nothing: what a full disk cut short would stand there twice after the next attempt."""
    size = os.fstat(descriptor).st_size
    try:
        _write_all(descriptor, lines)
        os.fsync(descriptor)
    except OSError:
        os.ftruncate(descriptor, size)
        raise


def mend_last_line(descriptor: int) -> None:
    """Ends a last line that is whole but for its line break, and cuts off one that is torn."""
    size = os.fstat(descriptor).st_size
    if size == 0 or os.pread(descriptor, 1, size - 1) == b"\n":
        return
    tail, start = b"", size
    while start > 0 and b"\n" not in tail:
        step = min(_CHUNK_BYTES, start)
        start -= step
        tail = os.pread(descriptor, step, start) + tail
    torn = tail.rpartition(b"\n")[2]
    if _is_record(torn):
        _write_all(descriptor, b"\n")
        return
    os.ftruncate(descriptor, size - len(torn))
    _log.warning("the events file ended in a torn line of %d bytes, which was cut off: the event is sent again", len(torn))


def _is_record(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _sync_folder(folder: Path) -> None:
    """Makes a new file's name survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
