"""Advice knows the funds while the chain's reading is good, and for whoever may know them."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

from livepeer_remote_signer.core.rules.advice import Means
from livepeer_remote_signer.core.rules.chain import ChainView, StaleReading
from livepeer_remote_signer.core.rules.limits import TicketLimits
from livepeer_remote_signer.service.advising import Advisor
from tests.plans import CHAIN

LIMITS = TicketLimits()
VIEW = replace(CHAIN, transcoder_pool_size=100)


class Chain:
    def __init__(self, view: ChainView) -> None:
        self._view = view

    def view(self) -> ChainView:
        return self._view


def test_funds_are_those_of_the_reading_and_a_stale_one_says_nothing() -> None:
    advisor = Advisor(LIMITS, 5.0, 60, 2000, Chain(VIEW))
    bare = Means(LIMITS, Fraction(5), 60, signature_wei=Fraction(2000))
    assert advisor.without_funds() == bare
    assert advisor.with_funds() == bare._replace(deposit_wei=VIEW.deposit_wei, reserve_wei=VIEW.reserve_wei, pool_size=100)
    stale = replace(VIEW, stale=StaleReading("old", 90.0, 60.0))
    assert Advisor(LIMITS, 5.0, 60, 2000, Chain(stale)).with_funds() == bare


def test_a_key_whose_signatures_cost_nothing_has_no_such_figure() -> None:
    for nothing in (None, 0):
        assert Advisor(LIMITS, 5.0, 0, nothing, Chain(VIEW)).without_funds().signature_wei is None
