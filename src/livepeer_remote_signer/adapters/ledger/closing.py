"""Closes the minutes that are over, one process at a time, beside the payments."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from livepeer_remote_signer.adapters.ledger.store import Store
from livepeer_remote_signer.core.protocol.timestamps import NS_PER_MS
from livepeer_remote_signer.core.rules.digests import MS_PER_MINUTE

LEASE = "closing"
LEASE_MS = 10_000
_RENEW_SECONDS = 3.0
CLOSED_AFTER_MINUTES = 2
"""How long after its end a minute is closed at the earliest: clocks of replicas differ, and batches take their time."""


async def close_minutes(store: Store, holder: str, clock_ns: Callable[[], int]) -> None:
    """Closes all that can be closed now, unless another process is at it. Raises StoreFailed."""
    now_ms = clock_ns() // NS_PER_MS
    before_minute = now_ms // MS_PER_MINUTE - CLOSED_AFTER_MINUTES
    held_at = float("-inf")
    while (minute := await store.digests.oldest_open()) is not None and minute < before_minute:
        if time.monotonic() - held_at >= _RENEW_SECONDS:
            if not await store.take_lease(LEASE, holder, LEASE_MS):
                return
            held_at = time.monotonic()
        started = time.monotonic()
        await store.digests.close(minute, now_ms)
        await asyncio.sleep(time.monotonic() - started)
    if held_at > 0:
        await store.give_lease(LEASE, holder)
