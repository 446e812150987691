"""The last refusals of this process, for the console: an observer that keeps what is shown of each, and nothing of the request."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from livepeer_remote_signer.adapters.logs.payments import refused_fields
from livepeer_remote_signer.core.errors import SignerError
from livepeer_remote_signer.core.protocol.timestamps import NS_PER_MS
from livepeer_remote_signer.core.rules.payment import PaymentPlan
from livepeer_remote_signer.core.rules.trail import Trail

KEPT = 20
_SHOWN = ("status", "code", "error", "auth_id", "orch_address", "request_id")


class RecentRefusals:
    """480 and 482 belong to a healthy session and are not kept."""

    def __init__(self, status_of: Callable[[SignerError], int], clock_ns: Callable[[], int]) -> None:
        self._status_of = status_of
        self._clock_ns = clock_ns
        self._kept: deque[dict[str, Any]] = deque(maxlen=KEPT)

    def paid(self, plan: PaymentPlan, trail: Trail) -> None:
        """No refusal."""

    def repeated(self, trail: Trail) -> None:
        """No refusal."""

    def refused(self, error: SignerError, trail: Trail) -> None:
        """What is shown of it is kept until others take its place; the request, which may be long, is not."""
        if self._status_of(error) not in (480, 482):
            fields = refused_fields(error, self._status_of(error), trail, trail.started)
            at = self._clock_ns() // NS_PER_MS / 1000
            self._kept.append({"at": at, **{name: fields.get(name, "") for name in _SHOWN}})

    def describe(self) -> list[dict[str, Any]]:
        """The newest first: when, whose as far as that is known, the code and what it says."""
        return list(reversed(self._kept))
