"""A payment, decided: where a session begins, what it may cost, and what holds over whole sessions."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from math import ceil
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from livepeer_remote_signer.core.errors import (
    BadField,
    InvalidSig,
    NoBillableUnits,
    NoTickets,
    PriceExceeded,
    PriceFeedStale,
    RefreshSession,
    RoundUnknown,
    SignerError,
    StateMismatch,
    TooManyTickets,
    TotalEvExceeded,
)
from livepeer_remote_signer.core.protocol.prices import MaxPrice
from livepeer_remote_signer.core.protocol.state import (
    MAX_BALANCE_DIGITS,
    MAX_NAMES_CHARACTERS,
    MAX_STATE_BYTES,
    SignerState,
    encode_state,
    parse_state,
)
from livepeer_remote_signer.core.protocol.ticket import MAX_WIN_PROB, REFRESH_AT_NONCE
from livepeer_remote_signer.core.rules.billing import MAX_TICKETS
from livepeer_remote_signer.core.rules.limits import TicketLimits
from livepeer_remote_signer.core.rules.payment import PaymentPlan, PaymentRequest, SessionIds
from livepeer_remote_signer.core.rules.pricing import Ceilings, StaleRate
from livepeer_remote_signer.proto import net_pb2
from tests.decisions import LATER_NS, LOOSE, RICH, SECOND, STATE, continued, decide, sealed
from tests.outcomes import outcome
from tests.strategies import CHAIN, ETHER, NOW_NS, SEAL, info_bytes, new_request, new_sender

# --- a session's first request ---


def test_a_new_session_starts_from_the_orchestrators_offer() -> None:
    plan = decide(new_request(app="app", orchestrator=info_bytes(price=7, pixels=3)))
    state = plan.state
    assert (state.state_id, state.app, state.type, state.sequence_number) == ("5e" * 16, "app", "live", 0)
    assert (state.initial_price_per_unit, state.initial_pixels_per_unit, state.auth_id, state.auth_expiry) == (7, 3, "", 0)
    assert (state.last_update_ns, state.pm_session_id, plan.previous_update_ns) == (NOW_NS, "0x" + "cc" * 32, None)
    assert (plan.first_nonce, state.sender_nonce) == (1, plan.num_tickets)
    assert state.orchestrator_address == b"\xaa" * 20


def test_without_a_manifest_id_the_tokens_session_id_is_used_and_kept() -> None:
    sender = new_sender()
    session = sender.open(new_request(manifest_id=""), NOW_NS)
    assert (session.manifest_id, session.state.manifest_id) == ("session", "session")
    nameless = sender.open(new_request(manifest_id="", orchestrator=info_bytes(session_id="")), NOW_NS)
    assert nameless.manifest_id == nameless.state.manifest_id == "invented"


def test_a_manifest_id_that_the_client_gave_is_not_kept() -> None:
    assert new_sender().open(new_request(), NOW_NS).state.manifest_id == ""


def test_a_kept_manifest_id_stands_in_where_the_client_omits_it_and_yields_where_it_does_not() -> None:
    first = decide(new_request(manifest_id=""))
    later = NOW_NS + 60 * SECOND
    sender = new_sender()
    assert sender.open(continued(first, manifest_id=""), later).manifest_id == "session"
    named = sender.open(continued(first, manifest_id="mine"), later)
    assert (named.manifest_id, named.state.manifest_id) == ("mine", "session")


def test_names_are_made_only_where_needed() -> None:
    def unneeded() -> str:
        raise AssertionError("a name was made")

    sender = type(new_sender())(TicketLimits(), SEAL, SessionIds(unneeded, unneeded))
    sender.open(continued(decide(new_request())), LATER_NS - 2000 * SECOND)


GO_LAST_SECOND = 2**63 - 1 - 62_135_596_800
"""Go counts seconds from the year 1 in 64 bits: a later time wraps around to long ago."""


@pytest.mark.parametrize(
    ("expiration", "refreshes"),
    [
        (NOW_NS // SECOND + 180, True),
        (NOW_NS // SECOND + 181, False),
        (0, True),
        (-(2**63), True),
        (GO_LAST_SECOND + 180, False),
        (GO_LAST_SECOND + 181, True),
        (2**63 - 1, True),
    ],
)
def test_a_token_is_refreshed_in_its_last_180_seconds(expiration: int, refreshes: bool) -> None:
    session = outcome(new_sender().open, new_request(orchestrator=info_bytes(expiration=expiration)), NOW_NS)
    assert isinstance(session, RefreshSession) == refreshes


@pytest.mark.parametrize(
    ("fields", "passes"),
    [
        ({"app": "a" * MAX_NAMES_CHARACTERS}, True),
        ({"app": "\x00" * MAX_NAMES_CHARACTERS}, True),
        ({"app": "a" * (MAX_NAMES_CHARACTERS + 1)}, False),
        ({"app": "a" * MAX_NAMES_CHARACTERS, "manifest_id": ""}, False),
        ({"manifest_id": "m" * 900_000}, True),
    ],
)
def test_no_state_is_made_that_would_be_too_long_to_come_back(fields: dict[str, str], passes: bool) -> None:
    request = new_request(**fields)
    plan = outcome(decide, request)
    assert isinstance(plan, PaymentPlan if passes else BadField)
    if isinstance(plan, PaymentPlan):
        longest = structs.replace(
            plan.state,
            auth_id="\x01" * 1024,
            balance=Fraction(10**MAX_BALANCE_DIGITS - 1, 10 ** (MAX_BALANCE_DIGITS - 1) + 1),
            auth_max_price="9" * 512,
            auth_binding="f" * 128,
        )
        state = len(encode_state(longest))
        assert state <= MAX_STATE_BYTES
        names = 6 * MAX_NAMES_CHARACTERS
        assert (state + 65 + 96 * 1024) * 4 / 3 + 2 * names + 2048 < 256 * 1024  # the default of limits.max_body_bytes


def test_the_last_moment_of_a_token_is_measured_in_nanoseconds() -> None:
    request = new_request(orchestrator=info_bytes(expiration=NOW_NS // SECOND + 180))
    on_the_second = NOW_NS // SECOND * SECOND
    new_sender().open(request, on_the_second)
    with pytest.raises(RefreshSession, match="refresh session for remote signer: auth token expires"):
        new_sender().open(request, on_the_second + 1)


@pytest.mark.parametrize(("nonce", "refreshes"), [(0, False), (499, False), (500, True), (2**32 - 1, True)])
def test_fresh_params_are_asked_for_at_nonce_500(nonce: int, refreshes: bool) -> None:
    request = new_request(**sealed(structs.replace(STATE, sender_nonce=nonce)))
    session = outcome(new_sender().open, request, NOW_NS)
    assert isinstance(session, RefreshSession) == refreshes
    fresh = new_sender().open(structs.replace(request, orchestrator=info_bytes(rand_hash=b"\xdd" * 32)), NOW_NS)
    assert (fresh.state.sender_nonce, fresh.state.pm_session_id) == (0, "0x" + "dd" * 32)


@pytest.mark.parametrize(
    ("kept", "asked", "matches"), [("live", "live", True), ("live", "", False), ("", "live", True), ("", "", True), ("live", "lv2v", False)]
)
def test_a_session_keeps_its_type_once_it_has_one(kept: str, asked: str, matches: bool) -> None:
    session = outcome(new_sender().open, new_request(type=asked, **sealed(structs.replace(STATE, type=kept))), NOW_NS)
    if matches:
        assert not isinstance(session, SignerError)
        assert session.state.type == asked
    else:
        assert isinstance(session, StateMismatch)
        assert session.message == "job type mismatch"


def test_the_newest_state_stands_in_for_the_one_sent_whose_seal_is_still_checked() -> None:
    newest = structs.replace(STATE, sequence_number=9, sender_nonce=42)
    session = new_sender().open(new_request(**sealed(STATE)), NOW_NS, newest=newest)
    assert (session.state.sequence_number, session.state.sender_nonce) == (10, 42)
    with pytest.raises(InvalidSig):
        new_sender().open(new_request(state=encode_state(STATE), state_sig=bytes(65)), NOW_NS, newest=newest)


# --- round and hash ---


@pytest.mark.parametrize(
    ("offer", "chain", "expected"),
    [
        ({"creation_round": 4000, "block_hash": b"\x01" * 32}, {}, (4000, b"\x01" * 32)),
        ({"creation_round": 4000, "block_hash": b"\x01" * 32}, {"last_initialized_round": 0}, (4000, b"\x01" * 32)),
        ({"creation_round": 0, "block_hash": b"\x01" * 32}, {}, (4012, b"\xab" * 32)),
        ({"creation_round": 4000, "block_hash": b""}, {}, (4012, b"\xab" * 32)),
        ({"creation_round": 4000, "block_hash": bytes(32)}, {}, (4012, b"\xab" * 32)),
        ({"creation_round": 0, "block_hash": b""}, {"last_initialized_round": 0}, None),
        ({"creation_round": 0, "block_hash": b""}, {"last_initialized_round_block_hash": bytes(32)}, None),
    ],
)
def test_round_and_hash_are_the_orchestrators_or_both_our_own(
    offer: dict[str, Any], chain: dict[str, Any], expected: tuple[int, bytes] | None
) -> None:
    plan = outcome(lambda: decide(new_request(orchestrator=info_bytes(**offer)), chain=replace(CHAIN, **chain)))
    if expected is None:
        assert isinstance(plan, RoundUnknown)
        return
    assert not isinstance(plan, SignerError)
    assert (plan.creation_round, plan.creation_round_block_hash) == expected
    assert plan.aux_data == expected[0].to_bytes(32, "big") + expected[1]


# --- ceilings ---


def capabilities(*pairs: tuple[int, str]) -> bytes:
    """A request's capabilities with these pairs."""
    message = net_pb2.Capabilities()
    for number, model in pairs:
        message.constraints.PerCapability[number].models[model].SetInParent()
    return message.SerializeToString()


