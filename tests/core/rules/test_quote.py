"""A quote is judged by the payment's own rules, to their end: its first refusal is the payment's, and the others are told as well."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import combinations
from math import ceil
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from livepeer_remote_signer.core.errors import ClockWrong, SignerError
from livepeer_remote_signer.core.known import is_of_unknown
from livepeer_remote_signer.core.protocol.wire import parse_orchestrator_info
from livepeer_remote_signer.core.rules.chain import ClockFault, StaleReading
from livepeer_remote_signer.core.rules.limits import TicketLimits
from livepeer_remote_signer.core.rules.payment import PaymentRequest
from livepeer_remote_signer.core.rules.sender import Quoted
from tests.core.test_order_of_checks import FAULTS, FROM_MESSAGE, Scene, good, scene
from tests.decisions import decide, sealed
from tests.outcomes import outcome
from tests.strategies import SEAL, new_sender

RESTS_ON: dict[str, set[str]] = {
    "no orchestrator": {"no price", "no ticket params", "short address", "no token", "old token", "another orchestrator", "dear"}
    | {"no expiration block", "expired params", "always wins", "ticket limit", "total limit", "deposit multiplier", "another recipient"}
    | {"nonces used up", "credit left", "many tickets", "no round"},
    "no price": {"dear"},
    "no ticket params": {"nonces used up", "no expiration block", "expired params", "always wins", "ticket limit", "total limit"}
    | {"deposit multiplier", "credit left", "many tickets", "no round", "another recipient"},
    "short address": {"another orchestrator", "another recipient"},
    "broken seal": {"another orchestrator", "another app", "another type", "no first price", "no manifest id", "nonces used up"}
    | {"no units", "no time passed", "dear", "credit left", "many tickets", "bad type"},
    "no first price": {"dear", "credit left", "many tickets"},
    "bad capabilities": {"dear"},
    "no token": {"old token"},
    "stale chain": {"protocol paused", "no expiration block", "expired params", "no deposit", "deposit multiplier", "no round"},
    "no expiration block": {"expired params"},
    "bad type": {"credit left", "many tickets"},
    "no units": {"credit left", "many tickets"},
    "no time passed": {"credit left", "many tickets"},
    "bad maxPrice": {"dear"},
    "credit left": {"many tickets"},
}
"""What cannot be judged any more where a fault stands: what rests on the part that was refused."""
for rests in RESTS_ON.values():
    if "many tickets" in rests:
        rests.add("too much credit")
RESTS_ON["no protobuf"] = RESTS_ON["no orchestrator"]
RESTS_ON["sealed nonsense"] = RESTS_ON["broken seal"]

UNDONE = {
    ("no orchestrator", "no protobuf"),
    ("broken seal", "sealed nonsense"),
    ("another type", "bad type"),
    ("another type", "no units"),
    ("no expiration block", "expired params"),
    ("bad type", "no units"),
    ("bad type", "no time passed"),
    ("no units", "no time passed"),
    ("no first price", "many tickets"),
    ("credit left", "many tickets"),
    ("dear", "many tickets"),
    ("many tickets", "too much credit"),
    ("ticket limit", "always wins"),
    ("no units", "bad maxPrice"),
}
"""Pairs of which the later fault undoes the earlier."""


def finished(case: Scene) -> Scene:
    """The scene with its message as the faults left it."""
    if case.request.orchestrator == FROM_MESSAGE:
        case = case._replace(request=structs.replace(case.request, orchestrator=case.message.SerializeToString()))
    return case


def quoted(case: Scene, **bounds: Any) -> Quoted:
    """What a quote says to a scene."""
    case = finished(case)
    return new_sender(case.limits).quote(request_of(case), case.chain, case.ceilings, case.now_ns, **bounds)


def request_of(case: Scene) -> PaymentRequest:
    """The request as it is sent."""
    if case.raw_state is not None:
        state = {"state": case.raw_state, "state_sig": SEAL.seal(case.raw_state)}
    else:
        state = sealed(case.state) if case.state else {}
    if case.broken_seal:
        state["state_sig"] = bytes(65)
    return structs.replace(case.request, **state)


def test_without_a_fault_the_quote_is_the_payment() -> None:
    quote = quoted(scene())
    assert quote.refusals == []
    assert quote.unknown == frozenset()
    assert quote.plan == good(scene())


@pytest.mark.parametrize(("name", "fault", "error"), FAULTS, ids=[fault[0] for fault in FAULTS])
def test_a_fault_alone_is_all_that_is_told(name: str, fault: Any, error: type[SignerError]) -> None:
    expected = outcome(good, fault(scene()))
    refusals = quoted(fault(scene())).refusals
    assert isinstance(expected, error)
    assert (type(refusals[0]), refusals[0].message, refusals[0].values) == (error, expected.message, expected.values), name
    others = {
        "no deposit": {"deposit_too_small"},
        "always wins": {"ticket_ev_exceeded", "total_ev_exceeded"},
        "many tickets": {"total_ev_exceeded"},
    }.get(name, set())
    assert {refusal.code for refusal in refusals} - {error.code} <= others


PAIRS = [(first, second) for first, second in combinations(FAULTS, 2) if (first[0], second[0]) not in UNDONE]


@pytest.mark.parametrize(("first", "second"), PAIRS, ids=[f"{first[0]} and {second[0]}" for first, second in PAIRS])
def test_of_two_faults_both_are_told_and_the_payments_first(first: Any, second: Any) -> None:
    expected = outcome(good, second[1](first[1](scene())))
    quote = quoted(second[1](first[1](scene())))
    assert isinstance(expected, SignerError)
    assert (type(quote.refusals[0]), quote.refusals[0].message) == (type(expected), expected.message)
    told = [type(refusal) for refusal in quote.refusals]
    assert first[2] in told
    if second[0] not in RESTS_ON.get(first[0], set()):
        assert second[2] in told


def test_four_faults_are_four_refusals() -> None:
    case = scene()
    for name, fault, _ in FAULTS:
        if name in ("bad capabilities", "old token", "no deposit", "many tickets"):
            case = fault(case)
    codes = {refusal.code for refusal in quoted(case).refusals}
    assert codes >= {"bad_capabilities", "refresh_session", "no_deposit", "too_many_tickets"}


def test_by_a_wrong_clock_nothing_is_judged_that_rests_on_the_time() -> None:
    case = scene()
    case = case._replace(chain=replace(case.chain, clock_fault=ClockFault("behind", -90.0, 30.0)), now_ns=case.now_ns + 10**18)
    assert [type(refusal) for refusal in quoted(case).refusals] == [ClockWrong]


def test_every_part_of_an_info_that_is_in_order_is_known_beside_those_that_are_not() -> None:
    case = scene()
    case.message.ClearField("price_info")
    case.message.address = b"short"
    case.message.transcoder = "\n"
    case.message.auth_token.token = bytes(5000)
    case.message.ticket_params.recipient = b""
    refusals: list[SignerError] = []
    info = parse_orchestrator_info(case.message.SerializeToString(), refusals.append)
    assert [refusal.code for refusal in refusals] == [
        "bad_price",
        "bad_orchestrator",
        "bad_orchestrator",
        "bad_orchestrator",
        "bad_ticket_params",
    ]
    for part in ("price", "address", "auth_token", "ticket_params", "ev", "pm_session_id"):
        with pytest.raises(AttributeError) as missing:
            getattr(info, part)
        assert is_of_unknown(missing.value)
    assert info.transcoder == ""


def test_a_fault_of_ours_is_not_taken_for_what_is_not_known() -> None:
    sender = new_sender()
    sender._terms = structs.replace(sender._terms, parse_state=lambda raw: raw.nothing)  # type: ignore[attr-defined]
    with pytest.raises(AttributeError, match="nothing"):
        sender.quote(request_of(finished(scene())), scene().chain, scene().ceilings, scene().now_ns)


def test_a_part_of_what_is_owed_is_quoted_as_it_is_paid() -> None:
    case = scene()
    case = case._replace(limits=TicketLimits(max_total_ev_wei=2 * ceil(good(scene()).session.info.ev)))
    quote = quoted(case, catch_up_seconds=4000)
    assert quote.refusals == []
    assert (quote.plan.num_tickets, quote.plan.due_tickets) == (2, 3)
    assert quote.plan.owed_ns > 0


def test_what_stands_in_counts_no_ticket() -> None:
    case = scene()
    case.message.ClearField("price_info")
    case = case._replace(chain=replace(case.chain, stale=StaleReading("old", 100.0, 60.0)), state=None)
    quote = quoted(case)
    assert {"price", "due", "chain"} <= quote.unknown
    assert not quote.knows("state", "due")
    assert quote.knows("state", "ticket_params")
    assert (quote.plan.num_tickets, quote.plan.fee, quote.plan.total_face_value) == (0, Fraction(0), 0)
    assert quote.plan.state.app == case.request.app


@given(st.lists(st.sampled_from(FAULTS), min_size=1, max_size=6), st.integers(0, 60), st.integers(0, 900))
def test_whatever_stands_against_a_payment_its_quote_begins_with_what_it_is_refused_with(
    faults: list[Any], headroom_seconds: int, catch_up_seconds: int
) -> None:
    cases = [scene(), scene()]
    for _, fault, _ in faults:
        cases = [fault(case) for case in cases]
    told, paid = (finished(case) for case in cases)
    bounds = {"headroom_seconds": headroom_seconds, "catch_up_seconds": catch_up_seconds}
    quote = quoted(told, **bounds)
    expected = outcome(
        lambda: decide(request_of(paid), paid.now_ns, chain=paid.chain, ceilings=paid.ceilings, limits=paid.limits, **bounds)
    )
    if isinstance(expected, SignerError):
        first = quote.refusals[0]
        assert (type(first), first.message, first.values) == (type(expected), expected.message, expected.values)
    else:
        assert (quote.refusals, quote.plan) == ([], expected)


@given(st.binary(max_size=300), st.binary(max_size=300), st.binary(max_size=80), st.binary(max_size=80), st.text(max_size=5))
def test_garbage_is_refused_and_breaks_nothing(orchestrator: bytes, state: bytes, sig: bytes, capabilities: bytes, job_type: str) -> None:
    for raw in (orchestrator, finished(scene()).request.orchestrator + orchestrator):
        request = PaymentRequest(raw, state, sig, type=job_type, capabilities=capabilities)
        quote = new_sender().quote(request, scene().chain, scene().ceilings, scene().now_ns)
        assert quote.refusals
        sealed_request = structs.replace(request, state=state or b"x", state_sig=SEAL.seal(state or b"x"))
        assert new_sender().quote(sealed_request, scene().chain, scene().ceilings, scene().now_ns).refusals
