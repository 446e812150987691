"""The ledger's switches and settings as the admin listener uses them: a database that fails is `LedgerUnavailable`."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import TypeVar

from livepeer_remote_signer.adapters.ledger.controls import Controls
from livepeer_remote_signer.adapters.ledger.store import StoreFailed
from livepeer_remote_signer.core.errors import LedgerUnavailable

_T = TypeVar("_T")


class LedgerControls:
    """Kill switches and shared settings. Every method raises LedgerUnavailable when the database cannot do it."""

    def __init__(self, controls: Controls) -> None:
        self._controls = controls

    async def suspend(self, auth_id: str | None) -> None:
        """Sets the switch of an auth id, None: the global one."""
        await _done(self._controls.suspend(auth_id))

    async def resume(self, auth_id: str | None) -> None:
        """Takes it back."""
        await _done(self._controls.resume(auth_id))

    async def suspended(self) -> list[str | None]:
        """The switches that are set."""
        return [switch.auth_id for switch in await _done(self._controls.switches())]

    async def settings(self) -> Mapping[str, str]:
        """All shared settings."""
        return await _done(self._controls.settings())

    async def put_setting(self, name: str, value: str | None) -> None:
        """Sets one; None takes it away."""
        await _done(self._controls.put_setting(name, value))


async def _done(work: Awaitable[_T]) -> _T:
    try:
        return await work
    except StoreFailed as error:
        raise LedgerUnavailable(f"the ledger could not do it: {error}", retry_after_seconds=2) from None