@pytest.mark.parametrize(
    ("price", "ceilings", "asked", "source"),
    [
        (1000, Ceilings(Fraction(1000)), None, None),
        (1001, Ceilings(Fraction(1000)), None, "configured maximum price"),
        (1000, Ceilings(), "1000", None),
        (1000, Ceilings(), "999.999", "request maxPrice"),
        (1000, Ceilings(Fraction(900)), "800", "request maxPrice"),
        (1000, Ceilings(Fraction(800)), "900", "configured maximum price"),
        (1000, Ceilings(None, {(35, "m"): Fraction(999)}), None, "configured maximum price"),
        (1000, Ceilings(Fraction(1), {(35, "m"): Fraction(1000)}), "1000", None),
        (1000, Ceilings(None, {(35, "m"): Fraction(10**9)}, per_hour=Fraction(1000 * 3600)), "1000", None),
        (1001, Ceilings(None, {(35, "m"): Fraction(10**9)}, per_hour=Fraction(1000 * 3600)), None, "prices.max_price_per_hour"),
        (1001, Ceilings(Fraction(1000), per_hour=Fraction(1000 * 3600)), "1000", "configured maximum price"),
        (1000, Ceilings(per_job=Fraction(1)), None, None),
    ],
)
def test_the_lowest_ceiling_decides_and_is_named(price: int, ceilings: Ceilings, asked: str | None, source: str | None) -> None:
    request = new_request(
        orchestrator=info_bytes(price=price),
        capabilities=capabilities((35, "m")),
        max_price=MaxPrice(asked, "wei", "seconds") if asked else None,
    )
    plan = outcome(lambda: decide(request, ceilings=ceilings))
    if source is None:
        assert isinstance(plan, PaymentPlan)
    else:
        assert isinstance(plan, PriceExceeded)
        assert plan.values["source"] == source


