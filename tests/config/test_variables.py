"""Of what a shell knows only `${NAME}` is read; every other `${` is refused, and never told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livepeer_remote_signer.config.variables import fill_variables


def test_names_are_replaced_once_wherever_they_stand() -> None:
    assert fill_variables("a${X}b${_y1}${X}", {"X": "${_y1}", "_y1": ""}) == "a${_y1}b${_y1}"


@pytest.mark.parametrize("text", ["", "$", "$X", "$$", "{X}", "$ {X}", "X}", "$(X)"])
def test_other_dollar_signs_are_text(text: str) -> None:
    assert fill_variables(text, {"X": "1"}) == text


@pytest.mark.parametrize("text", ["${X:-planted}", "${ X }", "$${X}", "$$${X}", "${}", "${1}", "${A-b}", "${X", "${", "a${X}${X?}", "${É}"])
def test_what_only_a_shell_would_read_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(ValueError, match=r"only \$\{NAME\} is read") as caught:
        fill_variables(text, {"X": "1"})
    assert "planted" not in str(caught.value)


def test_an_unset_variable_is_named() -> None:
    with pytest.raises(ValueError, match="variable NONE is not set"):
        fill_variables("${NONE}", {})


@given(st.text(alphabet="${}Xa :-", max_size=12))
def test_any_text_is_filled_or_refused(text: str) -> None:
    try:
        filled = fill_variables(text, {"X": "1", "a": "2"})
    except ValueError:
        assert "${" in text
    else:
        assert "${" not in filled
