"""Connections that come too late are closed."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

from livepeer_remote_signer.adapters.orchestrators.dialing import TlsConnection, _give_up


async def test_what_connects_while_it_is_given_up_is_closed_at_once() -> None:
    aborted: list[str] = []

    async def late(name: str) -> TlsConnection | str:
        writer = SimpleNamespace(transport=SimpleNamespace(abort=lambda: aborted.append(name)))
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return TlsConnection(cast(Any, None), cast(Any, writer), b"")
        return "never"

    async def failed() -> TlsConnection | str:
        return "refused"

    tasks = [asyncio.create_task(late("one")), asyncio.create_task(late("two")), asyncio.create_task(failed())]
    await asyncio.sleep(0)
    await _give_up(tasks)
    assert aborted == ["one", "two"]