def test_made_up_models_raise_no_absolute_ceiling() -> None:
    ceilings = Ceilings(None, {(35, "default"): Fraction(1000)}, per_hour=Fraction(1000 * 3600))
    many = capabilities(*((35, f"made up {number}") for number in range(256)))
    for asked, price, source in ((many, 1001, "prices.max_price_per_hour"), (b"", 1001, "prices.max_price_per_hour"), (many, 1000, None)):
        plan = outcome(lambda a=asked, p=price: decide(new_request(orchestrator=info_bytes(price=p), capabilities=a), ceilings=ceilings))
        assert (plan.values["source"] if isinstance(plan, PriceExceeded) else None) == source


def test_a_sessions_first_price_is_its_price_and_its_ceiling() -> None:
    first = decide(new_request(orchestrator=info_bytes(price=10**11)))
    later = NOW_NS + 1000 * SECOND
    with pytest.raises(PriceExceeded, match="initial session price"):
        decide(continued(first, orchestrator=info_bytes(price=10**11 + 1)), later)
    cheaper = decide(continued(first, orchestrator=info_bytes(price=10**9)), NOW_NS + 60 * SECOND)
    assert cheaper.price == 10**11
    assert cheaper.fee == 60 * 10**11


def test_a_ceiling_in_a_currency_without_a_rate_fails_closed() -> None:
    with pytest.raises(PriceFeedStale):
        decide(new_request(), ceilings=Ceilings(StaleRate("usd")))


