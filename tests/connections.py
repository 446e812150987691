"""Connections of the server's protocol class without a network, and a look at what their parser is given."""

from __future__ import annotations

from typing import Any

import uvicorn
from uvicorn.server import ServerState

from livepeer_remote_signer.api.front import AdminFront, Front
from livepeer_remote_signer.api.server_protocol import PaymentProtocol, payment_protocol


class Ears:
    """A parser that notes how much it was given."""

    def __init__(self, parser: Any) -> None:
        self._parser = parser
        self.heard = 0

    def feed_data(self, data: bytes) -> None:
        self.heard += len(data)
        self._parser.feed_data(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._parser, name)


def connection_over(wire: Any, front: Front | AdminFront, kind: type[PaymentProtocol] | None = None) -> PaymentProtocol:
    """A connection whose transport is `wire`, of the listener `kind` or of one of its own; needs a running loop."""
    config = uvicorn.Config(front, ws="none", lifespan="off", access_log=False, log_config=None)
    protocol = (kind or payment_protocol(front))(config=config, server_state=ServerState(), app_state={})
    protocol.connection_made(wire)
    return protocol
