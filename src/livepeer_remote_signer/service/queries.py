"""What a caller wants to know of an orchestrator: identify -> authorize, where that is wanted -> fetch.

Nothing is signed and nothing is paid, but each question makes this signer call a stranger and wait: callers share the places.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from livepeer_remote_signer.core.rules.fairness import Shares
from livepeer_remote_signer.core.rules.policy import ANONYMOUS, Caller, Identity, unpaid_auth_id
from livepeer_remote_signer.core.rules.senders import BySender
from livepeer_remote_signer.core.rules.trail import Trail
from livepeer_remote_signer.service.seams import Identifier, QueryAuthorizer

MAX_ASKING = 64
"""How many orchestrators are asked at one time: a slow one holds its place for seconds."""

FetchInfo = Callable[[str, bytes], Awaitable[bytes]]
"""(URL, serialized Capabilities) -> serialized OrchestratorInfo."""


class OrchestratorQuestions:
    """Asks orchestrators for callers."""

    def __init__(
        self,
        fetch: BySender[FetchInfo],
        *,
        identifier: Identifier | None = None,
        authorizer: QueryAuthorizer | None = None,
        fair_share: float = 0.25,
    ) -> None:
        self._fetch = fetch
        self._identifier = identifier
        self._authorizer = authorizer
        self._places = Shares(MAX_ASKING, fair_share, "orchestrators are being asked, the most at one time")

    async def identify(self, caller: Caller) -> Identity:
        """Who is calling. Raises Unauthenticated."""
        return await self._identifier.identify(caller) if self._identifier is not None else ANONYMOUS

    async def ask(self, url: str, capabilities: bytes, caller: Caller, identity: Identity, trail: Trail) -> bytes:
        """The serialized OrchestratorInfo of the orchestrator at `url`; `trail.caller` is the caller's address.

        Raises NoSender, BadField, BadCapabilities, Denied, AuthIdChanged, AuthFailed, AddressRefused, OrchestratorUnreachable, Overloaded,
        ShareExceeded.
        """
        auth_id = identity.auth_id or identity.claimed_auth_id
        place = self._places.take(f"auth id {auth_id}" if auth_id else trail.caller, trail.clock())
        trail.caller = auth_id or trail.caller
        try:
            if self._authorizer is not None:
                unpaid_auth_id(await self._authorizer.authorize_query(caller, identity, url, trail), identity)
            return await self._fetch.of(identity)(url, capabilities)
        finally:
            place.release()
