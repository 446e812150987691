"""Who pays, and what signs for it: a key that this host has, or one that it has not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from livepeer_remote_signer.adapters.keys.external import CheckedKey
from livepeer_remote_signer.adapters.keys.loading import SigningKeyError
from livepeer_remote_signer.adapters.keys.signing import SigningKey
from livepeer_remote_signer.core.protocol.eip191 import checksum_address


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


def check_distinct(keys: Mapping[str, Sender]) -> None:
    """Raises SigningKeyError where two of several keys are one address: budgets, funds and states of the one would be the other's."""
    names: dict[bytes, str] = {}
    for name, key in keys.items():
        if (other := names.setdefault(key.address, name)) != name:
            raise SigningKeyError(f"keys.{other} and keys.{name} are one address, {checksum_address(key.address)}: name it once")
