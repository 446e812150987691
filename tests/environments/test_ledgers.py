"""A ledger that belongs to somebody else, and one on a file system without locks."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.environments.conftest import need_program
from tests.served import served
from tests.signer import configuration

OTHER_KEY = "0x" + "22" * 32

NO_LOCKS = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
static int deny(const char *name, int fd, int command, void *argument) {
    if (command == F_SETLK || command == F_SETLKW || command == F_GETLK) { errno = ENOLCK; return -1; }
    return ((int (*)(int, int, void *))dlsym(RTLD_NEXT, name))(fd, command, argument);
}
#define TAKE(name) int name(int fd, int command, ...) { va_list more; va_start(more, command); \
    void *argument = va_arg(more, void *); va_end(more); return deny(#name, fd, command, argument); }
TAKE(fcntl)
TAKE(fcntl64)
"""


def test_a_second_sender_on_one_ledger_is_refused_at_start(tmp_path: Path) -> None:
    ledger = {"backend": "sqlite", "path": str(tmp_path / "ledger.sqlite")}
    with served(tmp_path, ledger=ledger) as first:
        assert first.pay().status == 200
        first.wait_for_log("in use since")
        other = tmp_path / "other"
        other.mkdir()
        with served(other, ledger=ledger, key={"private_key": OTHER_KEY}, wait=False) as second:
            assert second.process.wait(60) == 1
            assert "this ledger holds the payments of 0x" in second.log
            assert "name the others in ledger.senders" in second.log
        assert first.pay().status == 200
        own = second.log.split("payments of ")[1][:42]
        with served(other, ledger={**ledger, "senders": [own]}, key={"private_key": OTHER_KEY}) as both:
            assert both.pay().status == 200


def test_a_file_system_without_locks_is_named_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As NFS without a lock daemon answers: ENOLCK."""
    compiler = need_program("gcc")
    source, library = tmp_path / "no_locks.c", tmp_path / "no_locks.so"
    source.write_text(NO_LOCKS)
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    monkeypatch.setenv("LD_PRELOAD", str(library))
    with served(tmp_path, ledger={"backend": "sqlite", "path": str(tmp_path / "ledger.sqlite")}, wait=False) as signer:
        assert signer.process.wait(60) == 1
        assert "the file system does not lock files or share memory as SQLite needs it (ENOLCK)" in signer.log
        assert "keep the ledger on a local disk, or use PostgreSQL" in signer.log


def test_a_rotated_key_goes_on_with_its_ledger(tmp_path: Path) -> None:
    """One signer whose key was exchanged: the old one is named under state.previous."""
    ledger = {"backend": "sqlite", "path": str(tmp_path / "ledger.sqlite")}
    with served(tmp_path, ledger=ledger) as before:
        assert before.pay().status == 200
    old = tmp_path / "old.key"
    old.write_text(configuration()["key"]["private_key"])
    state = {"previous": [{"private_key_file": str(old), "accept_until": "2099-01-01T00:00:00Z"}]}
    with served(tmp_path, ledger=ledger, key={"private_key": OTHER_KEY}, state=state) as after:
        assert after.pay().status == 200
        after.wait_for_log("in use since")
