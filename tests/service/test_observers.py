"""What is said once a session when its tickets would come too rarely."""

from __future__ import annotations

import logging
import time
from fractions import Fraction
from types import SimpleNamespace

import pytest

from livepeer_remote_signer.core.rules.trail import Trail
from livepeer_remote_signer.service.observers import RareTicketWarning


def first_payment(ev: int, price: int, job_type: str = "live", *, is_new: bool = True) -> SimpleNamespace:
    session = SimpleNamespace(
        is_new=is_new,
        info=SimpleNamespace(ev=Fraction(ev)),
        request=SimpleNamespace(type=job_type),
        state=SimpleNamespace(state_id="s1"),
    )
    return SimpleNamespace(session=session, price=Fraction(price))


@pytest.mark.parametrize(
    ("plan", "warns"),
    [
        (first_payment(6_000, 1_000), True),
        (first_payment(5_000, 1_000), False),
        (first_payment(6_000, 1_000, is_new=False), False),
        (first_payment(6_000, 1_000, "fixed"), False),
        (first_payment(27_648_000 * 6, 1, "lv2v"), True),
    ],
)
def test_a_session_whose_tickets_last_longer_than_the_interval_is_warned_of_once(
    plan: SimpleNamespace, warns: bool, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        RareTicketWarning(5, {"/signTicket": 4, "/generate-live-payment": 5}).paid(plan, Trail("/signTicket", "r1", "", time.perf_counter))  # type: ignore[arg-type]
    assert ("longer than the payment interval of 5 s" in caplog.text) is warns


def test_where_credit_is_bought_ahead_nothing_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    warning, plan = RareTicketWarning(5, {"/signTicket": 5, "/generate-live-payment": 0}), first_payment(6_000, 1_000)
    with caplog.at_level(logging.WARNING):
        warning.paid(plan, Trail("/signTicket", "r1", "", time.perf_counter))  # type: ignore[arg-type]
    assert caplog.text == ""
    with caplog.at_level(logging.WARNING):
        warning.paid(plan, Trail("/generate-live-payment", "r1", "", time.perf_counter))  # type: ignore[arg-type]
    assert "headroom_seconds of 5 or more" in caplog.text
