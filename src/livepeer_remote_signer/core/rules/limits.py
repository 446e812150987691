"""Whether ticket params may be signed against now: still alive, within the operator's limits, covered by the funds.

Source: section 6 of the protocol, step 10, in its order. Faults of the client's are told apart from faults of the
operator's funding by their class.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from livepeer_remote_signer.core.errors import (
    BadTicketParams,
    ChainStale,
    ClockWrong,
    DepositTooSmall,
    DepositUnlocking,
    FaceValueTooLow,
    NoDeposit,
    NoReserve,
    ProtocolPaused,
    RefreshSession,
    SignerError,
    TicketEvExceeded,
    TicketEvTooLow,
    TotalEvExceeded,
)
from livepeer_remote_signer.core.protocol.amounts import float_string, rat_string
from livepeer_remote_signer.core.protocol.strict_json import INT64_MAX
from livepeer_remote_signer.core.protocol.wire import OrchestratorInfo
from livepeer_remote_signer.core.rules.billing import MAX_TICKETS
from livepeer_remote_signer.core.rules.chain import ChainView

_UINT64_MAX = 2**64 - 1
_SOMETHING = (1, 1)


@dataclass(frozen=True, slots=True)
class TicketLimits:
    """The operator's limits on tickets, in wei. A face value may be at most deposit // `deposit_multiplier`.

    `min_ticket_ev_wei` and `max_tickets` (of one payment) bound what signatures cost, where each one is paid for.
    """

    max_ticket_ev_wei: int = 3_000_000_000_000
    max_total_ev_wei: int = 20_000_000_000_000
    deposit_multiplier: int = 1
    min_ticket_ev_wei: int = 0
    max_tickets: int = MAX_TICKETS
    max_credit_seconds: int | None = None
    """How many seconds one payment may buy beyond what is owed; None: as many as its tickets happen to be worth."""


class TicketFacts(Protocol):
    """What a rule on ticket params looks at."""

    @property
    def info(self) -> OrchestratorInfo: ...

    @property
    def chain(self) -> ChainView: ...

    @property
    def limits(self) -> TicketLimits: ...


def find_clock_fault(chain: ChainView) -> SignerError | None:
    """Why this host's clock may not be used. To be asked before anything is held against the time of day: by a wrong clock
    good tokens look expired."""
    fault = chain.clock_fault
    if fault is None:
        return None
    return ClockWrong(
        fault.reason,
        hint="set the clock of the signer's host (chronyc tracking, timedatectl); it recovers with the next reading of the chain",
        retry_after_seconds=5,
        clock_ahead_seconds=round(fault.ahead_seconds, 1),
        limit_seconds=fault.limit_seconds,
    )


def find_staleness(chain: ChainView) -> ChainStale | None:
    """Why a reading may not be used."""
    stale = chain.stale
    if stale is None:
        return None
    return ChainStale(
        f"chain data is stale: {stale.reason}",
        hint="check the signer's Ethereum RPC endpoints; it recovers by itself when they answer",
        retry_after_seconds=5,
        age_seconds=None if stale.age_seconds is None else round(stale.age_seconds, 1),
        limit_seconds=stale.limit_seconds,
    )


def find_pause(chain: ChainView) -> ProtocolPaused | None:
    """Why no ticket could be redeemed."""
    return ProtocolPaused("the Livepeer protocol is paused by its Controller", retry_after_seconds=60) if chain.paused else None


def find_chain_fault(chain: ChainView) -> SignerError | None:
    """Why a reading may not be used (ChainStale), or why no ticket could be redeemed (ProtocolPaused)."""
    return find_staleness(chain) or find_pause(chain)


def find_missing_deposit(chain: ChainView) -> NoDeposit | None:
    """Why no ticket is covered."""
    if chain.deposit_wei > 0:
        return None
    return NoDeposit("the signer's address has no deposit in TicketBroker", hint="fund the deposit", deposit=0)


def find_missing_reserve(chain: ChainView) -> NoReserve | None:
    """Why no orchestrator takes the tickets."""
    if chain.reserve_wei > 0:
        return None
    return NoReserve("the signer's address has no reserve in TicketBroker", hint="fund the reserve", reserve=0)


def find_unlocking(chain: ChainView) -> DepositUnlocking | None:
    """Why the funds may be gone before a ticket is redeemed."""
    if chain.withdraw_round == 0 or chain.withdraw_round > chain.last_initialized_round + 1:
        return None
    return DepositUnlocking(
        f"the signer's funds unlock in round {chain.withdraw_round}, the chain is in round {chain.last_initialized_round}",
        hint="cancel the unlock (cancel-unlock) to go on paying",
        withdraw_round=chain.withdraw_round,
        round=chain.last_initialized_round,
    )


def find_funds_fault(chain: ChainView) -> SignerError | None:
    """Why the sender's funds cannot be paid from, whatever the ticket."""
    return find_missing_deposit(chain) or find_missing_reserve(chain) or find_unlocking(chain)


