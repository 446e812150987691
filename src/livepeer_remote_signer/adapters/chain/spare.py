"""The endpoints of a live chain for what is read beside the poll.

Such reads must not use up the quota that the poll lives on: endpoints that are not in use are asked first, and one that says
"too many" is left alone for a while by these reads only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from livepeer_remote_signer.adapters.chain.endpoints import Endpoint
from livepeer_remote_signer.adapters.chain.json_rpc import MAX_RETRY_AFTER_SECONDS, RpcRequest, TooManyRequests


class SpareEndpoints:
    """For one kind of reads. `pause_seconds` follow "too many requests" where the endpoint does not say how long."""

    def __init__(
        self, endpoints: Sequence[Endpoint], in_use: Callable[[], Endpoint | None], clock: Callable[[], float], pause_seconds: float
    ) -> None:
        self.endpoints = endpoints
        self._in_use = in_use
        self._clock = clock
        self._pause_seconds = pause_seconds
        self._paused_until: dict[int, float] = {}

    def is_paused(self, endpoint: Endpoint) -> bool:
        """Whether it has said "too many" a moment ago."""
        return self._clock() < self._paused_until.get(endpoint.place, 0.0)

    def order(self) -> list[Endpoint]:
        """Who may be asked: believed, known and not paused; the one that the poll uses comes last."""
        in_use = self._in_use()
        believed = (e for e in self.endpoints if e.is_healthy and e.known is not None and not self.is_paused(e))
        return sorted(believed, key=lambda endpoint: endpoint is in_use)

    async def ask(self, endpoint: Endpoint, requests: Sequence[RpcRequest], seconds: float) -> list[Any]:
        """The answers of one batch. Raises RpcFault."""
        try:
            return await endpoint.rpc.batch(requests, seconds)
        except TooManyRequests as fault:
            pause = min(fault.retry_after_seconds or self._pause_seconds, MAX_RETRY_AFTER_SECONDS)
            self._paused_until[endpoint.place] = self._clock() + pause
            raise
