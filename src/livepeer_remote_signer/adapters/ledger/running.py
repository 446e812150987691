"""The ledger as the application runs it: its parts, started and stopped in their order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from livepeer_remote_signer.adapters.ledger.controls import Controls
from livepeer_remote_signer.adapters.ledger.engine import GroupCommitLedger
from livepeer_remote_signer.adapters.ledger.housekeeping import Housekeeping
from livepeer_remote_signer.adapters.ledger.outbox import LedgerOutbox
from livepeer_remote_signer.adapters.ledger.redeemed import RedeemedStore
from livepeer_remote_signer.adapters.ledger.store import Store
from livepeer_remote_signer.adapters.ledger.users import Users


class LedgerStore(Store, RedeemedStore, Protocol):
    """A database: what payments need of it, and what the chain's follower does."""


@dataclass(frozen=True)
class RunningLedger:
    """A configured ledger. `outbox` is None where no sink is configured: then payments record no events."""

    store: LedgerStore
    engine: GroupCommitLedger
    controls: Controls
    users: Users
    outbox: LedgerOutbox | None
    housekeeping: Housekeeping

    async def start(self) -> None:
        """Opens the database. A file must open now; a server may come later, and until then payments are answered 503."""
        await self.housekeeping.start()
        self.engine.start()

    async def stop(self) -> None:
        """Records what is in work, then closes."""
        await self.engine.close()
        await self.housekeeping.close()
        await self.store.close()

    @property
    def failure(self) -> str:
        """Why payments cannot be recorded, "" when they can."""
        full = self.engine.outbox_full.message if self.engine.outbox_full is not None else ""
        return self.engine.failure or self.housekeeping.failure or full
