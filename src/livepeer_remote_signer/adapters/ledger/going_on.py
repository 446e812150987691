"""Work that goes on to its end when whoever waits for it leaves: half of a transaction is nobody's."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

_T = TypeVar("_T")

_going_on: set[asyncio.Task[Any]] = set()
"""The event loop itself holds a task only weakly."""


async def to_its_end(work: Coroutine[Any, Any, _T]) -> _T:
    """What `work` returns or raises. Where the caller has left, nobody is told."""
    task = asyncio.get_running_loop().create_task(work)
    _going_on.add(task)
    task.add_done_callback(_take_notice)
    return await asyncio.shield(task)


def _take_notice(task: asyncio.Task[Any]) -> None:
    """Else the failure of a task that nobody waits for is logged as a fault of ours."""
    _going_on.discard(task)
    if not task.cancelled():
        task.exception()
