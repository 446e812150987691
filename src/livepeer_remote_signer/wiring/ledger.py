"""Composition of the ledger: configuration -> store, engine, outbox and controls. Part of `app`, and of the ledger's commands."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from livepeer_remote_signer.adapters.ledger.controls import Controls
from livepeer_remote_signer.adapters.ledger.engine import GroupCommitLedger
from livepeer_remote_signer.adapters.ledger.housekeeping import Housekeeping
from livepeer_remote_signer.adapters.ledger.outbox import LedgerOutbox
from livepeer_remote_signer.adapters.ledger.store import Store
from livepeer_remote_signer.api.rest import ReadyCheck
from livepeer_remote_signer.config.loading import ConfigError
from livepeer_remote_signer.config.models import Config
from livepeer_remote_signer.core.rules.budgets import Budget
from livepeer_remote_signer.core.rules.ledger import LedgerRules


class LedgerParts:
    """A configured ledger. `outbox` is None where no sink is configured: then payments record no events."""

    def __init__(self, config: Config, store: Store, clock_ns: Callable[[], int], writer: str, sinks: Sequence[str]) -> None:
        ledger = config.ledger
        budgets = budgets_of(config)
        self.store = store
        self.engine = GroupCommitLedger(store, LedgerRules(budgets, ledger.retention_seconds))
        self.controls = Controls(store, budgets, clock_ns)
        self.controls.on_switches = self.engine.use_switches
        self.outbox: LedgerOutbox | None = None
        if config.events.sinks:
            self.outbox = LedgerOutbox(
                store,
                holder=writer,
                sinks=sinks,
                max_pending=ledger.max_pending_events,
                refuse_when_full=ledger.on_full == "refuse",
                set_full=self.engine.set_outbox_full,
            )
        self.housekeeping = Housekeeping(
            store,
            self.engine,
            self.outbox,
            holder=writer,
            retention_seconds=ledger.retention_seconds,
            clock_ns=clock_ns,
        )

    async def start(self) -> None:
        """Opens the database. A file must open now; a server may come later, and until then payments are answered 503."""
        await self.housekeeping.start()
        self.engine.start()

    async def stop(self) -> None:
        """Records what is in work, then closes."""
        await self.engine.close()
        await self.housekeeping.close()
        await self.store.close()

    def ready_checks(self) -> Sequence[ReadyCheck]:
        """Whether payments can be recorded, and why not."""
        failure = self.engine.failure or self.housekeeping.failure
        if self.engine.outbox_full is not None:
            failure = failure or self.engine.outbox_full.message
        return (ReadyCheck("ledger", not failure, failure or "records payments"),)


def budgets_of(config: Config) -> tuple[Budget, ...]:
    """The configured budgets as rules."""
    return tuple(Budget(b.scope, b.match, b.window, b.measure, b.limit_wei) for b in config.budgets)


def open_ledger(config: Config, clock_ns: Callable[[], int], *, sinks: Sequence[str] = (), may_create: bool = True) -> LedgerParts | None:
    """The configured ledger, not started; None for the stateless backend. Raises ConfigError.

    `sinks` are the names of those that events are sent to. Without `may_create` a file that is not there is not made: a
    command with a wrong path must not succeed on an empty one.
    """
    ledger = config.ledger
    writer = os.urandom(8).hex()
    if ledger.backend == "sqlite" and ledger.path is not None:
        from livepeer_remote_signer.adapters.ledger.sqlite import SqliteStore

        return LedgerParts(config, SqliteStore(ledger.path, writer=writer, may_create=may_create), clock_ns, writer, sinks)
    if ledger.backend == "postgres" and ledger.url is not None:
        try:
            from livepeer_remote_signer.adapters.ledger.postgres import PostgresStore
        except ImportError:
            raise ConfigError("ledger.backend postgres needs the extra `postgres`: install livepeer-remote-signer[postgres]") from None
        try:
            return LedgerParts(config, PostgresStore(ledger.url.get_secret_value(), writer=writer), clock_ns, writer, sinks)
        except ValueError as error:
            raise ConfigError(f"ledger.url: {error}") from None
    return None
