"""The paying routes, from what the operator allows of them."""

from __future__ import annotations

from livepeer_remote_signer.api.paying import PayingRoutes
from livepeer_remote_signer.config.models import Config
from livepeer_remote_signer.service.observers import Observers, RareTicketWarning
from livepeer_remote_signer.service.payments import RemoteSigner


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
        max_unidentified_bytes=limits.max_unidentified_bytes_per_second,
        trusted_proxies=config.auth.trusted_proxies,
        answer_seconds=limits.answer_seconds,
        headroom_live_payment=headroom.generate_live_payment,
        headroom_sign_ticket=headroom.sign_ticket,
        catch_up_live_payment=catch_up.max_seconds if catch_up.generate_live_payment else 0,
        catch_up_sign_ticket=catch_up.max_seconds if catch_up.sign_ticket else 0,
        interval_seconds=config.live_payment_interval_seconds,
    )
