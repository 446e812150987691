"""What a call gave: its value, or the error of our tree that it raised. Any other exception passes through and fails the test."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from livepeer_remote_signer.core.errors import SignerError

_T = TypeVar("_T")


def outcome(function: Callable[..., _T], *arguments: object) -> _T | SignerError:
    """The value of the call, or the SignerError that it raised."""
    try:
        return function(*arguments)
    except SignerError as error:
        return error
