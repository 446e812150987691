"""Every request has an end on our side: what cannot be answered in the time that clients wait is answered 503."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from livepeer_remote_signer.core.errors import TimedOut


@asynccontextmanager
async def answered_within(seconds: float) -> AsyncIterator[None]:
    """Gives up what is awaited inside when the time is over. Raises TimedOut."""
    deadline = asyncio.timeout(seconds)
    try:
        async with deadline:
            yield
    except TimeoutError:
        if not deadline.expired():
            raise
        raise TimedOut(seconds) from None
