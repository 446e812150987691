"""The folder that a supervisor and its workers share, for as long as they run.

It lies in `$RUNTIME_DIRECTORY`, which systemd makes for the service alone, else where temporary files do. Those who clean
there (systemd-tmpfiles, after ten days) pass over a folder that somebody holds a lock on; should it be removed all the same
it is made again under its name. What a supervisor left that was killed, and so held no lock, the next one removes.
"""

from __future__ import annotations

import fcntl
import logging
import os
import secrets
import shutil
import stat
from collections.abc import Mapping
from pathlib import Path

from livepeer_remote_signer.process.listening import StartupError

PREFIX = "livepeer-remote-signer-"
_TEMPORARY = ("TMPDIR", "TEMP", "TMP")
_log = logging.getLogger(__name__)


def base_folder(environ: Mapping[str, str]) -> Path:
    """Where the folder is made. Nothing is written to find out: a full file system has room for an empty folder."""
    given = [environ.get("RUNTIME_DIRECTORY", "").partition(":")[0], *(environ.get(name, "") for name in _TEMPORARY), "/tmp"]  # noqa: S108
    return Path(next((folder for folder in given if folder and os.access(folder, os.W_OK | os.X_OK)), given[-1]))


class SharedFolder:
    """One folder, made at once, readable by this user alone, and locked. Raises StartupError where none can be made."""

    def __init__(self, base: Path) -> None:
        _remove_what_was_left(base)
        self.path = base / f"{PREFIX}{secrets.token_hex(8)}"
        self._lock: int | None = None
        self._trouble: str | None = None
        try:
            while not self._is_there():  # one that starts beside us may have removed it before it was locked
                self._make()
        except OSError as error:
            raise StartupError(
                f"no folder for the workers can be made in {base} ({error.strerror}): set RUNTIME_DIRECTORY or TMPDIR to one that can "
                "be written, or use --workers 1"
            ) from None

    def keep(self) -> None:
        """To be called now and then: makes it again when somebody removed it. What cannot be mended is said once."""
        if self._is_there():
            return
        try:
            self._make()
        except OSError as error:
            if error.strerror != self._trouble:
                self._trouble = error.strerror
                _log.error(
                    "the workers' folder %s was removed and cannot be made again (%s): each worker's /metrics shows its own numbers, "
                    "and prices set at runtime need a ledger or prices.runtime_file",
                    self.path,
                    error.strerror,
                )
            return
        self._trouble = None
        _log.warning("the workers' folder %s was removed and is made again: whatever cleans there should leave it out", self.path)

    def remove(self) -> None:
        """The end of it and of all in it."""
        if self._is_there():
            shutil.rmtree(self.path, ignore_errors=True)
        self._unlock()

    def _is_there(self) -> bool:
        if self._lock is None:
            return False
        try:
            return os.path.samestat(os.lstat(self.path), os.fstat(self._lock))
        except OSError:
            return False

    def _make(self) -> None:
        """Raises OSError, also where somebody else took the name."""
        self._unlock()
        self.path.mkdir(mode=0o700)
        descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH)
        except OSError as error:  # a file system without locks: then nobody who cleans can ask for one either
            _log.info("the workers' folder %s cannot be locked: %s", self.path, error.strerror)
        self._lock = descriptor

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _remove_what_was_left(base: Path) -> None:
    """The folders of this user's supervisors that were killed: nobody holds a lock on them."""
    try:
        found = [path for path in base.iterdir() if path.name.startswith(PREFIX)]
    except OSError:
        return
    for path in found:
        try:
            held = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            if os.fstat(held).st_uid == os.geteuid() and stat.S_IMODE(os.fstat(held).st_mode) == 0o700:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path, ignore_errors=True)
                _log.info("removed %s, which a supervisor left that was killed", path)
        except OSError:
            continue  # in use
        finally:
            os.close(held)
