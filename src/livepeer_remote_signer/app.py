"""Composition root: Config -> adapters -> service -> ASGI application. Only this module and `wiring` name implementations.

Both hold constructors alone: what decides, counts or waits lives in the part that it belongs to.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from livepeer_remote_signer.adapters.instance import instance_name
from livepeer_remote_signer.adapters.ledger.gauges import add_ledger_gauges
from livepeer_remote_signer.adapters.logs import LogWriter, PaymentLog
from livepeer_remote_signer.adapters.metrics.payments import add_work_gauges
from livepeer_remote_signer.adapters.overview.refusals import RecentRefusals
from livepeer_remote_signer.api.errors import status_of
from livepeer_remote_signer.api.front import Front
from livepeer_remote_signer.api.lifespan import running
from livepeer_remote_signer.api.rest import RestParts, create_rest
from livepeer_remote_signer.config.models import Config
from livepeer_remote_signer.core.protocol.state import RecentStates
from livepeer_remote_signer.core.rules.events import EventSource
from livepeer_remote_signer.service.custody import Custody
from livepeer_remote_signer.service.observers import Observers
from livepeer_remote_signer.service.payments import RemoteSigner
from livepeer_remote_signer.wiring.admin import open_admin, open_overview, open_prices
from livepeer_remote_signer.wiring.auth import open_auth, open_byoc, open_questions, open_recipients
from livepeer_remote_signer.wiring.bounds import open_bounds, open_rates
from livepeer_remote_signer.wiring.chain import open_chain
from livepeer_remote_signer.wiring.drawn import open_drawn
from livepeer_remote_signer.wiring.events import open_events, open_sinks
from livepeer_remote_signer.wiring.keys import open_info_signature, open_seal, open_sender
from livepeer_remote_signer.wiring.ledger import open_ledger
from livepeer_remote_signer.wiring.live_payments import open_live_payments
from livepeer_remote_signer.wiring.operations import open_metrics, open_traces
from livepeer_remote_signer.wiring.orchestrators import open_orchestrators
from livepeer_remote_signer.wiring.outbound import open_outbound
from livepeer_remote_signer.wiring.pages import open_pages
from livepeer_remote_signer.wiring.paying import open_paying, open_payment_signer, open_rare_ticket_warning
from livepeer_remote_signer.wiring.quotes import open_quotes
from livepeer_remote_signer.wiring.readiness import open_readiness
from livepeer_remote_signer.wiring.usage import open_usage

RECENT_STATES = 2048


def create_app(
    config: Config,
    *,
    clock_ns: Callable[[], int] = time.time_ns,
    logs: LogWriter | None = None,
    workers_folder: Path | None = None,
) -> Front:
    """The ASGI application. Its lifespan starts and stops all it uses. Raises ConfigError, SigningKeyError when the key cannot be used.

    Without `logs` payments leave no lines: for applications inside another program. `workers_folder` is shared by all
    workers of a service; None: there is one process.
    """
    outbound = open_outbound(config.outbound)
    sender = open_sender(config, outbound)
    info_signature = open_info_signature(sender)
    seal = open_seal(config.state, sender, clock_ns)
    recent_states = RecentStates(RECENT_STATES)
    live_payments = open_live_payments(config, seal, recent_states)
    chain = open_chain(config, sender.address, outbound)
    recipients = open_recipients(config, chain)
    sinks = open_sinks(config, outbound)
    ledger = open_ledger(config, clock_ns, sinks=[sink.name for sink in sinks], senders=[sender.address, *seal.former_senders])
    auth = open_auth(config.auth, sender.mac_key, outbound, ledger.users if ledger else None)
    instance = instance_name()
    metrics = open_metrics(chain, ledger, workers_folder, clock_ns)
    traces = open_traces(config, instance, outbound)
    events = open_events(config, sinks, EventSource(sender.address, instance), ledger, metrics.registry)
    orchestrators = open_orchestrators(config, sender.address, info_signature, chain, metrics.registry, clock_ns)
    prices = open_prices(config, chain, ledger, workers_folder)
    payment_log = PaymentLog(logs, status_of) if logs is not None else None
    refusals = RecentRefusals(status_of, clock_ns)
    told = (recipients, metrics.payments, open_rare_ticket_warning(config), payment_log, traces, refusals)
    observer = Observers([one for one in told if one is not None])
    rates = open_rates(config.limits)
    signer = open_payment_signer(sender, seal, ledger, metrics.registry, clock_ns, recent_states)
    service = RemoteSigner(
        live_payments=live_payments,
        signer=signer,
        chain=chain.source,
        ceilings=chain.ceilings,
        clock_ns=clock_ns,
        observer=observer,
        identifier=auth.identifier,
        recipients=recipients,
        authorizer=auth.authorizer,
        ledger=ledger.engine if ledger else None,
        rates=rates,
        requires_auth_id=config.auth.require_auth_id,
        heal_stale=config.ledger.on_stale == "heal",
        encode_event=events.encoder.encode if events else None,
        usd_per_eth=chain.feed.usd_per_eth if chain.feed is not None else None,
        publish=events.memory.publish if events and events.memory else None,
    )
    paying = open_paying(config, service, observer)
    add_work_gauges(metrics.registry, paying, signer)
    if ledger is not None:
        add_ledger_gauges(metrics.registry, ledger)
    bounds = open_bounds(config.limits, metrics.registry)
    readiness = open_readiness(chain, auth, orchestrators, ledger, events, bounds, sender.outside)
    admin = None
    if config.admin is not None:
        discovery = orchestrators.discovery
        overview = open_overview(config, sender.address, chain, ledger, prices, discovery, readiness, metrics, clock_ns, refusals)
        admin = open_admin(config.admin, prices, ledger, metrics.registry.render, overview)
    closings = [recipients.aclose if recipients else None, *auth.closers, orchestrators.queries.aclose, traces.aclose if traces else None]
    drawn = open_drawn(config, sender.address, chain, ledger, instance, metrics.registry, clock_ns)
    custody, delivery = signer if isinstance(signer, Custody) else None, events.delivery if events else None
    parts = [metrics.sampler, sender.outside, chain.rpc, orchestrators.discovery, ledger, metrics.runways, custody, drawn, prices, delivery]
    rest = create_rest(
        RestParts(
            sender=sender.address,
            info_signature=info_signature,
            paying=paying,
            quotes=open_quotes(config, live_payments, chain, clock_ns, auth, recipients, ledger, rates, paying),
            identify=auth.identifier.identify if auth.identifier else None,
            questions=open_questions(config, auth, orchestrators.queries.fetch_info),
            discover=orchestrators.discovery.find if orchestrators.discovery else None,
            ready_checks=readiness.checks,
            render_metrics=metrics.registry.render if admin is None else None,
            lifespan=partial(running, parts, closings, logs.drain if logs is not None else None),
            docs_enabled=config.docs.enabled,
            answer_seconds=config.limits.answer_seconds,
            byoc=open_byoc(config, auth, sender, ledger),
            usage=open_usage(config, auth, ledger, clock_ns),
        )
    )
    return Front(paying, rest, bounds, open_pages(config), admin=admin, on_reply=metrics.payments.replied)
