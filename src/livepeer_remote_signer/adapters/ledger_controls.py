"""The ledger's switches and settings as the admin listener uses them."""

from __future__ import annotations

from collections.abc import Mapping

from livepeer_remote_signer.adapters.ledger.controls import Controls


class LedgerControls:
    """Kill switches and shared settings. Every method raises LedgerUnavailable when the database cannot do it."""

    def __init__(self, controls: Controls) -> None:
        self._controls = controls

    async def suspend(self, auth_id: str | None) -> None:
        """Sets the switch of an auth id, None: the global one."""
        await self._controls.suspend(auth_id)

    async def resume(self, auth_id: str | None) -> None:
        """Takes it back."""
        await self._controls.resume(auth_id)

    async def suspended(self) -> list[str | None]:
        """The switches that are set."""
        return [switch.auth_id for switch in await self._controls.switches()]

    async def settings(self) -> Mapping[str, str]:
        """All shared settings."""
        return await self._controls.settings()

    async def put_setting(self, name: str, value: str | None) -> None:
        """Sets one; None takes it away."""
        await self._controls.put_setting(name, value)