def find_fault(chain: ChainView) -> SignerError | None:
    """Why no payment at all can be made on this view of the chain: what readiness and metrics show."""
    return find_chain_fault(chain) or find_clock_fault(chain) or find_funds_fault(chain)


def is_sound(chain: ChainView) -> bool:
    """Whether nothing of `find_chain_fault` and `find_funds_fault` stands against a payment."""
    return chain.stale is None and not chain.paused and chain.deposit_wei > 0 and chain.reserve_wei > 0 and find_unlocking(chain) is None


def check_clock(chain: ChainView) -> None:
    """Raises ClockWrong."""
    if (fault := find_clock_fault(chain)) is not None:
        raise fault


def check_chain(chain: ChainView) -> None:
    """Raises ChainStale for a reading that may not be used, ProtocolPaused when no ticket could be redeemed."""
    if (fault := find_chain_fault(chain)) is not None:
        raise fault


def check_params_alive(info: OrchestratorInfo, chain: ChainView) -> None:
    """Raises RefreshSession when the params expire with the next L1 block, BadTicketParams when they never had a block.

    go-livepeer looks at the lowest 64 bits of both, with a sign: so do we at numbers that no block will ever have.
    """
    expiration = info.ticket_params.expiration_block
    if not expiration & _UINT64_MAX:
        raise BadTicketParams("ticket params: expiration_block is missing or 0")
    left = expiration - chain.l1_block
    if left <= 1 or (left > INT64_MAX and _as_int64(left) <= 1):
        raise RefreshSession(
            f"ticket params expire at L1 block {expiration}, the chain is at {chain.l1_block}",
            info.transcoder,
            expiration_block=expiration,
            l1_block=chain.l1_block,
        )


def _as_int64(number: int) -> int:
    """Its lowest 64 bits as a signed number."""
    low = number & _UINT64_MAX
    return low if low <= INT64_MAX else low - _UINT64_MAX - 1


def check_alive(facts: TicketFacts) -> None:
    """`check_params_alive`, as a rule."""
    check_params_alive(facts.info, facts.chain)


def check_may_lose(facts: TicketFacts) -> None:
    """Raises FaceValueTooLow for a ticket that always wins."""
    info = facts.info
    ev_n, ev_d = info.ev_ratio
    face_value = info.ticket_params.face_value
    if ev_n >= face_value * ev_d and ev_n:
        raise FaceValueTooLow(
            f"ticket face value {face_value} wei is too low: not above its EV {float_string(info.ev, 3)} wei, so the ticket always wins",
            hint="the orchestrator must offer params whose win probability is below 1",
            ticket_ev=rat_string(info.ev),
            face_value=face_value,
        )


