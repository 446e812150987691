"""A chain view that never changes: development, tests, and signers that are told their chain by configuration."""

from __future__ import annotations

from dataclasses import replace

from livepeer_remote_signer.core.rules.chain import ChainView


class StaticChain:
    """Always the one view it was made with. There is no chain that this host's clock could disagree with: it counts as right."""

    def __init__(self, view: ChainView) -> None:
        self._view = replace(view, clock_agrees=True)

    def view(self) -> ChainView:
        """The view, never stale."""
        return self._view
