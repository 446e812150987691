"""An open descriptor to write to without ever waiting for whoever reads the other end.

A thread that writes would do the same, at a price: while it waits for the interpreter, every call into libsecp256k1 wakes
it in vain (2.7 context switches a payment, 1.4 signatures, where each line was flushed by itself; less in batches).
"""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable


class Output:
    """A pipe, terminal, socket or file."""

    def __init__(self, descriptor: int) -> None:
        self._shared: int | None = None
        self._own: int | None = None
        self._socket: socket.socket | None = None
        self.write: Callable[[bytes], int] = self._choose(descriptor)
        """Writes as much as is taken now and returns how much. Raises BlockingIOError where nothing is, OSError at the end."""

    def close(self) -> None:
        """Leaves the descriptor as it was found."""
        if self._shared is not None and _is_open(self._shared):
            os.set_blocking(self._shared, True)
        if self._own is not None:
            os.close(self._own)
        if self._socket is not None:
            self._socket.close()
        self._shared = self._own = self._socket = None

    def _choose(self, descriptor: int) -> Callable[[bytes], int]:
        if not _is_open(descriptor):
            return len
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISSOCK(mode):
            taken = self._socket = socket.socket(fileno=os.dup(descriptor))
            return lambda data: taken.send(data, socket.MSG_DONTWAIT)
        if not (stat.S_ISFIFO(mode) or stat.S_ISCHR(mode)):
            return lambda data: os.write(descriptor, data)  # a file takes everything, into the system's memory
        try:  # the same pipe or terminal for us alone: whether a write waits is a property that all who inherited it share
            own = self._own = os.open(f"/proc/self/fd/{descriptor}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        except OSError:  # another system, or another user's, as a container's pipe is
            if os.get_blocking(descriptor):
                self._shared = descriptor
            return lambda data: _write_shared(descriptor, data)
        return lambda data: os.write(own, data)


def _write_shared(descriptor: int, data: bytes) -> int:
    """Says each time that it shall not wait: another worker that ends leaves the descriptor as it was found."""
    os.set_blocking(descriptor, False)
    return os.write(descriptor, data)


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True
