"""Composition root: Config -> adapters -> service -> ASGI application. Only this module names implementations."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import lru_cache

from fastapi import FastAPI

from livepeer_remote_signer.adapters.keys import (
    PreviousKey,
    SigningKey,
    StateSeal,
    load_keystore,
    load_private_key_file,
    parse_private_key,
    read_secret_file,
)
from livepeer_remote_signer.adapters.keys.loading import SigningKeyError
from livepeer_remote_signer.adapters.logs import LogWriter
from livepeer_remote_signer.api.front import BodyLimits, Front
from livepeer_remote_signer.api.paying import PayingRoutes
from livepeer_remote_signer.api.rest import ReadyCheck, RestParts, create_rest
from livepeer_remote_signer.app_admin import ConsoleSources, open_administration
from livepeer_remote_signer.app_auth import open_auth, open_recipients
from livepeer_remote_signer.app_chain import open_chain
from livepeer_remote_signer.app_ledger import open_ledger
from livepeer_remote_signer.app_operations import Operations
from livepeer_remote_signer.app_orchestrators import OrchestratorParts
from livepeer_remote_signer.config import Config
from livepeer_remote_signer.config.models import KeyConfig, PreviousSeal, StateConfig
from livepeer_remote_signer.core.limits import TicketLimits
from livepeer_remote_signer.core.payment import SessionIds
from livepeer_remote_signer.core.state import RecentStates
from livepeer_remote_signer.core.timestamps import parse_rfc3339_ns
from livepeer_remote_signer.core.wire import parse_orchestrator_info
from livepeer_remote_signer.observing import (
    WatchedAuthorizer,
    WatchedIdentifier,
    WatchedLedger,
    WatchedRecipients,
    WatchedSender,
    WatchedSigner,
)
from livepeer_remote_signer.service import RemoteSigner

INFO_CACHE_ENTRIES = 4096
RECENT_STATES = 2048


def create_app(config: Config, *, clock_ns: Callable[[], int] = time.time_ns, logs: LogWriter | None = None) -> Front:
    """The ASGI application. Its lifespan starts and stops all it uses. Raises SigningKeyError when the key cannot be used."""
    key = open_signing_key(config.key)
    seal = open_seal(config.state, key, clock_ns)
    recent_states = RecentStates(RECENT_STATES)
    sender = WatchedSender(
        TicketLimits(config.limits.max_ticket_ev_wei, config.limits.max_total_ev_wei, config.limits.deposit_multiplier),
        seal,
        SessionIds(state_id=_random_name, manifest_id=_random_name),
        parse_info=lru_cache(INFO_CACHE_ENTRIES)(parse_orchestrator_info),
        parse_state=recent_states.parse,
    )
    chain = open_chain(config, key.address)
    auth = open_auth(config.auth, _mac_key(config.state, key))
    recipients = open_recipients(config, chain)
    ledger = open_ledger(config, clock_ns)
    operations = Operations(config, key.address, chain, ledger, logs)
    watch = sender.watch = operations.watch
    render_metrics = operations.metrics.render
    admin = open_administration(
        config,
        chain,
        ledger,
        render_metrics,
        ConsoleSources(key.address, lambda: ready_checks(), operations.outcomes, lambda: orchestrators.describe(), clock_ns),
    )
    orchestrators = OrchestratorParts(config, key, chain, clock_ns)
    observer = recipients.watch(operations.observer())
    signer = WatchedSigner(key, seal, recent_states.remember)
    signer.watch = watch
    service = RemoteSigner(
        sender=sender,
        signer=signer,
        chain=chain.source,
        ceilings=chain.ceilings,
        clock_ns=clock_ns,
        observer=observer,
        identifier=WatchedIdentifier(auth.identifier, watch) if auth.identifier else None,
        recipients=WatchedRecipients(recipients.policy, watch) if recipients.policy else None,
        authorizer=WatchedAuthorizer(auth.authorizer, watch) if auth.authorizer else None,
        ledger=WatchedLedger(ledger.engine, watch) if ledger else None,
        heal_stale=config.ledger.on_stale == "heal",
        encode_event=operations.encode_event,
        publish=operations.publish,
    )
    paying = PayingRoutes(
        service,
        observer,
        max_in_work=config.limits.max_requests_in_work,
        headroom_live_payment=config.headroom_seconds.generate_live_payment,
        headroom_sign_ticket=config.headroom_seconds.sign_ticket,
        interval_seconds=config.live_payment_interval_seconds,
        begin=watch.begin,
    )
    operations.add_gauges(in_work=lambda: paying.in_work, signatures=lambda: signer.signatures, discovery=orchestrators.discovery)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await chain.start()
        await orchestrators.start()
        if ledger is not None:
            await ledger.start()
        await admin.start()
        await operations.start()
        try:
            yield
        finally:
            await operations.stop_forwarding()
            await admin.stop()
            if ledger is not None:
                await ledger.stop()
            await orchestrators.stop()
            await chain.stop()
            await recipients.stop()
            await auth.stop()
            await operations.stop()

    def ready_checks() -> Sequence[ReadyCheck]:
        return (*chain.ready_checks(), *orchestrators.ready_checks(), *(ledger.ready_checks() if ledger else ()))

    rest = create_rest(
        RestParts(
            signer=key,
            paying=paying,
            identify=auth.identifier.identify if auth.identifier else None,
            fetch_orchestrator_info=orchestrators.fetch_info,
            discover=orchestrators.discovery.render if orchestrators.discovery else None,
            ready_checks=ready_checks,
            render_metrics=render_metrics if admin.app is None else None,
            lifespan=lifespan,
            docs_enabled=config.docs.enabled,
            byoc_jobs=config.byoc_jobs,
        )
    )
    limits = BodyLimits(config.limits.max_body_bytes, config.limits.body_timeout_seconds)
    return Front(paying, rest, limits, config.cors.allow_origins, admin=admin.app, on_reply=operations.payments.replied)


def load_secret(config: KeyConfig) -> bytes:
    """The configured key's 32 bytes. Raises SigningKeyError."""
    if config.private_key is not None:
        return parse_private_key(config.private_key.get_secret_value(), "key.private_key")
    if config.private_key_file is not None:
        return load_private_key_file(config.private_key_file)
    assert config.keystore_file is not None
    password = (
        config.password.get_secret_value() if config.password is not None else read_secret_file(config.password_file, "key.password_file")  # type: ignore[arg-type]
    )
    return load_keystore(config.keystore_file, password, config.address)


