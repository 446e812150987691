"""Makes a SQLite ledger as small as its rows, while nobody uses it. New files give their pages back by themselves from then on."""

from __future__ import annotations

import os
import sqlite3
import stat
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from livepeer_remote_signer.adapters.ledger.sqlite_connections import INCREMENTAL, check_is_ledger, translated
from livepeer_remote_signer.adapters.ledger.store import NoLedger, StoreFailed


class Compacted(NamedTuple):
    """The size of the file before and after, bytes."""

    before: int
    after: int


def compact(path: Path) -> Compacted:
    """Writes the rows to a new file beside the old one, which then takes its place. Raises StoreFailed, and nothing has changed then.

    Who has the file open would go on with the old one: so nobody may.
    """
    if not path.is_file():
        raise NoLedger("there is no ledger at ledger.path")
    path = path.resolve()
    new = path.with_name(f"{path.name}.compact")
    try:
        with translated(), closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as connection:
            check_is_ledger(connection)
            _take_for_ourselves(connection)
            old = path.stat()
            _check_space(path, connection)
            new.unlink(missing_ok=True)
            os.close(os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
            connection.execute(f"PRAGMA auto_vacuum = {INCREMENTAL}")
            connection.execute("VACUUM INTO ?", (str(new),))
            _check_whole(new)
            os.chown(new, old.st_uid, old.st_gid)  # the signer may run as somebody else than who types this
            new.chmod(stat.S_IMODE(old.st_mode))
            _sync(new)
            new.replace(path)  # while nobody else can have opened the old one
            _sync(path.parent)
    except OSError as error:
        raise StoreFailed(f"the file at ledger.path cannot be written anew: {error.strerror}") from None
    finally:
        new.unlink(missing_ok=True)
    return Compacted(old.st_size, path.stat().st_size)


def _take_for_ourselves(connection: sqlite3.Connection) -> None:
    """The log goes into the file, and the file's only connection is ours until it is closed."""
    try:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        mode = connection.execute("PRAGMA journal_mode = DELETE").fetchone()[0]
        connection.execute("BEGIN EXCLUSIVE")
        connection.execute("COMMIT")
    except sqlite3.OperationalError:
        mode = ""
    if mode != "delete":
        raise StoreFailed("the ledger is in use: stop the signer, and whatever else has the file open, before it is compacted")


def _check_space(path: Path, connection: sqlite3.Connection) -> None:
    size, count, free = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_size", "page_count", "freelist_count"))
    space = os.statvfs(path.parent)
    needed, left = size * (count - free), space.f_bavail * space.f_frsize
    if left < needed:
        raise StoreFailed(f"the disk is full: the compacted ledger needs {needed} bytes beside the old one, {left} are left")


def _check_whole(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        found = connection.execute("PRAGMA quick_check").fetchone()[0]
    if found != "ok":
        raise StoreFailed("the database file is damaged: its copy is not whole")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
