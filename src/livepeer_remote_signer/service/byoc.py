"""The credentials of one BYOC job: identify -> switches -> authorize -> sign. Nothing is signed until every check has passed.

Source: section 14 of the protocol. The same authorities as for a payment are asked; without any, the configuration is
refused unless it says that nobody is to be asked.
"""

from __future__ import annotations

from typing import NamedTuple

from livepeer_remote_signer.core.protocol.byoc import byoc_job_message, parse_byoc_job
from livepeer_remote_signer.core.rules.policy import ANONYMOUS, Caller, check_named, unpaid_auth_id
from livepeer_remote_signer.core.rules.senders import BySender
from livepeer_remote_signer.core.rules.trail import Trail
from livepeer_remote_signer.service.seams import Authorizer, Identifier, KillSwitches
from livepeer_remote_signer.service.signing import SignMessage


class ByocKey(NamedTuple):
    """The sender's 20 bytes, and what signs for it."""

    address: bytes
    sign: SignMessage


class ByocSigner:
    """Signs jobs for callers who may pay."""

    def __init__(
        self,
        senders: BySender[ByocKey],
        *,
        identifier: Identifier | None = None,
        authorizer: Authorizer | None = None,
        switches: KillSwitches | None = None,
        requires_auth_id: bool = False,
    ) -> None:
        self._senders = senders
        self._identifier = identifier
        self._authorizer = authorizer
        self._switches = switches
        self._requires_auth_id = requires_auth_id

    async def sign(self, body: bytes, caller: Caller, trail: Trail) -> tuple[bytes, bytes]:
        """The sender's 20 bytes, and its signature over the job in a request's body: 65 bytes.

        Raises Unauthenticated, NoSender, BadJson, BadField, Suspended, Denied, AuthIdChanged, BodyTooLarge, AuthFailed, LedgerUnavailable,
        KeyUnavailable or KeyThrottled.
        """
        identity = await self._identifier.identify(caller) if self._identifier is not None else ANONYMOUS
        key = self._senders.of(identity)
        job = parse_byoc_job(body)
        auth_id = identity.auth_id or identity.claimed_auth_id
        trail.caller = auth_id or trail.caller
        await self._check_switches(auth_id)
        if self._authorizer is not None:
            verdict = await self._authorizer.authorize_byoc(caller, identity, job, trail)
            named = unpaid_auth_id(verdict, identity)
            if named != auth_id:
                await self._check_switches(named)
            auth_id = named
        if self._requires_auth_id:
            check_named(auth_id)
        self._senders.check(auth_id, key)
        return key.address, await key.sign(byoc_job_message(job))

    async def _check_switches(self, auth_id: str) -> None:
        if self._switches is not None:
            await self._switches.check(auth_id)
