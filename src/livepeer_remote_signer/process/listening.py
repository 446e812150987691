"""Listening sockets, opened once: by the only process, or by the supervisor for all its workers."""

from __future__ import annotations

import socket

BACKLOG = 2048

RECEIVE_BUFFER_BYTES = 64 * 1024
"""What the kernel keeps of a connection's bytes before they are read, and with it the most that one read brings."""


class StartupError(Exception):
    """The service cannot be served here; the message says what is missing."""


def bind(host: str, port: int) -> socket.socket:
    """A listening socket, non-blocking. Raises StartupError when the address cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)  # accepted connections have the same
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise StartupError(f"cannot listen on {host}:{port}: {error.strerror}; `listen` in the configuration says where") from None
    listener.listen(BACKLOG)
    listener.setblocking(False)
    return listener
