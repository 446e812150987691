"""Which of several senders pays for a caller.

Ticket params do not name the sender, so who calls decides, before anything of the request is looked at: a caller's payments,
the signature that it shows to orchestrators and what it is told of funds are all of one address.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Generic, TypeVar

from livepeer_remote_signer.core.errors import NoSender
from livepeer_remote_signer.core.rules.policy import Identity

_T = TypeVar("_T")


class BySender(Generic[_T]):
    """What belongs to each sender, by the auth ids that it pays for. `everybody_else` None: nobody pays for those without an entry."""

    def __init__(self, everybody_else: _T | None, by_auth_id: Mapping[str, _T] | None = None) -> None:
        self._everybody_else = everybody_else
        self._by_auth_id = dict(by_auth_id or {})

    @property
    def is_one(self) -> bool:
        """Whether one sender pays for everybody, so that nobody has to be told apart."""
        return self._everybody_else is not None and not self._by_auth_id

    def of(self, identity: Identity) -> _T:
        """What belongs to the sender of this caller. Raises NoSender."""
        return self.of_auth_id(identity.auth_id or identity.claimed_auth_id)

    def of_auth_id(self, auth_id: str) -> _T:
        """The same of a caller of this auth id, "" for one without."""
        found = self._by_auth_id.get(auth_id, self._everybody_else) if auth_id else self._everybody_else
        if found is None:
            raise NoSender(
                f"no key pays for {f'the auth id {auth_id[:128]}' if auth_id else 'callers without an auth id'}",
                hint='the operator names its key in senders, or one for everybody else with auth_id "*"',
            )
        return found

    def check(self, auth_id: str, chosen: _T) -> None:
        """That what was chosen for a caller is his also once a webhook has named him: nobody else's deposit pays. Raises NoSender."""
        if auth_id and self.of_auth_id(auth_id) != chosen:
            raise NoSender(
                f"another key pays for the auth id {auth_id[:128]}, which was named too late to choose it",
                hint="the caller must be known by its API key, its token or a trusted proxy as the auth id that senders names",
            )