def check_ticket_ev(facts: TicketFacts) -> None:
    """Raises TicketEvExceeded for a ticket that is worth more than the limit."""
    info, limits = facts.info, facts.limits
    ev_n, ev_d = info.ev_ratio
    if ev_n > limits.max_ticket_ev_wei * ev_d:
        raise TicketEvExceeded(
            f"ticket EV {float_string(info.ev, 3)} wei exceeds the maximum ticket EV {limits.max_ticket_ev_wei} wei",
            hint="the orchestrator's -ticketEV is above the signer's limits.max_ticket_ev_wei",
            ticket_ev=rat_string(info.ev),
            max_ticket_ev=limits.max_ticket_ev_wei,
        )
    if ev_n < limits.min_ticket_ev_wei * ev_d and ev_n:
        raise TicketEvTooLow(
            f"ticket EV {float_string(info.ev, 3)} wei is below the minimum ticket EV {limits.min_ticket_ev_wei} wei: its signature costs "
            "too much",
            hint="the orchestrator must raise its -ticketEV, or the operator lowers limits.min_ticket_ev_wei",
            ticket_ev=rat_string(info.ev),
            min_ticket_ev=limits.min_ticket_ev_wei,
        )


def _is_worthless(info: OrchestratorInfo) -> bool:
    """Whether it is known of a ticket that it is worth nothing: no payment is made of such."""
    return getattr(info, "ev_ratio", _SOMETHING)[0] == 0


def check_deposit(facts: TicketFacts) -> None:
    """Raises NoDeposit."""
    if (fault := find_missing_deposit(facts.chain)) is not None and not _is_worthless(facts.info):
        raise fault


def check_reserve(facts: TicketFacts) -> None:
    """Raises NoReserve."""
    if (fault := find_missing_reserve(facts.chain)) is not None and not _is_worthless(facts.info):
        raise fault


def check_unlocking(facts: TicketFacts) -> None:
    """Raises DepositUnlocking."""
    if (fault := find_unlocking(facts.chain)) is not None and not _is_worthless(facts.info):
        raise fault


def check_total_ev_of_one(facts: TicketFacts) -> None:
    """Raises TotalEvExceeded where one ticket is worth more than all of a payment may be."""
    ev_n, ev_d = facts.info.ev_ratio
    if ev_n > facts.limits.max_total_ev_wei * ev_d:
        raise total_ev_exceeded(facts.info, 1, facts.limits)


def check_covered(facts: TicketFacts) -> None:
    """Raises DepositTooSmall where the deposit does not cover one ticket's face value."""
    info, chain, limits = facts.info, facts.chain, facts.limits
    face_value, coverable = info.ticket_params.face_value, chain.deposit_wei // limits.deposit_multiplier
    if face_value > coverable and not _is_worthless(info):
        raise DepositTooSmall(
            f"ticket face value {face_value} wei exceeds {coverable} wei, the deposit divided by {limits.deposit_multiplier}",
            hint="fund the sender's deposit in TicketBroker",
            face_value=face_value,
            max_face_value=coverable,
            deposit=chain.deposit_wei,
        )


TICKET_RULES: tuple[Callable[[TicketFacts], None], ...] = (
    check_alive,
    check_may_lose,
    check_ticket_ev,
    check_deposit,
    check_reserve,
    check_unlocking,
    check_total_ev_of_one,
    check_covered,
)
"""Step 10 after the chain's own state, in its order."""


def total_ev_exceeded(info: OrchestratorInfo, num_tickets: int, limits: TicketLimits, hint: str | None = None) -> TotalEvExceeded:
    """The refusal of a batch whose expected value is above the limit; `hint` where there is a better one than to pay more often."""
    total = info.ev * num_tickets
    return TotalEvExceeded(
        f"total EV {float_string(total, 3)} wei of {num_tickets} tickets exceeds the maximum total EV {limits.max_total_ev_wei} wei",
        hint=hint or "pay more often, or raise the signer's limits.max_total_ev_wei",
        total_ev=rat_string(total),
        max_total_ev=limits.max_total_ev_wei,
        num_tickets=num_tickets,
    )
