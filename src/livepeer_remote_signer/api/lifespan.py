"""What runs while the application does: parts are started before the first request, and stopped after the last."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Protocol


class Part(Protocol):
    """What the application starts and stops."""

    async def start(self) -> None: ...

    async def stop(self) -> None: ...


@asynccontextmanager
async def running(
    parts: Sequence[Part | None],
    closings: Sequence[Callable[[], Awaitable[None]] | None],
    at_last: Callable[[], object] | None,
    _app: object,
) -> AsyncIterator[None]:
    """Parts start in their order and stop in the reverse one; then what has only an end is closed, and `at_last` is called.

    None among them: not configured. Whatever was started is stopped, also when a later part cannot start.
    """
    async with AsyncExitStack() as stack:
        if at_last is not None:
            stack.callback(at_last)
        for close in reversed(closings):
            if close is not None:
                stack.push_async_callback(close)
        for part in parts:
            if part is not None:
                await part.start()
                stack.push_async_callback(part.stop)
        yield
