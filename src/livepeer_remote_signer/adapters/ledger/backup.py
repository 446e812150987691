"""A copy of a SQLite ledger, made while the signer goes on: SQLite's own online backup."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from livepeer_remote_signer.adapters.ledger.store import NoLedger, StoreFailed

PAGES_AT_ONCE = 256
"""One megabyte: payments write between two such steps."""

PAUSE_SECONDS = 0.005


def back_up(path: Path, to: Path) -> int:
    """Copies the ledger at `path` to the new file `to`, for its owner alone. Returns the copy's bytes.

    The copy is whole: it is checked before it gets its name, so that a backup that broke off is never taken for one. Raises NoLedger, and
    StoreFailed for what cannot be read, written or trusted.
    """
    if not path.exists():
        raise NoLedger("nothing was ever recorded there")
    if to.exists():
        raise StoreFailed("the file to write is there already: a backup replaces nothing")
    partial = to.with_name(f"{to.name}.partial")
    try:
        os.close(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except OSError as error:
        raise StoreFailed(f"the file to write cannot be made: {error.strerror}") from None
    try:
        _copy(path, partial)
        os.link(partial, to)  # fails where somebody made the file meanwhile
    except sqlite3.Error as error:
        raise StoreFailed(f"SQLite could not copy it: {error}") from None
    except OSError as error:
        raise StoreFailed(f"the file to write cannot be made: {error.strerror}") from None
    finally:
        partial.unlink(missing_ok=True)
    return to.stat().st_size


def _copy(path: Path, partial: Path) -> None:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as source, closing(sqlite3.connect(partial)) as target:
        source.backup(target, pages=PAGES_AT_ONCE, sleep=PAUSE_SECONDS)
        target.execute("PRAGMA journal_mode = DELETE")
        (found,) = target.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise StoreFailed(f"the copy is damaged: {found}")
    descriptor = os.open(partial, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
