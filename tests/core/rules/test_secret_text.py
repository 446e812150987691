"""Texts of secrets' files that cannot be meant."""

from __future__ import annotations

import pytest

from livepeer_remote_signer.core.rules.secret_text import secret_text_fault, token_fault


@pytest.mark.parametrize("text", ["token", "token\n", "token\r\n", " token \n\n", "", "two words\n"])
def test_one_line_is_one_with_whatever_end(text: str) -> None:
    assert secret_text_fault(text) == ""


@pytest.mark.parametrize("text", ["one\ntwo", "one\r\ntwo\n", "one\rtwo", "one\n\ntwo"])
def test_further_lines_are_told_and_not_repeated(text: str) -> None:
    fault = secret_text_fault(text)
    assert fault.endswith("lines, and one is expected")
    assert "two" not in fault
    assert secret_text_fault(text, one_line=False) == ""


def test_a_mark_that_nobody_sees_is_told() -> None:
    for one_line in (True, False):
        assert secret_text_fault("\ufefftoken", one_line=one_line).startswith("begins with a byte-order mark")


@pytest.mark.parametrize(
    ("token", "fault"), [("a" * 15, "it holds 15"), ("", "it holds 0"), ("ä" * 16, "ASCII characters"), ("a" * 16, "")]
)
def test_a_token_is_long_enough_not_to_be_guessed(token: str, fault: str) -> None:
    assert fault in token_fault(token)
    assert bool(fault) is bool(token_fault(token))
    assert not token or token not in token_fault(token)
