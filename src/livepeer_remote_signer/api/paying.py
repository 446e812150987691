"""The paying routes, from body to reply, without a web framework in between.

FastAPI costs more than all the cryptography of a payment, so both paying routes are answered here: by the ASGI front
(`api.front`) under any server, and by the server's own protocol class (`api.server_protocol`) without ASGI. Both call
`PayingRoutes.respond`; what it answers does not depend on who calls.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from livepeer_remote_signer.api.errors import error_reply, internal_reply
from livepeer_remote_signer.api.live_payment import (
    encode_live_payment,
    encode_sealed_state,
    keep_live_payment,
    parse_live_payment,
    restore_live_payment,
)
from livepeer_remote_signer.api.reply import Reply
from livepeer_remote_signer.api.sign_ticket import encode_sign_ticket, encode_signer_state, parse_sign_ticket
from livepeer_remote_signer.core.errors import SignerError, let_go_of_frames
from livepeer_remote_signer.core.rules.callers import Network, caller_group, client_address
from livepeer_remote_signer.core.rules.fairness import Place, Shares, UnidentifiedBytes
from livepeer_remote_signer.core.rules.policy import Caller, header_text
from livepeer_remote_signer.core.rules.trail import Trail
from livepeer_remote_signer.service.observers import Observer
from livepeer_remote_signer.service.payments import RemoteSigner, Route

GENERATE_LIVE_PAYMENT = "/generate-live-payment"
SIGN_TICKET = "/signTicket"

LATE_SECONDS = 0.02
"""A turn of the event loop that takes longer keeps everybody waiting: a request's own work takes a millisecond."""

_log = logging.getLogger(__name__)
_JSON = (b"content-type", b"application/json")
_CLIENT_ID_HEADER = b"x-request-id"
_NAMES_AT_ONCE = 64
"""Asking the kernel for the random bits of each name costs more than the rest of a trail's beginning."""


class PayingRoutes:
    """Answers `POST` on the paying routes. Bodies arrive whole; the limit on requests in work is kept here."""

    def __init__(
        self,
        service: RemoteSigner,
        observer: Observer,
        *,
        max_in_work: int,
        fair_share: float = 0.25,
        max_unidentified_bytes: int | None = 8 * 1024 * 1024,
        trusted_proxies: Sequence[Network] = (),
        answer_seconds: float,
        headroom_live_payment: int,
        headroom_sign_ticket: int,
        catch_up_live_payment: int = 0,
        catch_up_sign_ticket: int = 0,
        interval_seconds: float,
    ) -> None:
        """`max_unidentified_bytes`: within a second, where bodies are read before anybody says whose they are; else None."""
        self._service = service
        self._observer = observer
        self._shares = Shares(max_in_work, fair_share)
        self._unidentified = UnidentifiedBodies(max_unidentified_bytes) if max_unidentified_bytes is not None else None
        self._trusted_proxies = tuple(trusted_proxies)
        self._trails = Trails(answer_seconds)
        self._routes = {
            GENERATE_LIVE_PAYMENT: Route(
                GENERATE_LIVE_PAYMENT,
                parse_live_payment,
                encode_live_payment,
                headroom_live_payment,
                catch_up_live_payment,
                encode_state=encode_sealed_state,
                keep=keep_live_payment,
                restore=restore_live_payment,
            ),
            SIGN_TICKET: Route(
                SIGN_TICKET,
                parse_sign_ticket,
                lambda signed: encode_sign_ticket(signed, interval_seconds),
                headroom_sign_ticket,
                catch_up_sign_ticket,
                encode_state=encode_signer_state,
                keep=lambda _, reply: reply,
                restore=lambda kept, _: kept,
            ),
        }
        self.paths = frozenset(self._routes)

    def respond(
        self, path: str, headers: list[tuple[bytes, bytes]], body: bytes, peer: str, has_left: Callable[[], bool] | None = None
    ) -> Reply | Awaitable[Reply]:
        """The reply, at once where nobody has to be asked; else a coroutine. Never raises.

        `has_left` tells whether the caller's connection was reset: for him nothing is signed.
        """
        route = self._routes[path]
        caller = self.caller_at(peer, headers)
        trail = self._trails.begin(path, headers, caller)
        if has_left is not None:
            trail.has_left = has_left
        if self._unidentified is not None:
            try:
                self._unidentified.check(caller, body, trail.started)
            except SignerError as error:
                return self._refused(error, trail)
        if self._service.is_inline and not self._shares.note(caller, trail.started):
            try:
                paid = self._service.pay_inline(body, route, trail)
            except SignerError as error:
                return self._refused(error, trail)
            except Exception:  # noqa: BLE001 - whatever it is, `_failed` logs it
                return self._failed(trail)
            return _paid(paid, trail)
        try:
            trail.place = place = self._shares.take(caller, trail.started, is_known=not self._service.identifies)
        except SignerError as error:
            return self._refused(error, trail)
        return self._pay(route, Caller(tuple(headers), peer, path), body, trail, place)

    def begin(self, caller: Caller) -> Trail:
        """The trail of a request on a route that pays nothing."""
        headers = list(caller.headers)
        return self._trails.begin(caller.path, headers, self.caller_at(caller.peer, headers))

    def caller_at(self, peer: str, headers: Iterable[tuple[bytes, bytes]]) -> str:
        """Under which address a request counts, whose sender nobody has named."""
        return caller_group(client_address(peer, headers, self._trusted_proxies) if self._trusted_proxies else peer)

    @property
    def in_work(self) -> int:
        """How many requests are in work."""
        return self._shares.in_work

    @contextmanager
    def place(self, caller: str, body: bytes = b"") -> Iterator[None]:
        """One place among the requests in work, for a route that pays nothing; `caller` as `caller_at` has it. Raises Overloaded or
        ShareExceeded."""
        now = time.perf_counter()
        if self._unidentified is not None:
            self._unidentified.check(caller, body, now)
        place = self._shares.take(caller, now, is_known=not self._service.identifies)
        try:
            yield
        finally:
            place.release()

    async def _pay(self, route: Route, caller: Caller, body: bytes, trail: Trail, place: Place) -> Reply:
        try:
            paid = await self._service.pay(body, caller, route, trail)
        except SignerError as error:
            return self._refused(error, trail)
        except Exception:  # noqa: BLE001 - whatever it is, `_failed` logs it
            return self._failed(trail)
        finally:
            place.release()
        return _paid(paid, trail)

    def _refused(self, error: SignerError, trail: Trail) -> Reply:
        self._observer.refused(error, trail)
        let_go_of_frames(error)
        return error_reply(error, trail.request_id)

    def _failed(self, trail: Trail) -> Reply:
        """A fault of ours: the traceback goes to the log, never to the caller."""
        _log.exception("payment failed on %s, request %s", trail.route, trail.request_id)
        self._observer.refused(SignerError("internal error"), trail)
        return internal_reply(trail.request_id)


