"""The order of the checks decides which error a client sees: every fault alone, and every pair of faults."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from itertools import combinations
from typing import Any, NamedTuple

import pytest
from msgspec import structs

from livepeer_remote_signer.core.errors import (
    BadCapabilities,
    BadJobType,
    BadMaxPrice,
    BadOrchestrator,
    BadPrice,
    BadTicketParams,
    ChainStale,
    CreditExceeded,
    DepositTooSmall,
    FaceValueTooLow,
    InvalidSig,
    InvalidState,
    MissingAuthToken,
    MissingManifestId,
    MissingOrchestrator,
    MissingTicketParams,
    NoBillableUnits,
    NoDeposit,
    NoTickets,
    PriceExceeded,
    ProtocolPaused,
    RecipientRefused,
    RefreshSession,
    RoundUnknown,
    SignerError,
    StateMismatch,
    TicketEvExceeded,
    TooManyTickets,
    TotalEvExceeded,
)
from livepeer_remote_signer.core.protocol.prices import MaxPrice
from livepeer_remote_signer.core.protocol.state import SignerState, encode_state
from livepeer_remote_signer.core.protocol.ticket import MAX_WIN_PROB, REFRESH_AT_NONCE
from livepeer_remote_signer.core.rules.chain import ChainView, StaleReading
from livepeer_remote_signer.core.rules.limits import TicketLimits
from livepeer_remote_signer.core.rules.payment import PaymentPlan, PaymentRequest
from livepeer_remote_signer.core.rules.pricing import Ceilings
from livepeer_remote_signer.proto import net_pb2
from tests.decisions import LATER_NS, NO_CEILINGS, SECOND, STATE, decide
from tests.strategies import CHAIN, SEAL, info_message, new_request


class Scene(NamedTuple):
    """Everything that one decision is made from; faults change it."""

    message: net_pb2.OrchestratorInfo
    request: PaymentRequest
    state: SignerState | None
    raw_state: bytes | None = None
    broken_seal: bool = False
    chain: ChainView = CHAIN
    ceilings: Ceilings = NO_CEILINGS
    limits: TicketLimits = TicketLimits()
    now_ns: int = LATER_NS

    def decide(self) -> PaymentPlan:
        """What the core says to it."""
        request = self.request
        if request.orchestrator != b"":
            request = structs.replace(request, orchestrator=request.orchestrator or self.message.SerializeToString())
        raw = self.raw_state if self.raw_state is not None else encode_state(self.state) if self.state else b""
        if raw:
            sig = SEAL.seal(raw)
            request = structs.replace(request, state=raw, state_sig=bytes(65) if self.broken_seal else sig)
        return decide(request, self.now_ns, chain=self.chain, ceilings=self.ceilings, limits=self.limits)


FROM_MESSAGE = b"(the message)"


def scene() -> Scene:
    """A good request of a running session."""
    message = info_message(expiration=LATER_NS // SECOND + 1800)
    return Scene(message, new_request(orchestrator=FROM_MESSAGE, manifest_id="manifest"), STATE)


def good(case: Scene) -> PaymentPlan:
    """The decision, once the message is as the faults left it."""
    if case.request.orchestrator == FROM_MESSAGE:
        case = case._replace(request=structs.replace(case.request, orchestrator=case.message.SerializeToString()))
    return case.decide()


def of_request(**changes: Any) -> Callable[[Scene], Scene]:
    """A fault in the request."""
    return lambda case: case._replace(request=structs.replace(case.request, **changes))


def of_message(change: Callable[[net_pb2.OrchestratorInfo], None]) -> Callable[[Scene], Scene]:
    """A fault in the orchestrator's message."""

    def apply(case: Scene) -> Scene:
        change(case.message)
        return case

    return apply


def of_state(**changes: Any) -> Callable[[Scene], Scene]:
    """A fault in the sealed state."""
    return lambda case: case._replace(state=case.state and structs.replace(case.state, **changes))


def of_chain(**changes: Any) -> Callable[[Scene], Scene]:
    """A fault of the chain's or the funds'."""
    return lambda case: case._replace(chain=replace(case.chain, **changes))


def no_price(message: net_pb2.OrchestratorInfo) -> None:
    message.ClearField("price_info")


def no_params(message: net_pb2.OrchestratorInfo) -> None:
    message.ClearField("ticket_params")


def short_address(message: net_pb2.OrchestratorInfo) -> None:
    message.address = b"short"


def no_token(message: net_pb2.OrchestratorInfo) -> None:
    message.ClearField("auth_token")


def old_token(message: net_pb2.OrchestratorInfo) -> None:
    if message.HasField("auth_token"):
        message.auth_token.expiration = LATER_NS // SECOND + 100


def param(name: str, value: int) -> Callable[[net_pb2.OrchestratorInfo], None]:
    """One integer of the ticket params, where there are any."""

    def change(message: net_pb2.OrchestratorInfo) -> None:
        if message.HasField("ticket_params"):
            setattr(message.ticket_params, name, value.to_bytes(32, "big").lstrip(b"\0"))

    return change


def other_recipient(message: net_pb2.OrchestratorInfo) -> None:
    if message.HasField("ticket_params"):
        message.ticket_params.recipient = b"\xdd" * 20


