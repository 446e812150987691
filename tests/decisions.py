"""A decision of the core with good surroundings, and a session's state that goes on from it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from livepeer_remote_signer.core.protocol.state import SignerState, encode_state
from livepeer_remote_signer.core.rules.chain import ChainView
from livepeer_remote_signer.core.rules.limits import TicketLimits
from livepeer_remote_signer.core.rules.payment import PaymentPlan, PaymentRequest
from livepeer_remote_signer.core.rules.pricing import Ceilings
from tests.strategies import CHAIN, NOW_NS, SEAL, new_request, new_sender

SECOND = 10**9
LOOSE = TicketLimits(max_ticket_ev_wei=10**40, max_total_ev_wei=10**42)
RICH = replace(CHAIN, deposit_wei=10**50, reserve_wei=10**50)
NO_CEILINGS = Ceilings()


def decide(
    request: PaymentRequest,
    now_ns: int = NOW_NS,
    *,
    chain: ChainView = CHAIN,
    ceilings: Ceilings = NO_CEILINGS,
    limits: TicketLimits | None = None,
    headroom_seconds: int = 0,
    catch_up_seconds: int = 0,
) -> PaymentPlan:
    """Steps 2 to 15."""
    sender = new_sender(limits)
    return sender.plan(sender.open(request, now_ns), chain, ceilings, now_ns, headroom_seconds, catch_up_seconds)


def sealed(state: SignerState) -> dict[str, bytes]:
    """The request's parts that carry this state."""
    raw = encode_state(state)
    return {"state": raw, "state_sig": SEAL.seal(raw)}


def continued(plan: PaymentPlan, **changes: Any) -> PaymentRequest:
    """The next request of the session that `plan` paid for."""
    return new_request(**{"type": plan.state.type, "app": plan.state.app, **sealed(plan.state), **changes})


STATE = decide(new_request()).state
"""A session's state after its first payment."""

LATER_NS = NOW_NS + 3000 * SECOND
