"""The event loop, and how it looks names up.

The system's resolver keeps whoever asks it waiting for as long as a name server likes. Event loops ask it in a few shared
threads, so that two names which do not answer would stand before every other name: a sink nobody needs could stop payments.
Here each look-up has a thread of its own, a name is asked for once at a time, and what it was last is kept for when the
look-up fails or takes long.
"""

from __future__ import annotations

import ipaddress
import logging
import socket
import threading
import time
from asyncio import timeout, wrap_future
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, NamedTuple, TypeAlias

import uvloop

MAX_THREADS = 64
"""Names are the operator's, and few: orchestrators', which strangers choose, have threads elsewhere."""

SLOW_SECONDS = 1.0
"""After so long the last good address is used, where there is one."""

MAX_KEPT = 1024

Addresses: TypeAlias = list[Any]
"""As `socket.getaddrinfo` returns them."""

log = logging.getLogger(__name__)


class _Question(NamedTuple):
    host: str
    port: Any
    family: int
    type: int
    proto: int
    flags: int


class _Asked(NamedTuple):
    answer: Future[Addresses]
    since: float


class Names:
    """Look-ups, each in a daemon thread of its own: one that hangs does not delay the end of the process either."""

    def __init__(
        self,
        ask: Callable[[str, Any, int, int, int, int], Addresses],
        *,
        max_threads: int = MAX_THREADS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ask = ask
        self._max_threads = max_threads
        self._monotonic = monotonic
        self._asked: dict[_Question, _Asked] = {}
        self._kept: OrderedDict[_Question, Addresses] = OrderedDict()

    async def look_up(self, question: _Question) -> Addresses:
        """The addresses of a name. Raises OSError, as the system's resolver does, where none is known."""
        kept = self._kept.get(question)
        try:
            asked = self._asked.get(question) or self._start(question)
            patience = None if kept is None else max(0.0, asked.since + SLOW_SECONDS - self._monotonic())
            async with timeout(patience):
                found = await wrap_future(asked.answer)
        except (OSError, TimeoutError) as error:
            if kept is None:
                raise
            said = "takes long" if isinstance(error, TimeoutError) else f"fails ({error})"
            log.warning("the look-up of %s %s: its last good address is used", question.host, said)
            return kept
        self._kept[question] = found
        self._kept.move_to_end(question)
        if len(self._kept) > MAX_KEPT:
            self._kept.popitem(last=False)
        return found

    def _start(self, question: _Question) -> _Asked:
        """Raises OSError when too many names are looked up already, or the system starts no further thread."""
        if len(self._asked) >= self._max_threads:
            raise socket.gaierror(socket.EAI_AGAIN, f"{len(self._asked)} names are being looked up, the most at one time")
        asked = _Asked(Future(), self._monotonic())
        asked.answer.set_running_or_notify_cancel()  # who gives up waiting must not cancel it for the others
        self._asked[question] = asked
        asked.answer.add_done_callback(lambda _: self._asked.pop(question, None))
        try:
            threading.Thread(target=self._work, args=(question, asked.answer), name="names", daemon=True).start()
        except RuntimeError as error:
            del self._asked[question]
            raise socket.gaierror(socket.EAI_AGAIN, f"{question.host} cannot be looked up: {error}") from None
        return asked

    def _work(self, question: _Question, answer: Future[Addresses]) -> None:
        try:
            found = self._ask(*question)
        except Exception as error:  # noqa: BLE001 - whoever asked is told
            answer.set_exception(error)
        else:
            answer.set_result(found)


class Loop(uvloop.Loop):
    """uvloop's, with names looked up by Names."""

    def __init__(self) -> None:
        super().__init__()
        self._names = Names(socket.getaddrinfo)

    async def getaddrinfo(self, host: Any, port: Any, *, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0) -> Addresses:
        """As asyncio's: httpx, aiohttp and psycopg ask it."""
        name = host.decode("ascii") if isinstance(host, bytes) else host
        if name is None or _is_address(name):
            return socket.getaddrinfo(name, port, family, type, proto, flags)
        return await self._names.look_up(_Question(name, port, family, type, proto, flags))


def _is_address(host: str) -> bool:
    """Whether nobody has to be asked."""
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True
