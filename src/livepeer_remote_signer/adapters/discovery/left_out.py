"""Tells which addresses of a source are left out of the list."""

from __future__ import annotations

import logging
from collections.abc import Sequence

_log = logging.getLogger(__name__)


class LeftOut:
    """Of one source: told once, and again when they are others."""

    def __init__(self) -> None:
        self._told: tuple[str, ...] = ()

    def tell(self, left_out: Sequence[str]) -> None:
        """Logs them, each with its reason, unless they are those of last time."""
        if left_out and tuple(left_out) != self._told:
            _log.warning("discovery: these addresses are left out: %s", "; ".join(left_out))
        self._told = tuple(left_out)
