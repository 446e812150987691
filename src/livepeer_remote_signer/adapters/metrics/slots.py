"""Numbers that several worker processes count and any of them can add up.

Each worker has one file, mapped into memory: a table of 8-byte floats, and beside it lines that say which series stands at
which slot and how it is merged. Counting is one addition in memory. A worker holds a lock on its file while it lives; the
file of a dead worker stays, so that no counter ever goes back, until a later worker folds it into `retired.json`. With a
single worker there is no file at all.

A page of a mapped file that the file system has no room for kills the process that writes to it (SIGBUS), so the room is taken
when the file is made. Where there is none, where the file system knows no locks or no shared mappings, or where somebody
removed the files, a worker counts in memory of its own and tries again with each look.
"""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import mmap
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from operator import add
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

MAX_SLOTS = 32_768
MAX_NAME_BYTES = 1024 * 1024
_MAGIC = b"LRSMET01"
_HEADER_BYTES = 16
_NAMES_AT = _HEADER_BYTES + 8 * MAX_SLOTS
_FILE_BYTES = _NAMES_AT + MAX_NAME_BYTES
_RETIRED_FILE = "retired.json"

SeriesKey: TypeAlias = tuple[str, tuple[str, ...]]
"""A metric's name and its label values."""

_log = logging.getLogger(__name__)

Merge: TypeAlias = Literal["sum", "most", "latest"]
"""How two workers' slots become one: added; the larger of each; or all of those whose last one, the time, is the later."""


class Series(NamedTuple):
    """The numbers of one series. They say themselves how they are merged: dead workers are folded by whoever comes next."""

    values: list[float]
    merge: Merge = "sum"

    def has_form_of(self, other: Series) -> bool:
        """Whether both can be merged; versions of this program may differ in that."""
        return self.merge == other.merge and len(self.values) == len(other.values)

    def merged(self, more: Series) -> Series:
        """Both as one; they have one form."""
        if self.merge == "latest":
            return max(self, more, key=lambda series: series.values[-1])
        join = max if self.merge == "most" else add
        return self._replace(values=[join(a, b) for a, b in zip(self.values, more.values, strict=True)])


class Reading(NamedTuple):
    """The numbers of one worker, or of all dead ones together."""

    series: dict[SeriesKey, Series]
    is_live: bool


class SlotsFull(Exception):
    """There is no room for another series. Labels are bounded, so this is a fault of ours."""


