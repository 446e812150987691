"""The file sink: whole lines whatever crashed before, on the disk when it says so, also with several writers."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import json
import multiprocessing
import os
import stat
from pathlib import Path

import pytest

from livepeer_remote_signer.adapters.events.file import FileSink
from livepeer_remote_signer.adapters.events.sink import SinkError
from tests.adapters.events.making import make_event


async def test_events_are_lines_in_their_order(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    events = [make_event(sequence_number=n) for n in range(5)]
    sink = FileSink(tmp_path / "events.jsonl")
    await sink.publish(events[:2])
    await sink.publish(events[2:])
    lines = (tmp_path / "events.jsonl").read_bytes().splitlines()
    assert lines == events
    assert [json.loads(line)["data"]["sequence_number"] for line in lines] == [0, 1, 2, 3, 4]
    assert not caplog.records, "nothing was torn"


@pytest.mark.parametrize("length", [1, 100, 1000])
async def test_a_torn_last_line_is_cut_off_at_start(tmp_path: Path, length: int) -> None:
    path = tmp_path / "events.jsonl"
    whole, torn = make_event(), make_event()
    path.write_bytes(whole + b"\n" + torn[:length])
    await FileSink(path).start()
    assert path.read_bytes() == whole + b"\n"


@pytest.mark.parametrize("length", [200_000, 65_536, 65_537])
async def test_a_file_that_is_nothing_but_a_torn_line_is_emptied(tmp_path: Path, length: int) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(make_event()[:50].ljust(length, b"x"))
    sink = FileSink(path)
    await sink.start()
    assert path.read_bytes() == b""


async def test_of_a_long_file_no_more_than_the_last_line_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes((make_event() + b"\n") * 1000 + b'{"id":"half')
    read, real = [], os.pread
    monkeypatch.setattr(os, "pread", lambda *asked: (read.append(asked[1]), real(*asked))[1])
    await FileSink(path).start()
    assert sum(read) < 100_000 < path.stat().st_size


async def test_a_whole_line_without_its_break_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    event = make_event()
    path.write_bytes(event)
    await FileSink(path).start()
    assert path.read_bytes() == event + b"\n"


async def test_a_torn_line_is_mended_also_between_two_batches(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    first, second = make_event(), make_event()
    sink = FileSink(path)
    await sink.publish([first])
    with path.open("ab") as file:
        file.write(b'{"id":"half')
    await sink.publish([second])
    assert path.read_bytes().splitlines() == [first, second]


async def test_a_rotated_file_is_left_alone_and_a_new_one_begun(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    first, second = make_event(), make_event()
    sink = FileSink(path)
    await sink.publish([first])
    path.rename(tmp_path / "events.1")
    await sink.publish([second])
    assert (tmp_path / "events.1").read_bytes() == first + b"\n"
    assert path.read_bytes() == second + b"\n"


def test_every_batch_waits_for_the_disk_and_a_new_files_name_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    path, folder, open_files = tmp_path / "events.jsonl", tmp_path.stat().st_ino, Path("/proc/self/fd")
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_ino))
    before = len(list(open_files.iterdir()))
    for _ in range(2):
        sink_one(path)
    file = path.stat().st_ino
    assert synced == [file, folder, file]
    assert len(list(open_files.iterdir())) == before


def sink_one(path: Path) -> None:
    asyncio.run(FileSink(path).publish([make_event()]))


def test_nobody_but_user_and_group_may_read_the_file(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        sink_one(tmp_path / "events.jsonl")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "events.jsonl").stat().st_mode) == 0o640


async def test_a_file_that_cannot_be_written_says_which_and_why(tmp_path: Path) -> None:
    with pytest.raises(SinkError, match=r"no/events\.jsonl cannot be written: No such file or directory"):
        await FileSink(tmp_path / "no" / "events.jsonl").start()


def _write_many(path: str, session: str) -> None:
    sink = FileSink(Path(path))

    async def write() -> None:
        for n in range(100):
            await sink.publish([make_event(session, n)])

    asyncio.run(write())


def test_several_processes_write_whole_lines_into_one_file(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write_many, args=(str(path), f"session-{n}")) for n in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    records = [json.loads(line)["data"] for line in path.read_bytes().splitlines()]
    assert len(records) == 300
    for n in range(3):
        assert [r["sequence_number"] for r in records if r["session_id"] == f"session-{n}"] == list(range(100))


async def test_while_another_process_writes_nothing_is_mended_or_written(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    begun, event = make_event(), make_event()
    with path.open("ab", buffering=0) as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        other.write(begun[:100])
        writing = asyncio.create_task(FileSink(path).publish([event]))
        await asyncio.wait([writing], timeout=0.2)
        assert path.read_bytes() == begun[:100]
        other.write(begun[100:] + b"\n")
    await writing
    assert path.read_bytes() == begun + b"\n" + event + b"\n"


async def test_a_batch_that_a_full_disk_cut_short_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "events.jsonl"
    first, second, third = (make_event(sequence_number=n) for n in range(3))
    sink = FileSink(path)
    await sink.publish([first])
    write, free = os.write, [len(second) + 100]

    def until_full(descriptor: int, data: bytes) -> int:
        if not free[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = write(descriptor, bytes(data[: free[0]]))
        free[0] -= written
        return written

    with monkeypatch.context() as full:
        full.setattr(os, "write", until_full)
        with pytest.raises(SinkError, match="No space left"):
            await sink.publish([second, third])
    assert path.read_bytes() == first + b"\n"
    await sink.publish([second, third])
    assert path.read_bytes().splitlines() == [first, second, third]
