"""Billing events on their way out while the application runs: sinks that are made ready, a forwarder, and what is lost at the end."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from livepeer_remote_signer.adapters.events.forwarder import Forwarder
from livepeer_remote_signer.adapters.events.outbox import MemoryOutbox
from livepeer_remote_signer.adapters.events.sink import Sink

_log = logging.getLogger(__name__)


class Delivery:
    """Runs from `start` to `stop`, while the ledger is open. `memory` is the outbox of a process without one."""

    def __init__(self, sinks: Sequence[Sink], forwarder: Forwarder, memory: MemoryOutbox | None, drain_seconds: float) -> None:
        self._sinks = sinks
        self._forwarder = forwarder
        self._memory = memory
        self._drain_seconds = drain_seconds

    async def start(self) -> None:
        """Makes the sinks ready and begins to forward. Raises SinkError when a file cannot be written."""
        for sink in self._sinks:
            await sink.start()
        self._forwarder.start()

    async def stop(self) -> None:
        """Sends what can still be sent within the time to drain."""
        await self._forwarder.stop(self._drain_seconds)
        if self._memory is not None and (lost := self._memory.abandon()):
            _log.error("%d billing events could not be sent before the end and are lost: a ledger would have kept them", lost)
