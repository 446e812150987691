"""The last moments of a listening socket, and the table of open files."""

from __future__ import annotations

import logging
import os
import resource
import socket
import sys

import pytest

from livepeer_remote_signer.process.descriptors import FileTable
from livepeer_remote_signer.process.listening import bind, turn_away


@pytest.mark.skipif(sys.platform != "linux", reason="the packet filter is Linux's")
def test_a_listener_that_turns_away_still_gives_out_what_waits() -> None:
    with bind("127.0.0.1", 0) as listener:
        address = listener.getsockname()
        with socket.create_connection(address, 5) as waiting:
            turn_away(listener)
            with pytest.raises(TimeoutError), socket.create_connection(address, 0.3):
                pytest.fail("connected")
            accepted, _ = listener.accept()
            with accepted:
                waiting.sendall(b"hello")
                accepted.settimeout(5)
                assert accepted.recv(5) == b"hello"
            with pytest.raises(BlockingIOError):
                listener.accept()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, 5)


def test_a_full_table_of_files_is_told_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    table = FileTable(lambda: 7)
    assert table.look(0)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.open(os.devnull, os.O_RDONLY)
    os.close(free)
    with caplog.at_level(logging.ERROR):
        resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
        try:
            looks = [table.look(now) for now in (0, 1, 59, 61)]
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert looks == [False] * 4
    assert len(caplog.records) == 2
    assert "7 connections" in caplog.records[0].message
    assert "limits.max_connections" in caplog.records[0].message
    assert table.look(62)
