"""The paying routes, from what the operator allows of them, and what signs for them."""

from __future__ import annotations

from collections.abc import Callable

from livepeer_remote_signer.adapters.keys import StateSeal
from livepeer_remote_signer.adapters.keys.sender import Sender
from livepeer_remote_signer.adapters.ledger.running import RunningLedger
from livepeer_remote_signer.api.paying import PayingRoutes
from livepeer_remote_signer.config.loading import ConfigError
from livepeer_remote_signer.config.models import NEEDS_LEDGER, Config
from livepeer_remote_signer.core.protocol.state import RecentStates
from livepeer_remote_signer.service.custody import Custody
from livepeer_remote_signer.service.observers import Observers, RareTicketWarning
from livepeer_remote_signer.service.payments import RemoteSigner
from livepeer_remote_signer.service.signing import PaymentSigner


def open_rare_ticket_warning(config: Config) -> RareTicketWarning:
    """Silent on routes where credit is bought ahead."""
    headroom = config.headroom_seconds
    ahead = {"/generate-live-payment": headroom.generate_live_payment, "/signTicket": headroom.sign_ticket}
    return RareTicketWarning(config.live_payment_interval_seconds, ahead)


def open_paying(config: Config, service: RemoteSigner, observer: Observers) -> PayingRoutes:
    """`/generate-live-payment` and `/signTicket`."""
    limits, headroom, catch_up = config.limits, config.headroom_seconds, config.catch_up
    return PayingRoutes(
        service,
        observer,
        max_in_work=limits.max_requests_in_work,
        fair_share=limits.fair_share,
        max_unidentified_bytes=None if config.auth.demands_credential else limits.max_unidentified_bytes_per_second,
        trusted_proxies=config.auth.trusted_proxies,
        answer_seconds=limits.answer_seconds,
        headroom_live_payment=headroom.generate_live_payment,
        headroom_sign_ticket=headroom.sign_ticket,
        catch_up_live_payment=catch_up.max_seconds if catch_up.generate_live_payment else 0,
        catch_up_sign_ticket=catch_up.max_seconds if catch_up.sign_ticket else 0,
        interval_seconds=config.live_payment_interval_seconds,
    )


def open_payment_signer(
    sender: Sender,
    seal: StateSeal,
    ledger: RunningLedger | None,
    clock_ns: Callable[[], int],
    recent_states: RecentStates,
) -> PaymentSigner | Custody:
    """What signs payments: inside the ledger's transaction with a key that this host has, else between two of them. Raises ConfigError."""
    if sender.local is not None:
        return PaymentSigner(sender.local, seal, recent_states.remember)
    if sender.outside is None or ledger is None:
        raise ConfigError(NEEDS_LEDGER)
    return Custody(sender.outside, seal, ledger.engine, clock_ns, recent_states.remember)
