"""Advice agrees with what payments do: what is called refused is refused, what is called right works."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livepeer_remote_signer.core.errors import SignerError
from livepeer_remote_signer.core.protocol.ticket import MAX_WIN_PROB
from livepeer_remote_signer.core.rules.advice import (
    FEW_WINNERS,
    SLOW_CALL_SECONDS,
    TOLERATED_SECONDS,
    Advice,
    Means,
    Offer,
    advise,
    describe,
)
from livepeer_remote_signer.core.rules.billing import PIXELS_PER_SECOND
from livepeer_remote_signer.core.rules.limits import TicketLimits
from tests.decisions import decide
from tests.outcomes import outcome
from tests.strategies import CHAIN, info_bytes, new_request

EV = Fraction(10**12)


def offer(lasts: Fraction | int = 3, job_type: str = "live", face_value: int = 10**15, ev: Fraction = EV) -> Offer:
    """Terms whose ticket lasts so many seconds."""
    units = {"live": 1, "lv2v": PIXELS_PER_SECOND}.get(job_type, 1)
    return Offer(job_type, ev / lasts / units, ev, face_value)


def means(interval: Fraction | int = 5, headroom: int = 8, limits: TicketLimits | None = None, **known: Any) -> Means:
    """What an operator has set."""
    return Means(limits or TicketLimits(), Fraction(interval), headroom, **known)


def codes(advice: Advice) -> dict[str, str]:
    """Findings by their word, with their kind."""
    return {finding.code: finding.kind for finding in advice.findings}


def test_terms_that_fit_are_good_with_their_numbers() -> None:
    advice = advise(offer(3), means(deposit_wei=10**16, reserve_wei=10**17, pool_size=100, signature_wei=Fraction(10**10)))
    assert advice.verdict == "good"
    assert advice.findings == ()
    assert (advice.ticket_seconds, advice.first_tickets, advice.tickets_a_payment) == (3, 4, Fraction(5, 3))
    assert (advice.right_headroom_seconds, advice.right_interval_seconds, advice.outage_seconds) == (0, 5, 60)
    assert (advice.winners_covered, advice.reserve_share_wei, advice.signature_share) == (10, 10**15, Fraction(1, 100))


def test_sessions_that_will_lapse_are_said_to_with_the_numbers_and_what_to_set() -> None:
    advice = advise(offer(285), means(headroom=0))
    assert advice.verdict == "lapses"
    (finding,) = advice.findings
    assert "sessions will lapse: one ticket lasts 285 s, the client pays every 5 s, 0 s are bought ahead, and about 10 s" in finding.message
    assert "headroom_seconds to 8" in finding.hint
    assert advise(offer(285), means(headroom=advice.right_headroom_seconds or 0)).verdict == "good"


@pytest.mark.parametrize(
    ("terms", "set_by", "code", "kind"),
    [
        (offer(face_value=10**12), {}, "face_value_too_low", "refused"),
        (offer(ev=Fraction(4 * 10**12)), {}, "ticket_ev_exceeded", "refused"),
        (offer(), {"limits": TicketLimits(min_ticket_ev_wei=2 * 10**12)}, "ticket_ev_too_low", "refused"),
        (offer(), {"limits": TicketLimits(max_total_ev_wei=5)}, "total_ev_exceeded", "refused"),
        (offer(Fraction(1, 20)), {}, "too_many_tickets", "refused"),
        (offer(Fraction(1, 5)), {}, "total_ev_exceeded", "refused"),
        (offer(7200), {"limits": TicketLimits(max_credit_seconds=3600)}, "credit_exceeded", "refused"),
        (offer(Fraction(1, 2)), {"interval": 11, "headroom": 20}, "too_many_tickets", "refused"),
        (offer(1), {"interval": 12, "headroom": 0}, "sessions_lapse", "lapses"),
        (offer(1), {}, "short_outage", "risky"),
        (offer(), {"deposit_wei": 10**15 - 1}, "deposit_too_small", "refused"),
        (offer(), {"deposit_wei": (FEW_WINNERS - 1) * 10**15}, "few_winners", "risky"),
        (offer(), {"reserve_wei": 10**17, "pool_size": 101}, "reserve_share", "risky"),
        (offer(), {"signature_wei": Fraction(6 * 10**10)}, "signature_cost", "costly"),
        (offer(Fraction(1, 200), "fixed"), {}, "too_many_tickets", "refused"),
    ],
)
def test_each_thing_that_does_not_fit_has_its_word_its_numbers_and_a_hint(
    terms: Offer, set_by: dict[str, Any], code: str, kind: str
) -> None:
    advice = advise(terms, means(**set_by))
    assert codes(advice)[code] == kind
    assert all(any(letter.isdigit() for letter in finding.message) and finding.hint for finding in advice.findings)


@pytest.mark.parametrize(
    ("terms", "set_by"),
    [
        (offer(), {"limits": TicketLimits(min_ticket_ev_wei=10**12, max_ticket_ev_wei=10**12)}),
        (offer(Fraction(1, 2)), {"interval": 10, "headroom": 10}),
        (offer(3610), {"limits": TicketLimits(max_credit_seconds=3600)}),
        (offer(), {"deposit_wei": FEW_WINNERS * 10**15}),
        (offer(), {"reserve_wei": 10**17, "pool_size": 100}),
        (offer(), {"reserve_wei": 10**15}),
        (offer(), {"signature_wei": Fraction(5 * 10**10)}),
        (offer(10), {"interval": 10, "headroom": 0}),
        (offer(285), {"interval": 5, "headroom": 5}),
    ],
)
def test_what_just_fits_fits(terms: Offer, set_by: dict[str, Any]) -> None:
    assert not {"refused", "lapses", "costly"} & set(codes(advise(terms, means(**set_by))).values())


def test_a_job_has_tickets_and_no_seconds() -> None:
    advice = advise(offer(Fraction(1, 4), "fixed"), means(limits=TicketLimits(max_credit_seconds=1)))
    assert (advice.first_tickets, advice.ticket_seconds, advice.right_headroom_seconds, advice.outage_seconds) == (4, None, None, None)
    assert advice.verdict == "good"


def test_what_is_shown_are_numbers_and_text_whatever_the_terms() -> None:
    shown = describe(advise(Offer("live", Fraction(1, 10**60), Fraction(10**40), 10**60), means(deposit_wei=10**90, reserve_wei=1)))
    assert shown["ticketSeconds"] == 1e12
    assert shown["winnersCovered"] == 10**12
    assert shown["reserveShareWei"] == "1"
    assert shown["verdict"] == "refused"
    assert describe(advise(offer(), means()))["findings"] == []
    assert describe(advise(offer(), means()))["signatureShare"] is None


terms = st.builds(
    offer,
    st.fractions(Fraction(1, 300), 10**6, max_denominator=500),
    st.sampled_from(["live", "lv2v"]),
    st.integers(10**12, 10**18),
)
settings_of = st.builds(
    means,
    st.integers(1, 30),
    st.integers(0, 40),
    st.builds(
        TicketLimits,
        max_ticket_ev_wei=st.integers(10**11, 10**13),
        max_total_ev_wei=st.integers(10**11, 10**14),
        max_tickets=st.integers(1, 100),
        max_credit_seconds=st.none() | st.integers(1, 10**5),
    ),
    deposit_wei=st.integers(1, 10**19),
)


@given(terms, settings_of)
def test_a_first_payment_is_refused_exactly_where_advice_says_so(terms: Offer, set_by: Means) -> None:
    ev = 3 * 10**11
    whole = Offer(terms.job_type, Fraction(max(1, round(terms.price * 1000)), 1000), Fraction(ev), 3 * ev)
    info = info_bytes(price=whole.price.numerator, pixels=whole.price.denominator, face_value=whole.face_value, win_prob=MAX_WIN_PROB // 3)
    limits = replace(set_by.limits, max_ticket_ev_wei=max(1, set_by.limits.max_ticket_ev_wei // 4))
    set_by = set_by._replace(limits=limits, interval_seconds=Fraction(1))
    advice = advise(whole, set_by)
    paid = outcome(
        lambda: decide(
            new_request(orchestrator=info, type=whole.job_type), chain=replace(CHAIN, deposit_wei=set_by.deposit_wei or 1), limits=limits
        )
    )
    refused = {finding.code for finding in advice.findings if finding.kind == "refused"}
    if isinstance(paid, SignerError):
        assert paid.code in refused
    else:
        assert refused == set()
        assert paid.num_tickets == advice.first_tickets


@given(terms, settings_of)
def test_what_is_called_right_works(terms: Offer, set_by: Means) -> None:
    advice = advise(terms, set_by)
    assert advice.right_headroom_seconds is not None
    assert advice.right_interval_seconds is not None
    better = advise(terms, set_by._replace(headroom_seconds=advice.right_headroom_seconds))
    assert "sessions_lapse" not in codes(better)
    assert advice.right_headroom_seconds in (0, -(-set_by.interval_seconds // 1) + SLOW_CALL_SECONDS)
    if advice.right_interval_seconds:
        paced = advise(terms, set_by._replace(interval_seconds=advice.right_interval_seconds))
        assert paced.tickets_a_payment is not None
        assert paced.tickets_a_payment <= set_by.limits.max_tickets
        assert paced.tickets_a_payment * terms.ev <= set_by.limits.max_total_ev_wei
        assert advice.right_interval_seconds <= TOLERATED_SECONDS / 2


@given(terms, settings_of)
def test_a_smaller_ticket_never_makes_sessions_lapse_that_did_not(terms: Offer, set_by: Means) -> None:
    smaller = terms._replace(ev=terms.ev / 2)
    if "sessions_lapse" in codes(advise(smaller, set_by)):
        assert "sessions_lapse" in codes(advise(terms, set_by))
