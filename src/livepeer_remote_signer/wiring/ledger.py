"""Composition of the ledger: configuration -> store, engine, outbox and controls. Part of `app`, and of the ledger's commands."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from types import MappingProxyType

from livepeer_remote_signer.adapters.ledger.controls import Controls
from livepeer_remote_signer.adapters.ledger.engine import GroupCommitLedger
from livepeer_remote_signer.adapters.ledger.housekeeping import Housekeeping
from livepeer_remote_signer.adapters.ledger.outbox import LedgerOutbox
from livepeer_remote_signer.adapters.ledger.owner import Owner
from livepeer_remote_signer.adapters.ledger.running import LedgerStore, RunningLedger
from livepeer_remote_signer.adapters.ledger.user_store import UserStore
from livepeer_remote_signer.adapters.ledger.users import Users
from livepeer_remote_signer.config.ledger import budgets_of
from livepeer_remote_signer.config.loading import ConfigError
from livepeer_remote_signer.config.models import Config
from livepeer_remote_signer.core.rules.budgets import Budget
from livepeer_remote_signer.core.rules.chain import ChainView
from livepeer_remote_signer.core.rules.ledger import LedgerRules
from livepeer_remote_signer.core.rules.signed import REDEEMABLE_SECONDS
from livepeer_remote_signer.wiring.outbound import open_outbound


def open_ledger(
    config: Config,
    clock_ns: Callable[[], int],
    *,
    sinks: Sequence[str] = (),
    may_create: bool = True,
    senders: Mapping[bytes, str] = MappingProxyType({}),
    former: Collection[bytes] = (),
    view: Callable[[], ChainView] | None = None,
) -> RunningLedger | None:
    """The configured ledger, not started; None for the stateless backend. Raises ConfigError.

    `sinks` are the names of those that events are sent to, `senders` the addresses that pay, with the names of their keys; none:
    nobody does. `former` are others whose payments the ledger may hold. The chain's `view` knows whether this host's clock is right.
    Without `may_create` a file that is not there is not made: a command with a wrong path must not succeed on an empty one.
    """
    ledger = config.ledger
    if ledger.backend == "none":
        return None
    writer = os.urandom(8).hex()
    budgets = budgets_of(config.budgets, _load_addresses(config, senders))
    if ledger.backend == "sqlite" and ledger.path is not None:
        from livepeer_remote_signer.adapters.ledger.sqlite import SqliteStore

        file = SqliteStore(ledger.path, writer=writer, may_create=may_create)
        users = _open_users(config, file.users, budgets, clock_ns, may_create)
        return _open_parts(config, file, users, budgets, clock_ns, writer, sinks, senders, former, view)
    if ledger.backend == "postgres" and ledger.url is not None:
        try:
            from livepeer_remote_signer.adapters.ledger.postgres import PostgresStore
        except ImportError:
            raise ConfigError("ledger.backend postgres needs the extra `postgres`: install livepeer-remote-signer[postgres]") from None
        try:
            store = PostgresStore(ledger.url.get_secret_value(), writer=writer, timeout_seconds=ledger.timeout_seconds)
        except ValueError as error:
            raise ConfigError(f"ledger.url: {error}") from None
        users = _open_users(config, store.users, budgets, clock_ns, may_create)
        return _open_parts(config, store, users, budgets, clock_ns, writer, sinks, senders, former, view)
    return None


def _load_addresses(config: Config, senders: Mapping[bytes, str]) -> Mapping[str, bytes]:
    """Of the keys that budgets name. Raises ConfigError where one cannot be found."""
    known = {name: address for address, name in senders.items()}
    named = {budget.match for budget in config.budgets if budget.scope == "sender"} & config.keys.keys()
    if named <= known.keys():
        return known
    from livepeer_remote_signer.adapters.keys import SigningKeyError  # by commands, which do not sign
    from livepeer_remote_signer.wiring.keys import load_address

    try:
        outbound = open_outbound(config.outbound)
        return {name: load_address(config.keys[name], outbound) for name in named}
    except SigningKeyError as error:
        said = ", ".join(f"keys.{name}.address" for name in sorted(named))
        raise ConfigError(f"budgets name keys whose addresses are not known here: {error}; {said} may say them") from None


def _open_users(config: Config, store: UserStore, budgets: Sequence[Budget], clock_ns: Callable[[], int], may_create: bool) -> Users:
    """A command knows nobody by his key: it need not hold them all."""
    holds_keys = config.auth.api_keys_in_ledger and may_create
    return Users(store, budgets, clock_ns=clock_ns, holds_keys=holds_keys, namespaces=config.auth.namespaces)


def _open_parts(
    config: Config,
    store: LedgerStore,
    users: Users,
    budgets: tuple[Budget, ...],
    clock_ns: Callable[[], int],
    writer: str,
    sinks: Sequence[str],
    senders: Mapping[bytes, str],
    former: Collection[bytes],
    view: Callable[[], ChainView] | None,
) -> RunningLedger:
    ledger = config.ledger
    rules = LedgerRules(budgets, ledger.retention_seconds, config.auth.namespaces, users.budgets)
    engine = GroupCommitLedger(store, rules, reserves=config.has_external_keys, senders=senders)
    if config.chain.source == "rpc":
        engine.params_kept_seconds = REDEEMABLE_SECONDS
    controls = Controls(store, budgets, users, clock_ns, namespaces=config.auth.namespaces)
    controls.on_switches = engine.use_switches
    outbox = None
    if config.events.sinks:
        outbox = LedgerOutbox(
            store,
            holder=writer,
            sinks=sinks,
            max_pending=ledger.max_pending_events,
            refuse_when_full=ledger.on_full == "refuse",
            set_full=engine.set_outbox_full,
        )
    housekeeping = Housekeeping(
        store,
        engine,
        outbox,
        users,
        holder=writer,
        retention_seconds=ledger.retention_seconds,
        usage_retention_days=ledger.usage_retention_days,
        audit_retention_days=ledger.audit_retention_days,
        clock_ns=clock_ns,
        owner=_open_owner(config, sinks, (*senders, *former)) if senders else None,
        view=view,
    )
    return RunningLedger(store, engine, controls, users, outbox, housekeeping)


def _open_owner(config: Config, sinks: Sequence[str], senders: Collection[bytes]) -> Owner:
    chain_id = config.chain.rpc.chain_id if config.chain.source == "rpc" else None
    return Owner(chain_id, frozenset((*senders, *config.ledger.senders)), tuple(sinks))
