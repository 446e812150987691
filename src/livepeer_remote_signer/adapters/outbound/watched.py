"""Connections of aiohttp, for the webhook and for a key outside: who is asked may be asked once more on a new connection, where a
kept one ended before a byte of the answer came.

Servers close connections that were idle for some seconds, and a question may be on its way just then: nobody has read it.
Once a byte of the answer has come there is no second question.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler


class StaleConnection(aiohttp.ServerDisconnectedError):
    """A connection that had served before ended without a byte of an answer to what was asked last."""


class WatchedConnection(ResponseHandler):
    """Knows whether an answer has begun since the last question."""

    _asked = 0
    _is_answered = False

    def set_response_params(self, **params: Any) -> None:
        """A question begins."""
        self._asked += 1
        self._is_answered = False
        super().set_response_params(**params)

    def data_received(self, data: bytes) -> None:
        """A byte has come."""
        self._is_answered = True
        super().data_received(data)

    def set_exception(self, exc: BaseException, *cause: BaseException) -> None:
        """What ends the waiting for an answer."""
        is_stale = self._asked > 1 and not self._is_answered and isinstance(exc, aiohttp.ClientOSError | aiohttp.ServerDisconnectedError)
        super().set_exception(StaleConnection() if is_stale else exc, *cause)


class WatchingConnector(aiohttp.TCPConnector):
    """Keeps connections that are watched."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        factory: Any = partial(WatchedConnection, loop=self._loop)
        self._factory = factory
