"""Seals over signer states: a keyed MAC of 32 bytes, or go-livepeer's EIP-191 signature of 65.

Source: section 7 of the protocol. The length tells which. Both are accepted, so that a fleet can be mixed and migrated;
the configuration says which is made. A signature is verified by signing again: RFC 6979 makes that deterministic, it
costs less than recovering the key, and no second encoding can pass.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from hmac import compare_digest

from livepeer_remote_signer.adapters.keys.signing import SigningKey
from livepeer_remote_signer.core.errors import SenderChanged
from livepeer_remote_signer.core.protocol.eip191 import SIGNATURE_BYTES
from livepeer_remote_signer.core.recent import Recent

MAC_BYTES = 32
RECENT_SEALS = 2048
"""A session's next call, and a retry, send back what was just sealed or verified: comparing it takes a tenth of sealing again."""


class PreviousKey:
    """What sealed states before a rotation; known until `accept_until_ns` (unix nanoseconds).

    States of another MAC key are accepted. With a signing key of another address they are known and refused: a session's credit and terms
    belong to the address that paid it.
    """

    def __init__(self, mac_key: bytes, signer: SigningKey | None, accept_until_ns: int) -> None:
        self.mac_key = mac_key
        self.signer = signer
        self.accept_until_ns = accept_until_ns

    def __repr__(self) -> str:
        return f"PreviousKey(accept_until_ns={self.accept_until_ns})"


class StateSeal:
    """Makes seals with the current key; verifies those of the current key and, for a time, of previous ones of the same address."""

    def __init__(
        self,
        signer: SigningKey,
        *,
        emit_mac: bool,
        mac_key: bytes,
        previous: tuple[PreviousKey, ...] = (),
        clock_ns: Callable[[], int],
    ) -> None:
        self._signer = signer
        self._emit_mac = emit_mac
        self._mac_key = mac_key
        self._previous = previous
        self._clock_ns = clock_ns
        self._made: Recent[bytes] = Recent(RECENT_SEALS)

    def __repr__(self) -> str:
        return f"StateSeal(emit={'mac' if self._emit_mac else 'signature'}, previous={len(self._previous)})"

    @property
    def former_senders(self) -> list[bytes]:
        """The addresses of previous signing keys."""
        return [previous.signer.address for previous in self._previous if previous.signer is not None]

    def seal(self, state: bytes) -> bytes:
        """32 bytes (MAC) or 65 bytes (signature)."""
        made = _mac(self._mac_key, state) if self._emit_mac else self._signer.sign_personal(state)
        self._made.put(state, made)
        return made

    def verify(self, state: bytes, sig: bytes) -> bool:
        """Whether an accepted key sealed exactly these bytes. Raises SenderChanged where that was a previous key of another address."""
        made = self._made.get(state)
        if made is not None and compare_digest(made, sig):
            return True
        if len(sig) not in (MAC_BYTES, SIGNATURE_BYTES):
            return False
        if _matches(self._mac_key, self._signer, state, sig):
            self._made.put(state, sig)
            return True
        now_ns = self._clock_ns() if self._previous else 0
        for previous in self._previous:
            if now_ns < previous.accept_until_ns and _matches(previous.mac_key, previous.signer, state, sig):
                self._check_sender(previous.signer)
                return True
        return False

    def _check_sender(self, former: SigningKey | None) -> None:
        if former is not None and former.address != self._signer.address:
            raise SenderChanged(
                "this session was paid by another address than the one that this signer pays from now",
                hint="start a new session, without state",
                sender="0x" + self._signer.address.hex(),
                former_sender="0x" + former.address.hex(),
            )


def _mac(key: bytes, state: bytes) -> bytes:
    return blake2b(state, key=key, digest_size=MAC_BYTES).digest()


def _matches(mac_key: bytes, signer: SigningKey | None, state: bytes, sig: bytes) -> bool:
    if len(sig) == MAC_BYTES:
        return compare_digest(_mac(mac_key, state), sig)
    return signer is not None and compare_digest(signer.sign_personal(state), sig)
