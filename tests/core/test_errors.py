"""Errors carry what a caller may see, and nothing more is needed to answer with them."""

from __future__ import annotations

import pytest

from livepeer_remote_signer.core import errors
from livepeer_remote_signer.core.errors import (
    AuthFailed,
    BudgetExceeded,
    Denied,
    LedgerUnavailable,
    MethodNotAllowed,
    NoTickets,
    RefreshSession,
    SignerError,
    TimedOut,
    Unauthenticated,
)


def test_an_error_keeps_its_sentence_hint_and_compared_values() -> None:
    error = SignerError("too much", hint="send less", retry_after_seconds=3, price=5, ceiling=4)
    assert (str(error), error.message, error.hint, error.retry_after_seconds) == ("too much", "too much", "send less", 3)
    assert error.values == {"price": 5, "ceiling": 4}


def test_a_refresh_starts_with_the_words_that_clients_look_for() -> None:
    error = RefreshSession("token expired", "https://o:8935", now=5)
    assert error.message == "refresh session for remote signer: token expired"
    assert (error.orchestrator_url, error.values) == ("https://o:8935", {"now": 5})


def test_a_denial_carries_the_webhooks_status_and_word() -> None:
    error = Denied("no credit left", status=402, webhook_code="poor")
    assert (error.status, error.webhook_code, Denied("no").status) == (402, "poor", 403)


def test_a_wrong_method_names_the_right_ones() -> None:
    assert MethodNotAllowed("no", allow="POST").allow == "POST"
    assert BudgetExceeded.code == "budget_exceeded"


def test_an_answer_tells_of_a_failure_behind_it_and_of_no_refusal() -> None:
    failure = AuthFailed("the webhook is down")
    for behind, hidden in ((failure, failure), (Denied("no"), None), (OSError("broken"), None), (None, None)):
        answer = NoTickets("no tickets")
        answer.__cause__ = behind
        assert answer.hidden_failure is hidden


def test_a_payment_may_be_recorded_only_where_that_is_said_outright() -> None:
    assert LedgerUnavailable("gone", may_be_recorded=True).may_be_recorded is True
    for values in ({}, {"may_be_recorded": False}, {"may_be_recorded": None}, {"may_be_recorded": 1}):
        assert LedgerUnavailable("gone", **values).may_be_recorded is False


def test_who_waited_in_vain_hears_for_how_long_and_for_what_and_may_ask_again() -> None:
    error = TimedOut(4.5, "ledger")
    assert error.message == "the request could not be answered within 4.5 s: ledger did not end in time"
    assert (error.hint, error.retry_after_seconds) == ("the same request may be sent again", 1)
    assert error.values == {"limit_seconds": 4.5, "may_be_recorded": None}
    assert error.may_be_recorded is False
    assert TimedOut(10.0).message == "the request could not be answered within 10 s"


def test_who_waited_for_a_payment_that_may_be_recorded_is_to_send_the_identical_request() -> None:
    error = TimedOut(2, "ledger", may_be_recorded=True)
    assert error.hint == (
        "send the identical request again: where the payment was recorded it gets the same bytes, but a new session without an "
        "Idempotency-Key is then paid twice"
    )
    assert error.values == {"limit_seconds": 2, "may_be_recorded": True}
    assert error.may_be_recorded is True


def test_an_error_that_was_told_lets_go_of_the_calls_it_came_through_and_of_those_behind_it() -> None:
    def fail() -> None:
        try:
            raise ValueError("what was sent")
        except ValueError as error:
            try:
                raise errors.BadJson("first") from error
            except errors.BadJson:
                raise errors.BadField("second")  # noqa: B904 - its context is what is looked at

    with pytest.raises(errors.BadField) as caught:
        fail()
    told = caught.value
    first = told.__context__
    assert first is not None
    assert first.__cause__ is not None
    errors.let_go_of_frames(told)
    assert [told.__traceback__, first.__traceback__, first.__cause__.__traceback__] == [None] * 3


def test_a_credential_that_is_refused_for_its_time_says_so() -> None:
    assert Unauthenticated("the token expired", is_of_time=True).is_of_time is True
    error = Unauthenticated("no such key", hint="send one")
    assert (error.is_of_time, error.hint, error.values) == (False, "send one", {})
