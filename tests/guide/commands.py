"""The commands of the operator guide in their order, and what each needs to be carried out as it stands."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

GUIDE = Path(__file__).parents[2] / "docs" / "operator-guide.md"
_PART = re.compile(r"^(?:#+) ([^\n]+)$|^```(sh|yaml)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

ELSEWHERE = (
    (r"docker (build|compose)", "a container engine"),
    (r"kubectl ", "a cluster"),
    (r"sudo docker/make-secrets", "the users of containers"),
    (r"sudo (cp|systemctl) .*", "systemd"),
    (r"ssh ", "another host"),
    (r"aws ", "an account at AWS; tests/custody has its service"),
    (r"pkcs11-tool ", "an HSM; tests/custody has one in software"),
)
"""What cannot be carried out here, each with what it would need."""


class Command(NamedTuple):
    """One line of a shell snippet, under its heading."""

    heading: str
    text: str

    @property
    def needs_more(self) -> str:
        """What is not here and the command needs, "" where nothing is missing."""
        return next((need for pattern, need in ELSEWHERE if re.match(pattern, self.text)), "")


def commands() -> list[Command]:
    """Every line of every shell snippet."""
    found, heading = [], ""
    for match in _PART.finditer(GUIDE.read_text()):
        if match[1] is not None:
            heading = match[1]
        elif match[2] == "sh":
            found += [Command(heading, line) for line in match[3].replace("\\\n", " ").splitlines() if line.strip()]
    return found


def configuration(heading: str) -> str:
    """The first YAML snippet under a heading."""
    current = ""
    for match in _PART.finditer(GUIDE.read_text()):
        if match[1] is not None:
            current = match[1]
        elif match[2] == "yaml" and current == heading:
            return match[3]
    raise AssertionError(f"there is no configuration under {heading!r}")