def open_signing_key(config: KeyConfig) -> SigningKey:
    """The key of the configuration. Raises SigningKeyError, also when its address is not the configured one."""
    key = SigningKey(load_secret(config), config.signer)
    if config.address is not None and key.address != config.address:
        raise SigningKeyError(f"the key's address is 0x{key.address.hex()}, but key.address says 0x{config.address.hex()}")
    return key


def open_seal(config: StateConfig, key: SigningKey, clock_ns: Callable[[], int]) -> StateSeal:
    """The seal over states, with the previous keys that are still accepted."""
    return StateSeal(
        key,
        emit_mac=config.seal == "mac",
        mac_key=_mac_key(config, key),
        previous=tuple(_previous_key(previous) for previous in config.previous),
        clock_ns=clock_ns,
    )


def _mac_key(config: StateConfig, key: SigningKey) -> bytes:
    if config.mac_key is not None:
        return parse_private_key(config.mac_key.get_secret_value(), "state.mac_key")
    if config.mac_key_file is not None:
        return parse_private_key(read_secret_file(config.mac_key_file, "state.mac_key_file"), f"state.mac_key_file {config.mac_key_file}")
    return key.derive_mac_key()


def _previous_key(previous: PreviousSeal) -> PreviousKey:
    try:
        until_ns = parse_rfc3339_ns(previous.accept_until) or 0
    except ValueError:
        raise SigningKeyError("state.previous: accept_until is not a time such as 2026-04-07T20:00:00Z") from None
    if previous.private_key_file is not None:
        old = SigningKey(load_private_key_file(previous.private_key_file))
        return PreviousKey(old.derive_mac_key(), old, until_ns)
    assert previous.mac_key_file is not None
    text = read_secret_file(previous.mac_key_file, "state.previous mac_key_file")
    return PreviousKey(parse_private_key(text, f"state.previous mac_key_file {previous.mac_key_file}"), None, until_ns)


def _random_name() -> str:
    return os.urandom(16).hex()
