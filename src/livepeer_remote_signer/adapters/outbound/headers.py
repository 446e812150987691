"""Headers that the configuration adds to requests of ours: checked when they are read, since otherwise every request would fail."""

from __future__ import annotations

import re
from collections.abc import Mapping

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"(?:[\x21-\x7e](?:[\t\x20-\x7e]*[\x21-\x7e])?)?")
"""RFC 9110, section 5: a token, and ASCII text without control characters or blanks at its ends."""


def checked_headers(headers: Mapping[str, str], where: str) -> dict[str, str]:
    """The headers with names in lower case. ValueError, which names the setting `where` and repeats no value."""
    for name, value in headers.items():
        if _NAME.fullmatch(name) is None:
            raise ValueError(f"{where}: a header's name is letters, digits and hyphens, without blanks and colons")
        if _VALUE.fullmatch(value) is None:
            raise ValueError(f"{where}.{name} cannot be sent: its value has blanks around it, line breaks or characters beyond ASCII")
    return {name.lower(): value for name, value in headers.items()}
