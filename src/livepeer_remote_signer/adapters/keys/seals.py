"""Seals over signer states: a keyed MAC of 32 bytes, or go-livepeer's EIP-191 signature of 65.

Source: section 7 of the protocol. The length tells which. Both are accepted, so that a fleet can be mixed and migrated;
the configuration says which is made. A signature is verified by recovering the address of who made it, in its one encoding: the
key itself may be outside this host.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from hmac import compare_digest

from livepeer_remote_signer.core.errors import SenderChanged
from livepeer_remote_signer.core.protocol.eip191 import SIGNATURE_BYTES, personal_digest, recover_address
from livepeer_remote_signer.core.recent import Recent

MAC_BYTES = 32
RECENT_SEALS = 2048
"""A session's next call, and a retry, send back what was just sealed or verified: comparing it takes a tenth of sealing again."""


class PreviousKey:
    """What sealed states before a rotation; known until `accept_until_ns` (unix nanoseconds).

    States of another MAC key are accepted. With a signing key of another address they are known and refused: a session's credit and terms
    belong to the address that paid it.
    """

    def __init__(self, mac_key: bytes, sender: bytes | None, accept_until_ns: int) -> None:
        """`sender`: the address of the signing key; None for a MAC key alone."""
        self.mac_key = mac_key
        self.sender = sender
        self.accept_until_ns = accept_until_ns

    def __repr__(self) -> str:
        return f"PreviousKey(accept_until_ns={self.accept_until_ns})"


class StateSeal:
    """Makes seals with the current key; verifies those of the current key and, for a time, of previous ones of the same address."""

    def __init__(
        self,
        sender: bytes,
        *,
        sign: Callable[[bytes], bytes] | None = None,
        mac_key: bytes,
        previous: tuple[PreviousKey, ...] = (),
        clock_ns: Callable[[], int],
    ) -> None:
        """`sign` makes go-livepeer's seals with the key of `sender`; None: seals are MACs."""
        self._sender = sender
        self._sign = sign
        self._mac_key = mac_key
        self._previous = previous
        self._clock_ns = clock_ns
        self._made: Recent[bytes] = Recent(RECENT_SEALS)

    def __repr__(self) -> str:
        return f"StateSeal(emit={'signature' if self._sign else 'mac'}, previous={len(self._previous)})"

    @property
    def former_senders(self) -> list[bytes]:
        """The addresses of previous signing keys."""
        return [previous.sender for previous in self._previous if previous.sender is not None]

    def seal(self, state: bytes) -> bytes:
        """32 bytes (MAC) or 65 bytes (signature)."""
        made = _mac(self._mac_key, state) if self._sign is None else self._sign(state)
        self._made.put(state, made)
        return made

    def verify(self, state: bytes, sig: bytes) -> bool:
        """Whether an accepted key sealed exactly these bytes. Raises SenderChanged where that was a previous key of another address."""
        made = self._made.get(state)
        if made is not None and compare_digest(made, sig):
            return True
        if len(sig) not in (MAC_BYTES, SIGNATURE_BYTES):
            return False
        signer = _recovered(state, sig) if len(sig) == SIGNATURE_BYTES else None  # once, however many keys are known
        if _matches(self._mac_key, self._sender, state, sig, signer):
            self._made.put(state, sig)
            return True
        now_ns = self._clock_ns() if self._previous else 0
        for previous in self._previous:
            if now_ns < previous.accept_until_ns and _matches(previous.mac_key, previous.sender, state, sig, signer):
                self._check_sender(previous.sender)
                return True
        return False

    def _check_sender(self, former: bytes | None) -> None:
        if former is not None and former != self._sender:
            raise SenderChanged(
                "this session was paid by another address than the one that this signer pays from now",
                hint="start a new session, without state",
                sender="0x" + self._sender.hex(),
                former_sender="0x" + former.hex(),
            )


def _mac(key: bytes, state: bytes) -> bytes:
    return blake2b(state, key=key, digest_size=MAC_BYTES).digest()


def _matches(mac_key: bytes, sender: bytes | None, state: bytes, sig: bytes, signer: bytes | None) -> bool:
    if len(sig) == MAC_BYTES:
        return compare_digest(_mac(mac_key, state), sig)
    return signer is not None and signer == sender


def _recovered(state: bytes, sig: bytes) -> bytes | None:
    """Whose signature it is; None where it is nobody's."""
    try:
        return recover_address(personal_digest(state), sig)
    except ValueError:
        return None
