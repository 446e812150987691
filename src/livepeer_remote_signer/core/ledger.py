"""Values that the service and a ledger exchange. What a ledger must guarantee stands in `docs/decisions.md`."""

from __future__ import annotations

from typing import NamedTuple

from livepeer_remote_signer.core.state import SignerState


class RequestKey(NamedTuple):
    """Names one request to the ledger.

    `state_id` and `sequence_number` say which step of which session it asks for; `digest` (32 bytes) is the same for the
    identical request and for no other; `idempotency_key` is the caller's own, "" when none was sent.
    """

    state_id: str
    sequence_number: int
    digest: bytes
    auth_id: str
    idempotency_key: str
    last_update_ns: int | None
    is_new: bool


class Stored(NamedTuple):
    """This very request was answered: `reply` are the bytes that were sent, `auth_id` who they were made for."""

    reply: bytes
    auth_id: str


class Newest(NamedTuple):
    """The sequence number was used by another request; `state` is the session's newest one, as sealed bytes were made of it."""

    state: SignerState


Found = Stored | Newest | None
"""None: nobody used this sequence number."""
