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
from livepeer_remote_signer.service.custody import Custody
from livepeer_remote_signer.service.observers import Observers
from livepeer_remote_signer.service.signing import Signatures
from livepeer_remote_signer.wiring.admin import open_admin, open_overview, open_prices
from livepeer_remote_signer.wiring.auth import open_auth, open_byoc, open_questions, open_recipients
from livepeer_remote_signer.wiring.bounds import open_bounds, open_rates
from livepeer_remote_signer.wiring.chain import open_chain
from livepeer_remote_signer.wiring.drawn import open_drawn
from livepeer_remote_signer.wiring.events import open_events, open_sinks
from livepeer_remote_signer.wiring.ledger import open_ledger
from livepeer_remote_signer.wiring.operations import open_metrics, open_sender_gauges, open_traces
from livepeer_remote_signer.wiring.orchestrators import open_orchestrators
from livepeer_remote_signer.wiring.outbound import open_outbound
from livepeer_remote_signer.wiring.pages import open_pages
from livepeer_remote_signer.wiring.payers import SharedParts, open_payers
from livepeer_remote_signer.wiring.paying import open_paying, open_rare_ticket_warning
from livepeer_remote_signer.wiring.quotes import open_quotes
from livepeer_remote_signer.wiring.readiness import open_readiness
from livepeer_remote_signer.wiring.senders import open_by_sender, open_senders
from livepeer_remote_signer.wiring.usage import open_usage


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
    senders = open_senders(config, outbound, clock_ns)
    first, keys = senders[0], {sender.address: sender.name for sender in senders}
    chain = open_chain(config, first.address, outbound, list(keys)[1:])
    recipients = open_recipients(config, chain)
    sinks = open_sinks(config, outbound)
    names = [sink.name for sink in sinks]
    ledger = open_ledger(config, clock_ns, sinks=names, senders=keys, former=first.seal.former_senders, view=chain.source.view)
    auth = open_auth(config.auth, first.key.mac_key, outbound, ledger.users if ledger else None, chain.source.view)
    instance = instance_name()
    metrics = open_metrics(chain, keys, ledger, workers_folder, clock_ns)
    traces = open_traces(config, instance, outbound)
    events = open_events(config, sinks, ledger, metrics.registry)
    drawn = open_drawn(config, keys, chain, ledger, instance, metrics.registry, metrics.by_sender, clock_ns)
    orchestrators = open_orchestrators(config, [sender.info for sender in senders], chain, metrics.registry, clock_ns)
    prices = open_prices(config, chain, ledger, workers_folder)
    payment_log = PaymentLog(logs, status_of) if logs is not None else None
    refusals = RecentRefusals(status_of, clock_ns)
    told = (recipients, metrics.payments, open_rare_ticket_warning(config), payment_log, traces, refusals)
    observer = Observers([one for one in told if one is not None])
    rates = open_rates(config.limits)
    shared = SharedParts(config, clock_ns, instance, chain, auth, recipients, ledger, rates, events, observer)
    payers = open_payers(senders, shared)
    paying = open_paying(config, payers.service, observer)
    add_work_gauges(metrics.registry, paying, Signatures([payer.signer for payer in payers.each]))
    if ledger is not None:
        add_ledger_gauges(metrics.registry, ledger)
    bounds = open_bounds(config.limits, metrics.registry)
    readiness = open_readiness(chain, auth, orchestrators, ledger, events, bounds, senders)
    outside = [sender.key.outside for sender in senders if sender.key.outside is not None]
    open_sender_gauges(metrics.registry, senders, chain)
    admin = None
    if config.admin is not None:
        discovery = orchestrators.discovery
        overview = open_overview(config, keys, chain, ledger, prices, discovery, readiness, metrics, clock_ns, refusals, drawn)
        admin = open_admin(config.admin, prices, ledger, metrics.registry.render, overview)
    asking = [queries.aclose for queries in orchestrators.queries]
    closings = [recipients.aclose if recipients else None, *auth.closers, *asking, traces.aclose if traces else None]
    custodies = [payer.signer for payer in payers.each if isinstance(payer.signer, Custody)]
    delivery = events.delivery if events else None
    parts = [metrics.sampler, *outside, chain.rpc, orchestrators.discovery, ledger, metrics.runways, *custodies, *drawn, prices, delivery]
    rest = create_rest(
        RestParts(
            info=open_by_sender(senders, [sender.info for sender in senders]),
            paying=paying,
            quotes=open_quotes(payers.each, shared, paying),
            identify=auth.identifier.identify if auth.identifier else None,
            questions=open_questions(config, auth, open_by_sender(senders, [one.fetch_info for one in orchestrators.queries])),
            discover=orchestrators.discovery.find if orchestrators.discovery else None,
            ready_checks=readiness.checks,
            render_metrics=metrics.registry.render if admin is None else None,
            lifespan=partial(running, parts, closings, logs.drain if logs is not None else None),
            docs_enabled=config.docs.enabled,
            answer_seconds=config.limits.answer_seconds,
            byoc=open_byoc(config, auth, ledger, open_by_sender(senders, [sender.byoc_key for sender in senders])),
            usage=open_usage(config, auth, ledger, clock_ns),
        )
    )
    return Front(
        paying,
        rest,
        bounds,
        open_pages(config),
        admin=admin,
        on_reply=metrics.payments.replied,
        admin_proxies=config.admin.trusted_proxies if config.admin is not None else (),
    )
