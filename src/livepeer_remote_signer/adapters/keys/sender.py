"""Who pays, and what signs for it: a key that this host has, or one that it has not."""

from __future__ import annotations

from typing import NamedTuple

from livepeer_remote_signer.adapters.keys.external import CheckedKey
from livepeer_remote_signer.adapters.keys.signing import SigningKey


class Sender(NamedTuple):
    """The address that pays, and what signs for it: exactly one of `local` and `outside`. `mac_key` is what other keys are derived
    from."""

    address: bytes
    mac_key: bytes
    local: SigningKey | None
    outside: CheckedKey | None

    async def sign(self, message: bytes) -> bytes:
        """The signature over one message of 32 bytes that this package composed. Raises KeyUnavailable, KeyThrottled."""
        if self.local is not None:
            return self.local.sign_personal(message)
        if self.outside is None:
            raise RuntimeError("there is no key")
        return (await self.outside.sign_personal([message]))[0]
