"""API keys that the ledger keeps, alone or beside a keys file."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from livepeer_remote_signer.adapters.auth.key_checks import KeyChecks
from livepeer_remote_signer.core.errors import LedgerUnavailable, Unauthenticated
from livepeer_remote_signer.core.rules.api_keys import KeyRecord, split_key
from livepeer_remote_signer.core.rules.policy import Identity


class KnownKeys(Protocol):
    """The ledger's keys, from memory."""

    @property
    def fault(self) -> str:
        """Why they cannot be used, "" when they can."""

    def key(self, key_id: str) -> KeyRecord | None:
        """A key's record. Raises LedgerUnavailable where what is known is too old."""

    def note_use(self, key_id: str) -> None:
        """A key let somebody in."""


class Keys(Protocol):
    """Keys that are kept elsewhere."""

    def verify(self, key: str, path: str) -> Identity: ...


class LedgerKeys:
    """What the ledger does not know is looked for in the keys file, where there is one."""

    def __init__(
        self,
        known: KnownKeys,
        file: Keys | None = None,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._known = known
        self._file = file
        self._checks = KeyChecks(clock, monotonic)

    @property
    def fault(self) -> str:
        """Why nobody is let in by a key of the ledger, "" when they are."""
        return self._known.fault

    def verify(self, key: str, path: str) -> Identity:
        """Whose key it is. Raises Unauthenticated, Denied, RateExceeded, LedgerUnavailable, and AuthFailed for a file that is at fault."""
        parts = split_key(key)
        try:
            record = self._known.key(parts[0]) if parts else None
        except LedgerUnavailable as unavailable:
            return self._verify_in_file(key, path, unavailable)
        if record is None and self._file is not None:
            return self._file.verify(key, path)
        identity = self._checks.admit(record, parts, path)
        if record is not None:
            self._known.note_use(record.id)
        return identity

    def _verify_in_file(self, key: str, path: str, unavailable: LedgerUnavailable) -> Identity:
        """While the ledger's keys are not known: what the file does not know either may be one of them."""
        if self._file is None:
            raise unavailable
        try:
            return self._file.verify(key, path)
        except Unauthenticated:
            raise unavailable from None
