"""Whether this process can open files: where it cannot, connections are dropped by the kernel without a word of ours."""

from __future__ import annotations

import errno
import logging
import os
import resource
from collections.abc import Callable

from livepeer_remote_signer.api.bounds import connections_within

WARNING_SECONDS = 60.0

_WHOSE = {errno.EMFILE: "this process (ulimit -n, LimitNOFILE)", errno.ENFILE: "this machine (fs.file-max)"}
_log = logging.getLogger(__name__)


def connections_of_serve() -> int:
    """The connections of a process where nothing is said: `serve` allows itself all the open files that it may have."""
    return connections_within(resource.getrlimit(resource.RLIMIT_NOFILE)[1])


class FileTable:
    """Tries it, at each `look`: a file that is opened and closed takes some microseconds."""

    def __init__(self, count: Callable[[], int]) -> None:
        """`count` is the number of connections, for the log."""
        self._count = count
        self._warned_at = float("-inf")

    def look(self, now: float) -> bool:
        """Whether a file can be opened; where it cannot, the log says so once a minute. `now` in seconds of any clock."""
        try:
            os.close(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
        except OSError as error:
            if error.errno not in _WHOSE:
                raise
            if now >= self._warned_at + WARNING_SECONDS:
                self._warned_at = now
                _log.error(
                    "no more files can be opened by %s, with %d connections open: new connections are dropped and calls to others "
                    "fail (raise that limit, or set limits.max_connections below it; said once a minute)",
                    _WHOSE[error.errno],
                    self._count(),
                )
            return False
        return True
