"""Composition of advice on orchestrators' terms. Part of `app`."""

from __future__ import annotations

from livepeer_remote_signer.config.keys import KeyConfig
from livepeer_remote_signer.config.models import Config
from livepeer_remote_signer.service.advising import Advisor
from livepeer_remote_signer.service.seams import ChainSource
from livepeer_remote_signer.wiring.live_payments import open_ticket_limits


def open_advisor(config: Config, chain: ChainSource, headroom_seconds: int, key: KeyConfig | None = None) -> Advisor:
    """For payments that buy so much ahead, by `key` where it is not that of everybody else."""
    limits = open_ticket_limits(config.limits)
    return Advisor(limits, config.live_payment_interval_seconds, headroom_seconds, (key or config.key).signature_cost_wei, chain)