class Slots:
    """This worker's numbers, and those of its siblings in `folder` (None: there are none)."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._own_name = f"worker-{os.getpid()}-{os.urandom(4).hex()}.slots"
        self._descriptor: int | None = None
        self._memory: mmap.mmap | bytearray = bytearray(_FILE_BYTES)
        self._memory[:8] = _MAGIC
        self.values = memoryview(self._memory)[_HEADER_BYTES:_NAMES_AT].cast("d")
        """The table. A series owns the slots from where `allot` put it; the table itself moves when a file is made for it."""
        self._used = 0
        self._name_bytes = 0
        self._trouble: str | None = None
        self._retired = _Retired({}, set())
        self.keep_shared()

    def keep_shared(self) -> None:
        """Sees to it that the siblings can read these numbers. Where they cannot the log says so once, and once when they can again."""
        if self._folder is None or self._is_shared(self._folder / self._own_name):
            return
        try:
            self._share(self._folder)
        except OSError as error:
            if error.strerror != self._trouble:
                self._trouble = error.strerror
                _log.warning(
                    "numbers cannot be shared with the other workers in %s (%s): they are counted in this worker's memory, and /metrics "
                    "shows those of the worker that answers; payments go on",
                    self._folder,
                    error.strerror,
                )
            return
        if self._trouble is not None:
            self._trouble = None
            _log.info("numbers are shared with the other workers again, in %s", self._folder)

    def allot(self, key: SeriesKey, size: int, merge: Merge = "sum") -> int:
        """The first of `size` slots, all 0, for a series. Raises SlotsFull."""
        line = json.dumps([key[0], key[1], self._used, size, merge], separators=(",", ":")).encode() + b"\n"
        if self._used + size > MAX_SLOTS or self._name_bytes + len(line) > MAX_NAME_BYTES:
            raise SlotsFull(f"no room for the series {key[0]}")
        at = _NAMES_AT + self._name_bytes
        self._memory[at : at + len(line)] = line
        self._name_bytes += len(line)
        self._memory[8:12] = struct.pack("<I", self._name_bytes)
        first, self._used = self._used, self._used + size
        return first

    def readings(self) -> list[Reading]:
        """This worker's numbers first, then those of its siblings, dead and alive: those that can be read."""
        own = Reading(_parse(self._memory), True)
        if self._folder is None:
            return [own]
        others: list[Reading | None] = []
        try:
            _check_ours(self._folder)
            with _locked(self._folder, fcntl.LOCK_SH):
                self._retired = _load_retired(self._folder)
                others = [_read(path) for path in _worker_files(self._folder, self._retired) if path.name != self._own_name]
        except OSError as error:
            _log.debug("the other workers' numbers cannot be read: %s", error.strerror)  # `keep_shared` warns
        return [own, Reading(self._retired.series, False), *(other for other in others if other is not None)]

    def close(self) -> None:
        """Lets go of the file; its numbers stay."""
        self.values.release()
        if isinstance(self._memory, mmap.mmap):
            self._memory.close()
        self._let_go()

    def _is_shared(self, path: Path) -> bool:
        """Whether the file that is mapped is the one that siblings find."""
        if self._descriptor is None:
            return False
        try:
            return os.path.samestat(path.stat(), os.fstat(self._descriptor))
        except OSError:
            return False

    def _share(self, folder: Path) -> None:
        """Moves the numbers into a file of their own. Raises OSError, and then they are where they were."""
        folder.mkdir(mode=0o700, exist_ok=True)  # the one above ends with the service, and is not made again here
        _check_ours(folder)
        path = folder / self._own_name
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            _write_whole(descriptor, self._memory)
            memory = mmap.mmap(descriptor, _FILE_BYTES)
        except OSError:
            path.unlink(missing_ok=True)
            os.close(descriptor)
            raise
        self._let_go()
        self._memory, self._descriptor = memory, descriptor
        self.values = memoryview(memory)[_HEADER_BYTES:_NAMES_AT].cast("d")
        with suppress(OSError):  # the dead ones' files stay where everybody reads them, and a later worker folds them
            self._fold_dead(folder)

    def _let_go(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _fold_dead(self, folder: Path) -> None:
        """Adds dead workers' numbers to the retired ones. A crash in between neither loses nor doubles anything."""
        with _locked(folder, fcntl.LOCK_EX):
            retired = _load_retired(folder)
            was = retired.folded
            is_removed = not (folder / _RETIRED_FILE).exists()
            if is_removed:  # by somebody: what is known of it is written again
                retired = _Retired(dict(self._retired.series), set(self._retired.folded))
            dead = []
            for path in _worker_files(folder, retired):
                if path.name != self._own_name and (reading := _read(path)) is not None and not reading.is_live:
                    dead.append(path)
                    add_series(retired.series, reading.series)
            left = {name for name in retired.folded if (folder / name).exists()}  # the others' files are gone: nobody adds them again
            folded = {*left, *(path.name for path in dead)}
            if is_removed or folded != was:
                _save_retired(folder, _Retired(retired.series, folded))
            self._retired = retired
            for name in folded:
                (folder / name).unlink(missing_ok=True)


class _Retired(NamedTuple):
    """The numbers of dead workers, and the names of the files that are in them already."""

    series: dict[SeriesKey, Series]
    folded: set[str]


def add_series(total: dict[SeriesKey, Series], more: dict[SeriesKey, Series]) -> None:
    """Merges series by series; one whose form changed between versions begins anew."""
    for key, series in more.items():
        before = total.get(key)
        total[key] = before.merged(series) if before is not None and before.has_form_of(series) else series


def _parse(memory: mmap.mmap | bytearray | bytes) -> dict[SeriesKey, Series]:
    """The series of one worker's memory; empty when it is none, or was torn at its birth."""
    if len(memory) < _FILE_BYTES or memory[:8] != _MAGIC:
        return {}
    (name_bytes,) = struct.unpack("<I", memory[8:12])
    found: dict[SeriesKey, Series] = {}
    for line in bytes(memory[_NAMES_AT : _NAMES_AT + name_bytes]).splitlines():
        name, labels, first, size, *merge = json.loads(line)
        found[name, tuple(labels)] = Series(list(struct.unpack_from(f"={size}d", memory, _HEADER_BYTES + 8 * first)), *merge)
    return found


def _read(path: Path) -> Reading | None:
    """A worker's file; it lives if somebody holds its lock. None when the file is gone."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            is_live = False
        except BlockingIOError:
            is_live = True
        return Reading(_parse(os.pread(descriptor, _FILE_BYTES, 0)), is_live)
    finally:
        os.close(descriptor)


def _worker_files(folder: Path, retired: _Retired) -> Iterator[Path]:
    return (path for path in sorted(folder.glob("worker-*.slots")) if path.name not in retired.folded)


def _load_retired(folder: Path) -> _Retired:
    try:
        document = json.loads((folder / _RETIRED_FILE).read_bytes())
    except FileNotFoundError:
        return _Retired({}, set())
    series = {(name, tuple(labels)): Series(values, *merge) for name, labels, values, *merge in document["series"]}
    return _Retired(series, set(document["folded"]))


def _save_retired(folder: Path, retired: _Retired) -> None:
    series = [[name, labels, values, merge] for (name, labels), (values, merge) in retired.series.items()]
    temporary = folder / f"{_RETIRED_FILE}.new"
    temporary.write_text(json.dumps({"series": series, "folded": sorted(retired.folded)}), "utf-8")
    temporary.replace(folder / _RETIRED_FILE)


def _check_ours(folder: Path) -> None:
    """Where anybody may make files, a name that was removed may be somebody else's now. Raises OSError."""
    for path in (folder.parent, folder):
        if path.lstat().st_uid != os.geteuid():
            raise PermissionError(errno.EPERM, "it belongs to another user", str(path))


def _write_whole(descriptor: int, content: bytes | bytearray | mmap.mmap) -> None:
    """Also what is zero: a hole in the file would be room that is not there."""
    left = memoryview(bytes(content))
    while left:
        left = left[os.write(descriptor, left) :]


@contextmanager
def _locked(folder: Path, kind: int) -> Iterator[None]:
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, kind)
        yield
    finally:
        os.close(descriptor)
