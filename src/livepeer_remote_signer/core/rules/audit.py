"""Who changed what: the lines of the audit log. Nothing secret stands in one, neither a key nor what is kept of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, NamedTuple

from livepeer_remote_signer.core.errors import BadField
from livepeer_remote_signer.core.protocol.timestamps import NS_PER_MS, encode_rfc3339_ns

MAX_AUTHOR_CHARACTERS = 200
MAX_IDEMPOTENCY_KEY_BYTES = 200


class AuditLine(NamedTuple):
    """One change: what it is called, whom it concerns ("": everybody), and what was there before and after (None: nothing)."""

    action: str
    auth_id: str
    subject: str
    before: Any = None
    after: Any = None

    def encode(self) -> str:
        """What is kept of it beside action and auth id, as JSON in ASCII."""
        return json.dumps({"subject": self.subject, "before": self.before, "after": self.after}, separators=(",", ":"))


class AdminRequest(NamedTuple):
    """Who asks for a change, and which request it is: two with one `key` (32 bytes) are the same one, if their digests are."""

    author: str
    key: bytes
    digest: bytes
    now_ms: int


class AuditEntry(NamedTuple):
    """A line as it is read back. `at_ms` in unix milliseconds; `author` is who it was, as far as that can be told."""

    id: int
    at_ms: int
    author: str
    action: str
    auth_id: str
    kept: str

    def describe(self) -> Mapping[str, Any]:
        """For people and their tools."""
        told = {"id": self.id, "time": encode_rfc3339_ns(self.at_ms * NS_PER_MS), "by": self.author, "action": self.action}
        return {**told, "auth_id": self.auth_id or None, **json.loads(self.kept)}


def admin_request_key(sent: bytes) -> bytes:
    """What an Idempotency-Key on an admin route is known by; empty where none was sent. Raises BadField for one that is too long."""
    if len(sent) > MAX_IDEMPOTENCY_KEY_BYTES:
        raise BadField(f"Idempotency-Key has {len(sent)} bytes, more than {MAX_IDEMPOTENCY_KEY_BYTES}", limit=MAX_IDEMPOTENCY_KEY_BYTES)
    return sha256(b"admin route\0" + sent).digest() if sent else b""


def author_of_token(peer: str) -> str:
    """Who changes something over the admin API: it has one token, so the address tells more."""
    return f"admin token from {peer or 'an unknown address'}"[:MAX_AUTHOR_CHARACTERS]


def author_of_command(user: str, host: str) -> str:
    """Who changes something by command."""
    return f"command of {user} on {host}"[:MAX_AUTHOR_CHARACTERS]
