"""This process among its replicas, as events and traces name it."""

from __future__ import annotations

import os
import socket


def instance_name() -> str:
    """Host and process id."""
    return f"{socket.gethostname()}:{os.getpid()}"
