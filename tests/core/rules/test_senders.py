"""Who calls decides who pays: his own entry, else everybody else's, else nobody."""

from __future__ import annotations

import pytest

from livepeer_remote_signer.core.errors import NoSender
from livepeer_remote_signer.core.rules.policy import ANONYMOUS, Identity
from livepeer_remote_signer.core.rules.senders import BySender

OURS, TENANT = 1, 2


def test_a_callers_own_entry_comes_before_everybody_elses() -> None:
    senders = BySender(OURS, {"acme": TENANT})
    assert senders.of(Identity(auth_id="acme")) == TENANT
    assert senders.of(Identity(claimed_auth_id="acme")) == TENANT, "what a trusted proxy says"
    assert senders.of(Identity(auth_id="bob", claimed_auth_id="acme")) == OURS, "what a credential proved stands before it"
    assert senders.of(ANONYMOUS) == OURS


def test_one_sender_for_everybody_is_known_as_such() -> None:
    assert BySender(OURS).is_one
    assert not BySender(OURS, {"acme": TENANT}).is_one
    assert not BySender(None, {"acme": TENANT}).is_one


def test_where_nobody_is_everybody_else_those_without_an_entry_are_refused() -> None:
    senders = BySender(None, {"acme": TENANT, "": TENANT})
    assert senders.of(Identity(auth_id="acme")) == TENANT
    with pytest.raises(NoSender, match="no key pays for the auth id bob") as caught:
        senders.of(Identity(auth_id="bob"))
    assert caught.value.hint is not None
    with pytest.raises(NoSender, match="callers without an auth id"):
        senders.of(ANONYMOUS)


def test_whoever_is_named_later_must_be_of_the_sender_that_was_chosen() -> None:
    senders = BySender("ours", {"acme": "tenant"})
    for auth_id, chosen in (("", "tenant"), ("acme", "tenant"), ("bob", "ours")):
        senders.check(auth_id, chosen)
    for auth_id, chosen in (("acme", "ours"), ("bob", "tenant")):
        with pytest.raises(NoSender, match=f"another key pays for the auth id {auth_id}"):
            senders.check(auth_id, chosen)