class UnidentifiedBodies:
    """Keeps what is read before anybody can be asked about its sender from making everybody wait."""

    def __init__(self, limit_bytes: int) -> None:
        self._bytes = UnidentifiedBytes(limit_bytes)
        self._lateness = Lateness()

    def check(self, caller: str, body: bytes, now: float) -> None:
        """Counts a body. While requests have to wait it raises Overloaded for whoever sent most of what is above the limit."""
        if self._bytes.note(caller, body, now) and self._lateness.is_late():
            self._bytes.check(caller)


class Lateness:
    """Whether the event loop is late, measured while somebody asks: how long a turn of it takes, also one that is not over."""

    def __init__(self) -> None:
        self._late_until = float("-inf")
        self._began: float | None = None

    def is_late(self) -> bool:
        """Whether a turn took long within the last second."""
        now = time.monotonic()  # uvloop's own clock stands still within a turn
        if self._began is None:
            self._began = now
            asyncio.get_running_loop().call_soon(self._end)
        self._note(now, self._began)
        return now < self._late_until

    def _end(self) -> None:
        if self._began is not None:
            self._note(time.monotonic(), self._began)
        self._began = None

    def _note(self, now: float, began: float) -> None:
        if now - began > LATE_SECONDS:
            self._late_until = now + 1


class Trails:
    """Begins the trails of requests: names them, and reads the caller's own name for them from `X-Request-Id`."""

    def __init__(self, answer_seconds: float) -> None:
        self._answer_seconds = answer_seconds
        self._names: list[str] = []

    def begin(self, route: str, headers: list[tuple[bytes, bytes]], peer: str = "") -> Trail:
        """The trail of a request that has arrived whole."""
        client_id = ""
        for name, value in headers:
            if name == _CLIENT_ID_HEADER:
                client_id = header_text(value)
                break
        if not self._names:
            digits = os.urandom(16 * _NAMES_AT_ONCE).hex()
            self._names = [digits[at : at + 32] for at in range(0, len(digits), 32)]
        return Trail(route, self._names.pop(), client_id, time.perf_counter, self._answer_seconds, peer)


def new_request_id() -> str:
    """128 random bits as hex: consumers of events deduplicate on it."""
    return os.urandom(16).hex()


def _paid(reply: bytes, trail: Trail) -> Reply:
    return Reply(200, (_JSON, (b"x-request-id", trail.request_id.encode())), reply)
