"""Ticket params against chain and limits: each edge on both sides, in the protocol's order, faults of funding apart."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any, NamedTuple

import pytest
from msgspec import structs

from livepeer_remote_signer.core.errors import (
    BadTicketParams,
    ChainStale,
    ClockWrong,
    DepositTooSmall,
    DepositUnlocking,
    FaceValueTooLow,
    NoDeposit,
    NoReserve,
    ProtocolPaused,
    RefreshSession,
    SignerError,
    TicketEvExceeded,
    TicketEvTooLow,
    TotalEvExceeded,
)
from livepeer_remote_signer.core.protocol.state import parse_state
from livepeer_remote_signer.core.protocol.ticket import MAX_WIN_PROB
from livepeer_remote_signer.core.protocol.wire import OrchestratorInfo, parse_orchestrator_info
from livepeer_remote_signer.core.rules.chain import ChainView, ClockFault, StaleReading
from livepeer_remote_signer.core.rules.limits import (
    TICKET_RULES,
    TicketLimits,
    check_chain,
    check_clock,
    check_deposit,
    check_reserve,
    check_unlocking,
    find_chain_fault,
    find_fault,
    find_funds_fault,
    is_sound,
    total_ev_exceeded,
)
from livepeer_remote_signer.core.rules.payment import SessionIds
from livepeer_remote_signer.core.rules.payment_rules import (
    PLANNING,
    Draft,
    Terms,
    bound_credit,
    check_fresh,
    check_not_paused,
    check_recipient,
    planning_rules,
)
from tests.decisions import NO_CEILINGS
from tests.strategies import CHAIN, ETHER, NOW_NS, SEAL, info_bytes, new_request, new_sender

STALE = StaleReading("no endpoint answers", 61.23, 60.0)
HUGE = TicketLimits(max_ticket_ev_wei=10**30, max_total_ev_wei=10**30)


class Facts(NamedTuple):
    """What the rules on ticket params look at."""

    info: OrchestratorInfo
    chain: ChainView
    limits: TicketLimits


def check_ticket_params(offer: OrchestratorInfo, chain: ChainView, limits: TicketLimits) -> None:
    """All of step 10."""
    check_chain(chain)
    for rule in TICKET_RULES:
        rule(Facts(offer, chain, limits))


def info(**changes: Any) -> OrchestratorInfo:
    """A checked offer."""
    return parse_orchestrator_info(info_bytes(**changes))


def always_wins(face_value: int) -> dict[str, int]:
    """Params whose EV is the face value."""
    return {"face_value": face_value, "win_prob": MAX_WIN_PROB}


def whole_ev(ev: int) -> dict[str, int]:
    """Params whose EV is exactly `ev`: 2^256 - 1 is divisible by 3."""
    return {"face_value": 3 * ev, "win_prob": MAX_WIN_PROB // 3}


@pytest.mark.parametrize(
    ("offer", "chain", "limits", "error"),
    [
        ({}, {"stale": STALE, "paused": True}, {}, ChainStale),
        ({"expiration_block": 0}, {"paused": True}, {}, ProtocolPaused),
        ({"expiration_block": 0}, {}, {}, BadTicketParams),
        ({"expiration_block": 0, "win_prob": 0}, {}, {}, BadTicketParams),
        ({"expiration_block": 23_400_001}, {}, {}, RefreshSession),
        ({"expiration_block": 1}, {}, {}, RefreshSession),
        ({"expiration_block": 23_400_002}, {}, {}, None),
        ({"expiration_block": 23_400_001, "win_prob": 0}, {}, {}, RefreshSession),
        ({"expiration_block": 2**63 - 1}, {}, {}, None),
        ({"expiration_block": 23_400_000 + 2**63 - 1}, {}, {}, None),
        ({"expiration_block": 23_400_000 + 2**63}, {}, {}, RefreshSession),
        ({"expiration_block": 2**64 - 1}, {}, {}, RefreshSession),
        ({"expiration_block": 2**64}, {}, {}, BadTicketParams),
        ({"expiration_block": 2**64 + 1}, {}, {}, RefreshSession),
        ({"expiration_block": 2**64 + 23_400_002}, {}, {}, None),
        ({"expiration_block": 2**255}, {}, {}, BadTicketParams),
        ({"expiration_block": 2**256 - 1}, {}, {}, RefreshSession),
        ({"win_prob": 0}, {"deposit_wei": 0, "reserve_wei": 0, "withdraw_round": 1}, {}, None),
        (always_wins(10**10), {"deposit_wei": 0}, {}, FaceValueTooLow),
        (always_wins(10**20), {}, {}, FaceValueTooLow),
        ({"face_value": 10**10, "win_prob": MAX_WIN_PROB - 1}, {}, {}, None),
        (whole_ev(3 * 10**12), {}, {}, None),
        (whole_ev(3 * 10**12 + 1), {"deposit_wei": 0}, {}, TicketEvExceeded),
        (whole_ev(10**11), {}, {"min_ticket_ev_wei": 10**11}, None),
        (whole_ev(10**11 - 1), {"deposit_wei": 0}, {"min_ticket_ev_wei": 10**11}, TicketEvTooLow),
        (whole_ev(3 * 10**12 + 1), {}, {"min_ticket_ev_wei": 4 * 10**12}, TicketEvExceeded),
        ({"win_prob": 0}, {}, {"min_ticket_ev_wei": 10**11}, None),
        ({}, {"deposit_wei": 0, "reserve_wei": 0}, {}, NoDeposit),
        ({}, {"reserve_wei": 0, "withdraw_round": 4012}, {}, NoReserve),
        ({}, {"withdraw_round": 4013}, {}, DepositUnlocking),
        ({}, {"withdraw_round": 4000}, {"max_total_ev_wei": 0}, DepositUnlocking),
        ({}, {"withdraw_round": 4014}, {}, None),
        (whole_ev(2 * 10**12), {}, {"max_total_ev_wei": 2 * 10**12}, None),
        (whole_ev(2 * 10**12), {"deposit_wei": 1}, {"max_total_ev_wei": 2 * 10**12 - 1}, TotalEvExceeded),
        ({"face_value": ETHER // 4}, {}, {}, None),
        ({"face_value": ETHER // 4 + 1}, {}, {}, DepositTooSmall),
        ({"face_value": 10**15}, {}, {"deposit_multiplier": 250}, None),
        ({"face_value": 10**15}, {}, {"deposit_multiplier": 251}, DepositTooSmall),
        ({"face_value": 10**15}, {"deposit_wei": 250 * 10**15 - 1}, {"deposit_multiplier": 250}, DepositTooSmall),
    ],
)
def test_params_are_judged_in_the_protocols_order(
    offer: dict[str, Any], chain: dict[str, Any], limits: dict[str, int], error: type[SignerError] | None
) -> None:
    view: ChainView = replace(CHAIN, **chain)
    if error is None:
        check_ticket_params(info(**offer), view, TicketLimits(**limits))
        return
    with pytest.raises(SignerError) as refusal:
        check_ticket_params(info(**offer), view, TicketLimits(**limits))
    assert type(refusal.value) is error
    assert refusal.value.message


def test_a_refresh_says_where_to_refresh() -> None:
    with pytest.raises(RefreshSession, match="refresh session for remote signer: ") as refusal:
        check_ticket_params(info(expiration_block=5), CHAIN, TicketLimits())
    assert refusal.value.orchestrator_url == "https://orchestrator.example:8935"
    assert refusal.value.values == {"expiration_block": 5, "l1_block": 23_400_000}


def test_a_stale_chain_says_how_old_it_is_and_when_to_try_again() -> None:
    with pytest.raises(ChainStale, match="no endpoint answers") as failure:
        check_ticket_params(info(), replace(CHAIN, stale=STALE), HUGE)
    assert failure.value.values == {"age_seconds": 61.2, "limit_seconds": 60.0}
    assert failure.value.retry_after_seconds == 5
    with pytest.raises(ChainStale) as never:
        check_ticket_params(info(), replace(CHAIN, stale=STALE.__class__("no reading yet", None, 60.0)), HUGE)
    assert never.value.values["age_seconds"] is None


def test_a_wrong_clock_is_told_with_both_numbers() -> None:
    check_clock(CHAIN)
    view = replace(CHAIN, clock_fault=ClockFault("it is 61 s behind", -61.04, 30.0))
    with pytest.raises(ClockWrong, match="it is 61 s behind") as failure:
        check_clock(view)
    assert failure.value.values == {"clock_ahead_seconds": -61.0, "limit_seconds": 30.0}
    assert failure.value.retry_after_seconds == 5


def test_missing_funds_are_told_with_what_there_is_and_a_wei_of_each_is_there() -> None:
    for missing, values in (({"deposit_wei": 0}, {"deposit": 0}), ({"reserve_wei": 0}, {"reserve": 0})):
        fault = find_fault(replace(CHAIN, **missing))
        assert fault is not None
        assert fault.values == values
    assert find_fault(replace(CHAIN, deposit_wei=1, reserve_wei=1)) is None


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({}, None),
        ({"stale": STALE}, ChainStale),
        ({"paused": True}, ProtocolPaused),
        ({"clock_fault": ClockFault("behind", -31.0, 30.0)}, ClockWrong),
        ({"deposit_wei": 0}, NoDeposit),
        ({"deposit_wei": 1, "reserve_wei": 0}, NoReserve),
        ({"last_initialized_round": 4012, "withdraw_round": 4013}, DepositUnlocking),
        ({"last_initialized_round": 4012, "withdraw_round": 4014}, None),
    ],
)
def test_what_readiness_shows_is_what_a_payment_meets(change: dict[str, Any], error: type[SignerError] | None) -> None:
    view: ChainView = replace(CHAIN, **change)
    fault = find_fault(view)
    assert fault is None if error is None else type(fault) is error

    def pay() -> None:
        check_clock(view)
        check_ticket_params(info(), view, TicketLimits())

    if error is None:
        pay()
        return
    with pytest.raises(error):
        pay()


def test_limits_are_compared_exactly_where_floats_would_round() -> None:
    offer = info(**whole_ev(10**30))
    check_ticket_params(offer, replace(CHAIN, deposit_wei=10**40), HUGE)
    assert offer.ev == 10**30
    above = info(face_value=3 * 10**30 + 1, win_prob=MAX_WIN_PROB // 3)
    assert 0 < above.ev - 10**30 < 1
    with pytest.raises(TicketEvExceeded):
        check_ticket_params(above, replace(CHAIN, deposit_wei=10**40), HUGE)


def test_a_ticket_that_is_worth_too_little_is_told_with_both_numbers_and_compared_exactly() -> None:
    offer = info(face_value=3 * 10**11 - 1, win_prob=MAX_WIN_PROB // 3)
    assert 0 < 10**11 - offer.ev < 1
    with pytest.raises(TicketEvTooLow) as refusal:
        check_ticket_params(offer, CHAIN, TicketLimits(min_ticket_ev_wei=10**11))
    assert "ticket EV 99999999999.667 wei is below the minimum ticket EV 100000000000 wei" in refusal.value.message
    assert refusal.value.values == {"ticket_ev": "299999999999/3", "min_ticket_ev": 10**11}
    assert "limits.min_ticket_ev_wei" in (refusal.value.hint or "")


def test_the_batchs_refusal_names_the_count_and_both_sums() -> None:
    refusal = total_ev_exceeded(info(**whole_ev(2 * 10**12)), 11, TicketLimits())
    assert "22000000000000.000 wei of 11 tickets exceeds the maximum total EV 20000000000000 wei" in refusal.message
    assert refusal.values == {"total_ev": "22000000000000", "max_total_ev": 20_000_000_000_000, "num_tickets": 11}
    assert Fraction(str(refusal.values["total_ev"])) == 11 * 2 * 10**12


READINGS = [
    replace(CHAIN, stale=stale, paused=paused, deposit_wei=deposit, reserve_wei=reserve, withdraw_round=withdraw)
    for stale in (None, StaleReading("no answer", 90.0, 60.0))
    for paused in (False, True)
    for deposit in (0, 1)
    for reserve in (0, 1)
    for withdraw in (0, CHAIN.last_initialized_round + 1, CHAIN.last_initialized_round + 2)
]


@pytest.mark.parametrize("reading", READINGS)
def test_a_reading_is_sound_where_no_rule_says_anything_about_it(reading: ChainView) -> None:
    assert is_sound(reading) is (find_chain_fault(reading) is None and find_funds_fault(reading) is None)


def test_what_a_sound_reading_spares_are_the_rules_that_look_at_nothing_else() -> None:
    sound, terms = replace(CHAIN, deposit_wei=1, reserve_wei=1), asking_for_all()
    assert planning_rules(terms, on_sound_reading=False) == PLANNING
    left = planning_rules(terms, on_sound_reading=True)
    spared = set(PLANNING) - set(left)
    assert spared == {check_fresh, check_not_paused, check_deposit, check_reserve, check_unlocking}
    assert [rule for rule in PLANNING if rule not in spared] == list(left)
    for rule in spared:
        draft = Draft()
        draft.reading = draft.chain = sound
        rule(draft)


def test_what_the_operator_did_not_ask_for_is_not_looked_at() -> None:
    terms = asking_for_all()
    without = structs.replace(terms, limits=TicketLimits())
    assert set(PLANNING) - set(planning_rules(without, on_sound_reading=False)) == {bound_credit}
    anybody = structs.replace(terms, must_be_orchestrator=False)
    assert set(PLANNING) - set(planning_rules(anybody, on_sound_reading=False)) == {check_recipient}


def test_a_reading_that_changes_is_judged_anew() -> None:
    """Each of these readings is another one than the one before, and every second is paused."""
    sender, request = new_sender(), new_request()
    session = sender.open(request, NOW_NS)
    for _ in range(2):
        sender.plan(session, replace(CHAIN), NO_CEILINGS, NOW_NS)
        with pytest.raises(ProtocolPaused):
            sender.plan(session, replace(CHAIN, paused=True), NO_CEILINGS, NOW_NS)
    first, second = (sender.plan(session, CHAIN, NO_CEILINGS, NOW_NS) for _ in range(2))
    assert first == second, "the same reading twice"


def asking_for_all() -> Terms:
    """Terms under which no rule is silent but for what it finds."""
    ids = SessionIds(lambda: "", lambda: "")
    limits = TicketLimits(max_credit_seconds=60)
    return Terms(limits, SEAL, ids, parse_orchestrator_info, parse_state, must_be_orchestrator=True, sender=b"")


def test_the_time_is_known_unless_the_clock_is_wrong_or_the_chain_cannot_tell() -> None:
    assert CHAIN.is_time_known is True
    assert replace(CHAIN, clock_agrees=True).is_time_known is True
    assert replace(CHAIN, stale=StaleReading("no answer", 90.0, 60.0)).is_time_known is False
    assert replace(CHAIN, clock_fault=ClockFault("behind", -90.0, 30.0)).is_time_known is False
