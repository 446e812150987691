"""Ports that somebody else is told to listen on."""

from __future__ import annotations

import socket
from collections import deque

_HELD: deque[socket.socket] = deque(maxlen=200)
"""The newest of them: the kernel gives a port that is held to nobody who asks for any, and a connection never leaves from it."""


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on, and that nobody else is given before it is listened on.

    It stays bound here, and does not listen: whoever sets SO_REUSEADDR, as servers do, can still listen on it.
    """
    holder = socket.socket()
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    holder.bind(("127.0.0.1", 0))
    if len(_HELD) == _HELD.maxlen:
        _HELD.popleft().close()
    _HELD.append(holder)
    port: int = holder.getsockname()[1]
    return port
