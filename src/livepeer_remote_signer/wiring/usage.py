"""Composition of what callers are told of themselves. Part of `app`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from livepeer_remote_signer.config.models import Config
from livepeer_remote_signer.service.usage import UsageQuestions
from livepeer_remote_signer.wiring.auth import AuthParts

if TYPE_CHECKING:
    from livepeer_remote_signer.adapters.ledger.running import RunningLedger


def open_usage(config: Config, auth: AuthParts, ledger: RunningLedger | None, clock_ns: Callable[[], int]) -> UsageQuestions | None:
    """Tells callers of themselves; None where nothing is kept of them, or nobody says who they are."""
    if ledger is None or (auth.identifier is None and auth.authorizer is None):
        return None
    from livepeer_remote_signer.adapters.ledger.callers import CallerBooks

    books = CallerBooks(ledger.store, ledger.controls, clock_ns)
    return UsageQuestions(books, identifier=auth.identifier, authorizer=auth.authorizer, fair_share=config.limits.fair_share)