def no_round(message: net_pb2.OrchestratorInfo) -> None:
    if message.HasField("ticket_params"):
        message.ticket_params.ClearField("expiration_params")


def dear(message: net_pb2.OrchestratorInfo) -> None:
    if message.HasField("price_info"):
        message.price_info.pricePerUnit += 1


FAULTS: list[tuple[str, Callable[[Scene], Scene], type[SignerError]]] = [
    ("no orchestrator", of_request(orchestrator=b""), MissingOrchestrator),
    ("no protobuf", of_request(orchestrator=b"\xff"), BadOrchestrator),
    ("no price", of_message(no_price), BadPrice),
    ("no ticket params", of_message(no_params), MissingTicketParams),
    ("short address", of_message(short_address), BadOrchestrator),
    ("broken seal", lambda case: case._replace(broken_seal=True), InvalidSig),
    ("sealed nonsense", lambda case: case._replace(raw_state=b"nonsense"), InvalidState),
    ("another orchestrator", of_state(orchestrator_address=b"\x01" * 20), StateMismatch),
    ("another app", of_state(app="other"), StateMismatch),
    ("another type", of_state(type="lv2v"), StateMismatch),
    ("no first price", of_state(initial_price_per_unit=0), InvalidState),
    ("no manifest id", of_request(manifest_id=""), MissingManifestId),
    ("bad capabilities", of_request(capabilities=b"\xff"), BadCapabilities),
    ("nonces used up", of_state(sender_nonce=REFRESH_AT_NONCE), RefreshSession),
    ("no token", of_message(no_token), MissingAuthToken),
    ("old token", of_message(old_token), RefreshSession),
    ("stale chain", of_chain(stale=StaleReading("old", 100.0, 60.0)), ChainStale),
    ("protocol paused", of_chain(paused=True), ProtocolPaused),
    ("no expiration block", of_message(param("expiration_block", 0)), BadTicketParams),
    ("expired params", of_message(param("expiration_block", 23_400_001)), RefreshSession),
    ("always wins", of_message(param("win_prob", MAX_WIN_PROB)), FaceValueTooLow),
    ("ticket limit", lambda case: case._replace(limits=replace(case.limits, max_ticket_ev_wei=10)), TicketEvExceeded),
    ("no deposit", of_chain(deposit_wei=0), NoDeposit),
    ("total limit", lambda case: case._replace(limits=replace(case.limits, max_total_ev_wei=10)), TotalEvExceeded),
    ("deposit multiplier", lambda case: case._replace(limits=replace(case.limits, deposit_multiplier=10**6)), DepositTooSmall),
    ("bad type", lambda case: of_request(type="audio")(of_state(type="")(case)), BadJobType),
    ("no units", lambda case: of_request(type="", in_pixels=0)(of_state(type="")(case)), NoBillableUnits),
    ("no time passed", lambda case: of_state(last_update_ns=case.now_ns)(case), NoTickets),
    ("bad maxPrice", of_request(max_price=MaxPrice("1", "usd", "seconds")), BadMaxPrice),
    ("dear", of_message(dear), PriceExceeded),
    ("credit left", of_state(balance=Fraction(10**30)), NoTickets),
    ("many tickets", of_state(initial_price_per_unit=10**15), TooManyTickets),
    ("too much credit", lambda case: case._replace(limits=replace(case.limits, max_credit_seconds=1)), CreditExceeded),
    ("no round", lambda case: of_message(no_round)(of_chain(last_initialized_round=0)(case)), RoundUnknown),
    ("another recipient", of_message(other_recipient), RecipientRefused),
]
"""Faults in the order in which they must be found."""

EXCLUDES = {
    ("no orchestrator", "no protobuf"),
    ("broken seal", "sealed nonsense"),
    ("another type", "bad type"),
    ("another type", "no units"),
    ("no expiration block", "expired params"),
    ("bad type", "no units"),
    ("bad type", "no time passed"),
    ("no units", "no time passed"),
    ("total limit", "many tickets"),
    ("no first price", "many tickets"),
    ("credit left", "many tickets"),
    ("dear", "many tickets"),
}
"""Pairs that cannot stand in one request, or where the later fault undoes the earlier."""


@pytest.mark.parametrize(("name", "fault", "error"), FAULTS, ids=[fault[0] for fault in FAULTS])
def test_every_fault_alone_is_refused_for_its_own_cause(name: str, fault: Callable[[Scene], Scene], error: type[SignerError]) -> None:
    with pytest.raises(SignerError) as refusal:
        good(fault(scene()))
    assert type(refusal.value) is error, name


def test_without_a_fault_the_scene_is_paid() -> None:
    assert good(scene()).num_tickets == 3


PAIRS = [(first, second) for first, second in combinations(FAULTS, 2) if (first[0], second[0]) not in EXCLUDES]


@pytest.mark.parametrize(("first", "second"), PAIRS, ids=[f"{first[0]} and {second[0]}" for first, second in PAIRS])
def test_of_two_faults_the_earlier_is_told(first: Any, second: Any) -> None:
    with pytest.raises(SignerError) as refusal:
        good(second[1](first[1](scene())))
    assert type(refusal.value) is first[2]
