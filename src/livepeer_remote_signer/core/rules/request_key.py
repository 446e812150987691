"""What a ledger knows a request by: two requests with one key are the same request, and get the same answer."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from hashlib import sha256

from livepeer_remote_signer.core.errors import InvalidState
from livepeer_remote_signer.core.protocol.strict_json import INT64_MAX
from livepeer_remote_signer.core.rules.ledger import RequestKey
from livepeer_remote_signer.core.rules.payment import OpenedSession
from livepeer_remote_signer.core.rules.policy import Caller, Identity


def request_key(session: OpenedSession, caller: Caller, identity: Identity, route: str, served: str = "") -> RequestKey:
    """The key of a request on `route`, which is served in the turn of `served`.

    Raises InvalidState for a sequence number beyond what databases count to.
    """
    request = session.request
    if session.state.sequence_number > INT64_MAX:
        raise InvalidState(f"SequenceNumber {session.state.sequence_number} is more than a ledger holds: {INT64_MAX}")
    parts = (
        route.encode(),
        request.orchestrator,
        request.state,
        request.state_sig,
        request.manifest_id.encode(),
        request.app.encode(),
        request.type.encode(),
        str(request.in_pixels).encode(),
        b"" if request.max_price is None else repr(request.max_price).encode(),
        request.capabilities,
    )
    state, is_new = session.state, session.is_new
    auth_id = identity.auth_id or identity.claimed_auth_id or state.auth_id
    key = idempotency_key(caller, identity) if is_new else b""
    return RequestKey(state.state_id, state.sequence_number, _digest(parts), auth_id, key, state.last_update_ns, is_new, served=served)


def idempotency_key(caller: Caller, identity: Identity) -> bytes:
    """A digest of the caller's Idempotency-Key and of who the caller is: keys of different callers never meet.

    Who it is: the auth id, or, where only the webhook can tell, the credentials that were sent along.
    """
    key = caller.raw_header(b"idempotency-key")
    if not key:
        return b""
    if owner := identity.auth_id or identity.claimed_auth_id:
        return _digest([b"auth id", owner.encode("utf-8", "surrogatepass"), key])
    return _digest([b"credential", *(part for header in caller.credentials() for part in header), key])


def _digest(parts: Sequence[bytes]) -> bytes:
    """32 bytes over parts that cannot run into each other. OpenSSL's SHA-256 uses the processor's, hashlib's BLAKE2 does not."""
    lengths = struct.pack(f">{len(parts)}Q", *map(len, parts))
    return sha256(b"".join((lengths, *parts))).digest()
