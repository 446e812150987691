"""`${NAME}` in a configuration's text: replaced by the environment's value, once; no other form of a shell's is known."""

from __future__ import annotations

import re
from collections.abc import Mapping

_REFERENCE = re.compile(r"(\$*)\$\{(?:([A-Za-z_][A-Za-z0-9_]*)\})?")


def fill_variables(text: str, environ: Mapping[str, str]) -> str:
    """The text with every `${NAME}` replaced. ValueError, without the text, for an unset name and for any other `${`.

    `${NAME:-default}`, `${ NAME }` and `$${NAME}` mean something elsewhere: taken as plain text they would be passwords
    that nobody meant.
    """

    def replace(match: re.Match[str]) -> str:
        if match[2] is None or match[1]:
            raise ValueError("only ${NAME} is read, a name of letters, digits and _: no default, no blanks, no $ before it")
        if match[2] not in environ:
            raise ValueError(f"the environment variable {match[2]} is not set")
        return environ[match[2]]

    return _REFERENCE.sub(replace, text)
