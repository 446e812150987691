"""Composition of quotes, from what payments are judged by. Part of `app`."""

from __future__ import annotations

from collections.abc import Sequence

from livepeer_remote_signer.api.paying import SIGN_TICKET, PayingRoutes
from livepeer_remote_signer.api.quote import QuoteParts
from livepeer_remote_signer.core.rules.senders import BySender
from livepeer_remote_signer.service.quotes import PaymentQuotes, QuoteTerms
from livepeer_remote_signer.wiring.advising import open_advisor
from livepeer_remote_signer.wiring.chain import open_sender_chain
from livepeer_remote_signer.wiring.payers import Payer, SharedParts
from livepeer_remote_signer.wiring.senders import open_by_sender


def open_quotes(payers: Sequence[Payer], shared: SharedParts, paying: PayingRoutes) -> QuoteParts:
    """`/quoteTicket`, about payments of `/signTicket` by the caller's own sender."""
    config, senders = shared.config, [payer.sender for payer in payers]
    addresses = open_by_sender(senders, [sender.address for sender in senders])
    sender_of = None if addresses.is_one else addresses
    quotes = [_open_quotes(payer, shared, sender_of) for payer in payers]
    by_sender = open_by_sender(senders, quotes)
    teller = quotes[0] if by_sender.is_one else _open_quotes(payers[0], shared, sender_of, by_sender)
    return QuoteParts(teller, paying.begin, config.live_payment_interval_seconds, config.limits.answer_seconds)


def _open_quotes(
    payer: Payer, shared: SharedParts, sender_of: BySender[bytes] | None, senders: BySender[PaymentQuotes] | None = None
) -> PaymentQuotes:
    config, ledger, feed = shared.config, shared.ledger, shared.chain.feed
    chain = open_sender_chain(shared.chain, payer.sender.address)
    terms = QuoteTerms(
        SIGN_TICKET,
        config.headroom_seconds.sign_ticket,
        config.catch_up.max_seconds if config.catch_up.sign_ticket else 0,
        heal_stale=config.ledger.on_stale == "heal",
        requires_auth_id=config.auth.require_auth_id,
        per_minute=config.limits.quotes_per_minute,
    )
    return PaymentQuotes(
        terms,
        live_payments=payer.live_payments,
        chain=chain,
        ceilings=shared.chain.ceilings,
        clock_ns=shared.clock_ns,
        advisor=open_advisor(config, chain, config.headroom_seconds.sign_ticket, config.keys.get(payer.sender.name)),
        usd_per_eth=feed.usd_per_eth if feed is not None else None,
        identifier=shared.auth.identifier,
        recipients=shared.recipients,
        authorizer=shared.auth.authorizer,
        books=ledger.engine if ledger is not None else None,
        rates=shared.rates,
        senders=senders,
        sender_of=sender_of,
    )
