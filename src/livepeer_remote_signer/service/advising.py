"""What advice is given by: what the operator has set, and what stands behind it now."""

from __future__ import annotations

from fractions import Fraction

from livepeer_remote_signer.core.rules.advice import Means
from livepeer_remote_signer.core.rules.limits import TicketLimits
from livepeer_remote_signer.service.seams import ChainSource


class Advisor:
    """Reads the funds anew. `signature_wei`: what one signature of the key costs, None: nothing."""

    def __init__(
        self, limits: TicketLimits, interval_seconds: float, headroom_seconds: int, signature_wei: int | None, chain: ChainSource
    ) -> None:
        signature = Fraction(signature_wei) if signature_wei else None
        self._means = Means(limits, Fraction(interval_seconds), headroom_seconds, signature_wei=signature)
        self._chain = chain

    def with_funds(self) -> Means:
        """For whoever may know the funds; a stale reading of them says nothing."""
        view = self._chain.view()
        if view.stale is not None:
            return self._means
        return self._means._replace(deposit_wei=view.deposit_wei, reserve_wei=view.reserve_wei, pool_size=view.transcoder_pool_size)

    def without_funds(self) -> Means:
        """For everybody."""
        return self._means
