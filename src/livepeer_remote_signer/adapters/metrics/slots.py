"""Numbers that several worker processes count and any of them can add up.

Each worker has one file, mapped into memory: a table of 8-byte floats, and beside it lines that say which series stands at
which slot and how it is merged. Counting is one addition in memory. A worker holds a lock on its file while it lives; the
file of a dead worker stays, so that no counter ever goes back, until a later worker folds it into `retired.json`. With a
single worker there is no file at all.
"""

from __future__ import annotations

import fcntl
import json
import mmap
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from operator import add
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

MAX_SLOTS = 32_768
MAX_NAME_BYTES = 1024 * 1024
_MAGIC = b"LRSMET01"
_HEADER_BYTES = 16
_NAMES_AT = _HEADER_BYTES + 8 * MAX_SLOTS
_FILE_BYTES = _NAMES_AT + MAX_NAME_BYTES

SeriesKey: TypeAlias = tuple[str, tuple[str, ...]]
"""A metric's name and its label values."""

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
        if folder is None:
            self._memory: mmap.mmap | bytearray = bytearray(_FILE_BYTES)
        else:
            folder.mkdir(parents=True, exist_ok=True)
            self._memory = self._create(folder / self._own_name)
            self._fold_dead(folder)
        self._memory[:8] = _MAGIC
        self._view = memoryview(self._memory)
        self.values = self._view[_HEADER_BYTES:_NAMES_AT].cast("d")
        """The table. A series owns the slots from where `allot` put it."""
        self._used = 0
        self._name_bytes = 0

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
        """This worker's numbers first, then those of its siblings, dead and alive."""
        own = Reading(_parse(self._memory), True)
        if self._folder is None:
            return [own]
        with _locked(self._folder, fcntl.LOCK_SH):
            retired = _load_retired(self._folder)
            others = [_read(path) for path in _worker_files(self._folder, retired) if path.name != self._own_name]
        return [own, Reading(retired.series, False), *(other for other in others if other is not None)]

    def close(self) -> None:
        """Lets go of the file; its numbers stay."""
        self.values.release()
        self._view.release()
        if isinstance(self._memory, mmap.mmap):
            self._memory.close()
        if self._descriptor is not None:
            os.close(self._descriptor)

    def _create(self, path: Path) -> mmap.mmap:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        os.ftruncate(self._descriptor, _FILE_BYTES)
        return mmap.mmap(self._descriptor, _FILE_BYTES)

    def _fold_dead(self, folder: Path) -> None:
        """Adds dead workers' numbers to the retired ones. A crash in between neither loses nor doubles anything."""
        with _locked(folder, fcntl.LOCK_EX):
            retired = _load_retired(folder)
            dead = []
            for path in _worker_files(folder, retired):
                if path.name != self._own_name and (reading := _read(path)) is not None and not reading.is_live:
                    dead.append(path)
                    add_series(retired.series, reading.series)
            if dead:
                _save_retired(folder, _Retired(retired.series, {*retired.folded, *(path.name for path in dead)}))
            for name in {*retired.folded, *(path.name for path in dead)}:
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
        document = json.loads((folder / "retired.json").read_bytes())
    except FileNotFoundError:
        return _Retired({}, set())
    series = {(name, tuple(labels)): Series(values, *merge) for name, labels, values, *merge in document["series"]}
    return _Retired(series, set(document["folded"]))


def _save_retired(folder: Path, retired: _Retired) -> None:
    series = [[name, labels, values, merge] for (name, labels), (values, merge) in retired.series.items()]
    temporary = folder / "retired.json.new"
    temporary.write_text(json.dumps({"series": series, "folded": sorted(retired.folded)}), "utf-8")
    temporary.replace(folder / "retired.json")


@contextmanager
def _locked(folder: Path, kind: int) -> Iterator[None]:
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, kind)
        yield
    finally:
        os.close(descriptor)
