"""What a caller asks of itself: identify -> authorize, where nobody else can tell who it is -> read.

A credential names its caller. Where none does the webhook is asked, as it is for a payment: whom it names is told of that auth
id, and of no other.
"""

from __future__ import annotations

from typing import Protocol

from livepeer_remote_signer.core.errors import RateExceeded, Unauthenticated
from livepeer_remote_signer.core.rules.caller_usage import CallerUsage
from livepeer_remote_signer.core.rules.fairness import Shares
from livepeer_remote_signer.core.rules.policy import ANONYMOUS, Caller, unpaid_auth_id
from livepeer_remote_signer.core.rules.rates import Brake
from livepeer_remote_signer.core.rules.trail import Trail
from livepeer_remote_signer.core.rules.usage import UsageQuery
from livepeer_remote_signer.service.seams import Identifier, UsageAuthorizer

MAX_READING = 16
"""How many callers are told at one time: the ledger reads for one after the other."""

PER_MINUTE = 30
"""How often one caller may ask."""


class Books(Protocol):
    """What is known of an auth id. Raises LedgerUnavailable."""

    def today(self) -> int: ...

    async def read(self, auth_id: str, query: UsageQuery) -> CallerUsage: ...


class UsageQuestions:
    """Tells callers of themselves. At least one of `identifier` and `authorizer` says who they are."""

    def __init__(
        self, books: Books, *, identifier: Identifier | None, authorizer: UsageAuthorizer | None, fair_share: float = 0.25
    ) -> None:
        self._books = books
        self._identifier = identifier
        self._authorizer = authorizer
        self._places = Shares(MAX_READING, fair_share, "callers are told of their usage, the most at one time")
        self._brake = Brake()

    def today(self) -> int:
        """The day of UTC, since 1970."""
        return self._books.today()

    async def ask(self, query: UsageQuery, caller: Caller, trail: Trail) -> CallerUsage:
        """What the caller has spent, may spend, and has open; `trail.caller` is its address.

        Raises Unauthenticated, Denied, AuthIdChanged, AuthFailed, RateExceeded, Overloaded, ShareExceeded, LedgerUnavailable.
        """
        identity = await self._identifier.identify(caller) if self._identifier is not None else ANONYMOUS
        auth_id = identity.auth_id or identity.claimed_auth_id
        name = f"auth id {auth_id}" if auth_id else trail.caller
        self._check_rate(name, trail)
        place = self._places.take(name, trail.clock())
        try:
            if self._authorizer is not None and not identity.auth_id:
                auth_id = unpaid_auth_id(await self._authorizer.authorize_usage(caller, identity, trail), identity)
            if not auth_id:
                raise Unauthenticated("nobody says who is asking", hint="send the credential that payments are sent with")
            return await self._books.read(auth_id, query)
        finally:
            place.release()

    def _check_rate(self, name: str, trail: Trail) -> None:
        wait = self._brake.wait_seconds(name, PER_MINUTE, 1, trail.clock())
        if wait:
            raise RateExceeded(
                f"a caller may ask for its usage {PER_MINUTE} times a minute",
                hint="the figures of a payment are in its reply",
                retry_after_seconds=wait,
                limit=PER_MINUTE,
            )
