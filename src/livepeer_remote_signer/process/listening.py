"""Listening sockets, opened once: by the only process, or by the supervisor for all its workers."""

from __future__ import annotations

import ctypes
import logging
import socket
import struct

BACKLOG = 2048

RECEIVE_BUFFER_BYTES = 64 * 1024
"""What the kernel keeps of a connection's bytes before they are read, and with it the most that one read brings."""


_OTHER_KIND = {socket.AF_INET6: "0.0.0.0", socket.AF_INET: "[::]"}  # noqa: S104 - named, not listened on
_SOMEWHERE = {socket.AF_INET: "192.0.2.1", socket.AF_INET6: "2001:db8::1"}
"""Addresses for documentation, which nobody has."""

_SO_ATTACH_FILTER = 26
_NO_NEW_CONNECTIONS = (  # a packet filter on the TCP header: the first packet of a connection (SYN without ACK) is dropped
    (0x30, 0, 0, 13),  # load the flags
    (0x54, 0, 0, 0x12),  # SYN and ACK of them
    (0x15, 0, 1, 0x02),  # SYN alone?
    (0x06, 0, 0, 0),  # drop
    (0x06, 0, 0, 0xFFFFFFFF),  # keep
)
_log = logging.getLogger(__name__)


class StartupError(Exception):
    """The service cannot be served here; the message says what is missing."""


def bind(host: str, port: int, *, key: str = "listen") -> socket.socket:
    """A listening socket, non-blocking. Raises StartupError, which names the configuration's `key`, when the address cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    where = f"[{host}]:{port}" if family is socket.AF_INET6 else f"{host}:{port}"
    try:
        listener = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise StartupError(
            f"cannot listen on {where}: {error.strerror}: this host has no addresses of that kind; "
            f"`{key}` {_OTHER_KIND[family]}:{port} would do"
        ) from None
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)  # accepted connections have the same
    try:
        if host == "::":  # both kinds of addresses, whatever the system's default is
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise StartupError(f"cannot listen on {where}: {error.strerror}; `{key}` in the configuration says where") from None
    listener.listen(BACKLOG)
    listener.setblocking(False)
    if host == _OTHER_KIND[socket.AF_INET6] and not _has_way(socket.AF_INET) and _has_way(socket.AF_INET6):
        _log.warning("listening on %s, but this host has no IPv4 beyond its loopback: `%s` [::]:%d serves both kinds", where, key, port)
    return listener


def _has_way(family: socket.AddressFamily) -> bool:
    """Whether anything of that kind could be reached from here; nothing is sent."""
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((_SOMEWHERE[family], 9))
    except OSError:
        return False
    return True


def turn_away(listener: socket.socket) -> None:
    """From now on no new connection begins; those that the kernel has taken, or is about to, can still be accepted.

    Closing a listening socket resets what waits in it. Clients that come now try again a second later and then find nobody.
    Where the system has no such filter, the few connections of the last moment are reset as before.
    """
    program = b"".join(struct.pack("=HBBI", *step) for step in _NO_NEW_CONNECTIONS)
    held = ctypes.create_string_buffer(program)
    try:
        listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HP", len(_NO_NEW_CONNECTIONS), ctypes.addressof(held)))
    except OSError as error:
        _log.info("new connections cannot be turned away before the listener closes: %s", error.strerror)
