"""Composition of what pays: a service for each sender, on parts that all of them share. Part of `app`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from livepeer_remote_signer.adapters.events.encoder import EventEncoder
from livepeer_remote_signer.adapters.ledger.running import RunningLedger
from livepeer_remote_signer.adapters.recipients import RecipientRegistry
from livepeer_remote_signer.config.models import Config
from livepeer_remote_signer.core.rules.events import EventSource
from livepeer_remote_signer.core.rules.rates import CallerRates
from livepeer_remote_signer.core.rules.sender import LivePaymentSender
from livepeer_remote_signer.core.rules.senders import BySender
from livepeer_remote_signer.service.custody import Custody
from livepeer_remote_signer.service.observers import Observers
from livepeer_remote_signer.service.payments import RemoteSigner
from livepeer_remote_signer.service.signing import PaymentSigner
from livepeer_remote_signer.wiring.auth import AuthParts
from livepeer_remote_signer.wiring.chain import ChainParts, open_sender_chain
from livepeer_remote_signer.wiring.events import EventParts
from livepeer_remote_signer.wiring.live_payments import Parsing, open_live_payments, open_parsing
from livepeer_remote_signer.wiring.paying import open_payment_signer
from livepeer_remote_signer.wiring.senders import SenderParts, open_by_sender


class SharedParts(NamedTuple):
    """What every sender's payments go through."""

    config: Config
    clock_ns: Callable[[], int]
    instance: str
    chain: ChainParts
    auth: AuthParts
    recipients: RecipientRegistry | None
    ledger: RunningLedger | None
    rates: CallerRates | None
    events: EventParts | None
    observer: Observers


class Payer(NamedTuple):
    """The rules of one sender's payments, and what signs them."""

    sender: SenderParts
    live_payments: LivePaymentSender
    signer: PaymentSigner | Custody


class Payers(NamedTuple):
    """The service that takes payments, and what it is made of for each sender."""

    service: RemoteSigner
    each: Sequence[Payer]


def open_payers(senders: Sequence[SenderParts], shared: SharedParts) -> Payers:
    """With several senders the first one's service asks who calls, and gives each caller to that of its own sender. Raises ConfigError."""
    parsing = open_parsing()
    payers = [_open_payer(sender, shared, parsing) for sender in senders]
    sender_of = open_by_sender(senders, [sender.address for sender in senders])
    if sender_of.is_one:
        return Payers(_open_service(payers[0], shared), payers)
    services = [_open_service(payer, shared, sender_of=sender_of) for payer in payers]
    return Payers(_open_service(payers[0], shared, open_by_sender(senders, services)), payers)


def _open_payer(sender: SenderParts, shared: SharedParts, parsing: Parsing) -> Payer:
    signer = open_payment_signer(sender.key, sender.seal, shared.ledger, shared.clock_ns, parsing.states)
    return Payer(sender, open_live_payments(shared.config, sender.address, sender.seal, parsing), signer)


def _open_service(
    payer: Payer, shared: SharedParts, senders: BySender[RemoteSigner] | None = None, sender_of: BySender[bytes] | None = None
) -> RemoteSigner:
    address = payer.sender.address
    config, chain, events, ledger = shared.config, shared.chain, shared.events, shared.ledger
    return RemoteSigner(
        live_payments=payer.live_payments,
        signer=payer.signer,
        chain=open_sender_chain(chain, address),
        ceilings=chain.ceilings,
        clock_ns=shared.clock_ns,
        observer=shared.observer,
        identifier=shared.auth.identifier,
        recipients=shared.recipients,
        authorizer=shared.auth.authorizer,
        ledger=ledger.engine if ledger else None,
        rates=shared.rates,
        requires_auth_id=config.auth.require_auth_id,
        heal_stale=config.ledger.on_stale == "heal",
        encode_event=EventEncoder(EventSource(address, shared.instance)).encode if events else None,
        usd_per_eth=chain.feed.usd_per_eth if chain.feed is not None else None,
        publish=events.memory.publish if events and events.memory else None,
        senders=senders,
        sender_of=sender_of,
    )
