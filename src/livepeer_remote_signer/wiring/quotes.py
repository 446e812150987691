"""Composition of quotes, from what payments are judged by. Part of `app`."""

from __future__ import annotations

from collections.abc import Callable

from livepeer_remote_signer.adapters.ledger.running import RunningLedger
from livepeer_remote_signer.adapters.recipients import RecipientRegistry
from livepeer_remote_signer.api.paying import SIGN_TICKET, PayingRoutes
from livepeer_remote_signer.api.quote import QuoteParts
from livepeer_remote_signer.config.models import Config
from livepeer_remote_signer.core.rules.rates import CallerRates
from livepeer_remote_signer.core.rules.sender import LivePaymentSender
from livepeer_remote_signer.service.quotes import PaymentQuotes, QuoteTerms
from livepeer_remote_signer.wiring.advising import open_advisor
from livepeer_remote_signer.wiring.auth import AuthParts
from livepeer_remote_signer.wiring.chain import ChainParts


def open_quotes(
    config: Config,
    live_payments: LivePaymentSender,
    chain: ChainParts,
    clock_ns: Callable[[], int],
    auth: AuthParts,
    recipients: RecipientRegistry | None,
    ledger: RunningLedger | None,
    rates: CallerRates | None,
    paying: PayingRoutes,
) -> QuoteParts:
    """`/quoteTicket`, about payments of `/signTicket`."""
    terms = QuoteTerms(
        SIGN_TICKET,
        config.headroom_seconds.sign_ticket,
        config.catch_up.max_seconds if config.catch_up.sign_ticket else 0,
        heal_stale=config.ledger.on_stale == "heal",
        requires_auth_id=config.auth.require_auth_id,
        per_minute=config.limits.quotes_per_minute,
    )
    quotes = PaymentQuotes(
        terms,
        live_payments=live_payments,
        chain=chain.source,
        ceilings=chain.ceilings,
        clock_ns=clock_ns,
        advisor=open_advisor(config, chain.source, config.headroom_seconds.sign_ticket),
        usd_per_eth=chain.feed.usd_per_eth if chain.feed is not None else None,
        identifier=auth.identifier,
        recipients=recipients,
        authorizer=auth.authorizer,
        books=ledger.engine if ledger is not None else None,
        rates=rates,
    )
    return QuoteParts(quotes, paying.begin, config.live_payment_interval_seconds, config.limits.answer_seconds)
