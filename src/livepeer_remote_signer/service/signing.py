"""Makes the signatures of a payment that passed every check."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeAlias

from msgspec import Struct

from livepeer_remote_signer.core.protocol.eip191 import keccak256, orchestrator_info_message
from livepeer_remote_signer.core.protocol.state import Seal, SignerState, encode_state
from livepeer_remote_signer.core.protocol.ticket import Ticket, seg_creds_message, ticket_hash_parts
from livepeer_remote_signer.core.protocol.wire import encode_payment, encode_seg_data
from livepeer_remote_signer.core.recent import MAX_KEY_BYTES
from livepeer_remote_signer.core.rules.payment import OpenedSession, PaymentPlan

SEG_CREDS_CACHE_ENTRIES = 4096
"""A signature less for every call of a session but its first. Requests longer than MAX_KEY_BYTES are not kept."""


class CountingSigner(Protocol):
    """Signs tickets."""

    @property
    def signatures(self) -> int:
        """How many since start."""


class MessageSigner(Protocol):
    """Holds the key. Signs EIP-191 personal messages that this package composed, never a caller's bytes."""

    @property
    def address(self) -> bytes:
        """The 20-byte address whose deposit backs the tickets."""

    def sign_personal(self, message: bytes) -> bytes:
        """65 bytes r || s || v over the personal message `message`; deterministic (RFC 6979)."""


class ExternalKey(Protocol):
    """A key outside this host. Its signatures are checked: each recovers to `address`, has low s and v 27 or 28."""

    @property
    def address(self) -> bytes:
        """The 20-byte address whose deposit backs the tickets."""

    async def sign_personal(self, messages: Sequence[bytes]) -> list[bytes]:
        """One 65-byte signature a message (32 bytes each; EIP-191 personal message), all or none. Raises KeyUnavailable (503),
        KeyThrottled (429)."""


SignMessage: TypeAlias = Callable[[bytes], Awaitable[bytes]]
"""One signature over a message of 32 bytes that this package composed, wherever the key is. Raises KeyUnavailable, KeyThrottled."""


class InfoSignature:
    """The signature that the sender shows to orchestrators: made once for each process, when it is asked for first."""

    def __init__(self, address: bytes, sign: SignMessage) -> None:
        self.address = address
        self._sign = sign
        self._lock = asyncio.Lock()
        self._made: bytes | None = None

    async def get(self) -> bytes:
        """65 bytes. Raises KeyUnavailable, KeyThrottled, and is asked again with the next call."""
        if self._made is None:
            async with self._lock:
                if self._made is None:
                    self._made = await self._sign(orchestrator_info_message(self.address))
        return self._made


class SignedPayment(Struct, frozen=True, gc=False):
    """What a payment consists of: the two headers' bytes, the sealed state, and the plan that they were made from."""

    plan: PaymentPlan
    sender: bytes
    payment: bytes
    seg_creds: bytes
    state: bytes
    state_sig: bytes
    tickets: tuple[Ticket, ...]


class PaymentSigner:
    """Makes the signatures of a plan: tickets, segment credentials, state seal, in this order."""

    def __init__(self, key: MessageSigner, seal: Seal, remember_state: Callable[[bytes, SignerState], None] | None = None) -> None:
        self._key = key
        self._seal = seal
        self._remember_state = remember_state
        self._known_seg_creds: dict[tuple[str, bytes, bytes], bytes] = {}
        self.signatures = 0
        """How many tickets were signed since start: a denied caller must not move it."""

    @property
    def address(self) -> bytes:
        """The sender of all tickets."""
        return self._key.address

    def sign(self, plan: PaymentPlan) -> SignedPayment:
        """Signs; every check must have passed."""
        session, sender, sign = plan.session, self._key.address, self._key.sign_personal
        head, tail = ticket_hash_parts(session.info.ticket_params, sender, plan.aux_data)
        tickets = []
        for nonce in range(plan.first_nonce, plan.first_nonce + plan.num_tickets):
            digest = keccak256(head + nonce.to_bytes(32, "big") + tail)
            tickets.append(Ticket(nonce, digest, sign(digest)))
        self.signatures += len(tickets)
        payment = encode_payment(session.info, sender, plan.creation_round, plan.creation_round_block_hash, tickets)
        state = encode_state(plan.state)
        if self._remember_state is not None:
            self._remember_state(state, plan.state)
        return SignedPayment(plan, sender, payment, self._seg_creds(session), state, self._seal.seal(state), tuple(tickets))

    def seal(self, state: bytes) -> bytes:
        """The seal over a state that was given out before."""
        return self._seal.seal(state)

    def _seg_creds(self, session: OpenedSession) -> bytes:
        """Segment credentials depend on these three alone, and a session asks for the same ones at every call."""
        key = (session.manifest_id, session.request.orchestrator, session.request.capabilities)
        known = self._known_seg_creds.get(key)
        if known is None:
            sig = self._key.sign_personal(seg_creds_message(session.manifest_id))
            known = encode_seg_data(session.manifest_id, sig, session.capabilities, session.auth_token)
            if sum(map(len, key)) <= MAX_KEY_BYTES:
                if len(self._known_seg_creds) >= SEG_CREDS_CACHE_ENTRIES:
                    self._known_seg_creds.clear()
                self._known_seg_creds[key] = known
        return known


class Signatures:
    """How many tickets were signed for all senders of this process, since start."""

    def __init__(self, signers: Sequence[CountingSigner]) -> None:
        self._signers = signers

    @property
    def signatures(self) -> int:
        """Of all of them."""
        return sum(signer.signatures for signer in self._signers)
