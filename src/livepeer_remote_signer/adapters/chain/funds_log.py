"""Says in the log when the sender's funds come, unlock, run low or leave: once each, and not with every reading."""

from __future__ import annotations

import logging

from livepeer_remote_signer.core.rules.chain import ChainView
from livepeer_remote_signer.core.rules.funding import format_eth

LOW_PART = 10
"""A tenth of the largest deposit that was seen is little."""

_log = logging.getLogger(__name__)


class FundsLog:
    """Told of every reading that is believed."""

    def __init__(self) -> None:
        self._last: ChainView | None = None
        self._most_wei = 0
        self._is_low = False

    def note(self, view: ChainView) -> None:
        """Compares with the reading before."""
        last, self._last = self._last, view
        if last is None or last.withdraw_round != view.withdraw_round:
            self._tell_of_unlock(last, view)
        for name, had, has in (
            ("deposit", last.deposit_wei if last else 0, view.deposit_wei),
            ("reserve", last.reserve_wei if last else 0, view.reserve_wei),
        ):
            if has > had:
                _log.info("the %s is %s", name, format_eth(has))
            elif not has and (had or last is None):
                _log.warning(
                    "there is no %s%s: nothing can be signed until `fund` pays in", name, f" any more, of {format_eth(had)}" if had else ""
                )
        self._most_wei = max(self._most_wei, view.deposit_wei)
        is_low = 0 < view.deposit_wei * LOW_PART < self._most_wei
        if is_low and not self._is_low:
            _log.warning(
                "the deposit runs low: %s are left of %s; `fund --deposit` pays in",
                format_eth(view.deposit_wei),
                format_eth(self._most_wei),
            )
        if view.deposit_wei > (last.deposit_wei if last else 0):
            self._most_wei = view.deposit_wei
        self._is_low = is_low and self._most_wei > view.deposit_wei

    def _tell_of_unlock(self, last: ChainView | None, view: ChainView) -> None:
        if view.withdraw_round:
            _log.warning(
                "the funds unlock in round %d: tickets are signed until one round before; `cancel-unlock` keeps the funds where they are",
                view.withdraw_round,
            )
        elif last is not None:
            _log.info("the funds are locked again")
