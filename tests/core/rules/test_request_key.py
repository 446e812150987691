"""What makes two requests the same one to a ledger, and whose a key of a new session is."""

from __future__ import annotations

from hashlib import sha256

import pytest
from msgspec.structs import replace

from livepeer_remote_signer.core.errors import InvalidState
from livepeer_remote_signer.core.protocol.prices import MaxPrice
from livepeer_remote_signer.core.rules.ledger import RequestKey
from livepeer_remote_signer.core.rules.payment import OpenedSession, PaymentRequest
from livepeer_remote_signer.core.rules.policy import ANONYMOUS, Caller, Identity
from livepeer_remote_signer.core.rules.request_key import idempotency_key, request_key
from tests.plans import NOW_NS, plan_payment

ROUTE = "/signTicket"
REQUEST = PaymentRequest(b"info", b"state", b"sig", "m", "a", "live", 7, MaxPrice("1", "wei", "seconds"), b"capable")
KEYED = Caller(((b"idempotency-key", b"k"), (b"authorization", b"Bearer x")))


def opened(request: PaymentRequest = REQUEST, *, is_new: bool = False, sequence_number: int = 3, auth_id: str = "") -> OpenedSession:
    """A call of session "s", which was last paid at NOW_NS."""
    session = plan_payment().session
    state = replace(session.state, state_id="s", sequence_number=sequence_number, auth_id=auth_id, last_update_ns=NOW_NS)
    return replace(session, request=request, state=state, is_new=is_new)


def digest(request: PaymentRequest, route: str = ROUTE) -> bytes:
    return request_key(opened(request), Caller(), ANONYMOUS, route).digest


def joined(*parts: bytes) -> bytes:
    """SHA-256 of the parts behind all of their lengths."""
    return sha256(b"".join(len(part).to_bytes(8, "big") for part in parts) + b"".join(parts)).digest()


def test_a_key_names_the_step_of_the_session_and_the_whole_request() -> None:
    price = b"MaxPrice(price='1', currency='wei', unit='seconds')"
    whole = joined(b"/signTicket", b"info", b"state", b"sig", b"m", b"a", b"live", b"7", price, b"capable")
    assert request_key(opened(), KEYED, ANONYMOUS, ROUTE, "alice") == RequestKey(
        state_id="s",
        sequence_number=3,
        digest=whole,
        auth_id="",
        idempotency_key=b"",
        last_update_ns=NOW_NS,
        is_new=False,
        is_healed=False,
        served="alice",
    )
    assert request_key(opened(), KEYED, ANONYMOUS, ROUTE).served == ""


def test_what_a_request_does_not_say_is_empty_in_its_digest() -> None:
    assert digest(PaymentRequest(b"info")) == joined(b"/signTicket", b"info", b"", b"", b"", b"", b"", b"0", b"", b"")


def test_requests_that_differ_anywhere_are_two_and_their_parts_cannot_run_into_each_other() -> None:
    others = [
        replace(REQUEST, orchestrator=b"infos"),
        replace(REQUEST, orchestrator=b"inf", state=b"ostate"),
        replace(REQUEST, state=b"states"),
        replace(REQUEST, state_sig=b"sigs"),
        replace(REQUEST, manifest_id="m2"),
        replace(REQUEST, manifest_id="ma", app=""),
        replace(REQUEST, app="b"),
        replace(REQUEST, type="lv2v"),
        replace(REQUEST, in_pixels=-7),
        replace(REQUEST, max_price=None),
        replace(REQUEST, max_price=MaxPrice("1.0", "wei", "seconds")),
        replace(REQUEST, capabilities=b""),
    ]
    found = [digest(REQUEST), digest(REQUEST, "/generate-live-payment"), *(digest(other) for other in others)]
    assert len(set(found)) == len(found) == 14
    assert digest(replace(REQUEST)) == digest(REQUEST)


def test_labels_that_nobody_judges_make_no_other_request() -> None:
    assert digest(replace(REQUEST, pipeline_label="p", model_label="m")) == digest(REQUEST)


@pytest.mark.parametrize(
    ("identity", "kept", "auth_id"),
    [
        (Identity("key:1", claimed_auth_id="proxy"), "kept", "key:1"),
        (Identity(claimed_auth_id="proxy"), "kept", "proxy"),
        (ANONYMOUS, "kept", "kept"),
        (ANONYMOUS, "", ""),
    ],
)
def test_a_credential_goes_before_a_proxys_word_and_both_before_the_sessions_owner(identity: Identity, kept: str, auth_id: str) -> None:
    assert request_key(opened(auth_id=kept), Caller(), identity, ROUTE).auth_id == auth_id


def test_an_idempotency_key_counts_for_a_new_session_only() -> None:
    new = request_key(opened(is_new=True), KEYED, ANONYMOUS, ROUTE)
    assert (new.is_new, new.idempotency_key) == (True, idempotency_key(KEYED, ANONYMOUS))
    assert request_key(opened(is_new=False), KEYED, ANONYMOUS, ROUTE).idempotency_key == b""


def test_the_last_sequence_number_that_a_ledger_holds_is_taken_and_the_next_one_refused() -> None:
    assert request_key(opened(sequence_number=2**63 - 1), Caller(), ANONYMOUS, ROUTE).sequence_number == 9_223_372_036_854_775_807
    with pytest.raises(InvalidState) as caught:
        request_key(opened(sequence_number=2**63), Caller(), ANONYMOUS, ROUTE)
    assert caught.value.message == "invalid state"
    assert caught.value.values == {"fault": "SequenceNumber 9223372036854775808 is more than a ledger holds: 9223372036854775807"}


def test_without_an_idempotency_key_there_is_none() -> None:
    for headers in ((), ((b"authorization", b"Bearer x"),), ((b"idempotency-key", b""),)):
        assert idempotency_key(Caller(headers), Identity("alice")) == b""


@pytest.mark.parametrize(
    ("identity", "parts"),
    [
        (Identity("alice", claimed_auth_id="proxy"), (b"auth id", b"alice", b"k")),
        (Identity(claimed_auth_id="proxy"), (b"auth id", b"proxy", b"k")),
        (Identity("\ud800"), (b"auth id", b"\xed\xa0\x80", b"k")),
        (ANONYMOUS, (b"credential", b"authorization", b"Bearer x", b"k")),
    ],
)
def test_an_idempotency_key_is_of_an_auth_id_or_else_of_the_credentials_sent_along(identity: Identity, parts: tuple[bytes, ...]) -> None:
    assert idempotency_key(KEYED, identity) == joined(*parts)


def test_who_sends_no_credential_shares_idempotency_keys_with_all_who_send_none() -> None:
    nobodys = Caller(((b"idempotency-key", b"k"), (b"user-agent", b"curl")), peer="10.0.0.1")
    assert idempotency_key(nobodys, ANONYMOUS) == joined(b"credential", b"k")


def test_credentials_that_differ_in_bytes_that_are_no_text_share_no_idempotency_key() -> None:
    keys = {
        idempotency_key(Caller(((b"idempotency-key", key), (b"authorization", credential))), Identity())
        for key in (b"k\xe9", b"k\xe8")
        for credential in (b"Bearer \xff", b"Bearer \xfe")
    }
    assert len(keys) == 4
