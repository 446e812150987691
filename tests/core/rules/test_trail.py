"""What is noted of a request on its way."""

from __future__ import annotations

from itertools import count

import pytest

from livepeer_remote_signer.core.rules.trail import Trail


def trail() -> Trail:
    """Of a clock that goes on by a second whenever it is read."""
    seconds = count(1.0)
    return Trail("/signTicket", "0" * 32, "theirs", lambda: next(seconds))


def test_a_phase_is_noted_with_its_beginning_and_its_end() -> None:
    noted = trail()
    with noted.phase("open"):
        pass
    assert (noted.started, noted.marks) == (1.0, [("open", 2.0, 3.0)])


def test_it_is_late_from_the_moment_by_which_it_had_to_be_answered() -> None:
    now = [5.0]
    noted = Trail("/signTicket", "0" * 32, "", lambda: now[0], 4.5)
    for now[0], is_late in ((9.499, False), (9.5, True), (9.501, True)):
        assert noted.is_late is is_late
    now[0] = 10**9
    assert not trail().is_late, "without a limit it never is"


def test_a_caller_is_taken_to_stay_until_somebody_can_tell() -> None:
    noted = trail()
    assert noted.has_left() is False
    noted.has_left = lambda: True
    assert noted.has_left() is True
    assert trail().has_left() is False, "it is said of one request only"


def test_a_phase_that_fails_is_noted_as_well_and_hides_nothing() -> None:
    noted = trail()
    with pytest.raises(ValueError, match="why"), noted.phase("open"):
        raise ValueError("why")
    assert [phase for phase, _, _ in noted.marks] == ["open"]


def test_a_phase_is_marked_when_it_ends() -> None:
    noted = trail()
    noted.mark("open", 1.5)
    assert noted.marks == [("open", 1.5, 2.0)]


def test_a_phase_inside_another_one_is_noted_before_it() -> None:
    noted = trail()
    with noted.phase("ledger"), noted.phase("sign"):
        pass
    assert noted.marks == [("sign", 3.0, 4.0), ("ledger", 2.0, 5.0)]


def test_what_did_not_count_is_taken_away() -> None:
    noted = trail()
    for name in ("open", "sign", "event"):
        with noted.phase(name):
            pass
    assert [phase for phase, _, _ in noted.cut(1)] == ["sign", "event"]
    assert [phase for phase, _, _ in noted.marks] == ["open"]
