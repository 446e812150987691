"""A chain view that never changes: development, tests, and signers that are told their chain by configuration."""

from __future__ import annotations

from livepeer_remote_signer.core.rules.chain import ChainView


class StaticChain:
    """Always the one view it was made with."""

    def __init__(self, view: ChainView) -> None:
        self._view = view

    def view(self) -> ChainView:
        """The view, never stale."""
        return self._view
