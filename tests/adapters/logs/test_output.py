"""Where lines go: every kind of descriptor takes them, and none ever makes the writer wait."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import pty
import socket
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from livepeer_remote_signer.adapters.logs import LogWriter
from livepeer_remote_signer.adapters.logs import writer as writer_module

LINES = 2000


def pipe() -> tuple[int, int]:
    """(reading, writing)."""
    return os.pipe()


def terminal() -> tuple[int, int]:
    """(reading, writing)."""
    reading, writing = pty.openpty()
    tty.setraw(writing)
    return reading, writing


def connection() -> tuple[int, int]:
    """(reading, writing), as a service manager connects its journal."""
    reading, writing = socket.socketpair()
    return reading.detach(), writing.detach()


@pytest.fixture
def closing() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def ends(closing: ExitStack) -> tuple[int, int]:
    """The two ends of a pipe."""
    reading, writing = pipe()
    closing.callback(os.close, reading)
    closing.callback(os.close, writing)
    return reading, writing


@pytest.fixture
def foreign(monkeypatch: pytest.MonkeyPatch) -> None:
    """Descriptors that belong to another user: they cannot be opened again."""
    monkeypatch.setattr(os, "open", _refused)


def _refused(path: str, flags: int) -> int:
    raise PermissionError(errno.EACCES, path)


def read_all(writer: LogWriter, reading: int) -> list[int]:
    """The numbers of all lines, read while the writer writes what waited."""
    os.set_blocking(reading, False)
    read = bytearray()
    deadline = time.monotonic() + 20
    is_done = False
    while not is_done and time.monotonic() < deadline:
        is_done = writer.drain(0.0)
        with suppress(BlockingIOError):
            while piece := os.read(reading, 1 << 16):
                read += piece
    return [json.loads(line)["number"] for line in read.splitlines()]


@pytest.mark.parametrize("kind", [pipe, terminal, connection])
@pytest.mark.parametrize("is_foreign", [False, True])
def test_nobody_waits_and_nothing_is_lost(
    closing: ExitStack, request: pytest.FixtureRequest, kind: Callable[[], tuple[int, int]], is_foreign: bool
) -> None:
    reading, writing = kind()
    closing.callback(os.close, reading)
    closing.callback(os.close, writing)
    if is_foreign:
        request.getfixturevalue("foreign")
    writer = LogWriter(descriptor=writing)
    began = time.monotonic()
    for number in range(LINES):
        writer.log("info", "x" * 200, number=number)
    assert time.monotonic() - began < 30
    assert not writer.drain(0.0), "all of it fitted: this shows nothing"
    assert read_all(writer, reading) == list(range(LINES))
    writer.close()
    assert os.get_blocking(writing)


def test_a_file_takes_everything(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as log:
        writer = LogWriter(descriptor=log.fileno())
        for number in range(LINES):
            writer.log("info", "x" * 200, number=number)
        writer.close()
    assert len((tmp_path / "log").read_text().splitlines()) == LINES


def test_lines_of_several_writers_stay_whole(ends: tuple[int, int]) -> None:
    reading, writing = ends
    writers = [LogWriter(descriptor=writing) for _ in range(3)]
    for number in range(600):
        writers[number % 3].log("info", "x" * 200, number=number)
    os.set_blocking(reading, False)
    read = bytearray()
    while not all(writer.drain(0.0) for writer in writers):
        read += os.read(reading, 1 << 16)
    read += os.read(reading, 1 << 20)
    assert sorted(json.loads(line)["number"] for line in read.splitlines()) == list(range(600))
    for writer in writers:
        writer.close()


def test_another_writer_that_ends_does_not_make_this_one_wait(ends: tuple[int, int], foreign: None) -> None:
    reading, writing = ends
    staying, leaving = LogWriter(descriptor=writing), LogWriter(descriptor=writing)
    leaving.close()
    assert os.get_blocking(writing)
    began = time.monotonic()
    for number in range(LINES):
        staying.log("info", "x" * 200, number=number)
    assert time.monotonic() - began < 30
    assert read_all(staying, reading) == list(range(LINES))
    staying.close()


def test_what_is_logged_while_a_line_is_written_goes_out_with_it(ends: tuple[int, int]) -> None:
    reading, writing = ends
    writer = LogWriter(descriptor=writing)
    write = writer._output.write

    def write_and_log(data: bytes) -> int:
        writer._output.write = write
        writer.log("warning", "a task was destroyed", number=2)
        return write(data)

    writer._output.write = write_and_log
    writer.log("info", "outer", number=1)
    assert read_all(writer, reading) == [1, 2]
    writer.close()


def test_a_line_that_is_longer_than_a_piece_is_written(ends: tuple[int, int]) -> None:
    reading, writing = ends
    writer = LogWriter(descriptor=writing)
    writer.log("info", "x" * 3 * writer_module.PIPE_BUF, number=1)
    writer.log("info", "short", number=2)
    assert read_all(writer, reading) == [1, 2]
    writer.close()


def test_a_reader_that_went_away_is_not_waited_for(closing: ExitStack) -> None:
    reading, writing = pipe()
    closing.callback(os.close, writing)
    writer = LogWriter(descriptor=writing)
    os.close(reading)
    writer.log("info", "nobody reads this")
    assert writer.drain(0.0)
    writer.close()


def test_without_standard_error_nothing_is_written() -> None:
    reading, writing = pipe()
    os.close(reading)
    os.close(writing)
    writer = LogWriter(descriptor=writing)
    writer.log("info", "nowhere to go")
    assert writer.drain(0.0)
    writer.close()


async def test_what_waits_is_offered_again(ends: tuple[int, int]) -> None:
    reading, writing = ends
    writer = LogWriter(descriptor=writing)
    for number in range(LINES):
        writer.log("info", "x" * 200, number=number)
    os.set_blocking(reading, False)
    read = bytearray()
    deadline = time.monotonic() + 20
    while read.count(b"\n") < LINES and time.monotonic() < deadline:
        try:
            read += os.read(reading, 1 << 20)
        except BlockingIOError:
            await asyncio.sleep(0.01)
    assert read.count(b"\n") == LINES
    writer.close()
