"""Verdicts, their caching and binding, and auth ids: section 9 of the protocol."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from livepeer_remote_signer.core.errors import AuthBadMaxPrice, AuthFailed, AuthIdChanged, BadMaxPrice, Denied, PriceExceeded
from livepeer_remote_signer.core.protocol.prices import MaxPrice
from livepeer_remote_signer.core.protocol.state import encode_state, parse_state
from livepeer_remote_signer.core.rules.policy import (
    ANONYMOUS,
    Caller,
    Identity,
    Verdict,
    apply_auth_id,
    apply_cached_verdict,
    apply_verdict,
    bind_verdict,
    check_named,
    check_owner,
    is_verdict_cached,
    unpaid_auth_id,
)
from tests.plans import NOW_NS, PRICE_PER_UNIT, plan_payment

NOW = NOW_NS // 10**9
EXACT = MaxPrice(str(PRICE_PER_UNIT), "wei", "seconds")


def test_credentials_are_all_headers_by_which_a_webhook_may_tell_callers_apart() -> None:
    sent = ((b"cookie", b"a=1"), (b"x-other", b"1"), (b"authorization", b"Bearer a"), (b"cookie", b"b=2"), (b"signer-auth-id", b"x"))
    assert Caller(sent).credentials() == (sent[0], *sent[2:])


@pytest.mark.parametrize("status", [1, 100, 199, 201, 204, 302, 399, 600, 999, 2**62])
def test_a_status_that_is_neither_200_nor_a_refusal_is_a_failure(status: int) -> None:
    with pytest.raises(AuthFailed):
        apply_verdict(plan_payment(), Verdict(status))


@pytest.mark.parametrize("status", [400, 401, 483, 599])
def test_a_refusal_keeps_its_status_and_reason(status: int) -> None:
    with pytest.raises(Denied) as caught:
        apply_verdict(plan_payment(), Verdict(status, "no credit left", code="broke"))
    assert (caught.value.status, caught.value.message, caught.value.webhook_code) == (status, "no credit left", "broke")
    with pytest.raises(Denied, match=f"^signer auth rejected request with status {status}$"):
        apply_verdict(plan_payment(), Verdict(status))


def test_status_is_judged_before_max_price_and_max_price_before_auth_id() -> None:
    plan = apply_auth_id(plan_payment(), "alice")
    bad = MaxPrice("x", "wei", "seconds")
    below = MaxPrice(str(PRICE_PER_UNIT - 1), "wei", "seconds")
    with pytest.raises(Denied):
        apply_verdict(plan, Verdict(403, max_price=bad, auth_id="bob"))
    with pytest.raises(AuthBadMaxPrice):
        apply_verdict(plan, Verdict(200, max_price=bad, auth_id="bob"))
    with pytest.raises(PriceExceeded):
        apply_verdict(plan, Verdict(200, max_price=below, auth_id="bob"))
    with pytest.raises(AuthIdChanged):
        apply_verdict(plan, Verdict(200, max_price=EXACT, auth_id="bob"))


def test_a_verdict_that_is_not_bound_leaves_the_bytes_of_go_livepeer() -> None:
    state = apply_verdict(plan_payment(), Verdict(200, expiry=5, auth_id="u1", max_price=EXACT)).state
    assert encode_state(state).endswith(b'"AuthID":"u1"}')
    assert b'"AuthExpiry":5,' in encode_state(state)


def test_the_webhooks_name_goes_before_a_proxys_and_a_credential_must_agree_with_it() -> None:
    plan, verdict = plan_payment(), Verdict(200, auth_id="hook")
    assert apply_verdict(plan, verdict, Identity(claimed_auth_id="proxy")).state.auth_id == "hook"
    assert apply_verdict(plan, Verdict(200), Identity(claimed_auth_id="proxy")).state.auth_id == "proxy"
    with pytest.raises(AuthIdChanged):
        apply_verdict(apply_auth_id(plan, "key:1"), verdict, Identity("key:1"))


def test_an_empty_auth_id_keeps_the_old_one() -> None:
    plan = apply_auth_id(plan_payment(), "alice")
    assert apply_verdict(plan, Verdict(200)).state.auth_id == "alice"


def test_a_cached_verdict_holds_through_the_second_of_its_expiry_and_no_longer() -> None:
    state = replace(plan_payment().state, auth_expiry=NOW)
    assert is_verdict_cached(state, NOW_NS)
    assert is_verdict_cached(state, NOW * 10**9 + 999_999_999)
    assert not is_verdict_cached(state, (NOW + 1) * 10**9)


def test_a_bound_verdict_holds_for_its_credential_only() -> None:
    verdict = bind_verdict(Verdict(200, expiry=NOW + 60, max_price=EXACT), "b1", NOW_NS, 600)
    state = parse_state(encode_state(apply_verdict(plan_payment(), verdict).state))
    assert is_verdict_cached(state, NOW_NS, "b1")
    assert not is_verdict_cached(state, NOW_NS, "b2")
    assert not is_verdict_cached(state, NOW_NS, "")
    assert not is_verdict_cached(replace(state, auth_binding=""), NOW_NS, "b1")


def test_a_bound_verdict_reaches_no_further_than_the_configured_limit() -> None:
    assert bind_verdict(Verdict(200, expiry=2**62), "b", NOW_NS, 600).expiry == NOW + 600
    assert bind_verdict(Verdict(200, expiry=7), "b", NOW_NS, 600).expiry == 7


def test_a_kept_max_price_holds_while_the_verdict_is_cached() -> None:
    verdict = Verdict(200, expiry=NOW + 60, max_price=EXACT, binding="b")
    plan = apply_verdict(plan_payment(), verdict)
    assert plan.state.auth_max_price == str(PRICE_PER_UNIT)
    assert apply_cached_verdict(plan, Identity()) == plan
    lower = replace(plan, state=replace(plan.state, auth_max_price=f"{2 * PRICE_PER_UNIT - 1}/2"))
    with pytest.raises(PriceExceeded):
        apply_cached_verdict(lower, Identity())


@pytest.mark.parametrize("spelled", ["x", "1/0", "-1", "1e999999999", "1.5", " 1", "9" * 201])
def test_a_kept_max_price_that_cannot_be_read_asks_again(spelled: str) -> None:
    state = replace(plan_payment().state, auth_expiry=NOW + 60, auth_max_price=spelled)
    assert not is_verdict_cached(state, NOW_NS)


def test_a_proxys_name_may_not_change_while_the_verdict_is_cached() -> None:
    plan = apply_auth_id(plan_payment(), "alice")
    with pytest.raises(AuthIdChanged):
        apply_cached_verdict(plan, Identity(claimed_auth_id="bob"))


def test_what_a_proxy_claims_says_nothing_against_a_credential_while_the_verdict_is_cached() -> None:
    plan = apply_auth_id(plan_payment(), "team-a")
    assert apply_cached_verdict(plan, Identity("team-a", b"k", claimed_auth_id="bob")) == plan


def test_a_verdict_without_binding_takes_old_bindings_away() -> None:
    plan = plan_payment()
    bound = replace(plan, state=replace(plan.state, auth_binding="old", auth_max_price="1"))
    state = apply_verdict(bound, Verdict(200)).state
    assert (state.auth_binding, state.auth_max_price) == ("", "")


def test_of_a_doubled_header_the_first_value_counts_and_an_absent_one_is_empty() -> None:
    caller = Caller(headers=((b"x-api-key", b"one"), (b"accept", b"*/*"), (b"x-api-key", b"two")))
    assert (caller.header(b"x-api-key"), caller.header(b"accept"), caller.header(b"cookie")) == ("one", "*/*", "")


@pytest.mark.parametrize(
    ("value", "text"), [(b"alice", "alice"), ("é".encode(), "é"), ("名 ü".encode(), "名 ü"), (b"\xe9", "\ufffd"), (b"", "")]
)
def test_a_headers_value_is_utf8_with_what_is_none_replaced(value: bytes, text: str) -> None:
    caller = Caller(headers=((b"signer-auth-id", value),))
    assert (caller.header(b"signer-auth-id"), caller.raw_header(b"signer-auth-id")) == (text, value)


NAMED = Identity("key:team-a", b"k", is_namespaced=True)


def test_a_session_from_before_namespaces_goes_on_under_the_id_in_its_namespace() -> None:
    before = apply_auth_id(plan_payment(), "team-a")
    assert apply_auth_id(before, "key:team-a", NAMED).state.auth_id == "key:team-a"
    for identity in (Identity("jwt:team-b", b"k", is_namespaced=True), Identity("key:team-a", b"k")):
        with pytest.raises(AuthIdChanged):
            apply_auth_id(before, identity.auth_id, identity)


def test_a_tokens_subject_is_not_a_key_of_the_same_name() -> None:
    keys = apply_auth_id(plan_payment(), "key:team-a", NAMED)
    with pytest.raises(AuthIdChanged):
        apply_auth_id(keys, "jwt:team-a", Identity("jwt:team-a", b"t", is_namespaced=True))


@pytest.mark.parametrize("subject", ["key:team-a", "jwt:key:team-a", "key:key:team-a", "webhook:team-a"])
def test_a_subject_spelled_like_a_namespace_stays_in_its_own(subject: str) -> None:
    mallory = Identity(f"jwt:{subject}", b"t", is_namespaced=True)
    for kept in ("key:team-a", "webhook:team-a"):
        with pytest.raises(AuthIdChanged):
            apply_auth_id(apply_auth_id(plan_payment(), kept), mallory.auth_id, mallory)


@pytest.mark.parametrize(
    ("answered", "identity", "becomes"),
    [
        ("u1", Identity(is_namespaced=True), "webhook:u1"),
        ("key:team-a", Identity(is_namespaced=True), "webhook:key:team-a"),
        ("team-a", NAMED, "key:team-a"),
        ("key:team-a", NAMED, "key:team-a"),
        ("", NAMED, "key:team-a"),
        ("", Identity(claimed_auth_id="proxy:p", is_namespaced=True), "proxy:p"),
        ("u1", Identity(), "u1"),
    ],
)
def test_what_the_webhook_names_is_in_its_own_namespace_unless_it_repeats_the_callers(
    answered: str, identity: Identity, becomes: str
) -> None:
    assert apply_verdict(plan_payment(), Verdict(200, auth_id=answered), identity).state.auth_id == becomes


def test_a_webhook_may_repeat_the_id_that_its_state_has_and_name_no_keys_owner() -> None:
    nameless = Identity(is_namespaced=True)
    session = apply_auth_id(plan_payment(), "webhook:u1", nameless)
    for answered in ("u1", "webhook:u1"):
        assert apply_verdict(session, Verdict(200, auth_id=answered), nameless).state.auth_id == "webhook:u1"
    with pytest.raises(AuthIdChanged):
        apply_verdict(apply_auth_id(plan_payment(), "key:team-a", NAMED), Verdict(200, auth_id="team-b"), NAMED)


@pytest.mark.parametrize(
    ("answered", "identity", "payer"),
    [
        ("", ANONYMOUS, ""),
        ("u1", ANONYMOUS, "u1"),
        ("", Identity(claimed_auth_id="proxy"), "proxy"),
        ("u1", Identity(claimed_auth_id="proxy"), "u1"),
        ("", Identity("team-a", b"k", claimed_auth_id="proxy"), "team-a"),
        ("team-a", Identity("team-a", b"k"), "team-a"),
        ("u1", Identity(is_namespaced=True), "webhook:u1"),
        ("", Identity(claimed_auth_id="proxy:p", is_namespaced=True), "proxy:p"),
        ("", NAMED, "key:team-a"),
        ("team-a", NAMED, "key:team-a"),
        ("key:team-a", NAMED, "key:team-a"),
    ],
)
def test_what_pays_nothing_is_the_webhooks_or_the_credentials_or_the_proxys(answered: str, identity: Identity, payer: str) -> None:
    assert unpaid_auth_id(Verdict(200, auth_id=answered), identity) == payer


@pytest.mark.parametrize(("answered", "identity"), [("team-b", Identity("team-a", b"k")), ("team-b", NAMED), ("jwt:team-a", NAMED)])
def test_a_webhook_names_no_other_for_what_pays_nothing_than_the_credential_does(answered: str, identity: Identity) -> None:
    with pytest.raises(AuthIdChanged, match=r"^the authorization webhook names another auth id than the caller's credential$"):
        unpaid_auth_id(Verdict(200, auth_id=answered), identity)


def test_what_pays_nothing_is_refused_by_the_status_alone() -> None:
    assert unpaid_auth_id(Verdict(200, expiry=-1, max_price=BadMaxPrice("no price")), ANONYMOUS) == ""
    with pytest.raises(Denied) as caught:
        unpaid_auth_id(Verdict(402, "no credit left", auth_id="team-b", code="broke"), NAMED)
    assert (caught.value.status, caught.value.message, caught.value.webhook_code) == (402, "no credit left", "broke")
    with pytest.raises(AuthFailed, match=r"^the authorization webhook answered status 204, neither 200 nor a refusal$"):
        unpaid_auth_id(Verdict(204), ANONYMOUS)


def test_who_is_named_passes_and_nobody_is_denied() -> None:
    check_named("u1")
    with pytest.raises(Denied, match=r"auth\.require_auth_id") as caught:
        check_named("")
    assert (caught.value.status, caught.value.hint is None) == (403, False)


@pytest.mark.parametrize(
    ("owner", "identity", "has_webhook", "is_refused"),
    [
        ("a", Identity("a"), False, False),
        ("a", Identity("b"), False, True),
        ("a", Identity("b"), True, True),
        ("", Identity("b"), False, False),
        ("a", Identity(), False, False),
        ("a", Identity(claimed_auth_id="b"), False, True),
        ("a", Identity(claimed_auth_id="b"), True, False),
        ("a", Identity("key:a", is_namespaced=True), False, False),
    ],
)
def test_a_session_answers_to_its_own_auth_id_alone(owner: str, identity: Identity, has_webhook: bool, is_refused: bool) -> None:
    if not is_refused:
        check_owner(owner, identity, has_webhook=has_webhook)
        return
    with pytest.raises(AuthIdChanged):
        check_owner(owner, identity, has_webhook=has_webhook)
