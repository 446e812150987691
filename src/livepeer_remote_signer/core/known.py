"""What is not known of a request because a rule refused what it would be read from.

It is an attribute that is not there: whoever asks for it gets AttributeError, and the rule that rests on it is passed over.
A payment never sees this: the first refusal ends it.
"""

from __future__ import annotations


class PartlyKnown:
    """Its declared parts are there once they are known."""

    __slots__ = ()


def is_of_unknown(error: AttributeError) -> bool:
    """Whether the error says that a part is not known, and not that something is wrong with the code."""
    return isinstance(error.obj, PartlyKnown)
