"""Who changed what, as it is kept and told."""

from __future__ import annotations

import pytest

from livepeer_remote_signer.core.errors import BadField
from livepeer_remote_signer.core.rules.audit import (
    AuditEntry,
    AuditLine,
    admin_request_key,
    author_of_command,
    author_of_token,
)


def test_a_line_is_told_as_it_was_kept() -> None:
    line = AuditLine("budget.set", "zo\u00eb\udcff", "ev per total", None, "5")
    told = AuditEntry(7, 1_900_000_000_123, author_of_token("10.0.0.1"), line.action, line.auth_id, line.encode()).describe()
    assert told == {
        "id": 7,
        "time": "2030-03-17T17:46:40.123Z",
        "by": "admin token from 10.0.0.1",
        "action": "budget.set",
        "auth_id": "zo\u00eb\udcff",
        "subject": "ev per total",
        "before": None,
        "after": "5",
    }
    assert line.encode().isascii()
    assert AuditEntry(7, 0, "", "suspend", "", AuditLine("suspend", "", "all payments").encode()).describe()["auth_id"] is None


def test_authors_are_bounded_and_never_empty() -> None:
    assert author_of_token("") == "admin token from an unknown address"
    assert len(author_of_command("x" * 300, "host")) == 200


def test_a_requests_key_is_known_by_its_digest() -> None:
    assert admin_request_key(b"") == b""
    assert len(admin_request_key(b"a" * 200)) == 32
    assert admin_request_key(b"a") != admin_request_key(b"b")
    with pytest.raises(BadField, match="201 bytes, more than 200"):
        admin_request_key(b"a" * 201)