ceiling_values = st.none() | st.builds(Fraction, st.integers(1, 2000), st.integers(1, 3))


@given(st.integers(1, 2000), ceiling_values, ceiling_values, ceiling_values, ceiling_values)
def test_a_lower_ceiling_never_approves_more(
    price: int, configured: Fraction | None, asked: Fraction | None, lower_configured: Fraction | None, lower_asked: Fraction | None
) -> None:
    def is_paid(ceiling: Fraction | None, wanted: Fraction | None) -> bool:
        spelled = None if wanted is None else MaxPrice(f"{float(wanted):.3f}", "wei", "seconds")
        request = new_request(orchestrator=info_bytes(price=price), max_price=spelled)
        return isinstance(outcome(lambda: decide(request, ceilings=Ceilings(ceiling))), PaymentPlan)

    def lower(one: Fraction | None, other: Fraction | None) -> Fraction | None:
        return other if one is None else one if other is None else min(one, other)

    if is_paid(lower(configured, lower_configured), lower(asked, lower_asked)):
        assert is_paid(configured, asked)


# --- tickets, balance and headroom ---

session_steps = st.lists(
    st.tuples(st.integers(0, 400 * SECOND), st.booleans(), st.integers(1, 3 * 10**12), st.integers(0, 30)), min_size=1, max_size=12
)


