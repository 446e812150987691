"""Composition root: Config -> adapters -> service -> ASGI application. Only this module names implementations."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Protocol

from livepeer_remote_signer.adapters.logs import LogWriter
from livepeer_remote_signer.api.bounds import Arrivals, BodyLimits, Bounds, Places, connections_within
from livepeer_remote_signer.api.front import Front
from livepeer_remote_signer.api.paying import PayingRoutes
from livepeer_remote_signer.api.rest import ReadyCheck, RestParts, create_rest
from livepeer_remote_signer.config.models import Config
from livepeer_remote_signer.core.protocol.state import RecentStates
from livepeer_remote_signer.core.protocol.wire import parse_orchestrator_info
from livepeer_remote_signer.core.recent import remembering
from livepeer_remote_signer.core.rules.limits import TicketLimits
from livepeer_remote_signer.core.rules.payment import LivePaymentSender, SessionIds
from livepeer_remote_signer.service.payments import RemoteSigner
from livepeer_remote_signer.service.signing import PaymentSigner
from livepeer_remote_signer.wiring.admin import ConsoleSources, open_administration
from livepeer_remote_signer.wiring.auth import open_auth, open_recipients
from livepeer_remote_signer.wiring.chain import open_chain
from livepeer_remote_signer.wiring.keys import open_mac_key, open_seal, open_signing_key
from livepeer_remote_signer.wiring.ledger import open_ledger
from livepeer_remote_signer.wiring.operations import Operations, open_sinks
from livepeer_remote_signer.wiring.orchestrators import OrchestratorParts

INFO_CACHE_ENTRIES = 4096
RECENT_STATES = 2048


def create_app(config: Config, *, clock_ns: Callable[[], int] = time.time_ns, logs: LogWriter | None = None) -> Front:
    """The ASGI application. Its lifespan starts and stops all it uses. Raises SigningKeyError when the key cannot be used."""
    key = open_signing_key(config.key)
    seal = open_seal(config.state, key, clock_ns)
    recent_states = RecentStates(RECENT_STATES)
    sender = LivePaymentSender(
        TicketLimits(config.limits.max_ticket_ev_wei, config.limits.max_total_ev_wei, config.limits.deposit_multiplier),
        seal,
        SessionIds(state_id=_random_name, manifest_id=_random_name),
        parse_info=remembering(parse_orchestrator_info, INFO_CACHE_ENTRIES),
        parse_state=recent_states.parse,
        must_be_orchestrator=config.recipients.must_be_orchestrator,
    )
    chain = open_chain(config, key.address)
    auth = open_auth(config.auth, open_mac_key(config.state, key))
    recipients = open_recipients(config, chain)
    sinks = tuple(open_sinks(config))
    ledger = open_ledger(config, clock_ns, sinks=[sink.name for sink in sinks])
    operations = Operations(config, key.address, chain, ledger, sinks, logs)
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
    signer = PaymentSigner(key, seal, recent_states.remember)
    service = RemoteSigner(
        sender=sender,
        signer=signer,
        chain=chain.source,
        ceilings=chain.ceilings,
        clock_ns=clock_ns,
        observer=observer,
        identifier=auth.identifier,
        recipients=recipients.policy,
        authorizer=auth.authorizer,
        ledger=ledger.engine if ledger else None,
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
        catch_up_live_payment=config.catch_up.max_seconds if config.catch_up.generate_live_payment else 0,
        catch_up_sign_ticket=config.catch_up.max_seconds if config.catch_up.sign_ticket else 0,
        interval_seconds=config.live_payment_interval_seconds,
    )
    operations.add_gauges(in_work=lambda: paying.in_work, signatures=lambda: signer.signatures, discovery=orchestrators.discovery)

    def ready_checks() -> Sequence[ReadyCheck]:
        return (*chain.ready_checks(), *orchestrators.ready_checks(), *(ledger.ready_checks() if ledger else ()))

    rest = create_rest(
        RestParts(
            signer=key,
            paying=paying,
            identify=auth.identifier.identify if auth.identifier else None,
            fetch_orchestrator_info=orchestrators.fetch_info,
            discover=orchestrators.discovery.find if orchestrators.discovery else None,
            ready_checks=ready_checks,
            render_metrics=render_metrics if admin.app is None else None,
            lifespan=lambda _: _running((chain, orchestrators, ledger, admin), (operations.stop, auth.stop, recipients.stop), operations),
            docs_enabled=config.docs.enabled,
            byoc_jobs=config.byoc_jobs,
        )
    )
    limits = config.limits
    bounds = Bounds(
        BodyLimits(limits.max_body_bytes, limits.body_timeout_seconds),
        Arrivals(limits.max_arriving_bytes, time.monotonic),
        Places(limits.max_connections or connections_within(resource.getrlimit(resource.RLIMIT_NOFILE)[0]), time.monotonic),
        limits.idle_seconds,
    )
    return Front(paying, rest, bounds, config.cors.allow_origins, admin=admin.app, on_reply=operations.payments.replied)


class _Part(Protocol):
    """What the application starts and stops."""

    async def start(self) -> None: ...

    async def stop(self) -> None: ...


@asynccontextmanager
async def _running(
    parts: Sequence[_Part | None], closings: Sequence[Callable[[], Awaitable[None]]], operations: Operations
) -> AsyncIterator[None]:
    """The application's life: parts start in their order and stop in the reverse one; events are forwarded while they run."""
    async with AsyncExitStack() as stack:
        for close in closings:
            stack.push_async_callback(close)
        for part in parts:
            if part is not None:
                await part.start()
                stack.push_async_callback(part.stop)
        await operations.start()
        stack.push_async_callback(operations.stop_forwarding)
        yield


def _random_name() -> str:
    return os.urandom(16).hex()
