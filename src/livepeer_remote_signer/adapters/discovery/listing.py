"""What the list of orchestrators is made by, as it stands when the list is made."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

from livepeer_remote_signer.core.rules.advice import Means
from livepeer_remote_signer.core.rules.discovery import ListRules
from livepeer_remote_signer.core.rules.pricing import Ceilings
from livepeer_remote_signer.core.rules.recipients import RecipientRules


class ListingRules:
    """Reads ceilings and exchange rate anew; whom the operator lets be paid stays. `usd_per_eth` is None where no feed tells."""

    def __init__(
        self,
        ceilings: Callable[[], Ceilings],
        recipients: RecipientRules,
        usd_per_eth: Callable[[], Fraction | None] | None,
        means: Callable[[], Means],
    ) -> None:
        self._ceilings = ceilings
        self._recipients = recipients
        self._usd_per_eth = usd_per_eth
        self._means = means

    def now(self) -> ListRules:
        """The rules at this moment."""
        usd_per_eth = self._usd_per_eth() if self._usd_per_eth is not None else None
        return ListRules(self._ceilings(), self._recipients, usd_per_eth, self._means())