@given(st.sampled_from(["live", "lv2v", "fixed", ""]), st.integers(1, 10**12), st.integers(1, 10**4), session_steps)
def test_over_a_whole_session_balances_are_exact_and_no_nonce_repeats(
    job_type: str, price: int, pixels: int, steps: list[tuple[int, bool, int, int]]
) -> None:
    if job_type == "lv2v":
        pixels *= 27_648_000
    used: set[tuple[bytes, int]] = set()
    now_ns, epoch, plan = NOW_NS, 0, None
    for elapsed_ns, is_fresh, ev, headroom in steps:
        now_ns += elapsed_ns
        epoch += is_fresh
        offer = info_bytes(price=price, pixels=pixels, ev=ev, rand_hash=epoch.to_bytes(32, "big"), expiration=now_ns // SECOND + 1800)
        asked = {"orchestrator": offer, "type": job_type, "in_pixels": 1000}
        request = new_request(**asked) if plan is None else continued(plan, **asked)
        before = Fraction(0) if plan is None else plan.state.balance
        decided = outcome(lambda r=request, t=now_ns, h=headroom: decide(r, t, headroom_seconds=h))
        if isinstance(decided, SignerError):
            assert isinstance(decided, NoTickets | NoBillableUnits | TooManyTickets | TotalEvExceeded | RefreshSession)
            continue
        plan, ticket_ev = decided, decided.session.info.ev
        assert plan.fee == plan.billed.units * Fraction(price, pixels)
        assert plan.state.balance == before + plan.num_tickets * ticket_ev - plan.fee >= 0
        assert 1 <= plan.num_tickets <= MAX_TICKETS
        assert plan.num_tickets * ticket_ev == plan.total_ev <= TicketLimits().max_total_ev_wei
        if plan.min_tickets:
            assert before + (plan.min_tickets - 1) * ticket_ev < max(plan.fee, ticket_ev) <= before + plan.min_tickets * ticket_ev
        nonces = {(epoch.to_bytes(32, "big"), plan.first_nonce + n) for n in range(plan.num_tickets)}
        assert not used & nonces
        assert max(nonce for _, nonce in nonces) == plan.state.sender_nonce <= 600
        used |= nonces
        assert parse_state(encode_state(plan.state)) == plan.state


@given(st.integers(1, 10**12), st.integers(1, 3 * 10**12), st.integers(0, 10**14), st.integers(1, 300), st.integers(1, 3600))
def test_headroom_is_never_the_cause_of_a_refusal_and_never_passes_a_limit(
    price: int, ev: int, balance: int, elapsed_seconds: int, headroom: int
) -> None:
    request = new_request(
        orchestrator=info_bytes(price=price, ev=ev),
        **sealed(
            structs.replace(
                STATE, balance=Fraction(balance), initial_price_per_unit=price, last_update_ns=NOW_NS - elapsed_seconds * SECOND
            )
        ),
    )
    without = outcome(lambda: decide(request))
    ahead = outcome(lambda: decide(request, headroom_seconds=headroom))
    if isinstance(without, NoTickets):
        assert isinstance(ahead, NoTickets | PaymentPlan)
    elif isinstance(without, SignerError):
        assert type(ahead) is type(without)
    if isinstance(ahead, PaymentPlan):
        assert 1 <= ahead.num_tickets <= MAX_TICKETS
        assert ahead.total_ev <= TicketLimits().max_total_ev_wei
        if isinstance(without, PaymentPlan):
            assert ahead.num_tickets >= without.num_tickets == without.min_tickets == ahead.min_tickets
        enough = ceil((ahead.fee + price * headroom - balance) / ahead.session.info.ev)
        assert ahead.num_tickets <= max(ahead.min_tickets, enough)


@pytest.mark.parametrize("job_type", ["live", "lv2v"])
@pytest.mark.parametrize("credit_wei", [0, 10**15])
def test_a_session_dated_ahead_is_paid_with_one_ticket_at_least_and_dated_now(job_type: str, credit_wei: int) -> None:
    ahead = structs.replace(STATE, type=job_type, balance=Fraction(credit_wei), last_update_ns=NOW_NS + 3600 * SECOND)
    offer = {"type": job_type, "orchestrator": info_bytes(price=10**9, pixels=1 if job_type == "live" else 27_648_000)}
    ahead = structs.replace(ahead, initial_price_per_unit=10**9, initial_pixels_per_unit=1 if job_type == "live" else 27_648_000)
    request = new_request(**offer, **sealed(ahead))
    plan = decide(request, chain=replace(CHAIN, clock_agrees=True))
    assert plan.num_tickets == 1
    assert plan.billed.elapsed_ns == SECOND
    assert plan.fee == 10**9
    assert (plan.previous_update_ns, plan.state.last_update_ns) == (NOW_NS - SECOND, NOW_NS)
    assert plan.state.balance == credit_wei + plan.total_ev - plan.fee
    with pytest.raises(NoTickets):
        decide(request)
    worthless = {**offer, "orchestrator": info_bytes(price=1, pixels=27_648_000, win_prob=0)}
    with pytest.raises(NoTickets):
        decide(new_request(**worthless, **sealed(ahead)), chain=replace(CHAIN, clock_agrees=True))


def test_a_ticket_worth_nothing_means_no_tickets() -> None:
    for offer in ({"win_prob": 0}, {"face_value": 0, "win_prob": 1}):
        with pytest.raises(NoTickets, match="no tickets"):
            decide(new_request(orchestrator=info_bytes(**offer)), headroom_seconds=60)


def test_a_ticket_explosion_is_refused_however_large() -> None:
    offer = info_bytes(face_value=1, win_prob=1, price=2**63 - 1)
    with pytest.raises(TooManyTickets, match=r"numTickets [0-9]+ exceeds maximum of 100") as refusal:
        decide(new_request(orchestrator=offer, type="", in_pixels=2**63 - 1))
    assert len(refusal.value.message) < 300


def test_one_hundred_tickets_pass_and_one_more_does_not() -> None:
    third = {"face_value": 3 * 10**10, "win_prob": MAX_WIN_PROB // 3}
    assert decide(new_request(orchestrator=info_bytes(price=10**11, **third))).num_tickets == 100
    with pytest.raises(TooManyTickets, match="numTickets 101 exceeds maximum of 100"):
        decide(new_request(orchestrator=info_bytes(price=10**11 + 1, **third)))


def test_the_operator_may_allow_fewer_tickets_and_none_are_bought_ahead_beyond_them() -> None:
    third = {"face_value": 3 * 10**10, "win_prob": MAX_WIN_PROB // 3}
    limits = TicketLimits(max_tickets=7)
    assert decide(new_request(orchestrator=info_bytes(price=7 * 10**9, **third)), limits=limits).num_tickets == 7
    assert decide(new_request(orchestrator=info_bytes(price=10**9, **third)), limits=limits, headroom_seconds=60).num_tickets == 7
    with pytest.raises(TooManyTickets, match="numTickets 8 exceeds maximum of 7") as refusal:
        decide(new_request(orchestrator=info_bytes(price=7 * 10**9 + 1, **third)), limits=limits)
    assert refusal.value.values == {"num_tickets": "8", "maximum": 7}
    assert "limits.max_tickets to at most 100" in str(refusal.value.hint)


def test_a_fixed_price_sent_as_lv2v_is_told_so() -> None:
    with pytest.raises(TooManyTickets) as refusal:
        decide(new_request(type="lv2v", orchestrator=info_bytes(price=10**12)))
    assert "price per job to type fixed" in str(refusal.value.hint)


def test_the_batch_is_held_against_the_total_limit_exactly() -> None:
    two = {"face_value": 6 * 10**12, "win_prob": MAX_WIN_PROB // 3, "price": 2 * 10**12}
    assert decide(new_request(orchestrator=info_bytes(**two))).num_tickets == 10
    with pytest.raises(TotalEvExceeded, match="of 11 tickets"):
        decide(new_request(orchestrator=info_bytes(**{**two, "price": 2 * 10**12 + 1})))


def test_a_balance_of_a_fraction_less_than_required_buys_one_ticket() -> None:
    offer = info_bytes(face_value=3 * 10**12, win_prob=MAX_WIN_PROB // 3, price=1)
    exact = structs.replace(STATE, balance=Fraction(10**12), initial_price_per_unit=1)
    with pytest.raises(NoTickets):
        decide(new_request(orchestrator=offer, **sealed(exact)), NOW_NS + SECOND)
    short = structs.replace(exact, balance=Fraction(10**12) - Fraction(1, 10**60))
    assert decide(new_request(orchestrator=offer, **sealed(short)), NOW_NS + SECOND).num_tickets == 1


@given(st.integers(0, 99), st.integers(1, 400))
def test_a_plan_with_other_tickets_is_the_same_payment(fewer: int, first_nonce: int) -> None:
    plan = decide(new_request(), headroom_seconds=3600)
    count = max(plan.min_tickets, plan.num_tickets - fewer)
    changed = plan.with_tickets(count).with_first_nonce(first_nonce)
    assert changed.state.balance == plan.balance_before + count * plan.session.info.ev - plan.fee
    assert (changed.first_nonce, changed.state.sender_nonce) == (first_nonce, first_nonce + count - 1)
    assert (changed.total_ev, changed.total_face_value) == (count * plan.session.info.ev, count * ETHER // 1000)


def test_a_payment_changes_its_own_part_of_the_state_and_nothing_else() -> None:
    before = structs.replace(STATE, app="a", auth_id="b", auth_max_price="5", auth_binding="c", manifest_id="d", auth_expiry=7)
    offer = info_bytes(expiration=LATER_NS // SECOND + 1800)
    after = decide(new_request(orchestrator=offer, app="a", **sealed(before)), LATER_NS).state
    changed = {name for name in SignerState.__struct_fields__ if getattr(after, name) != getattr(before, name)}
    assert changed == {"last_update_ns", "sender_nonce", "balance", "sequence_number"}


def test_a_plan_never_has_fewer_tickets_than_are_due_nor_nonces_that_a_recipient_refuses() -> None:
    plan = decide(new_request())
    assert plan.with_first_nonce(REFRESH_AT_NONCE).first_nonce == REFRESH_AT_NONCE
    with pytest.raises(ValueError, match="do not cover what is due"):
        plan.with_tickets(plan.min_tickets - 1)
    with pytest.raises(RefreshSession):
        plan.with_first_nonce(REFRESH_AT_NONCE + 1)


@given(st.binary(max_size=120), st.binary(max_size=120), st.binary(max_size=40), st.text(max_size=6), st.integers(-(2**63), 2**63 - 1))
def test_any_request_is_a_plan_or_an_error_of_our_tree(
    orchestrator: bytes, state: bytes, capability_bytes: bytes, text: str, in_pixels: int
) -> None:
    for offer in (orchestrator, info_bytes()):
        for parts in (sealed(STATE), {"state": state, "state_sig": SEAL.seal(state)}, {}):
            request = PaymentRequest(
                offer, manifest_id=text, app=text, type=text, in_pixels=in_pixels, capabilities=capability_bytes, **parts
            )
            assert isinstance(outcome(lambda r=request: decide(r, chain=RICH, limits=LOOSE)), PaymentPlan | SignerError)
