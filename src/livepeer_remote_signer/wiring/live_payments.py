"""Composition of what decides payments. Part of `app`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from secrets import token_hex
from typing import NamedTuple

from livepeer_remote_signer.adapters.keys import StateSeal
from livepeer_remote_signer.config.models import Config
from livepeer_remote_signer.config.serving import LimitsConfig
from livepeer_remote_signer.core.protocol.state import RecentStates
from livepeer_remote_signer.core.protocol.wire import OrchestratorInfo, parse_orchestrator_info
from livepeer_remote_signer.core.recent import remembering
from livepeer_remote_signer.core.rules.limits import TicketLimits
from livepeer_remote_signer.core.rules.payment import SessionIds
from livepeer_remote_signer.core.rules.sender import LivePaymentSender

INFO_CACHE_ENTRIES = 4096
RECENT_STATES = 2048


class Parsing(NamedTuple):
    """Parsers that know what they parsed of late. It is nobody's: all senders share it, so that its bounds do not grow with them."""

    states: RecentStates
    info: Callable[[bytes], OrchestratorInfo]


def open_parsing() -> Parsing:
    """Nothing was parsed yet."""
    return Parsing(RecentStates(RECENT_STATES), remembering(parse_orchestrator_info, INFO_CACHE_ENTRIES))


def open_live_payments(config: Config, sender: bytes, seal: StateSeal, parsing: Parsing) -> LivePaymentSender:
    """The rules of a sender's payments with the operator's limits. Names of sessions are 128 random bits."""
    return LivePaymentSender(
        open_ticket_limits(config.limits),
        seal,
        SessionIds(state_id=partial(token_hex, 16), manifest_id=partial(token_hex, 16)),
        parse_info=parsing.info,
        parse_state=parsing.states.parse,
        must_be_orchestrator=config.recipients.must_be_orchestrator,
        sender=sender,
    )


def open_ticket_limits(limits: LimitsConfig) -> TicketLimits:
    """What `limits` says of tickets."""
    return TicketLimits(
        limits.max_ticket_ev_wei,
        limits.max_total_ev_wei,
        limits.deposit_multiplier,
        limits.min_ticket_ev_wei,
        limits.max_tickets,
        limits.max_credit_seconds,
    )
