"""The paying routes, from body to reply, without a web framework in between.

FastAPI costs more than all the cryptography of a payment, so both paying routes are answered here: by the ASGI front
(`api.front`) under any server, and by the server's own protocol class (`api.server_protocol`) without ASGI. Both call
`PayingRoutes.respond`; what it answers does not depend on who calls.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

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
from livepeer_remote_signer.core.errors import Overloaded, SignerError
from livepeer_remote_signer.core.rules.payment import PaymentRequest
from livepeer_remote_signer.core.rules.policy import Caller
from livepeer_remote_signer.service import Observer, RemoteSigner, Route

GENERATE_LIVE_PAYMENT = "/generate-live-payment"
SIGN_TICKET = "/signTicket"

_log = logging.getLogger(__name__)
_JSON = (b"content-type", b"application/json")


class PayingRoute(NamedTuple):
    """How one route's body becomes a request, and what else the service needs to know of the route."""

    parse: Callable[[bytes], PaymentRequest]
    route: Route


class PayingRoutes:
    """Answers `POST` on the paying routes. Bodies arrive whole; the limit on requests in work is kept here."""

    def __init__(
        self,
        service: RemoteSigner,
        observer: Observer,
        *,
        max_in_work: int,
        headroom_live_payment: int,
        headroom_sign_ticket: int,
        interval_seconds: float,
        begin: Callable[[list[tuple[bytes, bytes]]], str] | None = None,
    ) -> None:
        """`begin` names a request by its headers, where somebody wants to follow it."""
        self._begin = begin or (lambda headers: new_request_id())
        self._service = service
        self._observer = observer
        self._max_in_work = max_in_work
        self.in_work = 0
        self._routes = {
            GENERATE_LIVE_PAYMENT: PayingRoute(
                parse_live_payment,
                Route(
                    GENERATE_LIVE_PAYMENT,
                    encode=encode_live_payment,
                    headroom_seconds=headroom_live_payment,
                    encode_state=encode_sealed_state,
                    keep=keep_live_payment,
                    restore=restore_live_payment,
                ),
            ),
            SIGN_TICKET: PayingRoute(
                parse_sign_ticket,
                Route(
                    SIGN_TICKET,
                    encode=lambda signed: encode_sign_ticket(signed, interval_seconds),
                    headroom_seconds=headroom_sign_ticket,
                    encode_state=encode_signer_state,
                    keep=lambda _, reply: reply,
                    restore=lambda kept, _: kept,
                ),
            ),
        }
        self.paths = frozenset(self._routes)

    def respond(self, path: str, headers: list[tuple[bytes, bytes]], body: bytes, peer: str) -> Reply | Awaitable[Reply]:
        """The reply, at once where nobody has to be asked; else a coroutine. Never raises."""
        paying = self._routes[path]
        request_id = self._begin(headers)
        if self._service.is_inline:
            try:
                paid = self._service.pay_inline(paying.parse(body), paying.route, request_id)
            except SignerError as error:
                return self._refused(error, paying.route, request_id)
            except Exception:  # noqa: BLE001 - whatever it is, `_failed` logs it
                return self._failed(paying.route, request_id)
            return Reply(200, (_JSON, (b"x-request-id", request_id.encode())), paid)
        if self.in_work >= self._max_in_work:
            return self._refused(self._overloaded(), paying.route, request_id)
        self.in_work += 1
        return self._pay(paying, Caller(tuple(headers), peer, path), body, request_id)

    @contextmanager
    def place(self) -> Iterator[None]:
        """One place among the requests in work, for a route that pays nothing. Raises Overloaded."""
        if self.in_work >= self._max_in_work:
            raise self._overloaded()
        self.in_work += 1
        try:
            yield
        finally:
            self.in_work -= 1

    def _overloaded(self) -> Overloaded:
        return Overloaded(
            f"{self.in_work} requests are in work, the most that limits.max_requests_in_work allows",
            retry_after_seconds=1,
            in_work=self.in_work,
            limit=self._max_in_work,
        )

    async def _pay(self, paying: PayingRoute, caller: Caller, body: bytes, request_id: str) -> Reply:
        try:
            paid = await self._service.pay(paying.parse(body), caller, paying.route, request_id)
        except SignerError as error:
            return self._refused(error, paying.route, request_id)
        except Exception:  # noqa: BLE001 - whatever it is, `_failed` logs it
            return self._failed(paying.route, request_id)
        finally:
            self.in_work -= 1
        return Reply(200, (_JSON, (b"x-request-id", request_id.encode())), paid)

    def _refused(self, error: SignerError, route: Route, request_id: str) -> Reply:
        self._observer.refused(error, route.name, request_id)
        return error_reply(error, request_id)

    def _failed(self, route: Route, request_id: str) -> Reply:
        """A fault of ours: the traceback goes to the log, never to the caller."""
        _log.exception("payment failed on %s, request %s", route.name, request_id)
        self._observer.refused(SignerError("internal error"), route.name, request_id)
        return internal_reply(request_id)


def new_request_id() -> str:
    """128 random bits as hex: consumers of events deduplicate on it."""
    return os.urandom(16).hex()
