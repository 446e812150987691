"""Whether ticket params may be signed against now: still alive, within the operator's limits, covered by the funds.

Source: section 6 of the protocol, step 10, in its order. Faults of the client's are told apart from faults of the
operator's funding by their class.
"""

from __future__ import annotations

from dataclasses import dataclass

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


def find_chain_fault(chain: ChainView) -> SignerError | None:
    """Why a reading may not be used (ChainStale), or why no ticket could be redeemed (ProtocolPaused)."""
    if chain.stale is not None:
        stale = chain.stale
        return ChainStale(
            f"chain data is stale: {stale.reason}",
            hint="check the signer's Ethereum RPC endpoints; it recovers by itself when they answer",
            retry_after_seconds=5,
            age_seconds=None if stale.age_seconds is None else round(stale.age_seconds, 1),
            limit_seconds=stale.limit_seconds,
        )
    if chain.paused:
        return ProtocolPaused("the Livepeer protocol is paused by its Controller", retry_after_seconds=60)
    return None


def find_funds_fault(chain: ChainView) -> SignerError | None:
    """Why the sender's funds cannot be paid from, whatever the ticket."""
    if chain.deposit_wei <= 0:
        return NoDeposit("the signer's address has no deposit in TicketBroker", hint="fund the deposit", deposit=0)
    if chain.reserve_wei <= 0:
        return NoReserve("the signer's address has no reserve in TicketBroker", hint="fund the reserve", reserve=0)
    if chain.withdraw_round != 0 and chain.withdraw_round <= chain.last_initialized_round + 1:
        return DepositUnlocking(
            f"the signer's funds unlock in round {chain.withdraw_round}, the chain is in round {chain.last_initialized_round}",
            hint="cancel the unlock (cancel-unlock) to go on paying",
            withdraw_round=chain.withdraw_round,
            round=chain.last_initialized_round,
        )
    return None


def find_fault(chain: ChainView) -> SignerError | None:
    """Why no payment at all can be made on this view of the chain: what readiness and metrics show."""
    return find_chain_fault(chain) or find_clock_fault(chain) or find_funds_fault(chain)


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


def check_ticket_params(info: OrchestratorInfo, chain: ChainView, limits: TicketLimits) -> None:
    """All of step 10. Raises the error of the first rule that is broken."""
    check_chain(chain)
    check_params_alive(info, chain)
    face_value = info.ticket_params.face_value
    ev = info.ev
    ev_n, ev_d = info.ev_ratio
    if ev_n == 0:
        return
    if ev_n >= face_value * ev_d:
        raise FaceValueTooLow(
            f"ticket face value {face_value} wei is too low: not above its EV {float_string(ev, 3)} wei, so the ticket always wins",
            hint="the orchestrator must offer params whose win probability is below 1",
            ticket_ev=rat_string(ev),
            face_value=face_value,
        )
    if ev_n > limits.max_ticket_ev_wei * ev_d:
        raise TicketEvExceeded(
            f"ticket EV {float_string(ev, 3)} wei exceeds the maximum ticket EV {limits.max_ticket_ev_wei} wei",
            hint="the orchestrator's -ticketEV is above the signer's limits.max_ticket_ev_wei",
            ticket_ev=rat_string(ev),
            max_ticket_ev=limits.max_ticket_ev_wei,
        )
    if ev_n < limits.min_ticket_ev_wei * ev_d:
        raise TicketEvTooLow(
            f"ticket EV {float_string(ev, 3)} wei is below the minimum ticket EV {limits.min_ticket_ev_wei} wei: its signature costs "
            "too much",
            hint="the orchestrator must raise its -ticketEV, or the operator lowers limits.min_ticket_ev_wei",
            ticket_ev=rat_string(ev),
            min_ticket_ev=limits.min_ticket_ev_wei,
        )
    if (fault := find_funds_fault(chain)) is not None:
        raise fault
    if ev_n > limits.max_total_ev_wei * ev_d:
        raise total_ev_exceeded(info, 1, limits)
    coverable = chain.deposit_wei // limits.deposit_multiplier
    if face_value > coverable:
        raise DepositTooSmall(
            f"ticket face value {face_value} wei exceeds {coverable} wei, the deposit divided by {limits.deposit_multiplier}",
            hint="fund the sender's deposit in TicketBroker",
            face_value=face_value,
            max_face_value=coverable,
            deposit=chain.deposit_wei,
        )


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
